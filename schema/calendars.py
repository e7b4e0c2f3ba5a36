"""Calendars: which features an entry `{calendar: NAME}` of `data.features` stands for, and the values they take."""

from __future__ import annotations

from typing import Any, Literal, get_args

CalendarName = Literal[
    "minute_of_hour",
    "hour_of_day",
    "day_of_week",
    "day_of_month",
    "day_of_year",
    "week_of_month",
    "week_of_year",
    "month_of_year",
    "quarter",
    "weekend",
    "holiday",
]
CalendarEncoding = Literal["cyclic", "category"]
CALENDAR_PARTS = ("sin", "cos")
HOLIDAY = "holiday"
# 0 or 1.
CALENDAR_FLAGS = ("weekend", HOLIDAY)
# The smallest and largest number of a calendar, as ISO 8601 counts: Monday is day 1, and a year has 52 or 53 weeks.
CALENDAR_NUMBERS: dict[str, tuple[int, int]] = {
    "minute_of_hour": (0, 59),
    "hour_of_day": (0, 23),
    "day_of_week": (1, 7),
    "day_of_month": (1, 31),
    "day_of_year": (1, 366),
    "week_of_month": (1, 5),
    "week_of_year": (1, 53),
    "month_of_year": (1, 12),
    "quarter": (1, 4),
}
_NAMES = get_args(CalendarName)


def calendar_feature_names(
    calendar: str, encoding: str | None = None, country: str | None = None, subdivision: str | None = None
) -> list[str]:
    """Return the names of the features that a calendar's entry stands for."""
    if calendar == HOLIDAY:
        return ["_".join(part for part in (HOLIDAY, country, subdivision) if part)]
    if calendar in CALENDAR_FLAGS or encoding == "category":
        return [calendar]
    return [f"{calendar}_{part}" for part in CALENDAR_PARTS]


def expand_calendar(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the features of an entry that has a `calendar` and no name; its other keys are theirs."""
    keys = [entry["calendar"], *(entry.get(key) for key in ("encoding", "country", "subdivision"))]
    if not all(value is None or isinstance(value, str) for value in keys):
        # The model's validation says which key has the wrong type.
        return [{**entry, "name": HOLIDAY}]
    kind = {"kind": "categorical"} if entry.get("encoding") == "category" else {"scale": "none"}
    return [{**kind, **entry, "name": name} for name in calendar_feature_names(*keys)]


def calendar_texts(calendar: str) -> list[str]:
    """Return all values of a calendar as a category, rising."""
    low, high = CALENDAR_NUMBERS[calendar]
    return [str(number) for number in range(low, high + 1)]


def calendar_problem(feature: Any) -> str | None:
    """Return what is wrong with a feature's keys on calendars (a ``FeatureConfig``); None if nothing is."""
    calendar = feature.calendar
    given = [key for key in ("encoding", "country", "subdivision") if getattr(feature, key) is not None]
    if calendar is None:
        if given:
            return f"feature {feature.name}: {' and '.join(given)} belongs to a calendar, such as {{calendar: holiday}}"
        return None
    if calendar == HOLIDAY and feature.country is None:
        return "calendar: holiday needs country, a code of ISO 3166: {calendar: holiday, country: DE}"
    if calendar == "week_of_month" and feature.encoding != "category":
        return "calendar: week_of_month needs encoding: category; as a cycle it would be day_of_month"
    unwanted = [key for key in given if (calendar == HOLIDAY) == (key == "encoding")]
    unwanted += ["encoding"] if calendar == "weekend" and feature.encoding else []
    if unwanted:
        why = "is 0 or 1, and" if "encoding" in unwanted else "is the same everywhere, and"
        return f"calendar: {calendar} {why} takes no {' and no '.join(unwanted)}"
    is_category = feature.encoding == "category"
    if feature.kind != ("categorical" if is_category else "numeric"):
        hint = "leave kind out" if is_category or calendar in CALENDAR_FLAGS else "set encoding: category"
        return f"calendar: {calendar} is numeric unless its encoding is category, received kind: {feature.kind}; {hint}"
    names = calendar_feature_names(calendar, feature.encoding, feature.country, feature.subdivision)
    if feature.name not in names:
        return f"calendar: {calendar} names its features itself ({', '.join(names)}), received name: {feature.name}"
    return None

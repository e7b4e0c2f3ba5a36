"""Parse cron expressions with the meaning of crontab, for our scheduler and Kubeflow's.

Kubeflow's parser reads the first of five fields as seconds: ``0 3 * * 1``, Mondays at 03:00 for crontab, is three
minutes past every hour of January to it. So expressions are read as crontab's and passed on as six fields or numbers:

    six_fields("0 3 * * 1")          # "0 0 3 * * 1", Mondays at 03:00, as Kubeflow reads it
    cron_times("0 3 * * 1").weekdays  # (1,), with Sunday 0
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
# Name, lowest and highest value, names of the values from the lowest.
FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("second", 0, 59, ()),
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, MONTHS),
    ("day of the week", 0, 6, DAYS),
)
DESCRIPTORS = {
    "@yearly": "0 0 0 1 1 *",
    "@annually": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *",
    "@midnight": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
}
DURATION = re.compile(r"@every (\d+(\.\d+)?(h|m|s))+")
PART = re.compile(r"(?P<low>\*|\?|\w+)(-(?P<high>\w+))?(/(?P<step>\d+))?")

_DAYS_OF_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True)
class CronTimes:
    """A cron expression as the numbers that match, ascending.

    Args:
        fields: the six fields as written, seconds first; a descriptor is expanded.
        seconds, minutes, hours, days, months: matching numbers.
        weekdays: matching days of the week, Sunday is 0.
        either_day: whether a day matches if its number or its weekday does, as crontab has it when neither field
            begins with a star; otherwise both have to match.
    """

    fields: tuple[str, ...]
    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]
    either_day: bool


def cron_times(text: str) -> CronTimes:
    """Parse a cron expression to numbers.

    Args:
        text: five fields, as in crontab, or six, seconds first, or ``@daily`` and the like.

    Raises:
        ValueError: it is none of these, or names a day that does not exist.
    """
    if text.startswith("@every"):
        raise ValueError(f"cron {text!r}: only Kubeflow's scheduler takes @every; write, for example, 0 */6 * * *")
    written = six_fields(text)
    fields = tuple(DESCRIPTORS.get(written, written).split())
    numbers = [_numbers(value, low, high, names) for value, (_, low, high, names) in zip(fields, FIELDS, strict=True)]
    either = fields[3][0] not in "*?" and fields[5][0] not in "*?"
    times = CronTimes(fields, *numbers, either_day=either)
    if not either and not any(day <= _DAYS_OF_MONTH[month - 1] for month in times.months for day in times.days):
        raise ValueError(f"cron {text!r}: none of its months has such a day, so it would never run")
    return times


def six_fields(text: str) -> str:
    """Return a cron expression in the form that Kubeflow Pipelines reads.

    Args:
        text: six fields, seconds first; or five, as in crontab; or ``@daily`` and the like, or ``@every 6h``.

    Returns:
        Six fields, separated by single blanks, or the descriptor.

    Raises:
        ValueError: it is none of these.
    """
    fields = text.split()
    if text.startswith("@"):
        if text in DESCRIPTORS or DURATION.fullmatch(text):
            return text
        raise ValueError(
            f"cron {text!r}: expected one of {', '.join(DESCRIPTORS)}, '@every 6h', or six fields, seconds first"
        )
    if len(fields) == 5:
        fields = ["0", *fields]
    if len(fields) != 6:
        raise ValueError(
            f"cron {text!r} has {len(fields)} field{'' if len(fields) == 1 else 's'}: expected six (second minute hour "
            "day-of-month month day-of-week), or crontab's five, which become six with seconds 0"
        )
    for value, (name, low, high, names) in zip(fields, FIELDS, strict=True):
        for part in value.split(","):
            _check(part, text, name, low, high, names)
    return " ".join(fields)


def _check(part: str, text: str, name: str, low: int, high: int, names: tuple[str, ...]) -> None:
    if not _fits(part, low, high, names):
        allowed = f"{low} to {high}" + (f" or {names[0]} to {names[-1]}" if names else "")
        sunday = "; Sunday is 0" if names == DAYS and "7" in part else ""
        raise ValueError(
            f"cron {text!r}: {part!r} is not a valid {name}; expected {allowed}, *, a range, a list or a step{sunday}"
        )


def _numbers(value: str, low: int, high: int, names: tuple[str, ...]) -> tuple[int, ...]:
    numbers = {name: low + place for place, name in enumerate(names)}
    found: set[int] = set()
    for part in value.split(","):
        match = PART.fullmatch(part)
        if match is None:
            raise ValueError(f"cron field {value!r}: {part!r} is not a value, range or step")
        if match["low"] in ("*", "?"):
            first, last = low, high
        else:
            # 5/15 is 5-59/15.
            upper = match["high"] or (str(high) if match["step"] else match["low"])
            first, last = (
                numbers[each] if each in numbers else int(each) for each in (match["low"].upper(), upper.upper())
            )
        found.update(range(first, last + 1, int(match["step"] or 1)))
    return tuple(sorted(found))


def _fits(part: str, low: int, high: int, names: tuple[str, ...]) -> bool:
    match = PART.fullmatch(part)
    if match is None or match["step"] == "0":
        return False
    if match["low"] in ("*", "?"):
        return match["high"] is None
    numbers = {name: low + place for place, name in enumerate(names)}
    bounds = []
    for bound in (match["low"], match["high"] or match["low"]):
        if bound.upper() not in numbers and not bound.isdecimal():
            return False
        bounds.append(numbers[bound.upper()] if bound.upper() in numbers else int(bound))
    return low <= bounds[0] <= bounds[1] <= high

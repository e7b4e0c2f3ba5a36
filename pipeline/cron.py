"""Cron expressions as Kubeflow Pipelines reads them: six fields, seconds first, in UTC.

Its parser takes five fields, too, but silently reads the first as seconds: ``0 3 * * 1``, Mondays at three for crontab,
is three minutes past every hour of January to it. So five fields are taken as crontab means them, and get a 0 in front:

    six_fields("0 3 * * 1")    # "0 0 3 * * 1", Mondays at 03:00
    six_fields("@daily")       # "@daily"
"""

from __future__ import annotations

import re

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
DESCRIPTORS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
DURATION = re.compile(r"@every (\d+(\.\d+)?(h|m|s))+")
PART = re.compile(r"(?P<low>\*|\?|\w+)(-(?P<high>\w+))?(/(?P<step>\d+))?")


def six_fields(text: str) -> str:
    """A cron expression in the form that Kubeflow Pipelines needs.

    Args:
        text: six fields, seconds first; or five, as in crontab; or ``@daily`` and the like, or ``@every 6h``.

    Returns:
        Six fields with one blank between them, or the descriptor.

    Raises:
        ValueError: it is none of these, in words.
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
            "day-of-month month day-of-week), or crontab's five, which get a 0 in front"
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
            f"cron {text!r}: {part!r} is no {name}; expected {allowed}, *, a range, a list or a step{sunday}"
        )


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

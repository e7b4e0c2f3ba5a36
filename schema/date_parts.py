"""Dates in several columns: what each column holds, and which parts need which others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

DatePart = Literal["year", "quarter", "month", "week", "day", "day_of_year", "hour", "minute", "second"]
DATE_PARTS: tuple[DatePart, ...] = get_args(DatePart)
# One of the parts that each part needs; the year needs none.
_NEEDS: dict[str, tuple[str, ...]] = {
    "quarter": ("year",),
    "month": ("year",),
    "week": ("year",),
    "day": ("month",),
    "day_of_year": ("year",),
    "hour": ("day", "day_of_year"),
    "minute": ("hour",),
    "second": ("minute",),
}
_ONE_OF = ("quarter", "month", "week", "day_of_year")


def date_part_problem(columns: Mapping[DatePart, str]) -> str | None:
    """Return what is wrong with the columns of a date, by part; None if nothing is."""
    if "year" not in columns:
        return f"expected the column of the year among the parts of a date; received {', '.join(columns) or 'none'}"
    for part in columns:
        needed = _NEEDS.get(part, ())
        if needed and not any(each in columns for each in needed):
            return f"{part} needs {' or '.join(needed)} beside it; received {', '.join(columns)}"
    if len(several := [part for part in _ONE_OF if part in columns]) > 1:
        return f"{' and '.join(several)} say the same, expected one of them"
    if len(set(columns.values())) < len(columns):
        return f"expected another column for each part; received {', '.join(columns.values())}"
    return None

"""Detect how a column writes its times: a pattern of strptime, or a unit since 1970.

>>> detect_time_format(["31.12.2025", "01.01.2026"])
TimeFormat(format='%d.%m.%Y', sure=True, other=None)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from noisy_gru.data.arrow import pa
from noisy_gru.data.values.parsing import parse_times
from noisy_gru.data.values.time_formats import formatted_times, pattern_regex

LEAST_READ = 0.95
MOST_CELLS = 2000
_DATES = (
    *("%d.%m.%Y", "%d.%m.%y", "%d/%m/%Y", "%m/%d/%Y", "%d/%m/%y", "%m/%d/%y", "%d-%m-%Y", "%m-%d-%Y", "%Y.%m.%d"),
    *(
        "%d %b %Y",
        "%d-%b-%Y",
        "%d-%b-%y",
        "%d/%b/%Y",
        "%d%b%Y",
        "%d %B %Y",
        "%d. %b %Y",
        "%d. %B %Y",
        "%b %d, %Y",
        "%B %d, %Y",
        "%b %d %Y",
        "%b-%d-%Y",
    ),
    *(
        "%Y %b %d",
        "%Y-%b-%d",
        "%Y %b",
        "%Y-%b",
        "%b %Y",
        "%b-%Y",
        "%B %Y",
        "%m/%Y",
        "%m.%Y",
        "%Y%m%d",
        "%Y/%m/%d",
        "%Y-%m-%d",
    ),
)
_CLOCKS = ("", "%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p", "%I:%M%p", "%H.%M", "%H%M", "%H%M%S")
_BETWEEN = (" ", "T", ", ", "", "-", ":")
_RANGES = {"epoch_s": 1.0, "epoch_ms": 1e3, "epoch_us": 1e6, "epoch_ns": 1e9}
_COMPACT = {"%Y%m%d": 1, "%Y%m%d%H%M": 10**4, "%Y%m%d%H%M%S": 10**6}
_FIRST, _LAST = 3e8, 4e9  # 1979 to 2096 in seconds
_CLEARLY = 3.0


@dataclass(frozen=True)
class TimeFormat:
    """A `data.time.format` (None: ISO 8601), whether no other reads the column as well, and the other."""

    format: str | None
    sure: bool = True
    other: str | None = None


def detect_time_format(cells: Sequence[str]) -> TimeFormat | None:
    """Return the format that reads at least 95 % of the texts; None if there is none, or no text."""
    cells = [cell.strip() for cell in cells if cell and cell.strip()][:MOST_CELLS]
    if not cells or not all(re.search(r"[0-9]", cell) for cell in cells[:20]):
        return None
    array = pa.array(cells, pa.string())
    if (
        not re.fullmatch(r"[0-9]+(?:\.[0-9]+)?", cells[0])
        and np.mean(~parse_times(array, "timestamp")[1]) >= LEAST_READ
    ):
        return TimeFormat(None)
    found = []
    for pattern in _candidates(cells[:20]):
        values, bad = formatted_times(array, pattern)
        if np.mean(~bad) >= LEAST_READ:
            found.append((float(np.mean(~bad)), pattern, values[~bad]))
    if not found:
        return None
    best = max(share for share, _, _ in found)
    equal = []
    for values, pattern in ((values, pattern) for share, pattern, values in found if share == best):
        # Names of months in other languages are read as short ones and as full ones.
        if not any(np.array_equal(values, others) for _, _, others in equal):
            equal.append((_variation(values), pattern, values))
    # Day or month first: times of a file mostly go on from row to row.
    equal.sort(key=lambda each: each[0])
    (variation, pattern, _), others = equal[0], equal[1:]
    close = [other for other_variation, other, _ in others if other_variation < _CLEARLY * max(variation, 1.0)]
    return TimeFormat(pattern, not close, close[0] if close else None)


@cache
def _expressions() -> list[tuple[str, re.Pattern[str]]]:
    patterns = [
        f"{date}{between if clock else ''}{clock}"
        for date in _DATES
        for clock in _CLOCKS
        for between in (_BETWEEN if clock else ("",))
    ]
    return [(pattern, re.compile(pattern_regex(pattern))) for pattern in patterns]


def _candidates(cells: Sequence[str]) -> list[str]:
    found = []
    for pattern, expression in _expressions():
        if sum(expression.fullmatch(cell) is not None for cell in cells) >= LEAST_READ * len(cells):
            found.append(pattern)
    return found


def _variation(values: np.ndarray) -> float:
    return float(np.abs(np.diff(values.astype(np.float64))).sum() / 1e9)


def detect_number_format(values: np.ndarray, *, named_time: bool) -> TimeFormat | None:
    """Return the format of numbers float64 [N] that are dates such as 20251231, or amounts since 1970.

    Amounts are believed only where the column's name says that it holds times; dates also of ten values or more.
    """
    known = values[np.isfinite(values)]
    if len(known) < 2 or len(known) < LEAST_READ * len(values):
        return None
    distinct = np.unique(known)
    whole = bool((known % 1 == 0).all())
    for pattern, scale in _COMPACT.items():
        within = known.min() >= 19000101 * scale and known.max() < 21010101 * scale
        if whole and within and (len(distinct) >= 10 or (named_time and len(distinct) > 1)):
            _, bad = formatted_times(pa.array(known.astype(np.int64)), pattern)
            if not bad.any():
                return TimeFormat(pattern)
    if not named_time:
        return None
    for unit, scale in _RANGES.items():
        if known.min() >= _FIRST * scale and known.max() <= _LAST * scale:
            return TimeFormat(unit)
    return None


def clock_format(cells: Sequence[str]) -> str | None:
    """Return the pattern of a column of times of day; None if it holds something else."""
    cells = [cell.strip() for cell in cells if cell and cell.strip()][:MOST_CELLS]
    for pattern in ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p", "%I:%M%p"):
        expression = re.compile(pattern_regex(pattern))
        if cells and sum(expression.fullmatch(cell) is not None for cell in cells) >= LEAST_READ * len(cells):
            return pattern
    return None

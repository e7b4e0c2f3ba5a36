"""Folds of a backtest: consecutive ranges of time after the first origin.

>>> [fold.number for fold in equal_folds(0.0, 10.0, 2)]
[1, 2]
>>> equal_folds(0.0, 10.0, 2)[0].holds(np.array([0.0, 4.9, 5.0]))
array([ True,  True, False])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Fold:
    """A fold: the forecasts whose last input step is in [start, end); the last fold has no end.

    Attributes:
        number: from 1.
        start: its first origin, seconds since 1970 or in the unit of integer times.
        end: the next fold's start; infinite for the last.
    """

    number: int
    start: float
    end: float

    def holds(self, times: np.ndarray) -> np.ndarray:
        """Return whether each time [N] is in the fold."""
        return (times >= self.start) & (times < self.end)


def equal_folds(first: float, last: float, count: int) -> list[Fold]:
    """Cut the time from the first origin to the last one into folds of equal duration."""
    return consecutive([first + (last - first) * number / count for number in range(count)])


def consecutive(starts: Sequence[float]) -> list[Fold]:
    """Return the folds that begin at these times."""
    ends = [*starts[1:], np.inf]
    return [Fold(number, start, end) for number, (start, end) in enumerate(zip(starts, ends, strict=True), start=1)]


def moments(texts: Sequence[str]) -> np.ndarray:
    """Return times as numbers, float64 [N]: those of sequence ids and ingestion reports, numbers or ISO 8601 in UTC."""
    return np.array([_moment(text) for text in texts], np.float64)


def _moment(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        seconds, rest = divmod(int(np.datetime64(text.removesuffix("Z"), "ns").astype(np.int64)), 10**9)
        return seconds + rest / 1e9

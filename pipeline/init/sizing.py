"""Choose windows, stride, batches and epochs from the amount of data, so that a first training ends in minutes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

# Time steps that an epoch may read: about a minute on two CPU cores.
MOST_STEPS = 3_000_000
MOST_INPUT = 336
# Where classes are proposed to be learned with convolutions and random kernels.
MOST_SEQUENCES, LEAST_STEPS = 1_000, 7
# Steps from which more sequences than that are read in segments, and a forecast is made by segments.
LONG_SEQUENCES, LONG_INPUT, LONG_HORIZON = 300, 96, 48
_BATCHES = ((16, 300), (32, 5_000), (64, 20_000), (128, 100_000))
MOST_LOST = 0.03
_HANDFUL = (1, 2, 3, 6, 12, 24, 48, 96, 168, 336)


@dataclass(frozen=True)
class Windows:
    """Lengths of a forecast's windows, in steps."""

    input_length: int
    horizons: list[int]
    stride: int

    def count(self, lengths: np.ndarray) -> int:
        """Return the number of windows of series of ``lengths`` [S]."""
        ends = np.maximum(lengths - self.input_length - self.horizons[-1] + 1, 0)
        return int(np.ceil(ends / self.stride).sum())


@dataclass(frozen=True)
class Training:
    """Settings of the model and its training.

    Attributes:
        epochs: most of them.
        batch_size: sequences in a step.
        patience: epochs without an improvement before training stops.
        difference: the model predicts the difference from the last value.
        preset: of the model; None: the reference stack.
    """

    epochs: int
    batch_size: int
    patience: int
    difference: bool = False
    preset: str | None = None


def windows_of(lengths: np.ndarray, season: int | None, *, by_time: bool = True) -> Windows:
    """Return windows for series of ``lengths`` [S]: one or two seasons read, up to one season predicted.

    ``by_time`` says that each series is divided into train, eval and test.
    """
    length = max(2, min(int(np.quantile(lengths, 0.25)), _usable_length(lengths))) if len(lengths) else 2
    # The eval split is a tenth of the time and its windows end a horizon before the test split.
    furthest = max(1, min(season or 12, 48, length // (20 if by_time else 4)))
    wanted = max(2 * furthest, (2 * season if season <= 31 else season) if season else 24)
    most = length // 4 if by_time else length - furthest
    input_length = max(1, min(wanted, MOST_INPUT, most))
    count = np.maximum(lengths - input_length - furthest + 1, 0).sum()
    stride = min(max(1, int(np.ceil(count * input_length / MOST_STEPS))), max(1, length // 4))
    while season and stride > 1 and math.gcd(stride, season) > 1:
        stride += 1  # else the windows of a season always end at the same hours
    return Windows(input_length, _horizons(furthest), stride)


def _usable_length(lengths: np.ndarray) -> int:
    """Return the longest window that few rows are of series too short for: a run rejects more than 5 % of them."""
    rising = np.sort(lengths)
    lost = np.concatenate([[0], np.cumsum(rising)[:-1]]) / max(rising.sum(), 1)
    return int(rising[np.flatnonzero(lost <= MOST_LOST)[-1]])


def _horizons(furthest: int) -> list[int]:
    if furthest <= 14:
        return list(range(1, furthest + 1))
    return [*(each for each in _HANDFUL if each < furthest), furthest]


def training_of(sequences: int, steps: int, *, difference: bool = False) -> Training:
    """Return the training's settings for so many sequences (or windows) of so many time steps in all."""
    batch = next(
        (size for size, most in ((16, 300), (32, 5_000), (64, 20_000), (128, 100_000)) if sequences <= most), 256
    )
    epochs = int(np.clip(10 * MOST_STEPS / max(steps, 1), 10, 60))
    return Training(epochs, batch, max(3, epochs // 6), difference)


def prefers_convolutions(lengths: np.ndarray) -> bool:
    """Return whether a classifier of sequences of ``lengths`` [S] is better with the preset `classification`.

    It was on data sets of the UCR and UEA archives with 36 to 270 sequences of 7 steps and more to learn from.
    """
    return 0 < len(lengths) <= MOST_SEQUENCES and int(np.median(lengths)) >= LEAST_STEPS


def prefers_segments(lengths: np.ndarray) -> bool:
    """Return whether a model of whole sequences of ``lengths`` [S] reads segments (the preset `long`)."""
    return len(lengths) > MOST_SEQUENCES and int(np.median(lengths)) >= LONG_SEQUENCES


def prefers_parallel_forecast(windows: Windows, season: int | None) -> bool:
    """Return whether a forecast is made by segments (the preset `forecasting`).

    It was better than the stack by itself on ETTh1 and M4 Hourly, at 48 horizons and more.
    """
    return season is not None and windows.input_length >= LONG_INPUT and windows.horizons[-1] >= LONG_HORIZON


def prefers_difference(histories: list[np.ndarray], horizon: int) -> bool:
    """Return whether the last value predicts better than the mean, which makes differences easier to learn."""
    last = mean = 0.0
    for values in histories:
        values = values[np.isfinite(values)]
        if len(values) <= horizon + 2:
            continue
        spread = float(np.std(values)) or 1.0
        last += float(np.mean(np.abs(values[horizon:] - values[:-horizon]))) / spread
        mean += float(np.mean(np.abs(values - values.mean()))) / spread
    return last < 0.9 * mean if mean else True

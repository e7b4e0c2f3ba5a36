"""Metrics of quantiles and intervals: what is summed over the sequences, and what follows from the sums.

With quantiles q of levels t, a target y, and L, U the ends of an interval of coverage 1 - a:

| metric | definition |
|---|---|
| `coverage_<c>` | share of the targets with L <= y <= U |
| `interval_width_<c>` | mean of U - L |
| `msis_<c>` | mean of (U - L + 2/a (L - y)+ + 2/a (y - U)+) / s, with s the mean \\|x[t] - x[t - m]\\| over the window's past and m the season (Makridakis et al. 2020) |
| `weighted_quantile_loss` | mean over t of sum 2 (y - q)(t - [y < q]) / sum \\|y\\| |
| `crps` | continuous ranked probability score: the integral over t of 2 (y - q)(t - [y < q]), each level standing for those nearer to it than to any other |
"""  # noqa: E501 (a table)

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from noisy_gru.schema.config import ForecastingConfig, TaskConfig
from noisy_gru.schema.interval_config import Interval, intervals_of, levels_of

Sums = dict[str, np.ndarray]
COVERAGE, WIDTH, MSIS = "coverage_", "interval_width_", "msis_"
WEIGHTED_LOSS, CRPS = "weighted_quantile_loss", "crps"
OF_INTERVALS: dict[str, str] = {
    COVERAGE: "share of the targets that the interval covers",
    WIDTH: "mean width of the interval",
    MSIS: "mean scaled interval score, by the differences of a season (or of neighbours) in the window's past",
}
OF_QUANTILES: dict[str, str] = {
    WEIGHTED_LOSS: "quantile loss, averaged over the levels, as a part of the mean magnitude of the targets",
    CRPS: "continuous ranked probability score, from the quantiles; mae of a prediction without spread",
}
# Before the target's name, beside the naive forecasts: its past.
PAST = "past/"


def interval_metrics(task: TaskConfig, *, has_past: bool) -> dict[str, str]:
    """Return the names of a task's metrics of quantiles, without suffixes, and their meaning.

    Args:
        task: of the data set.
        has_past: whether each target's past is long enough for the scale of `msis`.
    """
    if not levels_of(task):
        return {}
    found = {
        f"{name}{interval.coverage:g}": f"{what} ({interval.coverage:g})"
        for interval in intervals_of(task)
        for name, what in OF_INTERVALS.items()
        if name != MSIS or has_past
    }
    return {**found, **OF_QUANTILES}


def is_of_intervals(metric: str) -> bool:
    """Return whether a metric is one of these."""
    return metric.startswith(tuple(OF_INTERVALS)) or metric.partition("/")[0] in OF_QUANTILES


def season_of(task: TaskConfig) -> int:
    """Return the steps between the values whose differences scale `msis`."""
    return (isinstance(task, ForecastingConfig) and task.season_length) or 1


def level_weights(levels: list[float]) -> np.ndarray:
    """Return the share of all levels that are nearer to each than to any other, float64 [Q]."""
    middles = (np.array(levels[1:]) + levels[:-1]) / 2
    return np.diff([0.0, *middles, 1.0])


def quantile_losses(label: np.ndarray, quantiles: np.ndarray, levels: list[float]) -> np.ndarray:
    """Return twice the pinball loss of each quantile, [..., Q]: of the median it is the absolute error."""
    error = label[..., np.newaxis] - quantiles
    level = np.array(levels)
    return 2 * np.maximum(level * error, (level - 1) * error)


def crps_of(label: np.ndarray, quantiles: np.ndarray, levels: list[float]) -> np.ndarray:
    """Return the continuous ranked probability score of each target, float64 [...]."""
    return quantile_losses(label, quantiles, levels) @ level_weights(levels)


def quantiles_of(outputs: Mapping[str, Any], shape: tuple[int, ...], levels: list[float]) -> np.ndarray:
    """Return a model's quantiles, float64 [*shape, Q]; NaN if it has none, as it was published before."""
    whole = (*shape, len(levels))
    given = np.asarray(outputs.get("quantiles", np.nan), np.float64)
    return given.reshape(whole) if given.size == np.prod(whole) else np.full(whole, np.nan)


def interval_scores(label: np.ndarray, quantiles: np.ndarray, interval: Interval) -> np.ndarray:
    """Return the width of an interval, and 2 / a of how far a target lies outside."""
    lower, upper = quantiles[..., interval.lower], quantiles[..., interval.upper]
    outside = np.maximum(lower - label, 0) + np.maximum(label - upper, 0)
    return upper - lower + 2 / (1 - interval.coverage) * outside


def sums_of(
    label: np.ndarray, outputs: Mapping[str, Any], features: Mapping[str, np.ndarray], task: TaskConfig
) -> Sums:
    """Return the sums of one sequence.

    Args:
        label: its targets, [H, K] or [1]; NaN where unknown.
        outputs: with `quantiles`.
        features: with the past of each target, where that is known.
        task: of the data set.
    """
    levels, intervals = levels_of(task), intervals_of(task)
    if not levels:
        return {}
    quantiles = quantiles_of(outputs, label.shape, levels)
    known = ~np.isnan(label)
    ends = [(quantiles[..., each.lower], quantiles[..., each.upper]) for each in intervals]
    scale = _scales(features, task, label.shape)
    is_scaled = known & (scale > 0)

    def summed(values: list[np.ndarray], where: np.ndarray = known) -> np.ndarray:
        return (
            np.stack([np.where(where, each, 0.0) for each in values], axis=-1)
            if values
            else np.zeros((*known.shape, 0))
        )

    return {
        "of_levels": known.astype(np.float64),
        "magnitude": np.where(known, np.abs(label), 0.0),
        "level_losses": np.where(known[..., np.newaxis], quantile_losses(label, quantiles, levels), 0.0),
        "inside": summed([_inside(label, *each) for each in ends]),
        "width": summed([upper - lower for lower, upper in ends]),
        "scaled": is_scaled.astype(np.float64),
        "interval_scores": summed(
            [interval_scores(label, quantiles, each) / np.where(is_scaled, scale, 1.0) for each in intervals], is_scaled
        ),
    }


def _inside(label: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    # A model without intervals covers nothing that could be counted.
    return np.where(np.isnan(lower + upper), np.nan, (label >= lower) & (label <= upper))


def _scales(features: Mapping[str, np.ndarray], task: TaskConfig, shape: tuple[int, ...]) -> np.ndarray:
    """Return the mean absolute difference over a season in the past of each target, as `shape`; NaN if unknown."""
    found = np.full(shape, np.nan)
    if isinstance(task, ForecastingConfig):
        season = season_of(task)
        for place, target in enumerate(task.targets):
            past = np.asarray(features.get(f"{PAST}{target}", []), np.float64).reshape(-1)
            differences = np.abs(past[season:] - past[:-season])
            differences = differences[np.isfinite(differences)]
            found[:, place] = differences.mean() if len(differences) else np.nan
    return found


def metrics_of_sums(sums: Sums, task: TaskConfig, places: Any = ...) -> Iterator[tuple[str, float]]:
    """Yield the metrics of merged sums, by name.

    Args:
        sums: of all sequences.
        task: of the data set.
        places: index of the horizons and targets that are averaged over, as a first axis.
    """
    levels = levels_of(task)
    if not levels:
        return

    def total(name: str) -> np.ndarray:
        return sums[name][places].sum(axis=0)

    def mean(name: str, by: str) -> np.ndarray:
        count = total(by)
        return total(name) / count if count else np.full(np.shape(total(name)), np.nan)

    of_interval = {COVERAGE: mean("inside", "of_levels"), WIDTH: mean("width", "of_levels")}
    of_interval[MSIS] = mean("interval_scores", "scaled")
    for place, interval in enumerate(intervals_of(task)):
        for name, values in of_interval.items():
            yield f"{name}{interval.coverage:g}", float(values[place])
    losses = total("level_losses")
    magnitude = float(total("magnitude"))
    yield WEIGHTED_LOSS, float(losses.mean() / magnitude) if magnitude else float("nan")
    yield CRPS, float(mean("level_losses", "of_levels") @ level_weights(levels))

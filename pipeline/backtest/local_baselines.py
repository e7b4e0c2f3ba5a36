"""Baselines that fit a statistical model to each window alone, by StatsForecast: AutoETS, AutoARIMA, the theta method.

    >>> forecast_locally("theta", windows.past, horizons=[1, 24], season=24)  # doctest: +SKIP

StatsForecast (Nixtla) comes with the extra [statsforecast]. Sources: Hyndman and Khandakar (2008), Journal of
Statistical Software 27(3); Assimakopoulos and Nikolopoulos (2000), International Journal of Forecasting 16.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from noisy_gru.compat.extras import require
from noisy_gru.components.evaluation.config import ARIMA, ETS, THETA
from noisy_gru.schema.errors import UserError

# A model is fitted to each window and target: of 168 hours in about 0.01 s (theta) to seconds (ARIMA with a season).
MAX_FITS = 20_000
# Fewer known values than these say nothing about a trend.
_LEAST_VALUES = 10
_CLASSES = {ETS: "AutoETS", ARIMA: "AutoARIMA", THETA: "AutoTheta"}


def forecast_locally(name: str, past: np.ndarray, *, horizons: Sequence[int], season: int | None) -> np.ndarray:
    """Return forecasts [N, H, K]; NaN for windows with fewer than ten known values.

    Missing values are interpolated, and those before the first known one left out. A model that has no answer for a
    window is replaced by the last value of a season before, or the last value.

    Args:
        name: `auto_ets`, `auto_arima` or `theta`.
        past: of the targets, float64 [N, L, K]; NaN where missing.
        horizons: steps after the last one.
        season: steps of it; it counts in windows of two seasons at least.

    Raises:
        MissingExtraError: StatsForecast is not installed.
        UserError: there are more windows than can be fitted in a reasonable time.
    """
    require("statsforecast", f"the baseline {name}")
    count, steps, targets = past.shape
    if count * targets > MAX_FITS:
        raise UserError(
            f"{name} fits a model for each window and target: {count * targets:,} of them, at most {MAX_FITS:,}. Use "
            "ridge, a larger task.stride, or a later --start"
        )
    series = {
        number: known
        for number, values in enumerate(past.transpose(0, 2, 1).reshape(-1, steps))
        if len(known := _interpolated(values)) >= _LEAST_VALUES
    }
    result = np.full((count * targets, max(horizons)), np.nan)
    for seasonal, numbers in _by_season(series, season):
        result[numbers] = _fitted(name, [series[number] for number in numbers], max(horizons), seasonal)
    chosen = result.reshape(count, targets, -1)[:, :, np.array(horizons) - 1]
    return chosen.transpose(0, 2, 1)


def _interpolated(values: np.ndarray) -> np.ndarray:
    """Return the values from the first known one on, gaps filled linearly; after the last known one it is repeated."""
    known = np.flatnonzero(~np.isnan(values))
    if not len(known):
        return values[:0]
    return np.interp(np.arange(known[0], len(values)), known, values[known])


def _by_season(series: dict[int, np.ndarray], season: int | None) -> list[tuple[int, list[int]]]:
    """Return the season and the numbers of the series that are long enough for it, and of the others, with 1."""
    long = [number for number, values in series.items() if season is not None and len(values) >= 2 * season + 1]
    short = sorted(set(series) - set(long))
    return [(each, numbers) for each, numbers in ((season or 1, long), (1, short)) if numbers]


def _fitted(name: str, series: list[np.ndarray], steps: int, season: int) -> np.ndarray:
    import pandas as pd
    from statsforecast import StatsForecast, models  # pyright: ignore[reportMissingImports]

    model: Any = getattr(models, _CLASSES[name])(season_length=season)
    fallback = models.SeasonalNaive(season_length=season)
    lengths = [len(values) for values in series]
    frame = pd.DataFrame(
        {
            "unique_id": np.repeat(np.arange(len(series)), lengths),
            "ds": np.concatenate([np.arange(length) for length in lengths]),
            "y": np.concatenate(series),
        }
    )
    # One process: a fork beside TensorFlow's threads may hang.
    found = StatsForecast(models=[model], freq=1, n_jobs=1, fallback_model=fallback).forecast(df=frame, h=steps)
    ordered = found.sort_values(["unique_id", "ds"], kind="stable")
    return ordered[_CLASSES[name]].to_numpy(np.float64).reshape(len(series), steps)

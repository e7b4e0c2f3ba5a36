"""What forecasts come to: against what came, by horizon, by series and by hour, and the worst windows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from noisy_gru.components.evaluation.metric_catalogue import naive_baselines
from noisy_gru.data.sequences.sequence_ids import split_sequence_id
from noisy_gru.data.sequences.steps import FixedSteps, parse_steps
from noisy_gru.pipeline.report.answers import Answers
from noisy_gru.pipeline.report.regression import interval, pairs, residuals
from noisy_gru.schema.config import ForecastingConfig

_SERIES_SHOWN = 3
_SERIES_LISTED = 30
_WINDOWS_SHOWN = 168
_WINDOWS_DRAWN = 2


class _Forecasts:
    """Answers as arrays [N, H, K], with entity and time of each window."""

    def __init__(self, answers: Answers):
        task = answers.dataset.task
        check_forecasting(task)
        self.task: Any = task
        shape = (len(answers.ids), len(self.task.horizons), len(self.task.targets))
        # A model with quantiles may record more than one number for each.
        self.columns = {
            name: np.asarray(value).reshape(shape)
            for name, value in answers.columns.items()
            if isinstance(value, np.ndarray) and value.dtype != object and value.size == math.prod(shape)
        }
        parts = [split_sequence_id(name, answers.dataset) for name in answers.ids]
        self.entity = np.array([entity for entity, _ in parts], dtype=object)
        self.order = sorted(range(len(parts)), key=lambda place: (parts[place][0], parts[place][1]))
        self.moment = [text or f"{number:g}" for _, (number, text) in parts]
        self.dataset = answers.dataset
        ends = answers.interval
        self.ends = None if ends is None or ends.size != 2 * math.prod(shape) else ends.reshape(*shape, 2)

    @property
    def naive(self) -> list[str]:
        """The naive forecasts that were recorded."""
        return [name for name in naive_baselines(self.task) if name in self.columns]

    @property
    def models(self) -> list[str]:
        return [name for name in ("candidate", "published") if name in self.columns] + self.naive


def check_forecasting(task: Any) -> None:
    """Raise ``TypeError`` if a task is none of forecasting."""
    if not isinstance(task, ForecastingConfig):
        raise TypeError(f"expected a forecasting task, received {task.kind}")


def forecasting(answers: Answers, examples: bool) -> dict[str, Any]:
    """Return for each target errors and coverage by horizon and hour, pairs and residuals.

    With ``examples`` by series, too, and `windows`: the median, the worst and some others, with forecast and truth.
    """
    found = _Forecasts(answers)
    targets = []
    for place, target in enumerate(found.task.targets):
        content: dict[str, Any] = {
            "target": target,
            "by_horizon": _by_horizon(found, place, answers),
            "interval": interval(found.columns["label"][:, :, place], _ends(found, place), answers),
            "by_hour": _by_hour(found, place),
            "pairs": pairs(*(found.columns[name][:, 0, place] for name in ("label", "candidate"))),
            "residuals": residuals(*(found.columns[name][:, :, place].reshape(-1) for name in ("label", "candidate"))),
        }
        if examples:
            content["by_series"] = _by_series(found, place)
            content["came"] = _came(found, place)
        targets.append(content)
    content = {"targets": targets, "horizons": found.task.horizons, "series": len(set(found.entity))}
    return {**content, "windows": _windows(answers, found)} if examples and len(found.task.horizons) > 1 else content


def _ends(found: _Forecasts, target: int) -> np.ndarray | None:
    """Return the ends of the intervals of a target, [N, H, 2]."""
    return None if found.ends is None else found.ends[:, :, target]


def _windows(answers: Answers, found: _Forecasts) -> list[dict[str, Any]]:
    """Return the window of the median error, the worst one, and some that a seed chose, each once."""
    total = _total_errors(found)
    known = np.flatnonzero(total >= 0)
    if not len(known):
        return []
    ranked = known[np.argsort(total[known], kind="stable")]
    chosen = {int(ranked[len(ranked) // 2]): "median error", int(ranked[-1]): "largest error"}
    seed = answers.dataset.seed
    for place in np.random.default_rng(seed).permutation(known)[:_WINDOWS_DRAWN]:
        chosen.setdefault(int(place), f"drawn with seed {seed}")
    return [{"why": why, **_window(answers, found, place, total[place])} for place, why in chosen.items()]


def _window(answers: Answers, found: _Forecasts, place: int, error: float) -> dict[str, Any]:
    """Return a window's forecast and truth at each horizon, by target, and the interval where there is one."""
    content: dict[str, Any] = {"id": answers.ids[place], "error": float(error), "horizons": found.task.horizons}
    columns = {"forecast": found.columns["candidate"][place], "came": found.columns["label"][place]}
    if found.ends is not None:
        columns |= {"low": found.ends[place, :, :, 0], "high": found.ends[place, :, :, 1]}
    named = {name: {t: values[:, k] for k, t in enumerate(found.task.targets)} for name, values in columns.items()}
    return content | named


def worst(answers: Answers, count: int) -> list[dict[str, Any]]:
    """Return the windows with the largest mean absolute error, with forecast and truth at each horizon.

    Errors of each target are divided by their mean, as targets may be in different units.
    """
    found = _Forecasts(answers)
    total = _total_errors(found)
    order = [place for place in np.argsort(-total, kind="stable") if total[place] >= 0]
    return [_window(answers, found, place, total[place]) for place in _differences(order, found, count)]


def _total_errors(found: _Forecasts) -> np.ndarray:
    """Return the error of each window, in parts of each target's mean; -1 where nothing is known."""
    errors = np.abs(found.columns["candidate"] - found.columns["label"])
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = (
            np.nanmean(np.where(np.isfinite(errors), errors, np.nan), axis=(0, 1)) if np.isfinite(errors).any() else 1.0
        )
        relative = errors / np.where(np.asarray(scale) > 0, scale, 1.0)
    known = np.isfinite(relative).any(axis=(1, 2))
    total = np.full(len(relative), -1.0)
    total[known] = np.nanmean(relative[known], axis=(1, 2))
    return total


def _differences(order: list[Any], found: _Forecasts, count: int) -> list[int]:
    """Return the first places of which no two are windows of one series that overlap: they'd show the same."""
    rank = {place: position for position, place in enumerate(found.order)}
    length = found.task.input_length // found.task.stride or 1
    chosen: list[int] = []
    for place in order:
        near = (each for each in chosen if found.entity[each] == found.entity[place])
        if all(abs(rank[each] - rank[place]) >= length for each in near):
            chosen.append(int(place))
        if len(chosen) == count:
            break
    return chosen


def _mae(found: _Forecasts, name: str, horizon: int, target: int) -> float | None:
    errors = np.abs(found.columns[name] - found.columns["label"])[:, horizon, target]
    errors = errors[np.isfinite(errors)]
    return float(errors.mean()) if errors.size else None


def _by_horizon(found: _Forecasts, target: int, answers: Answers) -> list[dict[str, Any]]:
    ends = _ends(found, target)
    rows = []
    for place, horizon in enumerate(found.task.horizons):
        row = {"horizon": horizon, "mae": {name: _mae(found, name, place, target) for name in found.models}}
        if ends is not None:
            row["interval"] = interval(found.columns["label"][:, place, target], ends[:, place], answers)
        rows.append(row)
    return rows


def _by_series(found: _Forecasts, target: int) -> list[dict[str, Any]]:
    """Return windows, errors and bias of the series with the largest errors; each is summed in one pass over all."""
    names, codes = np.unique(found.entity.astype(str), return_inverse=True)

    def means(values: np.ndarray) -> np.ndarray:
        known = np.isfinite(values)
        rows = np.repeat(codes, known.sum(axis=1))
        totals = np.bincount(rows, weights=values[known], minlength=len(names))
        counts = np.bincount(rows, minlength=len(names))
        return np.divide(totals, counts, out=np.full(len(names), np.nan), where=counts > 0)

    errors = {model: (found.columns[model] - found.columns["label"])[:, :, target] for model in found.models}
    mae = {model: means(np.abs(error)) for model, error in errors.items()}
    bias, windows = means(errors["candidate"]), np.bincount(codes, minlength=len(names))
    order = np.argsort(-np.nan_to_num(mae["candidate"]), kind="stable")[:_SERIES_LISTED]
    return [
        {
            "series": str(names[place]),
            "windows": int(windows[place]),
            "mae": {model: values[place] for model, values in mae.items()},
            "bias": bias[place],
        }
        for place in order
    ]


def _by_hour(found: _Forecasts, target: int) -> list[dict[str, Any]]:
    """Return the error by the hour of the day that is forecast, in `data.time.timezone`; empty without timestamps."""
    time = found.dataset.data.time
    if time is None or time.kind != "timestamp" or time.frequency is None:
        return []
    steps = parse_steps(time)
    if not isinstance(steps, FixedSteps):
        return []
    step = pd.Timedelta(steps.length, "ns")
    moments = pd.DatetimeIndex(pd.to_datetime(found.moment, utc=True, format="ISO8601"))
    hours = np.stack([(moments + step * h).tz_convert(time.timezone).hour for h in found.task.horizons], axis=1)
    errors = np.abs(found.columns["candidate"] - found.columns["label"])[:, :, target]
    listed = []
    for hour in range(24):
        inside = errors[(hours == hour) & np.isfinite(errors)]
        if inside.size:
            listed.append({"hour": hour, "answers": int(inside.size), "mae": float(inside.mean())})
    return listed


def _came(found: _Forecasts, target: int) -> list[dict[str, Any]]:
    """Return forecasts of the first and the last horizon against what came, of the last windows of some series."""
    listed = []
    places = [0, len(found.task.horizons) - 1] if len(found.task.horizons) > 1 else [0]
    for name in sorted(set(found.entity))[:_SERIES_SHOWN]:
        rows = [place for place in found.order if found.entity[place] == name][-_WINDOWS_SHOWN:]
        for horizon in places:
            listed.append(
                {
                    "series": name,
                    "horizon": found.task.horizons[horizon],
                    "last_input": [found.moment[row] for row in rows],
                    "came": found.columns["label"][rows, horizon, target],
                    **{
                        model: found.columns[model][rows, horizon, target]
                        for model in found.models
                        if model in ("candidate", "published")
                    },
                }
            )
    return listed

"""Accumulators of regression: sums of errors and moments, of one target or several."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from noisy_gru.components.evaluation.accumulator_base import Accumulator, Sums, ratio
from noisy_gru.components.evaluation.interval_metrics import metrics_of_sums, sums_of
from noisy_gru.components.evaluation.metric_catalogue import (
    EXAMPLE_COUNT,
)
from noisy_gru.schema.config import RegressionConfig
from noisy_gru.schema.task_config import targets_of


class Regression(Accumulator):
    """Sums of errors, and the moments of the labels."""

    def __init__(self, task: RegressionConfig) -> None:
        self._task = task

    def one(self, label: Any, outputs: dict[str, np.ndarray], features: dict[str, np.ndarray]) -> Sums:
        """``label`` is the number; ``outputs`` holds `predictions` [1], and `quantiles` [1, Q] if there are some."""
        error = float(np.asarray(outputs["predictions"]).reshape(-1)[0]) - label
        return {
            "count": np.array(1.0),
            "absolute": np.array(abs(error)),
            "squared": np.array(error**2),
            "mean": np.array(label),
            "deviation": np.array(0.0),
            **sums_of(np.array([label]), outputs, features, self._task),
        }

    def merge(self, sums: Iterable[Sums]) -> Sums:
        total: Sums = {}
        for part in sums:
            total = _merge_moments(total, part) if total else part
        return total

    def metrics(self, sums: Sums) -> dict[str, float]:
        count = float(sums["count"])
        mse, variance = float(sums["squared"]) / count, float(sums["deviation"]) / count
        return {
            EXAMPLE_COUNT: count,
            "mae": float(sums["absolute"]) / count,
            "rmse": mse**0.5,
            "r2": 1.0 - ratio(mse, variance),
            "rmse_naive_mean": variance**0.5,
            "rmse_over_naive_mean": ratio(mse**0.5, variance**0.5),
            **dict(metrics_of_sums(sums, self._task)),
        }


class Regressions(Regression):
    """Sums of errors and moments by target, of several; a target that is missing counts in none."""

    def one(self, label: Any, outputs: dict[str, np.ndarray], features: dict[str, np.ndarray]) -> Sums:
        """``label`` is float [K], NaN where unknown; ``outputs`` holds `predictions` [K], and maybe `quantiles`."""
        known = ~np.isnan(label)
        error = np.where(known, np.asarray(outputs["predictions"], np.float64).reshape(label.shape) - label, 0.0)
        return {
            "sequences": np.array(1.0),
            "count": known.astype(np.float64),
            "absolute": np.abs(error),
            "squared": error**2,
            "mean": np.where(known, label, 0.0),
            "deviation": np.zeros(label.shape),
            **sums_of(label, outputs, features, self._task),
        }

    def metrics(self, sums: Sums) -> dict[str, float]:
        count, whole = sums["count"], float(sums["count"].sum())
        found = {
            EXAMPLE_COUNT: float(sums["sequences"]),
            "mae": float(sums["absolute"].sum()) / whole if whole else float("nan"),
            "rmse": (float(sums["squared"].sum()) / whole) ** 0.5 if whole else float("nan"),
            "r2": float("nan"),
            **dict(metrics_of_sums(sums, self._task)),
        }
        explained = []
        for place, target in enumerate(targets_of(self._task)):
            number = float(count[place])
            absolute, squared, deviation = (
                float(sums[name][place]) / number if number else float("nan")
                for name in ("absolute", "squared", "deviation")
            )
            explained.append(1.0 - ratio(squared, deviation))
            found |= {
                f"mae/{target}": absolute,
                f"rmse/{target}": squared**0.5,
                f"r2/{target}": explained[-1],
                f"rmse_naive_mean/{target}": deviation**0.5,
                f"rmse_over_naive_mean/{target}": ratio(squared**0.5, deviation**0.5),
            }
            found |= {f"{name}/{target}": value for name, value in metrics_of_sums(sums, self._task, ([place],))}
        return found | {"r2": float(np.mean(explained))}


class StepRegression(Regressions):
    """The sums of a regression over the steps of all sequences, of one target or several."""

    def one(self, label: Any, outputs: dict[str, np.ndarray], features: dict[str, np.ndarray]) -> Sums:
        """``label`` is float [T, K], NaN where unknown; ``outputs`` holds `predictions` [T, K], maybe of more steps."""
        known = ~np.isnan(label)
        count = known.sum(axis=0).astype(np.float64)
        error = np.where(known, np.asarray(outputs["predictions"], np.float64)[: len(label)] - label, 0.0)
        mean = np.where(known, label, 0.0).sum(axis=0) / np.maximum(count, 1.0)
        return {
            "sequences": np.array(float(known.any(axis=1).sum())),  # steps are what is measured
            "count": count,
            "absolute": np.abs(error).sum(axis=0),
            "squared": (error**2).sum(axis=0),
            "mean": mean,
            "deviation": (np.where(known, label - mean, 0.0) ** 2).sum(axis=0),
        }

    def metrics(self, sums: Sums) -> dict[str, float]:
        found = super().metrics(sums)
        if self._task.targets:
            return found
        (target,) = targets_of(self._task)
        return {name.removesuffix(f"/{target}"): value for name, value in found.items()}


def _merge_moments(a: Sums, b: Sums) -> Sums:
    """Add sums; mean and sum of squared deviations by Chan's update, which doesn't cancel."""
    count = a["count"] + b["count"]
    delta = b["mean"] - a["mean"]
    by = np.maximum(count, 1.0)  # of several targets one may be unknown in both
    return {
        **{name: a[name] + b[name] for name in a},
        "count": count,
        "mean": a["mean"] + delta * b["count"] / by,
        "deviation": a["deviation"] + b["deviation"] + delta**2 * a["count"] * b["count"] / by,
    }

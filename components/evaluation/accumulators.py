"""The accumulator of a task, and that of forecasting: sums by horizon and target."""

from __future__ import annotations

from typing import Any

import numpy as np

from noisy_gru.components.evaluation.accumulator_base import Accumulator, Sums, ratio
from noisy_gru.components.evaluation.class_accumulators import Classification, StepClassification
from noisy_gru.components.evaluation.interval_metrics import metrics_of_sums, sums_of
from noisy_gru.components.evaluation.label_metrics import Labels
from noisy_gru.components.evaluation.metric_catalogue import (
    EXAMPLE_COUNT,
    MAE_OF_NAIVE,
    NAIVE_COUNT,
    WITH_NAIVE,
    cells,
    naive_baselines,
)
from noisy_gru.components.evaluation.regression_accumulators import Regression, Regressions, StepRegression
from noisy_gru.schema.config import ClassificationConfig, ForecastingConfig, TaskConfig
from noisy_gru.schema.task_config import has_step_targets, is_multi_label, is_per_step


class Forecasting(Accumulator):
    """Sums of errors by horizon and target, of the model and of each naive forecast."""

    def __init__(self, task: ForecastingConfig) -> None:
        self._task = task

    def one(self, label: Any, outputs: dict[str, np.ndarray], features: dict[str, np.ndarray]) -> Sums:
        """Sum one window.

        ``label`` is float [H, K], NaN where unknown; ``outputs`` holds `predictions` [H, K], and `quantiles` [H, K, Q]
        if there are some; ``features`` the naive forecasts, and the past of each target.
        """
        there = ~np.isnan(label)
        error = np.abs(np.asarray(outputs["predictions"], np.float64).reshape(label.shape) - label)
        error = np.where(there, error, 0.0)
        sums = {"count": np.array(1.0), "known": there.astype(np.float64), "absolute": error, "squared": error**2}
        for naive in naive_baselines(self._task):
            columns = [features[f"naive_{naive}/{target}"] for target in self._task.targets]
            naive_error = np.abs(np.stack(columns, axis=-1).astype(np.float64) - label)
            known = ~np.isnan(naive_error)
            sums[f"known_{naive}"] = known.astype(np.float64)
            sums[f"naive_{naive}"] = np.where(known, naive_error, 0.0)
            sums[f"model_{naive}"] = np.where(known, error, 0.0)
        return sums | sums_of(label, outputs, features, self._task)

    def metrics(self, sums: Sums) -> dict[str, float]:
        count = float(sums["count"])
        result = {EXAMPLE_COUNT: count}
        for suffix, indices in cells(self._task):
            rows, columns = (list(axis) for axis in zip(*indices, strict=True))

            def total(name: str, rows: list[int] = rows, columns: list[int] = columns) -> float:
                return float(sums[name][rows, columns].sum())

            number = total("known")
            result[f"mae{suffix}"] = total("absolute") / number if number else float("nan")
            result[f"rmse{suffix}"] = (total("squared") / number) ** 0.5 if number else float("nan")
            for naive in naive_baselines(self._task):
                known = total(f"known_{naive}")
                # Where no sequence has the naive value there is nothing to be compared with.
                mean = total(f"naive_{naive}") / known if known else float("nan")
                of_model = total(f"model_{naive}") / known if known else float("nan")
                result[f"{MAE_OF_NAIVE}{naive}{suffix}"] = mean
                result[f"{WITH_NAIVE}{naive}{suffix}"] = of_model
                result[f"mae_over_naive_{naive}{suffix}"] = ratio(of_model, mean)
                result[f"{NAIVE_COUNT}{naive}{suffix}"] = known
            result |= {f"{name}{suffix}": value for name, value in metrics_of_sums(sums, self._task, (rows, columns))}
        return result


def accumulator(task: TaskConfig) -> Accumulator:
    """Return the accumulator of a task."""
    if has_step_targets(task):
        return StepRegression(task)
    if is_per_step(task):
        return StepClassification(getattr(task, "positive", None))
    if isinstance(task, ClassificationConfig):
        return Classification(getattr(task, "positive", None))
    if is_multi_label(task):
        return Labels(task)
    if isinstance(task, ForecastingConfig):
        return Forecasting(task)
    return Regressions(task) if task.targets else Regression(task)

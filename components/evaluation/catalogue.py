"""The metrics of each task: their names, which way is better, and which of them compare with a naive baseline.

Imports neither TensorFlow nor TFMA, so a configuration can be checked in no time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from noisy_gru.components.config import EvaluationConfig
from noisy_gru.schema.config import ClassificationConfig, DatasetConfig, ForecastingConfig, TaskConfig
from noisy_gru.schema.errors import ConfigError

EXAMPLE_COUNT = "example_count"

CLASSIFICATION: dict[str, str] = {
    "accuracy": "part of the sequences whose class is right",
    "balanced_accuracy": "recall, averaged over the classes that occur",
    "macro_f1": "F1, averaged over the classes that occur or are predicted",
    "log_loss": "mean negative logarithm of the probability of the true class",
    "accuracy_majority": "accuracy of always answering the most frequent class of the train split",
    "accuracy_gain_over_majority": "accuracy less accuracy_majority",
}
REGRESSION: dict[str, str] = {
    "mae": "mean absolute error",
    "rmse": "root of the mean squared error",
    "r2": "part of the variance that is explained",
    "rmse_naive_mean": "rmse of always answering the mean of this split, the best of all constants",
    "rmse_over_naive_mean": "rmse, divided by rmse_naive_mean",
}
FORECASTING: dict[str, str] = {"mae": "mean absolute error", "rmse": "root of the mean squared error"}


@dataclass(frozen=True)
class Bound:
    """What a metric must reach: strictly above ``above``, or strictly below ``below``."""

    metric: str
    above: float | None = None
    below: float | None = None


def naive_baselines(task: TaskConfig) -> list[str]:
    """The naive forecasts that a forecasting task is compared with."""
    if not isinstance(task, ForecastingConfig):
        return []
    return ["last", "seasonal"] if task.season_length is not None else ["last"]


def cells(task: ForecastingConfig) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """Suffixes of a forecasting metric's name, and the (horizon, target) indices that each is averaged over.

    ``mae`` is over all; ``mae/<target>`` over the horizons; ``mae/<target>@<horizon>`` is one of them.
    """
    horizons, targets = range(len(task.horizons)), range(len(task.targets))
    yield "", [(horizon, target) for horizon in horizons for target in targets]
    for target in targets:
        yield f"/{task.targets[target]}", [(horizon, target) for horizon in horizons]
        for horizon in horizons:
            yield f"/{task.targets[target]}@{task.horizons[horizon]}", [(horizon, target)]


def known_metrics(dataset: DatasetConfig) -> dict[str, str]:
    """Names of the metrics that a data set's models are measured by, and what each is."""
    task = dataset.task
    if isinstance(task, ClassificationConfig):
        return {EXAMPLE_COUNT: "sequences measured", **CLASSIFICATION}
    if not isinstance(task, ForecastingConfig):
        return {EXAMPLE_COUNT: "sequences measured", **REGRESSION}
    metrics = {EXAMPLE_COUNT: "sequences measured"}
    for suffix, _ in cells(task):
        metrics |= {f"{name}{suffix}": what for name, what in FORECASTING.items()}
        for naive in naive_baselines(task):
            metrics[f"mae_naive_{naive}{suffix}"] = f"mean absolute error of the {naive} value, where it is known"
            metrics[f"mae_over_naive_{naive}{suffix}"] = f"mae divided by mae_naive_{naive}, where that is known"
    return metrics


def higher_is_better(metric: str) -> bool:
    """Whether more of a metric is better."""
    return metric in ("accuracy", "balanced_accuracy", "macro_f1", "accuracy_gain_over_majority", "r2", EXAMPLE_COUNT)


def comparison_metric(dataset: DatasetConfig, evaluation: EvaluationConfig) -> str | None:
    """The metric compared with the published model's; None if it isn't compared.

    Raises:
        ConfigError: if the configuration names a metric that there isn't.
    """
    if evaluation.comparison is None:
        return None
    metric = evaluation.comparison.metric
    if metric == "auto":
        return "accuracy" if isinstance(dataset.task, ClassificationConfig) else "mae"
    _check(metric, "evaluation.comparison.metric", dataset)
    return metric


def baseline_bounds(dataset: DatasetConfig) -> list[Bound]:
    """What beating the naive baselines means for a task."""
    task = dataset.task
    if isinstance(task, ClassificationConfig):
        return [Bound("accuracy_gain_over_majority", above=0.0)]
    if not isinstance(task, ForecastingConfig):
        return [Bound("rmse_over_naive_mean", below=1.0)]
    # By target, because targets may be in different units.
    return [
        Bound(f"mae_over_naive_{naive}/{target}", below=1.0)
        for naive in naive_baselines(task)
        for target in task.targets
    ]


def check_evaluation(dataset: DatasetConfig, evaluation: EvaluationConfig) -> None:
    """Checks the names in an evaluation's configuration.

    Raises:
        ConfigError: if it names a metric that this task hasn't.
    """
    for metric in evaluation.thresholds:
        _check(metric, "evaluation.thresholds", dataset)
    comparison_metric(dataset, evaluation)


def _check(metric: str, key: str, dataset: DatasetConfig) -> None:
    known = known_metrics(dataset)
    if metric not in known:
        raise ConfigError(f"{key}: {dataset.task.kind} has no metric {metric}. Expected one of {', '.join(known)}.")

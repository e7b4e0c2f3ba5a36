"""The metrics of each task: their names, which way is better, and which of them compare with a naive baseline.

Imports neither TensorFlow nor TFMA, so a configuration can be checked in no time.
"""

from __future__ import annotations

from collections.abc import Iterator

from noisy_gru.components.evaluation.config import EvaluationConfig
from noisy_gru.schema.config import ClassificationConfig, DatasetConfig, ForecastingConfig, TaskConfig
from noisy_gru.schema.errors import ConfigError

EXAMPLE_COUNT = "example_count"
MAE_OF_NAIVE, WITH_NAIVE, NAIVE_COUNT = "mae_naive_", "mae_where_naive_", "count_naive_"
DEFAULT_MARGIN = 0.02

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
            metrics[f"{MAE_OF_NAIVE}{naive}{suffix}"] = f"mean absolute error of the {naive} value, where it is known"
            metrics[f"{WITH_NAIVE}{naive}{suffix}"] = "mae of the model where that value is known"
            metrics[f"mae_over_naive_{naive}{suffix}"] = f"{WITH_NAIVE}{naive} divided by {MAE_OF_NAIVE}{naive}"
            metrics[f"{NAIVE_COUNT}{naive}{suffix}"] = "answers (windows, times horizons and targets) that both are of"
    return metrics


def higher_is_better(metric: str) -> bool:
    """Whether more of a metric is better."""
    return metric in ("accuracy", "balanced_accuracy", "macro_f1", "accuracy_gain_over_majority", "r2", EXAMPLE_COUNT)


def comparison_metric(dataset: DatasetConfig, evaluation: EvaluationConfig) -> str | None:
    """The metric compared with the published model's; None if it isn't compared.

    Raises:
        ConfigError: if the configuration names a metric that there isn't, or one that no model has a part in.
    """
    if evaluation.compare is None:
        return None
    metric = evaluation.compare.metric
    if metric == "auto":
        return "accuracy" if isinstance(dataset.task, ClassificationConfig) else "mae"
    _check(metric, "evaluation.compare.metric", dataset)
    if not is_comparable(metric):
        raise ConfigError(
            f"evaluation.compare.metric: {metric} is no property of a model. Expected one of "
            f"{', '.join(each for each in known_metrics(dataset) if is_comparable(each))}."
        )
    return metric


def is_comparable(metric: str) -> bool:
    """Whether a metric is one of the model, and not of a baseline or of the data."""
    return metric not in (EXAMPLE_COUNT, "accuracy_majority", "rmse_naive_mean") and not metric.startswith(
        (MAE_OF_NAIVE, WITH_NAIVE, NAIVE_COUNT)
    )


def default_margin(metric: str, published: float) -> float:
    """How much worse is not worse, unless the configuration says so: 0.02 of a score, 2 % of an error."""
    return DEFAULT_MARGIN if higher_is_better(metric) else DEFAULT_MARGIN * abs(published)


def check_evaluation(dataset: DatasetConfig, evaluation: EvaluationConfig) -> None:
    """Check the names in an evaluation's configuration.

    Raises:
        ConfigError: if it names a metric, or asks for a horizon, that this task hasn't.
    """
    for metric in evaluation.thresholds:
        _check(metric, "evaluation.thresholds", dataset)
    comparison_metric(dataset, evaluation)
    if "horizon" in evaluation.require_each and not isinstance(dataset.task, ForecastingConfig):
        raise ConfigError(f"evaluation.require_each: {dataset.task.kind} has no horizons. Leave horizon out.")


def _check(metric: str, key: str, dataset: DatasetConfig) -> None:
    known = known_metrics(dataset)
    if metric not in known:
        raise ConfigError(f"{key}: {dataset.task.kind} has no metric {metric}. Expected one of {', '.join(known)}.")

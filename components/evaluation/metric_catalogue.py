"""The metrics of each task: their names, which way is better, and which of them compare with a naive baseline.

Imports neither TensorFlow nor TFMA, so a configuration can be checked in no time.
"""

from __future__ import annotations

from collections.abc import Iterator

from noisy_gru.components.evaluation.config import EvaluationConfig
from noisy_gru.components.evaluation.interval_metrics import (
    COVERAGE,
    CRPS,
    interval_metrics,
    is_of_intervals,
    season_of,
)
from noisy_gru.schema.config import ClassificationConfig, DatasetConfig, ForecastingConfig, RegressionConfig, TaskConfig
from noisy_gru.schema.errors import ConfigError
from noisy_gru.schema.task_config import has_step_targets, is_multi_label, is_per_step

EXAMPLE_COUNT = "example_count"
MAE_OF_NAIVE, WITH_NAIVE, NAIVE_COUNT = "mae_naive_", "mae_where_naive_", "count_naive_"
DEFAULT_MARGIN = 0.02
MOST_HORIZONS = 48  # that have metrics of their intervals of their own

CLASSIFICATION: dict[str, str] = {
    "accuracy": "part of the sequences whose class is right",
    "balanced_accuracy": "recall, averaged over the classes that occur",
    "macro_f1": "F1, averaged over the classes that occur or are predicted",
    "pr_auc": "area under the precision-recall curve (average precision): of the rarer of two classes, or of "
    "task.positive; else averaged over the classes that occur",
    "log_loss": "mean negative logarithm of the probability of the true class",
    "accuracy_majority": "accuracy of always answering the most frequent class of the train split",
    "accuracy_gain_over_majority": "accuracy less accuracy_majority",
}
RECALL, PRECISION = "recall/", "precision/"
# Stands for `recall/<class>` of every class: which there are, the model says.
ALL_RECALLS = "recall_by_class"
BY_CLASS: dict[str, str] = {
    f"{RECALL}<class>": "part of the sequences of a class that are answered so; reported for every class",
    f"{PRECISION}<class>": "part of the answers of a class that are right",
}
REGRESSION: dict[str, str] = {
    "mae": "mean absolute error",
    "rmse": "root of the mean squared error",
    "r2": "part of the variance that is explained",
    "rmse_naive_mean": "rmse of always answering the mean of this split, the best of all constants",
    "rmse_over_naive_mean": "rmse, divided by rmse_naive_mean",
}
# Of several targets together; each of REGRESSION is there of each target as well, as `mae/<target>`.
OF_SEVERAL: dict[str, str] = {
    "mae": "mean absolute error of all targets that are known",
    "rmse": "root of the mean squared error of all targets that are known",
    "r2": "part of the variance that is explained, averaged over the targets",
}
# Of several labels together, and of each label as `f1/<label>`; an unknown label counts in none.
OF_LABELS: dict[str, str] = {
    "hamming_loss": "part of the known labels that are answered wrong",
    "subset_accuracy": "part of the sequences of which all known labels are answered right",
    "micro_f1": "F1 of all labels counted together",
    "macro_f1": "F1, averaged over the labels that occur or are answered",
    "balanced_accuracy": "balanced_accuracy/<label>, averaged over the labels",
    "log_loss": "mean negative logarithm of the probability of what is true, over all known labels",
    "pr_auc": "average precision, averaged over the labels that occur",
    "roc_auc": "area below the ROC curve, averaged over the labels that are true somewhere and false elsewhere",
}
BY_LABEL: dict[str, str] = {
    "accuracy": "part of the sequences whose label is answered right",
    "balanced_accuracy": "mean of the parts of those with the label, and of those without it, that are answered right",
    "precision": "part of the answers of the label that are right",
    "recall": "part of the sequences with the label that are answered so",
    "f1": "harmonic mean of precision and recall",
    "pr_auc": "area below the precision-recall curve (average precision)",
    "roc_auc": "area below the ROC curve",
    "log_loss": "mean negative logarithm of the probability of what is true",
    "log_loss_naive": "log_loss of always answering this split's frequency, the best of all constants",
    "frequency": "part of the sequences that have the label",
}
_OF_LABEL_ANSWERS = ("log_loss", "balanced_accuracy", "hamming_loss", "subset_accuracy", "micro_f1", "macro_f1")
_OF_ANSWERS = ("accuracy", "balanced_accuracy", "macro_f1")
FORECASTING: dict[str, str] = {"mae": "mean absolute error", "rmse": "root of the mean squared error"}


def naive_baselines(task: TaskConfig) -> list[str]:
    """Return the naive forecasts that a forecasting task is compared with."""
    if not isinstance(task, ForecastingConfig):
        return []
    return ["last", "seasonal"] if task.season_length is not None else ["last"]


def cells(task: ForecastingConfig) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """Yield the suffixes of a forecasting metric's name with the (horizon, target) indices that each averages.

    ``mae`` is over all; ``mae/<target>`` over the horizons; ``mae/<target>@<horizon>`` is one of them.
    """
    horizons, targets = range(len(task.horizons)), range(len(task.targets))
    yield "", [(horizon, target) for horizon in horizons for target in targets]
    for target in targets:
        yield f"/{task.targets[target]}", [(horizon, target) for horizon in horizons]
        for horizon in horizons:
            yield f"/{task.targets[target]}@{task.horizons[horizon]}", [(horizon, target)]


def known_metrics(dataset: DatasetConfig) -> dict[str, str]:
    """Return the metrics of a data set's models: name and description."""
    task = dataset.task
    if has_step_targets(task):
        counted = {EXAMPLE_COUNT: "steps with a target measured"}
        if not task.targets:
            return {**counted, **REGRESSION}
        return (
            counted
            | OF_SEVERAL
            | {f"{name}/{each}": what for each in task.targets for name, what in REGRESSION.items()}
        )
    if is_per_step(task):
        of_steps = {
            name: what.replace("part of the sequences", "part of the steps") for name, what in CLASSIFICATION.items()
        }
        return {EXAMPLE_COUNT: "steps with a label measured", **of_steps}
    if isinstance(task, ClassificationConfig):
        return {EXAMPLE_COUNT: "sequences measured", **CLASSIFICATION}
    if is_multi_label(task):
        found = {EXAMPLE_COUNT: "sequences measured", **OF_LABELS}
        return found | {f"{name}/{label}": what for label in task.labels for name, what in BY_LABEL.items()}
    if isinstance(task, RegressionConfig) and task.targets:
        of_intervals = interval_metrics(task, has_past=False)
        found = {EXAMPLE_COUNT: "sequences measured", **OF_SEVERAL, **of_intervals}
        of_one = REGRESSION | of_intervals
        return found | {f"{name}/{target}": what for target in task.targets for name, what in of_one.items()}
    if not isinstance(task, ForecastingConfig):
        return {EXAMPLE_COUNT: "sequences measured", **REGRESSION, **interval_metrics(task, has_past=False)}
    metrics = {EXAMPLE_COUNT: "sequences measured"}
    numeric = {feature.name for feature in dataset.data.numeric}
    has_past = numeric.issuperset(task.targets) and task.input_length > season_of(task)
    of_intervals = interval_metrics(task, has_past=has_past)
    for suffix, _ in cells(task):
        # Of a single horizon whether it is covered, if there are few: else they would be thousands.
        each = len(task.horizons) <= MOST_HORIZONS
        metrics |= {
            f"{name}{suffix}": what
            for name, what in of_intervals.items()
            if "@" not in suffix or (each and name.startswith(COVERAGE))
        }
        metrics |= {f"{name}{suffix}": what for name, what in FORECASTING.items()}
        for naive in naive_baselines(task):
            metrics[f"{MAE_OF_NAIVE}{naive}{suffix}"] = f"mean absolute error of the {naive} value, where it is known"
            metrics[f"{WITH_NAIVE}{naive}{suffix}"] = "mae of the model where that value is known"
            metrics[f"mae_over_naive_{naive}{suffix}"] = f"{WITH_NAIVE}{naive} divided by {MAE_OF_NAIVE}{naive}"
            metrics[f"{NAIVE_COUNT}{naive}{suffix}"] = "answers (windows, times horizons and targets) that both are of"
    return metrics


def class_of(metric: str) -> str | None:
    """Return the class that ``recall/<class>`` or ``precision/<class>`` is of; None for any other metric."""
    kind, slash, name = metric.partition("/")
    return name if slash and name and f"{kind}/" in (RECALL, PRECISION) else None


def is_known(metric: str, dataset: DatasetConfig) -> bool:
    """Return whether a data set's models can be measured by a metric."""
    of_class = isinstance(dataset.task, ClassificationConfig) and class_of(metric) is not None
    return of_class or metric in known_metrics(dataset)


def named_metrics(dataset: DatasetConfig) -> list[str]:
    """List all metrics for messages, with placeholders for those of a class."""
    return [*known_metrics(dataset), *(BY_CLASS if isinstance(dataset.task, ClassificationConfig) else {})]


def higher_is_better(metric: str) -> bool:
    """Return whether a higher value of a metric is better."""
    return (
        class_of(metric) is not None
        or metric.partition("/")[0] in _HIGHER
        or metric in ("accuracy_gain_over_majority", EXAMPLE_COUNT)
    )


_HIGHER = (
    "accuracy",
    "balanced_accuracy",
    "subset_accuracy",
    "f1",
    "macro_f1",
    "micro_f1",
    "pr_auc",
    "roc_auc",
    "r2",
)


def baseline_metric(dataset: DatasetConfig, evaluation: EvaluationConfig) -> str:
    """Return the metric by which a classification is compared with always answering the most frequent class.

    Of several labels it is that of always answering how frequent each is in train.

    Raises:
        ConfigError: if the configuration names one that this can't be done by.
    """
    metric, several = evaluation.baseline_metric, is_multi_label(dataset.task)
    if metric == "auto":
        return "log_loss" if several else "accuracy"
    if several:
        if metric not in _OF_LABEL_ANSWERS:
            raise ConfigError(
                f"evaluation.baseline_metric: {metric} can't be measured of always answering the same probabilities. "
                f"Expected one of {', '.join(_OF_LABEL_ANSWERS)}."
            )
        return metric
    if not isinstance(dataset.task, ClassificationConfig):
        raise ConfigError(
            f"evaluation.baseline_metric is of classifications, and task.kind is {dataset.task.kind}; leave it out"
        )
    _check(metric, "evaluation.baseline_metric", dataset)
    if metric not in _OF_ANSWERS and class_of(metric) is None:
        raise ConfigError(
            f"evaluation.baseline_metric: {metric} can't be measured of always answering a class. Expected one of "
            f"{', '.join((*_OF_ANSWERS, *BY_CLASS))}."
        )
    return metric


def comparison_metric(dataset: DatasetConfig, evaluation: EvaluationConfig) -> str | None:
    """Return the metric compared with the published model's; None if it isn't compared.

    Raises:
        ConfigError: if the configuration names a metric that there isn't, or one that no model has a part in.
    """
    if evaluation.compare is None:
        return None
    metric = evaluation.compare.metric
    if metric == "auto":
        if is_multi_label(dataset.task):
            return "log_loss"
        return "accuracy" if isinstance(dataset.task, ClassificationConfig) else "mae"
    _check(metric, "evaluation.compare.metric", dataset)
    if not is_comparable(metric):
        raise ConfigError(
            f"evaluation.compare.metric: two models can't be compared by {metric}, sequence by sequence. Expected one "
            f"of {', '.join(each for each in named_metrics(dataset) if is_comparable(each))}."
        )
    return metric


def is_comparable(metric: str) -> bool:
    """Return whether a metric can be compared sequence by sequence: one of the model, and not of a baseline or
    of the data, nor one of all scores together (``pr_auc``).
    """
    if is_of_intervals(metric):
        return metric.partition("/")[0] == CRPS
    if metric.partition("/")[0] in ("rmse_naive_mean", "pr_auc", "roc_auc", "log_loss_naive", "frequency"):
        return False
    return metric not in (EXAMPLE_COUNT, "accuracy_majority") and not metric.startswith(
        (MAE_OF_NAIVE, WITH_NAIVE, NAIVE_COUNT)
    )


def default_margin(metric: str, published: float) -> float:
    """Return the default margin of `not_worse`: 0.02 of a score, 2 % of an error."""
    return DEFAULT_MARGIN if higher_is_better(metric) else DEFAULT_MARGIN * abs(published)


def check_evaluation(dataset: DatasetConfig, evaluation: EvaluationConfig) -> None:
    """Check the names in an evaluation's configuration.

    Raises:
        ConfigError: if it names a metric, or asks for a horizon, that this task hasn't.
    """
    for metric in evaluation.thresholds:
        _check(metric, "evaluation.thresholds", dataset)
    comparison_metric(dataset, evaluation)
    baseline_metric(dataset, evaluation)
    if "horizon" in evaluation.require_each and not isinstance(dataset.task, ForecastingConfig):
        raise ConfigError(f"evaluation.require_each: {dataset.task.kind} has no horizons. Leave horizon out.")


def _check(metric: str, key: str, dataset: DatasetConfig) -> None:
    if not is_known(metric, dataset):
        names = ", ".join(named_metrics(dataset))
        raise ConfigError(f"{key}: {dataset.task.kind} has no metric {metric}. Expected one of {names}.")

"""Planned comparisons of a candidate: with the published model and each naive baseline, by part, horizon and slice.

>>> [(each.metric, each.against) for each in against_baselines(dataset, evaluation, [], has_constants=True)]
... # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from noisy_gru.components.evaluation.config import CompareConfig, EvaluationConfig
from noisy_gru.components.evaluation.metric_catalogue import (
    BY_LABEL,
    baseline_metric,
    comparison_metric,
    naive_baselines,
)
from noisy_gru.components.evaluation.paired_bootstrap import Accept
from noisy_gru.schema.config import (
    ClassificationConfig,
    DatasetConfig,
    ForecastingConfig,
    MultiLabelConfig,
    RegressionConfig,
)
from noisy_gru.schema.task_config import is_multi_label

WHOLE = "all"
PUBLISHED = "published"
MAJORITY, TRAIN_MEAN, TRAIN_MEDIAN = "majority", "train_mean", "train_median"
TRAIN_FREQUENCY = "train_frequency"  # of each of several labels


@dataclass(frozen=True)
class PlannedComparison:
    """A comparison to make.

    Attributes:
        metric: by which.
        against: `published`, or the naive baseline's name.
        slice: of the test split; `all` for the whole.
        accept: what the interval's bound has to show, with ``margin``.
        margin: None for the metric's default.
        required: whether the blessing depends on it.
    """

    metric: str
    against: str
    slice: str
    accept: Accept
    margin: float | None
    required: bool


def against_published(
    dataset: DatasetConfig, evaluation: EvaluationConfig, compare: CompareConfig, slices: Sequence[str]
) -> Iterator[PlannedComparison]:
    """Yield the comparisons with the published model: of the whole, of each part of the metric, of each slice."""
    metric = comparison_metric(dataset, evaluation)
    if metric is None:
        return
    # What is better as a whole need not be better everywhere.
    each = compare.slice_margin
    if each is None and compare.accept == "not_worse":
        each = compare.margin
    yield PlannedComparison(metric, PUBLISHED, WHOLE, compare.accept, compare.margin, True)
    for suffix in _parts(dataset, metric):
        yield PlannedComparison(
            f"{metric}{suffix}", PUBLISHED, WHOLE, "not_worse", each, "horizon" in evaluation.require_each
        )
    for where in slices:
        yield PlannedComparison(metric, PUBLISHED, where, "not_worse", each, "slice" in evaluation.require_each)


def against_baselines(
    dataset: DatasetConfig, evaluation: EvaluationConfig, slices: Sequence[str], *, has_constants: bool
) -> Iterator[PlannedComparison]:
    """Yield the comparisons with each naive baseline: of the whole, of each horizon, of each slice."""
    task, required = dataset.task, evaluation.baselines == "require"
    in_slices = required and "slice" in evaluation.require_each
    at_horizons = required and "horizon" in evaluation.require_each
    for against, metrics in _baselines(dataset, evaluation, has_constants).items():
        for metric in metrics:
            # A rare label alone has too few sequences to show it.
            decides = required and not (is_multi_label(task) and "/" in metric)
            yield PlannedComparison(metric, against, WHOLE, "better", 0.0, decides)
            if isinstance(task, ForecastingConfig) and len(task.horizons) > 1:
                for horizon in task.horizons:
                    yield PlannedComparison(f"{metric}@{horizon}", against, WHOLE, "better", 0.0, at_horizons)
            for where in slices if decides or not is_multi_label(task) else ():
                # In a slice of one class, always answering a class is right or wrong as a whole.
                if not (isinstance(task, ClassificationConfig) and task.label in _columns(where)):
                    yield PlannedComparison(metric, against, where, "better", 0.0, in_slices)


def _columns(where: str) -> list[str]:
    return [part.partition("=")[0] for part in where.split(", ")]


def _baselines(dataset: DatasetConfig, evaluation: EvaluationConfig, has_constants: bool) -> dict[str, list[str]]:
    """Return the metric of each comparison with a naive baseline: the one which a constant minimizes, by target."""
    task = dataset.task
    if isinstance(task, ClassificationConfig):
        return {MAJORITY: [baseline_metric(dataset, evaluation)]}
    if is_multi_label(task):
        whole = baseline_metric(dataset, evaluation)
        parts = [f"{whole}/{label}" for label in task.labels] if whole in BY_LABEL else []
        return {TRAIN_FREQUENCY: [whole, *parts]} if has_constants else {}
    if isinstance(task, RegressionConfig) and task.targets:
        by_metric = {name: [f"{name}/{target}" for target in task.targets] for name in ("rmse", "mae")}
        return {TRAIN_MEAN: by_metric["rmse"], TRAIN_MEDIAN: by_metric["mae"]} if has_constants else {}
    if not isinstance(task, ForecastingConfig):
        return {TRAIN_MEAN: ["rmse"], TRAIN_MEDIAN: ["mae"]} if has_constants else {}
    # Targets may be in different units.
    by_target = [f"mae/{target}" for target in task.targets]
    known = naive_baselines(task) + ([TRAIN_MEAN, TRAIN_MEDIAN] if has_constants else [])
    return dict.fromkeys(known, by_target)


def _parts(dataset: DatasetConfig, metric: str) -> list[str]:
    """Return the parts of a forecast's metric: each target and each horizon, unless the metric is of one of these."""
    task = dataset.task
    if is_multi_label(task) and metric not in BY_LABEL:
        return []
    if isinstance(task, RegressionConfig | MultiLabelConfig) and task.targets and "/" not in metric:
        return [f"/{target}" for target in task.targets]
    if not isinstance(task, ForecastingConfig) or "/" in metric or len(task.targets) * len(task.horizons) == 1:
        return []
    targets = [f"/{target}" for target in task.targets] if len(task.targets) > 1 else []
    one_by_one = [f"/{target}@{horizon}" for target in task.targets for horizon in task.horizons]
    return targets + (one_by_one if len(task.horizons) > 1 else [])

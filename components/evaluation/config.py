"""Makes TFMA's configuration of this project's: metrics by task, slices, thresholds, comparison, baselines."""

from __future__ import annotations

import json
import math
from typing import Any

from tensorflow_model_analysis.proto import config_pb2

from noisy_gru.components.config import EvaluationConfig
from noisy_gru.components.evaluation.catalogue import (
    EXAMPLE_COUNT,
    baseline_bounds,
    check_evaluation,
    comparison_metric,
    higher_is_better,
    known_metrics,
)
from noisy_gru.schema.config import DatasetConfig

SPLIT = "test"
METRICS_MODULE = "noisy_gru.components.evaluation.metrics"
METRICS_CLASS = "SequenceMetric"
# Generated code, of which type checkers see nothing.
_proto: Any = config_pb2


def eval_config(dataset: DatasetConfig, evaluation: EvaluationConfig, fingerprint: str = "") -> Any:
    """The ``tfma.EvalConfig`` for TFX's Evaluator.

    Args:
        dataset: of the model.
        evaluation: what to measure and to ask for.
        fingerprint: of the source, so that TFX's cache notices when the code of a metric changed.

    Raises:
        ConfigError: if ``evaluation`` names a metric that the task hasn't.
    """
    check_evaluation(dataset, evaluation)
    bounds = thresholds(dataset, evaluation)
    task = dataset.task.model_dump_json()
    whole, slices = [_proto.SlicingSpec()], [_proto.SlicingSpec(feature_keys=columns) for columns in evaluation.slices]
    in_slices = slice_thresholds(dataset, evaluation)
    metrics = [
        _proto.MetricConfig(
            class_name=METRICS_CLASS,
            module=METRICS_MODULE,
            config=json.dumps({"name": metric, "task": task, "fingerprint": fingerprint}),
            # Bounds are on the whole split alone: a slice may be so small that a bound on it says nothing.
            per_slice_thresholds=[*_on(whole, bounds.get(metric)), *_on(slices, in_slices.get(metric))],
        )
        for metric in known_metrics(dataset)
    ]
    config = _proto.EvalConfig(
        model_specs=[_proto.ModelSpec(signature_name="serving_default")],
        slicing_specs=[*whole, *slices],
        metrics_specs=[_proto.MetricsSpec(metrics=metrics)],
    )
    config.options.include_default_metrics.value = False
    return config


def _on(specs: list[Any], threshold: Any | None) -> list[Any]:
    """A threshold for some slices; MetricConfig's own `threshold` would hold for all."""
    return [] if threshold is None else [_proto.PerSliceMetricThreshold(slicing_specs=specs, threshold=threshold)]


def thresholds(dataset: DatasetConfig, evaluation: EvaluationConfig) -> dict[str, Any]:
    """The ``tfma.MetricThreshold`` of each metric that decides on the blessing.

    There is always one: without any, the Evaluator would say neither yes nor no.
    """
    lower: dict[str, float] = {EXAMPLE_COUNT: 1.0}
    upper: dict[str, float] = {}
    for metric, bounds in evaluation.thresholds.items():
        if bounds.min is not None:
            lower[metric] = max(bounds.min, lower.get(metric, -math.inf))
        if bounds.max is not None:
            upper[metric] = bounds.max
    if evaluation.baselines == "require":
        # TFMA's bounds include the bound itself; to beat is to be better.
        for bound in baseline_bounds(dataset):
            if bound.above is not None:
                just = math.nextafter(bound.above, math.inf)
                lower[bound.metric] = max(just, lower.get(bound.metric, -math.inf))
            if bound.below is not None:
                just = math.nextafter(bound.below, -math.inf)
                upper[bound.metric] = min(just, upper.get(bound.metric, math.inf))
    result: dict[str, Any] = {}
    for metric in [*lower, *(metric for metric in upper if metric not in lower)]:
        value = _proto.GenericValueThreshold()
        if metric in lower:
            value.lower_bound.value = lower[metric]
        if metric in upper:
            value.upper_bound.value = upper[metric]
        result[metric] = _proto.MetricThreshold(value_threshold=value)
    compared = comparison_metric(dataset, evaluation)
    if compared is not None and evaluation.comparison is not None:
        change = _change(compared, evaluation.comparison.max_regression, evaluation.comparison.min_improvement)
        result.setdefault(compared, _proto.MetricThreshold()).change_threshold.CopyFrom(change)
    return result


def slice_thresholds(dataset: DatasetConfig, evaluation: EvaluationConfig) -> dict[str, Any]:
    """The ``tfma.MetricThreshold`` that every slice is held to, by metric: the comparison, if slices are compared."""
    compared = comparison_metric(dataset, evaluation)
    worse = evaluation.comparison.max_slice_regression if evaluation.comparison is not None else None
    if compared is None or worse is None:
        return {}
    return {compared: _proto.MetricThreshold(change_threshold=_change(compared, worse, None))}


def _change(metric: str, worse: float, better: float | None) -> Any:
    """What the difference from the published model must be: no more than ``worse``, or more than ``better``."""
    # TFMA's bounds include the bound itself; to beat is to be better.
    gain = -worse if better is None else math.nextafter(better, math.inf)
    higher = higher_is_better(metric)
    change = _proto.GenericChangeThreshold(
        direction=_proto.MetricDirection.HIGHER_IS_BETTER if higher else _proto.MetricDirection.LOWER_IS_BETTER
    )
    change.absolute.value = gain if higher else -gain
    return change


def without_comparison(config: Any) -> Any:
    """A copy of a ``tfma.EvalConfig`` that doesn't ask how a model compares with the published one."""
    copy = _proto.EvalConfig()
    copy.CopyFrom(config)
    for spec in copy.metrics_specs:
        for metric in spec.metrics:
            for each in metric.per_slice_thresholds:
                each.threshold.ClearField("change_threshold")
    return copy

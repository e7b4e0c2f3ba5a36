"""Convert the configuration to TFMA's: metrics by task, slices, thresholds.

Comparisons, with the published model and with naive baselines, are decided beside it: see comparisons.py."""

from __future__ import annotations

import json
import math
from typing import Any

from tensorflow_model_analysis.proto import config_pb2

from noisy_gru.components.evaluation.config import EvaluationConfig
from noisy_gru.components.evaluation.metric_catalogue import (
    ALL_RECALLS,
    EXAMPLE_COUNT,
    check_evaluation,
    class_of,
    known_metrics,
)
from noisy_gru.schema.config import ClassificationConfig, DatasetConfig

SPLIT = "test"
METRICS_MODULE = "noisy_gru.components.evaluation.tfma_metrics"
METRICS_CLASS = "SequenceMetric"
# Generated code, of which type checkers see nothing.
_proto: Any = config_pb2


def eval_config(dataset: DatasetConfig, evaluation: EvaluationConfig, fingerprint: str = "") -> Any:
    """Return the ``tfma.EvalConfig`` for TFX's Evaluator.

    Args:
        dataset: of the model.
        evaluation: what to measure and to ask for.
        fingerprint: of the source, so that TFX's cache notices when the code of a metric changed.

    Raises:
        ConfigError: if ``evaluation`` names a metric that the task hasn't.
    """
    check_evaluation(dataset, evaluation)
    bounds = thresholds(evaluation)
    task = dataset.task.model_dump_json()
    whole, slices = _proto.SlicingSpec(), [_proto.SlicingSpec(feature_keys=columns) for columns in evaluation.slices]
    metrics = [
        _proto.MetricConfig(
            class_name=METRICS_CLASS,
            module=METRICS_MODULE,
            config=json.dumps({"name": metric, "task": task, "fingerprint": fingerprint}),
            # Bounds are on the whole split alone: MetricConfig's own `threshold` would hold for all slices.
            per_slice_thresholds=[_proto.PerSliceMetricThreshold(slicing_specs=[whole], threshold=bounds[metric])]
            if metric in bounds
            else [],
        )
        for metric in metrics_of(dataset, evaluation)
    ]
    config = _proto.EvalConfig(
        model_specs=[_proto.ModelSpec(signature_name="serving_default")],
        slicing_specs=[whole, *slices],
        metrics_specs=[_proto.MetricsSpec(metrics=metrics)],
    )
    config.options.include_default_metrics.value = False
    return config


def metrics_of(dataset: DatasetConfig, evaluation: EvaluationConfig) -> list[str]:
    """Return the names of the metrics to measure: the task's, all recalls, and those of classes with a threshold."""
    if not isinstance(dataset.task, ClassificationConfig):
        return list(known_metrics(dataset))
    return [*known_metrics(dataset), *(name for name in evaluation.thresholds if class_of(name)), ALL_RECALLS]


def thresholds(evaluation: EvaluationConfig) -> dict[str, Any]:
    """Return the ``tfma.MetricThreshold`` of each metric with bounds.

    There is always one: without any, the Evaluator would say neither yes nor no.
    """
    lower: dict[str, float] = {EXAMPLE_COUNT: 1.0}
    upper: dict[str, float] = {}
    for metric, bounds in evaluation.thresholds.items():
        if bounds.min is not None:
            lower[metric] = max(bounds.min, lower.get(metric, -math.inf))
        if bounds.max is not None:
            upper[metric] = bounds.max
    result: dict[str, Any] = {}
    for metric in [*lower, *(metric for metric in upper if metric not in lower)]:
        value = _proto.GenericValueThreshold()
        if metric in lower:
            value.lower_bound.value = lower[metric]
        if metric in upper:
            value.upper_bound.value = upper[metric]
        result[metric] = _proto.MetricThreshold(value_threshold=value)
    return result

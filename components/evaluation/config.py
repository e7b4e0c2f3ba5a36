"""Makes TFMA's configuration of this project's: metrics by task, slices, thresholds, comparison, baselines."""

from __future__ import annotations

import json
import math
from typing import Any

import tensorflow_model_analysis as tfma

from noisy_gru.components.config import EvaluationConfig
from noisy_gru.components.evaluation.catalogue import (
    EXAMPLE_COUNT,
    baseline_bounds,
    check_evaluation,
    comparison_metric,
    higher_is_better,
)
from noisy_gru.schema.config import DatasetConfig

SPLIT = "test"
METRICS_MODULE = "noisy_gru.components.evaluation.metrics"
METRICS_CLASS = "SequenceMetrics"
# Generated code, of which type checkers see nothing.
_tfma: Any = tfma


def eval_config(dataset: DatasetConfig, evaluation: EvaluationConfig) -> Any:
    """The ``tfma.EvalConfig`` for TFX's Evaluator.

    Args:
        dataset: of the model.
        evaluation: what to measure and to ask for.

    Raises:
        ConfigError: if ``evaluation`` names a metric that the task hasn't.
    """
    check_evaluation(dataset, evaluation)
    config = _tfma.EvalConfig(
        model_specs=[_tfma.ModelSpec(signature_name="serving_default")],
        slicing_specs=[
            _tfma.SlicingSpec(),
            *(_tfma.SlicingSpec(feature_keys=columns) for columns in evaluation.slices),
        ],
        metrics_specs=[
            _tfma.MetricsSpec(
                metrics=[
                    _tfma.MetricConfig(
                        class_name=METRICS_CLASS,
                        module=METRICS_MODULE,
                        config=json.dumps({"dataset": dataset.model_dump_json()}),
                    )
                ],
                thresholds=thresholds(dataset, evaluation),
            )
        ],
    )
    # A threshold on too few examples of a slice says nothing, so thresholds are on the whole split alone.
    config.options.include_default_metrics.value = False
    return config


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
        value = _tfma.GenericValueThreshold()
        if metric in lower:
            value.lower_bound.value = lower[metric]
        if metric in upper:
            value.upper_bound.value = upper[metric]
        result[metric] = _tfma.MetricThreshold(value_threshold=value)
    compared = comparison_metric(dataset, evaluation)
    if compared is not None and evaluation.comparison is not None:
        worse = evaluation.comparison.max_regression
        higher = higher_is_better(compared)
        change = _tfma.GenericChangeThreshold(
            direction=_tfma.MetricDirection.HIGHER_IS_BETTER if higher else _tfma.MetricDirection.LOWER_IS_BETTER
        )
        change.absolute.value = -worse if higher else worse
        result.setdefault(compared, _tfma.MetricThreshold()).change_threshold.CopyFrom(change)
    return result

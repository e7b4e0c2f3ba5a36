"""TFMA's metric for sequences. TFMA finds it by its dotted name, in Beam's workers too.

Labels and naive forecasts are read from the raw tf.Example, predictions from the model's `serving_default`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import metric_types

from noisy_gru.components.evaluation.accumulators import Accumulator, Sums, accumulator
from noisy_gru.components.evaluation.catalogue import known_metrics, naive_baselines
from noisy_gru.schema.config import ClassificationConfig, DatasetConfig, ForecastingConfig
from noisy_gru.schema.errors import DataError


class SequenceMetrics(tfma.metrics.Metric):
    """All metrics of a data set's task, in one pass.

    Args:
        dataset: a ``DatasetConfig`` as JSON.
        name: TFMA's; the metrics have names of their own.
    """

    def __init__(self, dataset: str, name: str = "sequence_metrics") -> None:
        super().__init__(_computations, dataset=dataset, name=name)


metric_types.register_metric(SequenceMetrics)


def _computations(dataset: str, name: str, model_names: list[str] | None = None) -> list[Any]:
    config = DatasetConfig.model_validate_json(dataset)
    result = []
    for model_name in model_names or [""]:
        # Without `example_weighted`, which the keys of MetricsSpec.thresholds don't have either.
        keys = [metric_types.MetricKey(name=metric, model_name=model_name) for metric in known_metrics(config)]
        preprocessor = _ReadSequence(config, model_name)
        result.append(metric_types.MetricComputation(keys, [preprocessor], _Combine(config, keys)))
    return result


class _ReadSequence(metric_types.Preprocessor):
    """From TFMA's extracts of a sequence to its sums."""

    def __init__(self, dataset: DatasetConfig, model_name: str) -> None:
        super().__init__(name=f"read_sequence_{model_name}")
        self._dataset = dataset
        self._model_name = model_name
        self._accumulator = accumulator(dataset)

    def process(self, extracts: dict[str, Any]) -> Iterator[Sums]:
        features, outputs = extracts[tfma.FEATURES_KEY], extracts[tfma.PREDICTIONS_KEY]
        if self._model_name:
            outputs = outputs[self._model_name]
        task = self._dataset.task
        naive: dict[str, np.ndarray] = {}
        if isinstance(task, ClassificationConfig):
            label: Any = bytes(_values(features, task.label, 1)[0])
        elif isinstance(task, ForecastingConfig):
            horizons = len(task.horizons)
            columns = [_finite(features, f"target/{target}", horizons) for target in task.targets]
            label = np.stack(columns, axis=-1)
            for kind in naive_baselines(task):
                for target in task.targets:
                    key = f"naive_{kind}/{target}"
                    naive[key] = _values(features, key, horizons).astype(np.float64)
        else:
            label = float(_finite(features, task.label, 1)[0])
        yield self._accumulator.one(label, outputs, naive)


def _values(features: dict[str, Any], key: str, count: int) -> np.ndarray:
    """The ``count`` values of a list of the tf.Example."""
    value = features.get(key)
    values = np.asarray([] if value is None else value).reshape(-1)
    if len(values) != count:
        raise DataError(
            f"The test split's sequence {_name(features)} has {len(values)} values of {key}; expected {count}. "
            "Without them it can't be evaluated."
        )
    return values


def _finite(features: dict[str, Any], key: str, count: int) -> np.ndarray:
    values = _values(features, key, count).astype(np.float64)
    if not np.isfinite(values).all():
        raise DataError(
            f"The test split's sequence {_name(features)} has the label {values.tolist()} in {key}; expected finite "
            "numbers. Set data.policies.missing_label so that it is left out."
        )
    return values


def _name(features: dict[str, Any]) -> str:
    value = features.get("sequence_id")
    names = np.asarray([] if value is None else value).reshape(-1)
    return names[0].decode("utf-8", "replace") if len(names) else "without a sequence_id"


class _Combine(beam.CombineFn):
    """Adds the sums of sequences."""

    def __init__(self, dataset: DatasetConfig, keys: list[Any]) -> None:
        self._keys = keys
        self._accumulator: Accumulator = accumulator(dataset)

    def create_accumulator(self, *_: Any) -> Sums:
        return {}

    def add_input(self, mutable_accumulator: Sums, element: Sums, *_: Any) -> Sums:
        return self._accumulator.merge([mutable_accumulator, element]) if mutable_accumulator else element

    def merge_accumulators(self, accumulators: Iterable[Sums], *_: Any) -> Sums:
        return self._accumulator.merge([sums for sums in accumulators if sums])

    def extract_output(self, accumulator: Sums, *_: Any) -> dict[Any, float]:
        if not accumulator:
            return {}
        values = self._accumulator.metrics(accumulator)
        return {key: values[key.name] for key in self._keys}

"""TFMA's metrics for sequences. TFMA finds them by its dotted name, in Beam's workers too.

Labels and naive forecasts are read from the raw tf.Example, predictions from the model's `serving_default`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
from pydantic import TypeAdapter
from tensorflow_model_analysis import constants
from tensorflow_model_analysis.metrics import metric_types

from noisy_gru.components.evaluation.accumulator_base import Accumulator, Sums
from noisy_gru.components.evaluation.accumulators import accumulator
from noisy_gru.components.evaluation.class_accumulators import Classification
from noisy_gru.components.evaluation.interval_metrics import PAST
from noisy_gru.components.evaluation.metric_catalogue import ALL_RECALLS, RECALL, class_of, naive_baselines
from noisy_gru.data.columns import STEPS
from noisy_gru.schema.config import ClassificationConfig, ForecastingConfig, TaskConfig
from noisy_gru.schema.errors import DataError
from noisy_gru.schema.interval_config import levels_of
from noisy_gru.schema.task_config import has_several_targets, has_step_targets, is_per_step, targets_of

# TFMA keeps a metric with a leading underscore to itself. All metrics of a model follow from this one.
_SUMS = "_sums"
_MOST_CLASSES = 50
# Sums that are merged at once: merging has a cost of its own.
_MERGED_AT_ONCE = 256
_TASK: TypeAdapter[TaskConfig] = TypeAdapter(TaskConfig)


class SequenceMetric(metric_types.Metric):
    """One metric of a data set's task; all of them share one pass over the sequences.

    Args:
        name: one of ``known_metrics(dataset)``.
        task: of the data set, as JSON.
        fingerprint: of the source; only TFX's cache looks at it.
    """

    def __init__(self, name: str, task: str, fingerprint: str = "") -> None:
        super().__init__(_computations, name=name, task=task)


metric_types.register_metric(SequenceMetric)


def _computations(
    name: str, task: str, model_names: list[str] | None = None, example_weighted: bool = False
) -> list[Any]:
    config = _TASK.validate_json(task)
    of_task = accumulator(config)
    result: list[Any] = []
    for model_name in model_names or [""]:
        sums = metric_types.MetricKey(_SUMS, model_name=model_name, example_weighted=example_weighted)
        key = metric_types.MetricKey(name, model_name=model_name, example_weighted=example_weighted)

        def derive(metrics: dict[Any, Any], sums: Any = sums, key: Any = key) -> dict[Any, float]:
            if not isinstance(of_task, Classification) or (name != ALL_RECALLS and class_of(name) is None):
                return {key: _metrics_of(of_task, metrics[sums])[name]}
            found = of_task.by_class(metrics[sums])
            if name != ALL_RECALLS:
                return {key: found.get(name, float("nan"))}
            recalls = {each: value for each, value in found.items() if each.startswith(RECALL)}
            # More are none that a person reads.
            chosen = recalls if len(recalls) <= _MOST_CLASSES else {}
            return {_renamed(key, each): value for each, value in chosen.items()}

        result.append(
            metric_types.MetricComputation([sums], [_ReadSequence(config, model_name)], _Combine(config, sums))
        )
        result.append(metric_types.DerivedMetricComputation([key], derive))
    return result


# Sums of both models that were asked for last, with their metrics. TFMA asks for one name after the other, of the same
# sums: computed anew for each, the 6,800 metrics of 96 horizons and 7 targets took 19 minutes.
_computed: deque[tuple[Sums, dict[str, float]]] = deque(maxlen=4)


def _metrics_of(of_task: Accumulator, sums: Sums) -> dict[str, float]:
    for known, found in list(_computed):
        if known is sums:
            return found
    found = of_task.metrics(sums)
    _computed.append((sums, found))
    return found


def _renamed(key: Any, name: str) -> Any:
    return metric_types.MetricKey(name, model_name=key.model_name, example_weighted=key.example_weighted)


class _ReadSequence(metric_types.Preprocessor):
    """Convert TFMA's extracts of a sequence to its sums."""

    def __init__(self, task: TaskConfig, model_name: str) -> None:
        super().__init__(name=f"read_sequence_{model_name}")
        self._task = task
        self._model_name = model_name
        self._accumulator = accumulator(task)

    def process(self, extracts: dict[str, Any]) -> Iterator[Sums]:
        features = extracts[constants.FEATURES_KEY]
        label, naive = label_and_naive(self._task, features)
        beside = naive | _past(self._task, features)
        yield self._accumulator.one(label, outputs_of(extracts, self._model_name), beside)


def outputs_of(extracts: dict[str, Any], model_name: str) -> dict[str, np.ndarray]:
    """Return a model's outputs for a sequence by name; a single model is named ""."""
    outputs = extracts[constants.PREDICTIONS_KEY]
    if model_name:
        outputs = outputs[model_name]
    # TFMA unwraps the answer of a model with a single output.
    return outputs if isinstance(outputs, dict) else {"predictions": outputs}


def label_and_naive(task: TaskConfig, features: dict[str, Any]) -> tuple[Any, dict[str, np.ndarray]]:
    """Return the label or targets of a sequence as `Accumulator.one` takes them, and the naive forecasts by name.

    Targets are NaN where they are missing, and labels of steps empty.

    Raises:
        DataError: if the sequence has no right answer.
    """
    naive: dict[str, np.ndarray] = {}
    if has_step_targets(task):
        return _targets_of_steps(task, features), naive
    if is_per_step(task):
        return _labels_of_steps(task, features), naive
    if isinstance(task, ClassificationConfig):
        return bytes(_values(features, task.label, 1)[0]), naive
    if has_several_targets(task):
        return np.concatenate([_finite(features, name, 1, may_miss=True) for name in task.targets]), naive
    if not isinstance(task, ForecastingConfig):
        return float(_finite(features, targets_of(task)[0], 1)[0]), naive
    horizons = len(task.horizons)
    columns = [_finite(features, f"target/{target}", horizons, may_miss=True) for target in task.targets]
    for kind in naive_baselines(task):
        for target in task.targets:
            key = f"naive_{kind}/{target}"
            naive[key] = _values(features, key, horizons).astype(np.float64)
    return np.stack(columns, axis=-1), naive


def _labels_of_steps(task: Any, features: dict[str, Any]) -> np.ndarray:
    steps = int(_values(features, STEPS, 1)[0])
    # TFMA pads the lists of a batch to one length.
    return np.array([bytes(name) for name in _values(features, task.label, None)[:steps]], object)


def _targets_of_steps(task: Any, features: dict[str, Any]) -> np.ndarray:
    """Return float64 [T, K], NaN where a step has no target."""
    steps = int(_values(features, STEPS, 1)[0])
    columns = [_values(features, name, None)[:steps].astype(np.float64) for name in targets_of(task)]
    if any(len(column) != steps or np.isinf(column).any() for column in columns):
        raise DataError(
            f"The test split's sequence {sequence_name(features)} doesn't have a finite number or NaN of "
            f"{', '.join(targets_of(task))} for each of its {steps} steps. Without them it can't be evaluated."
        )
    return np.stack(columns, axis=-1)


def _past(task: TaskConfig, features: dict[str, Any]) -> dict[str, np.ndarray]:
    """The past of each target that is a feature, by key; only if there are quantiles, whose scores it scales."""
    if not levels_of(task) or not isinstance(task, ForecastingConfig):
        return {}
    found = {f"{PAST}{target}": features.get(target) for target in task.targets}
    return {key: np.asarray(value, np.float64).reshape(-1) for key, value in found.items() if value is not None}


def _values(features: dict[str, Any], key: str, count: int | None) -> np.ndarray:
    """Return the ``count`` values of a list of the tf.Example; None: however many there are."""
    value = features.get(key)
    values = np.asarray([] if value is None else value).reshape(-1)
    if count is not None and len(values) != count:
        raise DataError(
            f"The test split's sequence {sequence_name(features)} has {len(values)} values of {key}; expected {count}. "
            "Without them it can't be evaluated."
        )
    return values


def _finite(features: dict[str, Any], key: str, count: int, *, may_miss: bool = False) -> np.ndarray:
    """Return the values of a list, of which none may be infinite, nor NaN unless it ``may_miss`` some."""
    values = _values(features, key, count).astype(np.float64)
    if not (np.isfinite(values) | (may_miss & np.isnan(values))).all():
        raise DataError(
            f"The test split's sequence {sequence_name(features)} has the label {values.tolist()} in {key}; expected "
            "finite numbers. Set data.policies.missing_label so that it is left out."
        )
    return values


def sequence_name(features: dict[str, Any]) -> str:
    """Return the `sequence_id` of TFMA's extracted features."""
    value = features.get("sequence_id")
    names = np.asarray([] if value is None else value).reshape(-1)
    return names[0].decode("utf-8", "replace") if len(names) else "without a sequence_id"


class _Combine(beam.CombineFn):
    """Add the sums of sequences."""

    def __init__(self, task: TaskConfig, key: Any) -> None:
        self._key = key
        self._accumulator: Accumulator = accumulator(task)

    def create_accumulator(self, *_: Any) -> list[Sums]:
        return []

    def add_input(self, mutable_accumulator: list[Sums], element: Sums, *_: Any) -> list[Sums]:
        mutable_accumulator.append(element)
        return self._few(mutable_accumulator)

    def merge_accumulators(self, accumulators: Iterable[list[Sums]], *_: Any) -> list[Sums]:
        return [self._accumulator.merge([sums for each in accumulators for sums in each if sums])]

    def extract_output(self, accumulator: list[Sums], *_: Any) -> dict[Any, Sums]:
        return {self._key: self._accumulator.merge([sums for sums in accumulator if sums])}

    def _few(self, sums: list[Sums]) -> list[Sums]:
        return sums if len(sums) < _MERGED_AT_ONCE else [self._accumulator.merge([each for each in sums if each])]

"""Losses of a SavedModel per sequence, on tf.Examples that hold the labels or targets.

    >>> losses = sequence_losses(Path("serving/vowels/1795625257"), examples, dataset.task)  # doctest: +SKIP

The loss is 1 for a wrong class and 0 for a right one (of steps and known labels: the part that is wrong), and the
absolute error of a number, averaged over the known targets of a forecast, as the metrics ``accuracy`` and ``mae`` have
it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from noisy_gru.components.evaluation.label_metrics import label_answers
from noisy_gru.data.columns import NAIVE_LAST, SEQUENCE_ID, TARGET
from noisy_gru.schema.config import (
    ClassificationConfig,
    ForecastingConfig,
    MultiLabelConfig,
    RegressionConfig,
    TaskConfig,
)
from noisy_gru.schema.errors import DataError
from noisy_gru.schema.task_config import has_several_targets, has_step_targets, is_multi_label, is_per_step, targets_of

_BATCH = 64


def sequence_losses(saved_model: Path, examples: Sequence[bytes], task: TaskConfig) -> np.ndarray:
    """Return the loss of each sequence, float64 [N].

    Args:
        saved_model: with the signature ``serving_default`` for serialized tf.Examples.
        examples: serialized tf.Examples with the label or the targets.
        task: of the model.

    Raises:
        DataError: a sequence has no finite answer to compare with.
    """
    import tensorflow as tf

    loaded: Any = tf.saved_model.load(str(saved_model))
    signature = loaded.signatures["serving_default"]
    losses: list[np.ndarray] = []
    for batch in _batches(examples):
        outputs = {name: value.numpy() for name, value in signature(examples=tf.constant(batch)).items()}
        features = [tf.train.Example.FromString(example).features.feature for example in batch]
        losses.append(_losses(outputs, features, task))
    return np.concatenate(losses) if losses else np.empty(0)


def naive_losses(examples: Sequence[bytes], task: ForecastingConfig) -> np.ndarray:
    """Return the mean absolute error of repeating the last value, [N]; NaN where no target is known."""
    import tensorflow as tf

    features = [tf.train.Example.FromString(example).features.feature for example in examples]
    truth = np.stack([_targets(each, task) for each in features])
    naive = np.stack([_columns(each, NAIVE_LAST, task) for each in features])
    errors = np.abs(naive - truth)
    known = np.isfinite(errors)
    count = known.sum(axis=(1, 2))
    return np.where(count > 0, np.where(known, errors, 0.0).sum(axis=(1, 2)) / np.maximum(count, 1), np.nan)


def known_targets(examples: Sequence[bytes], task: ForecastingConfig) -> np.ndarray:
    """Return the known fraction of each sequence's targets, float64 [N]: the weight of its mean loss."""
    import tensorflow as tf

    features = [tf.train.Example.FromString(example).features.feature for example in examples]
    return np.array([(~np.isnan(_targets(each, task))).mean() for each in features])


def labels(examples: Sequence[bytes], label: str) -> np.ndarray:
    """Return the numeric labels, float64 [N]."""
    import tensorflow as tf

    return np.array([_number(tf.train.Example.FromString(example).features.feature, label) for example in examples])


def names(examples: Sequence[bytes]) -> list[str]:
    """Return the sequences' names."""
    import tensorflow as tf

    return [_name(tf.train.Example.FromString(example).features.feature) for example in examples]


def _batches(examples: Sequence[bytes]) -> Iterator[list[bytes]]:
    for start in range(0, len(examples), _BATCH):
        yield list(examples[start : start + _BATCH])


def _losses(outputs: dict[str, np.ndarray], features: Sequence[Any], task: TaskConfig) -> np.ndarray:
    if has_step_targets(task):
        return np.array([_step_error(outputs["predictions"][row], each, task) for row, each in enumerate(features)])
    if is_per_step(task):
        return np.array([_step_loss(outputs, row, each, str(task.label)) for row, each in enumerate(features)])
    if isinstance(task, ClassificationConfig):
        true = [_class(each, task.label) for each in features]
        probabilities = outputs["probabilities"]
        places = outputs["class_id"] if "class_id" in outputs else np.argmax(probabilities, -1)
        chosen = [row[place] for row, place in zip(outputs["labels_bytes"], places, strict=True)]
        # What is no number answers nothing.
        whole = np.isfinite(probabilities).all(axis=-1)
        right = [one == other for one, other in zip(chosen, true, strict=True)]
        return np.where(whole & np.array(right), 0.0, 1.0)
    if is_multi_label(task):
        truth = np.array([_numbers(each, task) for each in features])
        known = ~np.isnan(truth)
        return ((label_answers(outputs) != truth) & known).sum(axis=1) / known.sum(axis=1)
    predictions = outputs["predictions"].astype(np.float64)
    if isinstance(task, ForecastingConfig):
        truth = np.stack([_targets(each, task) for each in features])
    else:
        truth = np.array([_numbers(each, task) for each in features])
    errors = np.abs(predictions.reshape(truth.shape) - truth).reshape(len(features), -1)
    known = ~np.isnan(truth).reshape(len(features), -1)
    errors = np.where(known, errors, 0.0).sum(axis=1) / known.sum(axis=1)
    return np.where(np.isfinite(errors), errors, np.inf)


def _step_loss(outputs: dict[str, np.ndarray], row: int, features: Any, label: str) -> float:
    """Return the part of a sequence's labelled steps that get another class."""
    true = features[label].bytes_list.value
    known = [step for step, name in enumerate(true) if name]
    if not known:
        raise DataError(f"sequence {_name(features)} has no step with a label in {label}; expected one at least")
    # What is no number answers nothing.
    whole = np.isfinite(outputs["probabilities"][row]).all(axis=-1)
    return float(np.mean([not (whole[step] and outputs["label_bytes"][row, step] == true[step]) for step in known]))


def _step_error(predictions: np.ndarray, features: Any, task: RegressionConfig) -> float:
    """Return the mean absolute error over a sequence's known targets; infinite if an answer is no number."""
    truth = np.stack([np.array(features[name].float_list.value, np.float64) for name in targets_of(task)], axis=-1)
    known = np.isfinite(truth)
    if not known.any():
        targets = ", ".join(targets_of(task))
        raise DataError(f"sequence {_name(features)} has no step with a number in {targets}; expected one at least")
    error = np.abs(predictions[: len(truth)].astype(np.float64) - truth)[known].mean()
    return float(error) if np.isfinite(error) else np.inf


def _class(features: Any, label: str) -> bytes:
    values = features[label].bytes_list.value
    if len(values) != 1:
        raise DataError(f"sequence {_name(features)} has {len(values)} classes in {label}; expected one")
    return values[0]


def _number(features: Any, label: str) -> float:
    values = features[label].float_list.value
    if len(values) != 1 or not np.isfinite(values[0]):
        raise DataError(f"sequence {_name(features)} has {list(values)} in {label}; expected one finite number")
    return float(values[0])


def _numbers(features: Any, task: RegressionConfig | MultiLabelConfig) -> list[float]:
    """Return the target, or the several ones, of which some may be NaN."""
    if not has_several_targets(task):
        return [_number(features, *targets_of(task))]
    values = [list(features[name].float_list.value) for name in task.targets]
    if any(len(each) != 1 or np.isinf(each[0]) for each in values) or np.isnan(values).all():
        raise DataError(
            f"sequence {_name(features)} has {values} in {', '.join(task.targets)}; expected one finite number of "
            "each, or NaN of some"
        )
    return [each[0] for each in values]


def _targets(features: Any, task: ForecastingConfig) -> np.ndarray:
    found = _columns(features, TARGET, task)
    if np.isinf(found).any() or np.isnan(found).all():
        raise DataError(
            f"sequence {_name(features)} has an infinite target or none that is known; expected finite numbers, or NaN "
            "for some"
        )
    return found


def _columns(features: Any, prefix: str, task: ForecastingConfig) -> np.ndarray:
    """Return the values as float64 [horizons, targets]; NaN where one is missing."""
    columns = [np.array(features[prefix + target].float_list.value, np.float64) for target in task.targets]
    if any(len(column) != len(task.horizons) for column in columns):
        raise DataError(f"sequence {_name(features)} doesn't hold {prefix}… for all of {len(task.horizons)} horizons")
    return np.stack(columns, axis=-1)


def _name(features: Any) -> str:
    values = features[SEQUENCE_ID].bytes_list.value
    return values[0].decode("utf-8", "replace") if values else "without a sequence_id"

"""What Transform does to a sequence: scaling, imputation, vocabularies, all inside the graph that serving runs too.

Statistics are fitted on the split that the Transform component analyses (train), on finite values alone: NaN and
infinite values count as missing. A feature that never varies is only centred.
"""

# TensorFlow's type hints know neither ragged tensors nor tensors as arguments.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_transform as tft

from noisy_gru.schema.config import ClassificationConfig, DatasetConfig, FeatureConfig
from noisy_gru.schema.errors import ConfigError
from noisy_gru.trainer import features as names
from noisy_gru.trainer.features import Layout

# A standard deviation below this part of the largest magnitude is float32 rounding, not variation.
_ROUNDING = 1e-7
_QUANTILE_ERROR = 1e-3


class _Scaling(NamedTuple):
    """float64 scalars of one feature: scaled = (value - centre) / scale, and a missing value becomes `fill`."""

    centre: tf.Tensor
    scale: tf.Tensor
    fill: tf.Tensor


def preprocess(inputs: Mapping[str, Any], dataset: DatasetConfig) -> dict[str, Any]:
    """Transform a batch of raw sequences.

    Args:
        inputs: for each key of the schema a SparseTensor, RaggedTensor or dense tensor [B, steps]; docs/architecture.md
            has the keys. The label or targets may be left out at serving time, and their outputs go with them.
        dataset: the configuration of the data set.

    Returns:
        The outputs named in `noisy_gru.trainer.features`.

    Raises:
        ConfigError: the schema has no such column.
        tf.errors.InvalidArgumentError: (when run) the features of a sequence differ in their number of steps.
    """
    layout = Layout(dataset)
    wanted = [feature.name for feature in dataset.data.features] + layout.raw_targets
    unknown = sorted(set(wanted) - set(inputs))
    if unknown:
        raise ConfigError(
            f"The schema has no column {', '.join(unknown)}, which data.features or task names. "
            f"Its columns: {', '.join(sorted(inputs))}. Correct the configuration or the curated schema."
        )
    raw = {feature.name: to_ragged(inputs[feature.name]) for feature in dataset.data.features}
    past, total = _lengths(raw, layout)
    outputs: dict[str, Any] = {names.LENGTH: total}

    # Building ragged tensors from the checked lengths makes every output wait for the check.
    values, masks = [], []
    for feature in layout.numeric:
        length = total if feature.known_in_advance else past
        row = tf.RaggedTensor.from_row_lengths(raw[feature.name].flat_values, length, validate=False)
        scaled, missing = _scale(row, feature)
        values.append(_extend(scaled, total).flat_values)
        if feature.missing == "mask":
            masks.append(_extend(missing, total).flat_values)
    future = []
    if layout.has_future:
        is_past = tf.RaggedTensor.from_row_lengths(tf.zeros([tf.reduce_sum(past)]), past, validate=False)
        future = [_extend(is_past, total, fill=1.0).flat_values]
    channels = [*values, *masks, *future]
    flat = tf.reshape(tf.stack(channels, axis=1), [-1]) if channels else tf.zeros([0])
    outputs[names.FEATURES] = tf.RaggedTensor.from_row_lengths(flat, total * len(channels), validate=False)

    for index, feature in enumerate(layout.categorical):
        length = total if feature.known_in_advance else past
        text = tf.RaggedTensor.from_row_lengths(_text(raw[feature.name].flat_values), length, validate=False)
        vocabulary = tft.vocabulary(
            text.flat_values, top_k=feature.vocabulary_size, vocab_filename=layout.vocabulary(index)
        )
        # What is not known yet is read as unknown, like a missing value.
        text = _extend(text, total, fill="")
        ids = tft.apply_vocabulary(text.flat_values, vocabulary, num_oov_buckets=1)
        outputs[layout.ids(index)] = text.with_flat_values(ids)

    if isinstance(dataset.task, ClassificationConfig):
        label = _text(to_ragged(inputs[dataset.task.label]).to_tensor(shape=[None, 1])[:, 0])
        vocabulary = tft.vocabulary(label, vocab_filename=names.LABEL_VOCABULARY)
        outputs[names.LABEL] = tft.apply_vocabulary(label, vocabulary, default_value=-1)
    else:
        outputs.update(_targets(inputs, raw, layout, batch=tf.shape(total)[0]))
    return outputs


def to_ragged(tensor: Any) -> tf.RaggedTensor:
    """Bring a column of any schema representation to a ragged [B, steps]."""
    if isinstance(tensor, tf.RaggedTensor):
        return tensor
    if isinstance(tensor, tf.SparseTensor):
        rows = tensor.dense_shape[0]
        return tf.RaggedTensor.from_value_rowids(tensor.values, tensor.indices[:, 0], nrows=rows, validate=False)
    dense = tf.convert_to_tensor(tensor)
    if dense.shape.rank == 1:
        dense = dense[:, tf.newaxis]
    return tf.RaggedTensor.from_tensor(dense, row_splits_dtype=tf.int64)


def _text(values: tf.Tensor) -> tf.Tensor:
    return values if values.dtype == tf.string else tf.strings.as_string(values)


def _lengths(raw: Mapping[str, tf.RaggedTensor], layout: Layout) -> tuple[tf.Tensor, tf.Tensor]:
    """Steps of the past and of the whole time axis, both int64 [B], once all features are seen to agree."""
    features = layout.dataset.data.features
    known = [feature.name for feature in features if feature.known_in_advance]
    others = [feature.name for feature in features if not feature.known_in_advance]
    horizon = layout.future_steps
    if others:
        past = raw[others[0]].row_lengths()
        # Without a single value there is no future either.
        total = (
            past + horizon
            if not known
            else tf.where((past == 0) & (raw[known[0]].row_lengths() == 0), past, past + horizon)
        )
    else:
        total = raw[known[0]].row_lengths()
        past = tf.maximum(total - horizon, 0)
    checks = []
    for name in others + known:
        expected = total if name in known else past
        received = raw[name].row_lengths()
        message = (
            f"Feature {name} has another number of steps than {(others or known)[0]}"
            + (f" (of a known-in-advance feature: the input steps plus {horizon})" if name in known else "")
            + ". Is its key missing or misspelt? Expected for each sequence, then received: "
        )
        # The plain op: tf.debugging would wrap it into a conditional.
        checks.append(
            tf.raw_ops.Assert(
                condition=tf.reduce_all(tf.equal(received, expected)), data=[message, expected, received], summarize=20
            )
        )
    with tf.control_dependencies(checks):
        return tf.identity(past), tf.identity(total)


def _extend(row: tf.RaggedTensor, total: tf.Tensor, fill: Any = 0.0) -> tf.RaggedTensor:
    """Append `fill` to each row until it has `total` values."""
    rest = total - row.row_lengths()
    filler = tf.fill([tf.reduce_sum(rest)], tf.constant(fill, row.dtype))
    return tf.concat([row, tf.RaggedTensor.from_row_lengths(filler, rest, validate=False)], axis=1)


def _scale(row: tf.RaggedTensor, feature: FeatureConfig) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
    """Scaled values with missing ones imputed, and where they were missing; both float32."""
    values = tf.cast(row.flat_values, tf.float64)
    finite = tf.math.is_finite(values)
    scaling = _fit(tf.boolean_mask(values, finite), feature.scale)
    scaled = (tf.where(finite, values, scaling.fill) - scaling.centre) / scaling.scale
    missing = tf.cast(tf.logical_not(finite), tf.float32)
    return row.with_flat_values(tf.cast(scaled, tf.float32)), row.with_flat_values(missing)


def _fit(finite: tf.Tensor, kind: str) -> _Scaling:
    """Fit a scaling to the analysed split's finite values, float64 [N]."""
    zero, one = tf.constant(0.0, tf.float64), tf.constant(1.0, tf.float64)
    mean = _or(tft.mean(finite), zero)
    if kind == "none":
        return _Scaling(zero, one, mean)
    if kind == "minmax":
        low, high = _or(tft.min(finite), zero), _or(tft.max(finite), zero)
        return _Scaling(low, _varies(high - low, low, one), mean)
    deviation = _varies(tf.sqrt(_or(tft.var(finite), zero)), mean, one)
    if kind == "zscore":
        return _Scaling(mean, deviation, mean)
    # A half that is one value (mostly zeros, say) has no interquartile range, and the deviation takes its place.
    quartiles = tft.quantiles(tf.cast(finite, tf.float32), num_buckets=4, epsilon=_QUANTILE_ERROR)
    low, median, high = tf.unstack(tf.cast(tf.reshape(quartiles, [3]), tf.float64))
    median = _or(median, zero)
    return _Scaling(median, _varies(_or(high - low, zero), median, deviation), median)


def _or(value: tf.Tensor, default: tf.Tensor) -> tf.Tensor:
    return tf.where(tf.math.is_finite(value), value, default)


def _varies(spread: tf.Tensor, level: tf.Tensor, default: tf.Tensor) -> tf.Tensor:
    return tf.where(spread > _ROUNDING * tf.abs(level), spread, default)


def _targets(
    inputs: Mapping[str, Any], raw: Mapping[str, tf.RaggedTensor], layout: Layout, batch: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Targets as z-scores, their mean and scale, and the last values read of them."""
    horizons = layout.target_shape[0]
    columns, means, scales, last = [], [], [], []
    for key, name in zip(layout.raw_targets, layout.targets, strict=True):
        values = to_ragged(inputs[key])
        values = tf.cast(values.with_flat_values(tf.cast(values.flat_values, tf.float64)), tf.float64)
        dense = values.to_tensor(default_value=float("nan"), shape=[None, horizons])
        scaling = _fit(tf.boolean_mask(dense, tf.math.is_finite(dense)), "zscore")
        columns.append((dense - scaling.centre) / scaling.scale)
        means.append(scaling.centre)
        scales.append(scaling.scale)
        if layout.observed_targets:
            last.append((_last_finite(raw[name], scaling.fill) - scaling.centre) / scaling.scale)
    targets = tf.reshape(tf.stack(columns, axis=2), [-1, horizons * len(columns)])
    outputs = {names.TARGETS: tf.cast(targets, tf.float32)}
    for key, constants in ((names.TARGET_MEAN, means), (names.TARGET_SCALE, scales)):
        row = tf.cast(tf.stack(constants), tf.float32)[tf.newaxis, :]
        outputs[key] = tf.ensure_shape(tf.tile(row, [batch, 1]), [None, len(columns)])
    if last:
        outputs[names.LAST_TARGET] = tf.cast(tf.stack(last, axis=1), tf.float32)
    return outputs


def _last_finite(row: tf.RaggedTensor, default: tf.Tensor) -> tf.Tensor:
    """The last finite value of each row, float64 [B]; `default` for a row without one."""
    values = tf.cast(row.flat_values, tf.float64)
    finite = tf.ragged.boolean_mask(row.with_flat_values(values), row.with_flat_values(tf.math.is_finite(values)))
    # One value more than there are rows to read from: an index is valid for an empty batch, too.
    padded = tf.concat([finite.flat_values, [default]], axis=0)
    last = tf.maximum(finite.row_limits() - 1, 0)
    return tf.where(finite.row_lengths() > 0, tf.gather(padded, last), default)

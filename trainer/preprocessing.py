"""Preprocessing of sequences in Transform: scaling, imputation, vocabularies; serving runs the same graph.

Statistics are fitted on the split that the Transform component analyses (train), on finite values alone: NaN and
infinite values count as missing. A feature that never varies is only centred.
"""

# TensorFlow's type hints know neither ragged tensors nor tensors as arguments.

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from noisy_gru.schema.config import ClassificationConfig, DatasetConfig
from noisy_gru.schema.errors import ConfigError
from noisy_gru.trainer import features as names
from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.scaling import Scaling, fit_scaling, with_logarithms
from noisy_gru.trainer.step_columns import checked_columns, extended, to_ragged
from noisy_gru.trainer.vocabularies import escape_line_ends


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
        tf.errors.InvalidArgumentError: (when run) the features of a sequence differ in their number of steps, or a
            static one has no value, or several.
    """
    layout = Layout(dataset)
    wanted = [feature.name for feature in dataset.data.features] + layout.raw_targets
    unknown = sorted(set(wanted) - set(inputs))
    if unknown:
        raise ConfigError(
            f"The schema has no column {', '.join(unknown)}, which data.features or task names. "
            f"Its columns: {', '.join(sorted(inputs))}. Correct the configuration or the curated schema."
        )
    raw, past, total = checked_columns(inputs, layout)
    outputs: dict[str, Any] = {names.LENGTH: total, **_static(raw, layout)}

    values, missing = _numeric(raw, layout, past, total)
    channels = [values] if values is not None else []
    masked = [index for index, feature in enumerate(layout.numeric) if feature.missing == "mask"]
    if missing is not None and masked:
        channels.append(tf.gather(missing, masked, axis=1))
    if layout.has_future:
        channels.append(extended(tf.zeros(tf.stack([tf.reduce_sum(past), 1])), past, total, fill=1.0))
    width = len(layout.channels)
    flat = tf.reshape(tf.concat(channels, axis=1), [-1]) if channels else tf.zeros([0])
    outputs[names.FEATURES] = tf.RaggedTensor.from_row_lengths(flat, total * width, validate=False)

    for index, feature in enumerate(layout.categorical):
        text = escape_line_ends(_text(raw[feature.name]))
        vocabulary = tft.vocabulary(text, top_k=feature.vocabulary_size, vocab_filename=layout.vocabulary(index))
        if layout.has_future and not feature.known_in_advance:
            # A value that is not known yet is read as unknown, like a missing one.
            text = extended(text, past, total, fill="")
        ids = tft.apply_vocabulary(text, vocabulary, num_oov_buckets=1)
        outputs[layout.ids(index)] = tf.RaggedTensor.from_row_lengths(ids, total, validate=False)

    if layout.is_per_step and isinstance(dataset.task, ClassificationConfig):
        labels = to_ragged(inputs[dataset.task.label])
        text = escape_line_ends(_text(labels.flat_values))
        # Transform's vocabularies leave empty texts out, so a missing label has no class.
        vocabulary = tft.vocabulary(text, vocab_filename=names.LABEL_VOCABULARY)
        classes = tft.apply_vocabulary(text, vocabulary, default_value=-1)
        outputs[names.LABEL] = tf.RaggedTensor.from_row_lengths(classes, labels.row_lengths(), validate=False)
    elif isinstance(dataset.task, ClassificationConfig):
        label = escape_line_ends(_text(to_ragged(inputs[dataset.task.label]).to_tensor(shape=[None, 1])[:, 0]))
        vocabulary = tft.vocabulary(label, vocab_filename=names.LABEL_VOCABULARY)
        outputs[names.LABEL] = tft.apply_vocabulary(label, vocabulary, default_value=-1)
    else:
        outputs.update(_targets(inputs, raw, layout, past, total))
    return outputs


def _text(values: tf.Tensor) -> tf.Tensor:
    return values if values.dtype == tf.string else tf.strings.as_string(values)


def _numeric(
    raw: Mapping[str, tf.Tensor], layout: Layout, past: tf.Tensor, total: tf.Tensor
) -> tuple[tf.Tensor | None, tf.Tensor | None]:
    """Return the scaled, imputed numeric features, and their missing masks: float32 [sum(total), numeric].

    All columns go through the graph as one matrix: a handful of operations and analyzers, however many features.
    """
    scaled, missing, order = [], [], []
    for known in (False, True):
        chosen = [index for index, feature in enumerate(layout.numeric) if feature.known_in_advance == known]
        if not chosen:
            continue
        features = [layout.numeric[index] for index in chosen]
        matrix = tf.stack([raw[feature.name] for feature in features], axis=1)
        kinds = [feature.scale for feature in features]
        matrix = with_logarithms(tf.cast(matrix, tf.float64), kinds)
        finite = tf.math.is_finite(matrix)
        scaling = fit_scaling(matrix, kinds)
        columns = tf.cast((tf.where(finite, matrix, scaling.fill) - scaling.centre) / scaling.scale, tf.float32)
        absent = tf.cast(tf.logical_not(finite), tf.float32)
        if layout.has_future and not known:
            columns, absent = extended(columns, past, total), extended(absent, past, total)
        scaled.append(columns)
        missing.append(absent)
        order += chosen
    if not order:
        return None, None
    place = np.argsort(order).tolist()
    return tf.gather(tf.concat(scaled, axis=1), place, axis=1), tf.gather(tf.concat(missing, axis=1), place, axis=1)


def _static(raw: Mapping[str, tf.Tensor], layout: Layout) -> dict[str, tf.Tensor]:
    """Return the scaled, imputed static numbers with their missing masks, and the ids of static categories.

    Each sequence counts once in the statistics and vocabularies, however many steps it has.
    """
    outputs: dict[str, tf.Tensor] = {}
    if features := layout.static_numeric:
        kinds = [feature.scale for feature in features]
        stacked = tf.stack([raw[feature.name] for feature in features], axis=1)
        matrix = with_logarithms(tf.cast(stacked, tf.float64), kinds)
        finite = tf.math.is_finite(matrix)
        scaling = fit_scaling(matrix, kinds)
        values = tf.cast((tf.where(finite, matrix, scaling.fill) - scaling.centre) / scaling.scale, tf.float32)
        masked = [index for index, feature in enumerate(features) if feature.missing == "mask"]
        if masked:
            absent = tf.cast(tf.logical_not(finite), tf.float32)
            values = tf.concat([values, tf.gather(absent, masked, axis=1)], axis=1)
        outputs[names.STATIC] = values
    for index, feature in enumerate(layout.static_categorical):
        text = escape_line_ends(_text(raw[feature.name]))
        vocabulary = tft.vocabulary(text, top_k=feature.vocabulary_size, vocab_filename=layout.static_vocabulary(index))
        outputs[layout.static_ids(index)] = tft.apply_vocabulary(text, vocabulary, num_oov_buckets=1)
    return outputs


def _targets(
    inputs: Mapping[str, Any], raw: Mapping[str, tf.Tensor], layout: Layout, past: tf.Tensor, total: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Return targets as z-scores (labels as they are), their mean and scale, and their last values."""
    if layout.is_per_step:
        return _step_targets(inputs, layout, total)
    horizons = layout.target_shape[0] if len(layout.target_shape) == 2 else 1
    tables = []
    for key in layout.raw_targets:
        values = to_ragged(inputs[key])
        values = values.with_flat_values(tf.cast(values.flat_values, tf.float64))
        tables.append(values.to_tensor(default_value=float("nan"), shape=[None, horizons]))
    table = tf.stack(tables, axis=2)  # [B, H, K]
    kind = "none" if layout.is_multi_label else "zscore"
    scaling = fit_scaling(tf.reshape(table, [-1, len(tables)]), [kind] * len(tables))
    targets = tf.reshape((table - scaling.centre) / scaling.scale, [-1, horizons * len(tables)])
    outputs = {names.TARGETS: tf.cast(targets, tf.float32), **_units(scaling, total, len(tables))}
    if layout.observed_targets:
        rows = {name: tf.RaggedTensor.from_row_lengths(raw[name], past, validate=False) for name in layout.targets}
        last = [
            (_last_finite(rows[name], scaling.fill[place]) - scaling.centre[place]) / scaling.scale[place]
            for place, name in enumerate(layout.targets)
        ]
        outputs[names.LAST_TARGET] = tf.cast(tf.stack(last, axis=1), tf.float32)
    return outputs


def _step_targets(inputs: Mapping[str, Any], layout: Layout, steps: tf.Tensor) -> dict[str, Any]:
    """Return the targets of all steps as z-scores, step by step, NaN where one is missing, with mean and scale."""
    columns = [to_ragged(inputs[key]) for key in layout.raw_targets]
    table = tf.stack([tf.cast(each.flat_values, tf.float64) for each in columns], axis=1)
    scaling = fit_scaling(table, ["zscore"] * len(columns))
    flat = tf.reshape(tf.cast((table - scaling.centre) / scaling.scale, tf.float32), [-1])
    lengths = columns[0].row_lengths() * len(columns)
    targets = tf.RaggedTensor.from_row_lengths(flat, lengths, validate=False)
    return {names.TARGETS: targets, **_units(scaling, steps, len(columns))}


def _units(scaling: Scaling, steps: tf.Tensor, targets: int) -> dict[str, tf.Tensor]:
    """Return mean and scale of the targets, a row for each sequence, of which `steps` has one number."""
    outputs = {}
    for key, constant in ((names.TARGET_MEAN, scaling.centre), (names.TARGET_SCALE, scaling.scale)):
        row = tf.cast(constant, tf.float32)[tf.newaxis, :]
        outputs[key] = tf.ensure_shape(tf.tile(row, [tf.shape(steps)[0], 1]), [None, targets])
    return outputs


def _last_finite(row: tf.RaggedTensor, default: tf.Tensor) -> tf.Tensor:
    """Return the last finite value of each row, float64 [B]; `default` for a row without one."""
    values = tf.cast(row.flat_values, tf.float64)
    finite = tf.ragged.boolean_mask(row.with_flat_values(values), row.with_flat_values(tf.math.is_finite(values)))
    # One value more than there are rows to read from: an index is valid for an empty batch, too.
    padded = tf.concat([finite.flat_values, [default]], axis=0)
    last = tf.maximum(finite.row_limits() - 1, 0)
    return tf.where(finite.row_lengths() > 0, tf.gather(padded, last), default)

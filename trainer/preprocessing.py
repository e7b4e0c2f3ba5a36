"""Preprocessing of sequences in Transform: scaling, imputation, vocabularies; serving runs the same graph.

Statistics are fitted on the split that the Transform component analyses (train), on finite values alone: NaN and
infinite values count as missing. A feature that never varies is only centred.
"""

# TensorFlow's type hints know neither ragged tensors nor tensors as arguments.

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from noisy_gru.schema.config import ClassificationConfig, DatasetConfig
from noisy_gru.schema.errors import ConfigError
from noisy_gru.trainer import features as names
from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.vocabularies import escape_line_ends

# A standard deviation below this part of the largest magnitude is float32 rounding, not variation.
_ROUNDING = 1e-7
_QUANTILE_ERROR = 1e-3


class _Scaling(NamedTuple):
    """float64 [G], one for each of G columns: scaled = (value - centre) / scale; a missing value becomes `fill`."""

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
    raw, past, total = _checked(inputs, layout)
    outputs: dict[str, Any] = {names.LENGTH: total, **_static(raw, layout)}

    values, missing = _numeric(raw, layout, past, total)
    channels = [values] if values is not None else []
    masked = [index for index, feature in enumerate(layout.numeric) if feature.missing == "mask"]
    if missing is not None and masked:
        channels.append(tf.gather(missing, masked, axis=1))
    if layout.has_future:
        channels.append(_extend(tf.zeros(tf.stack([tf.reduce_sum(past), 1])), past, total, fill=1.0))
    width = len(layout.channels)
    flat = tf.reshape(tf.concat(channels, axis=1), [-1]) if channels else tf.zeros([0])
    outputs[names.FEATURES] = tf.RaggedTensor.from_row_lengths(flat, total * width, validate=False)

    for index, feature in enumerate(layout.categorical):
        text = escape_line_ends(_text(raw[feature.name]))
        vocabulary = tft.vocabulary(text, top_k=feature.vocabulary_size, vocab_filename=layout.vocabulary(index))
        if layout.has_future and not feature.known_in_advance:
            # A value that is not known yet is read as unknown, like a missing one.
            text = _extend(text, past, total, fill="")
        ids = tft.apply_vocabulary(text, vocabulary, num_oov_buckets=1)
        outputs[layout.ids(index)] = tf.RaggedTensor.from_row_lengths(ids, total, validate=False)

    if layout.is_per_step:
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


def to_ragged(tensor: Any) -> tf.RaggedTensor:
    """Convert a column of any schema representation to a ragged [B, steps]."""
    if isinstance(tensor, tf.RaggedTensor):
        return tensor
    if isinstance(tensor, tf.SparseTensor):
        # As from_value_rowids, in a tenth of the operations; Transform traces this nine times.
        (lengths,) = _row_lengths([tensor.indices], tensor.dense_shape[0])
        return tf.RaggedTensor.from_row_lengths(tensor.values, lengths, validate=False)
    dense = tf.convert_to_tensor(tensor)
    if dense.shape.rank == 1:
        dense = dense[:, tf.newaxis]
    return tf.RaggedTensor.from_tensor(dense, row_splits_dtype=tf.int64)


def _text(values: tf.Tensor) -> tf.Tensor:
    return values if values.dtype == tf.string else tf.strings.as_string(values)


def _checked(inputs: Mapping[str, Any], layout: Layout) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
    """Return the values of each feature [N], and the steps of the past and of the whole time axis (int64 [B]).

    Static features have the shape [B], with a missing value where an empty sequence has none. All depend on a check
    that the features agree. It is one check: with one for each feature, on which all values depend, the graph would
    grow with the square of their number.
    """
    features = [feature for feature in layout.dataset.data.features if not feature.static]
    static = [feature.name for feature in layout.dataset.data.features if feature.static]
    others = [feature.name for feature in features if not feature.known_in_advance]
    known = [feature.name for feature in features if feature.known_in_advance]
    horizon = layout.future_steps
    values, lengths = _rows([inputs[name] for name in others + known + static])
    if others:
        past = lengths[0]
        # Without a single value there is no future either.
        total = (
            past + horizon if not known else tf.where((past == 0) & (lengths[len(others)] == 0), past, past + horizon)
        )
    else:
        total = lengths[0]
        past = tf.maximum(total - horizon, 0)
    messages = [
        f"Feature {name} has another number of steps than {(others or known)[0]}"
        + (f" (of a known-in-advance feature: the input steps plus {horizon})" if name in known else "")
        + ". Is its key missing or misspelt? Expected for each sequence, then received: "
        for name in others + known
    ]
    in_advance = tf.constant([[False]] * len(others) + [[True]] * len(known))
    expected = tf.where(in_advance, total[tf.newaxis], past[tf.newaxis])
    if static:
        messages += [
            f"The static feature {name} has another number of values than one. Is its key missing or misspelt? "
            "Expected for each sequence, then received: "
            for name in static
        ]
        # A sequence without a step, such as an empty tf.Example, needs none.
        most = tf.minimum(lengths[len(others) + len(known) :], 1)
        expected = tf.concat([expected, tf.where(past[tf.newaxis] > 0, tf.ones_like(most), most)], 0)
    agrees = tf.reduce_all(tf.equal(lengths, expected), axis=1)
    first = tf.argmin(tf.cast(agrees, tf.int32))
    # The plain op: tf.debugging would wrap it into a conditional.
    check = tf.raw_ops.Assert(
        condition=tf.reduce_all(agrees),
        data=[tf.gather(tf.constant(messages), first), expected[first], lengths[first]],
        summarize=20,
    )
    with tf.control_dependencies([check]):
        # Without it the values would not depend on the check, and another operation would fail first.
        *values, past, total = tf.identity_n([*values, past, total])
    for place in range(len(others) + len(known), len(values)):
        values[place] = _one_each(values[place], lengths[place])
    return dict(zip(others + known + static, values, strict=True)), past, total


def _one_each(values: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
    """Return one value for each row, [B], of rows with `counts` (0 or 1) values; NaN or "" where there is none."""
    missing = tf.constant([""] if values.dtype == tf.string else [math.nan], values.dtype)
    places = tf.where(counts > 0, tf.cumsum(counts, exclusive=True), tf.shape(values, counts.dtype)[0])
    return tf.gather(tf.concat([values, missing], 0), places)


def _rows(tensors: Sequence[Any]) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Return the values of F columns, [N] each, and the lengths of their rows, int64 [F, B]."""
    if not all(isinstance(tensor, tf.SparseTensor) for tensor in tensors):
        ragged = [to_ragged(tensor) for tensor in tensors]
        return [each.flat_values for each in ragged], tf.stack([each.row_lengths() for each in ragged])
    batch = tensors[0].dense_shape[0]
    return [tensor.values for tensor in tensors], tf.stack(_row_lengths([tensor.indices for tensor in tensors], batch))


def _row_lengths(indices: Sequence[tf.Tensor], batch: tf.Tensor) -> list[tf.Tensor]:
    """Count the values in each row of sparse columns, int64 [B] each; ``indices`` are int64 [N, 2].

    Two operations for each column, as the constants are shared: half of what slicing and `segment_sum` take, which is
    a sixth of Transform's time for hundreds of columns, and half of the time of wide requests. One count over all
    columns has fewer, and takes three times as long in a server.
    """
    begin, end, strides = tf.constant([0, 0]), tf.constant([0, 1]), tf.constant([1, 1])
    unweighted = tf.constant([], tf.int64)
    return [
        tf.raw_ops.DenseBincount(
            input=tf.raw_ops.StridedSlice(  # each[:, 0]
                input=each, begin=begin, end=end, strides=strides, begin_mask=1, end_mask=1, shrink_axis_mask=2
            ),
            size=batch,
            weights=unweighted,
        )
        for each in indices
    ]


def _extend(values: tf.Tensor, past: tf.Tensor, total: tf.Tensor, fill: Any = 0.0) -> tf.Tensor:
    """Pad concatenated rows of `past` values, [N] or [N, G], to `total` values each."""
    rest = total - past
    filler = tf.fill(
        tf.concat([[tf.reduce_sum(rest)], tf.shape(values, tf.int64)[1:]], 0), tf.constant(fill, values.dtype)
    )
    rows = [
        tf.RaggedTensor.from_row_lengths(part, lengths, validate=False)
        for part, lengths in ((values, past), (filler, rest))
    ]
    return tf.ensure_shape(tf.concat(rows, axis=1).flat_values, [None, *values.shape[1:]])


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
        matrix = _logarithms(tf.cast(matrix, tf.float64), kinds)
        finite = tf.math.is_finite(matrix)
        scaling = _fit(matrix, kinds)
        columns = tf.cast((tf.where(finite, matrix, scaling.fill) - scaling.centre) / scaling.scale, tf.float32)
        absent = tf.cast(tf.logical_not(finite), tf.float32)
        if layout.has_future and not known:
            columns, absent = _extend(columns, past, total), _extend(absent, past, total)
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
        matrix = _logarithms(tf.cast(stacked, tf.float64), kinds)
        finite = tf.math.is_finite(matrix)
        scaling = _fit(matrix, kinds)
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


def _logarithms(matrix: tf.Tensor, kinds: Sequence[str]) -> tf.Tensor:
    """Return sign(x) log(1 + |x|) in the columns of kind `log1p`, and the others as they are; float64 [N, G]."""
    if "log1p" not in kinds:
        return matrix
    logged = tf.constant([[kind == "log1p" for kind in kinds]])
    return tf.where(logged, tf.sign(matrix) * tf.math.log1p(tf.abs(matrix)), matrix)


def _fit(matrix: tf.Tensor, kinds: Sequence[str]) -> _Scaling:
    """Fit the scaling of each column to the analysed split's finite values; `matrix` is float64 [N, G].

    Columns of kind `log1p` hold logarithms already, and are z-scored.
    """
    zero, one = tf.constant(0.0, tf.float64), tf.constant(1.0, tf.float64)
    # Both leave out NaN and infinity.
    mean = _or(tft.mean(matrix, reduce_instance_dims=False), zero)
    deviation = _varies(tf.sqrt(_or(tft.var(matrix, reduce_instance_dims=False), zero)), mean, one)
    centre, scale, fill = tf.unstack(mean), tf.unstack(deviation), tf.unstack(mean)
    finite = tf.math.is_finite(matrix)
    ranged = [index for index, kind in enumerate(kinds) if kind == "minmax"]
    if ranged:
        values, here = tf.gather(matrix, ranged, axis=1), tf.gather(finite, ranged, axis=1)
        infinity = tf.constant(math.inf, tf.float64)
        low = _or(tft.min(tf.where(here, values, infinity), reduce_instance_dims=False), zero)
        high = _or(tft.max(tf.where(here, values, -infinity), reduce_instance_dims=False), zero)
        spread = _varies(high - low, low, one)
        for index, bottom, width in zip(ranged, tf.unstack(low), tf.unstack(spread), strict=True):
            centre[index], scale[index] = bottom, width
    for index, kind in enumerate(kinds):
        if kind == "none":
            centre[index], scale[index] = zero, one
        elif kind == "robust":
            column = tf.cast(tf.boolean_mask(matrix[:, index], finite[:, index]), tf.float32)
            quartiles = tft.quantiles(column, num_buckets=4, epsilon=_QUANTILE_ERROR)
            low, median, high = tf.unstack(tf.cast(tf.reshape(quartiles, [3]), tf.float64))
            centre[index] = fill[index] = _or(median, zero)
            # A half that is one value (mostly zeros, say) has no such range, and the deviation takes its place.
            scale[index] = _varies(_or(high - low, zero), centre[index], deviation[index])
    return _Scaling(tf.stack(centre), tf.stack(scale), tf.stack(fill))


def _or(value: tf.Tensor, default: tf.Tensor) -> tf.Tensor:
    return tf.where(tf.math.is_finite(value), value, default)


def _varies(spread: tf.Tensor, level: tf.Tensor, default: tf.Tensor) -> tf.Tensor:
    return tf.where(spread > _ROUNDING * tf.abs(level), spread, default)


def _targets(
    inputs: Mapping[str, Any], raw: Mapping[str, tf.Tensor], layout: Layout, past: tf.Tensor, total: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Return targets as z-scores, their mean and scale, and their last values."""
    horizons = layout.target_shape[0] if len(layout.target_shape) == 2 else 1
    tables = []
    for key in layout.raw_targets:
        values = to_ragged(inputs[key])
        values = values.with_flat_values(tf.cast(values.flat_values, tf.float64))
        tables.append(values.to_tensor(default_value=float("nan"), shape=[None, horizons]))
    table = tf.stack(tables, axis=2)  # [B, H, K]
    scaling = _fit(tf.reshape(table, [-1, len(tables)]), ["zscore"] * len(tables))
    targets = tf.reshape((table - scaling.centre) / scaling.scale, [-1, horizons * len(tables)])
    outputs = {names.TARGETS: tf.cast(targets, tf.float32)}
    for key, constant in ((names.TARGET_MEAN, scaling.centre), (names.TARGET_SCALE, scaling.scale)):
        row = tf.cast(constant, tf.float32)[tf.newaxis, :]
        outputs[key] = tf.ensure_shape(tf.tile(row, [tf.shape(total)[0], 1]), [None, len(tables)])
    if layout.observed_targets:
        rows = {name: tf.RaggedTensor.from_row_lengths(raw[name], past, validate=False) for name in layout.targets}
        last = [
            (_last_finite(rows[name], scaling.fill[place]) - scaling.centre[place]) / scaling.scale[place]
            for place, name in enumerate(layout.targets)
        ]
        outputs[names.LAST_TARGET] = tf.cast(tf.stack(last, axis=1), tf.float32)
    return outputs


def _last_finite(row: tf.RaggedTensor, default: tf.Tensor) -> tf.Tensor:
    """Return the last finite value of each row, float64 [B]; `default` for a row without one."""
    values = tf.cast(row.flat_values, tf.float64)
    finite = tf.ragged.boolean_mask(row.with_flat_values(values), row.with_flat_values(tf.math.is_finite(values)))
    # One value more than there are rows to read from: an index is valid for an empty batch, too.
    padded = tf.concat([finite.flat_values, [default]], axis=0)
    last = tf.maximum(finite.row_limits() - 1, 0)
    return tf.where(finite.row_lengths() > 0, tf.gather(padded, last), default)

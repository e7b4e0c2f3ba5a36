"""Columns of a batch as values and row lengths, checked to agree in their steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from noisy_gru.trainer.features import Layout


def to_ragged(tensor: Any) -> tf.RaggedTensor:
    """Convert a column of any schema representation to a ragged [B, steps]."""
    if isinstance(tensor, tf.RaggedTensor):
        return tensor
    if isinstance(tensor, tf.SparseTensor):
        # As from_value_rowids, in a tenth of the operations; Transform traces this nine times.
        (lengths,) = row_lengths_of([tensor.indices], tensor.dense_shape[0])
        return tf.RaggedTensor.from_row_lengths(tensor.values, lengths, validate=False)
    dense = tf.convert_to_tensor(tensor)
    if dense.shape.rank == 1:
        dense = dense[:, tf.newaxis]
    return tf.RaggedTensor.from_tensor(dense, row_splits_dtype=tf.int64)


def checked_columns(inputs: Mapping[str, Any], layout: Layout) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
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
    values, lengths = values_and_lengths([inputs[name] for name in others + known + static])
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


def values_and_lengths(tensors: Sequence[Any]) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Return the values of F columns, [N] each, and the lengths of their rows, int64 [F, B]."""
    if not all(isinstance(tensor, tf.SparseTensor) for tensor in tensors):
        ragged = [to_ragged(tensor) for tensor in tensors]
        return [each.flat_values for each in ragged], tf.stack([each.row_lengths() for each in ragged])
    batch = tensors[0].dense_shape[0]
    return [tensor.values for tensor in tensors], tf.stack(
        row_lengths_of([tensor.indices for tensor in tensors], batch)
    )


def row_lengths_of(indices: Sequence[tf.Tensor], batch: tf.Tensor) -> list[tf.Tensor]:
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


def extended(values: tf.Tensor, past: tf.Tensor, total: tf.Tensor, fill: Any = 0.0) -> tf.Tensor:
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

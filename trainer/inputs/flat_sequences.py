"""Concatenated sequences without padding, and batches gathered from them.

    flat = joined([flattened(block, layout) for block in blocks], layout)
    inputs = padded(flat, rows=[3, 0], steps=7, layout=layout)  # `features.model_inputs` of the two

Ragged tensors would do the same, a hundred times slower for a small batch.
"""

# TensorFlow's type hints know neither ragged tensors nor tensors as arguments.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from noisy_gru.trainer import features as names
from noisy_gru.trainer.features import Layout

Flat = dict[str, tf.Tensor]

STARTS = "starts"  # int64 [N]: the place of each sequence's first step


def flattened(block: Mapping[str, Any], layout: Layout) -> Flat:
    """Concatenate the steps of parsed sequences.

    Args:
        block: parsed sequences, as `features` names what Transform writes: [N] and ragged [N, ...].
        layout: of the data set.

    Returns:
        The columns of fixed length as they were, [N, ...]; `features` float32 [S, channels] and `ids_<i>` int64 [S],
        S being the steps of all sequences.
    """
    steps = tf.reduce_sum(block[names.LENGTH])
    widths: dict[str, list[Any]] = {key: [steps] for key in _ids(layout)}
    if layout.is_per_step:
        widths |= {names.LABEL: [steps]} if layout.is_classification else {names.TARGETS: [steps, len(layout.targets)]}
    # With zero channels the number of values says nothing about the steps.
    widths[names.FEATURES] = [steps, len(layout.channels)]
    return {
        key: tf.reshape(value.flat_values, tf.stack(widths[key])) if key in widths else value
        for key, value in block.items()
    }


def joined(parts: Sequence[Flat], layout: Layout) -> Flat:
    """Concatenate several in order, ready for `padded`: with `starts`, and a step of zeros at the end."""
    flat = {key: tf.concat([part[key] for part in parts], axis=0) for key in parts[0]}
    for key in (names.FEATURES, *_ids(layout)):
        flat[key] = tf.pad(flat[key], [[0, 1]] + [[0, 0]] * (len(flat[key].shape) - 1))
    if layout.is_per_step and not layout.is_classification:
        flat[names.TARGETS] = tf.pad(flat[names.TARGETS], [[0, 1], [0, 0]], constant_values=float("nan"))
    elif layout.is_per_step:
        flat[names.LABEL] = tf.pad(flat[names.LABEL], [[0, 1]], constant_values=-1)
    return {**flat, STARTS: tf.cumsum(flat[names.LENGTH], exclusive=True)}


def padded(flat: Flat, rows: Any, steps: Any, layout: Layout) -> dict[str, tf.Tensor]:
    """Gather a padded batch.

    Args:
        flat: of `joined`.
        rows: int64 [B], indices of sequences.
        steps: T, the padded length.
        layout: of the data set.

    Returns:
        The result of `features.model_inputs` for these sequences, [B, T, ...].
    """
    places = _places(flat, rows, steps)
    inputs = {key: tf.gather(flat[key], places) for key in (names.FEATURES, *_ids(layout))}
    inputs[names.LENGTH] = tf.gather(flat[names.LENGTH], rows)
    for key in [*layout.static_inputs, *([names.LAST_TARGET] if layout.observed_targets else [])]:
        inputs[key] = tf.gather(flat[key], rows)
    return inputs


def padded_labels(flat: Flat, rows: Any, steps: Any) -> tf.Tensor:
    """Gather the labels of a padded batch's steps, int64 [B, T]; -1 where there is none (`task.per_step`)."""
    return tf.gather(flat[names.LABEL], _places(flat, rows, steps))


def padded_targets(flat: Flat, rows: Any, steps: Any) -> tf.Tensor:
    """Gather the targets of a padded batch's steps, float32 [B, T, K]; NaN where there is none (`task.per_step`)."""
    return tf.gather(flat[names.TARGETS], _places(flat, rows, steps))


def _places(flat: Flat, rows: Any, steps: Any) -> tf.Tensor:
    """Return the place of each step of a padded batch, int64 [B, T]; that of the last, empty step after the end."""
    lengths, first = tf.gather(flat[names.LENGTH], rows), tf.gather(flat[STARTS], rows)
    axis = tf.range(tf.cast(steps, tf.int64))
    zeros = tf.shape(flat[names.FEATURES], tf.int64)[0] - 1
    return tf.where(axis < lengths[:, tf.newaxis], first[:, tf.newaxis] + axis, zeros)


def _ids(layout: Layout) -> list[str]:
    return [layout.ids(index) for index in range(len(layout.categorical))]

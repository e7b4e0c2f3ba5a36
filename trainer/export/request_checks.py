"""Checks, inside the exported graph, of the tensors that a client sends: a server looks at their dtypes alone.

    tensors = checked_tensors(tensors, layout)  # waits for the checks

Without them a channel too many, or a length too few, would give an answer, and a wrong one.
"""

# TensorFlow's type hints don't know tensors as arguments.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOperatorIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from noisy_gru.saved_model.tensor_names import tensor_names
from noisy_gru.trainer import features as names
from noisy_gru.trainer.features import Layout


def required(fits: tf.Tensor, data: list[Any]) -> Any:
    """A context whose operations wait until `fits` is seen to be true, or fail with the words and tensors of `data`."""
    if tf.executing_eagerly():
        check = tf.debugging.Assert(fits, data)
    else:
        # The plain op: tf.debugging would wrap it into a conditional.
        check = tf.raw_ops.Assert(condition=fits, data=data, summarize=20)
    return tf.control_dependencies([check])


def checked_tensors(
    tensors: Mapping[str, Any], layout: Layout, *, state_size: int | None = None
) -> dict[str, tf.Tensor]:
    """The inputs of `serving_tensors`, or with `state_size` of `serving_step`, once their shapes are seen to agree.

    Args:
        tensors: by the names of docs/architecture.md.
        layout: of the data set.
        state_size: S, the numbers of each stream's state; None for no state.

    Returns:
        The same tensors; `lengths` is int64.

    Raises:
        tf.errors.InvalidArgumentError: (when run) a shape is another than the signature's or than the others'.
    """
    texts = list(tensor_names(layout.dataset.data).values())
    order = [names.FEATURES, names.LENGTHS, *texts, *([names.STATE] if state_size is not None else [])]
    given = {name: tf.convert_to_tensor(tensors[name]) for name in order}
    given[names.LENGTHS] = tf.cast(given[names.LENGTHS], tf.int64)
    shapes = {name: tf.shape(tensor) for name, tensor in given.items()}
    batch, steps = shapes[names.FEATURES][:1], shapes[names.FEATURES][1:2]
    wanted = {
        names.FEATURES: ([batch, steps, [len(layout.numeric)]], f"[sequences, steps, {len(layout.numeric)}]"),
        names.LENGTHS: ([batch], "[sequences]"),
        **{name: ([batch, shapes[name][1:2]], "[sequences, steps]") for name in texts},
        names.STATE: ([batch, [state_size]], f"[sequences, {state_size}]"),
    }
    fits = [_equal(shapes[name], tf.concat(wanted[name][0], 0)) for name in order]
    words = ", ".join(f"`{name}` {wanted[name][1]}" for name in order)
    message = f"Expected the shapes {words}. Received, in this order: "
    with required(tf.reduce_all(fits), [message, *shapes.values()]):
        return {name: tf.identity(tensor) for name, tensor in given.items()}


def _equal(shape: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
    """Whether two shapes are the same; False, not an error, where their ranks differ."""
    # As text, because TensorFlow compares vectors of different lengths with an error or an answer of another rank.
    text, wanted_text = (tf.strings.reduce_join(tf.strings.as_string(each), separator=" ") for each in (shape, wanted))
    return tf.equal(text, wanted_text)

"""Checks of a client's tensors inside the exported graph: a server checks their dtypes alone.

    tensors = checked_tensors(tensors, layout)  # depends on the checks

Without them, one channel too many or one length too few would return a wrong prediction.
"""

# TensorFlow's type hints don't know tensors as arguments.

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from noisy_gru.saved_model.tensor_names import static_tensor_names, tensor_names
from noisy_gru.trainer import features as names
from noisy_gru.trainer.features import Layout


def require(fits: tf.Tensor, data: list[Any]) -> Any:
    """Return a context whose operations fail unless `fits` is true, with the texts and tensors of `data`."""
    if tf.executing_eagerly():
        check = tf.debugging.Assert(fits, data)
    else:
        # The plain op: tf.debugging would wrap it into a conditional.
        check = tf.raw_ops.Assert(condition=fits, data=data, summarize=20)
    return tf.control_dependencies([check])


def checked_tensors(
    tensors: Mapping[str, Any], layout: Layout, *, state_size: int | None = None
) -> dict[str, tf.Tensor]:
    """Check the shapes of the inputs of `serving_tensors`, or with `state_size` of `serving_step`.

    Args:
        tensors: by the names of docs/architecture.md.
        layout: of the data set.
        state_size: S, the numbers of each stream's state; None for no state.

    Returns:
        The same tensors; `lengths` is int64.

    Raises:
        tf.errors.InvalidArgumentError: (when run) a shape differs from the signature's, or from the others.
    """
    texts = list(tensor_names(layout.dataset.data).values())
    once = list(static_tensor_names(layout.dataset.data).values())
    static = [*([names.STATIC] if layout.static_numeric else []), *once]
    order = [names.FEATURES, names.LENGTHS, *texts, *static, *([names.STATE] if state_size is not None else [])]
    given = {name: tf.convert_to_tensor(tensors[name]) for name in order}
    given[names.LENGTHS] = tf.cast(given[names.LENGTHS], tf.int64)
    shapes = {name: tf.shape(tensor) for name, tensor in given.items()}
    batch, steps = shapes[names.FEATURES][:1], shapes[names.FEATURES][1:2]
    wanted = {
        names.FEATURES: ([batch, steps, [len(layout.numeric)]], f"[sequences, steps, {len(layout.numeric)}]"),
        names.LENGTHS: ([batch], "[sequences]"),
        **{name: ([batch, shapes[name][1:2]], "[sequences, steps]") for name in texts},
        names.STATIC: ([batch, [len(layout.static_numeric)]], f"[sequences, {len(layout.static_numeric)}]"),
        **{name: ([batch], "[sequences]") for name in once},
        names.STATE: ([batch, [state_size]], f"[sequences, {state_size}]"),
    }
    fits = [_equal(shapes[name], tf.concat(wanted[name][0], 0)) for name in order]
    shapes_text = ", ".join(f"`{name}` {wanted[name][1]}" for name in order)
    message = f"Expected the shapes {shapes_text}. Received, in this order: "
    with require(tf.reduce_all(fits), [message, *shapes.values()]):
        return {name: tf.identity(tensor) for name, tensor in given.items()}


def _equal(shape: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
    """Return whether two shapes are equal; False, not an error, if their ranks differ."""
    # As text: TensorFlow can't compare vectors of different lengths.
    text, wanted_text = (tf.strings.reduce_join(tf.strings.as_string(each), separator=" ") for each in (shape, wanted))
    return tf.equal(text, wanted_text)

"""Random bits from a key and a counter alone, the same with XLA and without.

TensorFlow's stateless generator gives the same bits in both, too, but XLA compiles it for CPUs to code that takes
longer than a GRU over twenty steps.
"""

# TensorFlow's type hints know no tensors as arguments.

from __future__ import annotations

from typing import Any

import tensorflow as tf

_PARITY = 0x1BD11BDA
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def threefry2x32(key: tuple[Any, Any], counter: tuple[Any, Any]) -> tuple[Any, Any]:
    """Threefry-2x32 with 20 rounds.

    Args:
        key: two uint32 scalars.
        counter: two uint32 tensors of one shape.

    Returns:
        Two uint32 tensors of that shape.

    Source: Salmon, Moraes, Dror and Shaw (2011), "Parallel Random Numbers: As Easy as 1, 2, 3".
    """
    xor = tf.bitwise.bitwise_xor
    keys = (*key, xor(xor(*key), _number(_PARITY)))
    one, two = counter[0] + keys[0], counter[1] + keys[1]
    for group in range(5):
        for bits in _ROTATIONS[group % 2]:
            one = one + two
            two = xor(one, _rotated(two, bits))
        one = one + keys[(group + 1) % 3]
        two = two + keys[(group + 2) % 3] + _number(group + 1)
    return one, two


def random_bits(seed: Any, rows: Any, columns: int) -> Any:
    """Return bits uint32 (rows, columns), independent for every seed, row and column.

    Args:
        seed: integers (2,), of which the lower 32 bits count.
        rows: of them, a number or a scalar tensor; the bits of a row are the same for any.
        columns: of them.
    """
    key = tf.cast(seed, tf.uint32)
    pairs = -(-columns // 2)
    row, column = tf.meshgrid(tf.range(rows), tf.range(pairs), indexing="ij")
    one, two = _traced((key[0], key[1]), (tf.cast(row, tf.uint32), tf.cast(column, tf.uint32)))
    return tf.concat([one, two], 1)[:, :columns]


def _rotated(value: Any, bits: int) -> Any:
    left = tf.bitwise.left_shift(value, _number(bits))
    return tf.bitwise.bitwise_or(left, tf.bitwise.right_shift(value, _number(32 - bits)))


def _number(value: int) -> Any:
    return tf.constant(value, tf.uint32)


_KEY, _COUNTER = tf.TensorSpec([], tf.uint32), tf.TensorSpec([None, None], tf.uint32)
# Traced, and gone through by TensorFlow's optimizer, once for all layers: it is a hundred operations.
_traced = tf.function(
    threefry2x32,
    input_signature=[(_KEY, _KEY), (_COUNTER, _COUNTER)],
    autograph=False,
    experimental_attributes={"_noinline": True},
)

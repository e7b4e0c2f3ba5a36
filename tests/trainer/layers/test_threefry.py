"""Threefry-2x32: the known answers of its authors, and what the noise needs of its bits."""

import numpy as np
import pytest
import tensorflow as tf

from noisy_gru.trainer.layers.threefry import random_bits, threefry2x32


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize(
    ("key", "counter", "answer"),
    [
        # kat_vectors of Random123, "threefry2x32 20".
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_known_answers(
    key: tuple[int, int], counter: tuple[int, int], answer: tuple[int, int], jit_compile: bool
) -> None:
    run = tf.function(threefry2x32, jit_compile=jit_compile)
    found = run(
        tuple(tf.constant(each, tf.uint32) for each in key), tuple(tf.constant([c], tf.uint32) for c in counter)
    )
    assert tuple(int(each[0]) for each in found) == answer


@pytest.mark.parametrize("columns", [1, 2, 7, 64])
def test_bits_of_a_row_do_not_depend_on_the_others(columns: int) -> None:
    few, many = (random_bits(tf.constant([3, 9], tf.int64), rows, columns).numpy() for rows in (2, 5))
    assert few.shape == (2, columns)
    np.testing.assert_array_equal(few, many[:2])


def test_bits_are_apart_by_seed_row_and_column() -> None:
    seeds = ([3, 9], [3, 10], [4, 9])
    drawn = np.concatenate([random_bits(tf.constant(seed, tf.int64), 50, 40).numpy().ravel() for seed in seeds])
    # Of 6000 numbers out of 2**32, 0.004 pairs are equal on average.
    assert len(np.unique(drawn)) == len(drawn)
    assert abs(drawn.mean() / 2**32 - 0.5) < 4 * 12**-0.5 * len(drawn) ** -0.5

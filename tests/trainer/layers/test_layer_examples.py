"""The examples of docs/noisy-gru.md, run as they stand there: the three hand-written forms and the way from them."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.trainer.numpy_gru import gru

PAGE = Path(__file__).parents[3] / "docs" / "noisy-gru.md"


@pytest.fixture(scope="module")
def page():
    """The names that the page's Python blocks define, run in order in one namespace."""
    keras.utils.set_random_seed(31)
    names = {"__name__": "noisy_gru_page"}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)
    return names


def test_a_stock_gru_with_a_random_initial_state():
    keras.utils.set_random_seed(32)
    sequences = keras.random.normal((32, 20, 10))
    initial_state = keras.random.normal((32, 64), stddev=0.1)
    layer = keras.layers.GRU(64)
    output = layer(sequences, initial_state=initial_state)
    assert output.shape == (32, 64)
    expected = gru(sequences, layer.get_weights(), initial_state=initial_state)[1]
    np.testing.assert_allclose(output, expected, atol=5e-6)


def test_the_page_shows_the_same(page):
    assert page["sequences"].shape == (32, 20, 10)
    assert page["initial_state"].shape == (32, 64)
    assert page["output"].shape == (32, 64)


def test_a_layer_that_draws_its_own_state(page):
    wrapped, sequences = page["wrapped"], page["sequences"]
    assert page["wrapped_output"].shape == (32, 64)
    # The batch size comes from the input, and the noise only with training.
    assert wrapped(sequences[:5], training=True).shape == (5, 64)
    expected = gru(sequences, wrapped.get_weights())[1]
    np.testing.assert_allclose(wrapped(sequences), expected, atol=5e-6)
    # One step, because fresh weights forget a first state within a few.
    first_step = gru(sequences[:, :1], wrapped.get_weights())[1]
    assert np.abs(wrapped(sequences[:, :1], training=True) - first_step).max() > 0.05
    mask = np.ones((32, 20), dtype=bool)
    assert wrapped.compute_mask(sequences, mask) is None
    assert page["by_hand"].layers[0].compute_mask(sequences, mask) is mask


def test_a_stack_of_three(page):
    x, shapes = page["sequences"], []
    for layer in page["by_hand"].layers:
        x = layer(x, training=True)
        shapes.append(tuple(x.shape))
    assert shapes == [(32, 20, 64), (32, 20, 32), (32, 16)]
    assert page["stack_output"].shape == (32, 16)


def test_the_wrapped_layer_becomes_a_noisy_gru_with_its_weights(page):
    sequences, layer = page["sequences"], page["layer"]
    np.testing.assert_allclose(layer(sequences), page["wrapped"](sequences), atol=5e-6)
    np.testing.assert_allclose(page["learning"](sequences), page["wrapped"](sequences), atol=5e-6)
    assert np.abs(layer(sequences[:, :1], training=True) - layer(sequences[:, :1])).max() > 0.05


def test_the_wrapped_stack_becomes_noisy_grus_with_its_weights(page):
    sequences, stack = page["sequences"], page["stack"]
    assert [(layer.units, layer.stddev) for layer in stack.layers] == [(64, 0.1), (32, 0.05), (16, 0.025)]
    np.testing.assert_allclose(stack(sequences), page["by_hand"](sequences), atol=5e-6)
    outputs = sequences
    for wrapper in page["by_hand"].layers:
        outputs, last, _ = gru(outputs, wrapper.get_weights())
    np.testing.assert_allclose(stack(sequences), last, atol=1e-5)


def test_the_schedules_of_the_page(page):
    assert [page["to_a_tenth"].factor(epoch) for epoch in (0, 19)] == pytest.approx([1.0, 0.1])
    assert page["by_rule"].factor(2) == pytest.approx(0.81)


def test_a_first_state_from_what_is_known(page):
    x, shop = page["sequences"], np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
    model = page["with_start"]
    dense, layer = model.layers[-2], model.layers[-1]
    kernel, bias = dense.get_weights()
    expected = gru(x, layer.get_weights(), initial_state=np.tanh(shop @ kernel + bias))[1]
    np.testing.assert_allclose(model([x, keras.ops.convert_to_tensor(shop)], training=False), expected, atol=1e-5)

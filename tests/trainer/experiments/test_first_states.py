"""First states other than a model's own, against stock Keras GRUs that read each sequence alone, without padding."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from noisy_gru.trainer.config import TrainerConfig
from noisy_gru.trainer.custom_config import CustomConfig
from noisy_gru.trainer.experiments.first_states import StartedModel, measure_first_states, other_sequences
from noisy_gru.trainer.experiments.starts import FirstStates

pytestmark = pytest.mark.slow
STDDEVS = (0.3, 0.2)
LAYERS = [{"units": 4, "stddev": 0.3}, {"units": 3, "stddev": 0.2}]
MODELS: dict[str, dict[str, Any]] = {
    "plain": {},
    "learned_mean": {"learn_mean": True},
    "both_ways": {"bidirectional": True},
    "both_ways_pooled": {"bidirectional": True, "pooling": "max"},
    "pooled": {"pooling": "mean"},
}


@pytest.fixture(scope="module")
def make(classification, forecasting, tmp_path_factory):
    """``make(data, **model)``: context and a compiled, untrained model with weights drawn so that states matter."""

    def _make(data: Any, **settings: Any) -> tuple[Any, Any]:
        import keras

        from noisy_gru.trainer.model import build_model
        from noisy_gru.trainer.objective import compile_model
        from noisy_gru.trainer.training_context import prepare_training

        config = TrainerConfig.model_validate({"model": {"layers": LAYERS, **settings}, "training": {"batch_size": 16}})
        folder = tmp_path_factory.mktemp("first_states")
        context = prepare_training(data.fn_args(folder, {}), CustomConfig(data.dataset, config))
        keras.utils.set_random_seed(3)
        model = build_model(config.model, context.layout, context.sizes, seed=0)
        random = np.random.default_rng(4)
        for weight in model.weights:
            drawn = random.normal(0, 0.6, weight.shape).astype(np.float32)
            weight.assign(np.abs(drawn) if "variance" in weight.name else drawn)
        compile_model(model, config.training, context.layout, steps_per_epoch=1, epochs=1, classes=context.classes)
        return context, model

    return _make


def sequences_of(context: Any) -> list[tuple[np.ndarray, int]]:
    """The eval split, one sequence without padding after the other, with its class."""
    return [
        (batch[0]["features"][row, : int(batch[0]["length"][row])].numpy(), int(batch[1][row]))
        for batch in context.eval.one_pass()
        for row in range(len(batch[1]))
    ]


class Oracle:
    """The stack of a classification in stock Keras layers, for one sequence at a time."""

    def __init__(self, model: Any, settings: dict[str, Any]):
        import keras

        self.pooling = settings.get("pooling", "last")
        self.layers: list[list[tuple[Any, Any]]] = []
        for layer in model.layers:
            if not layer.name.startswith(("noisy_gru_", "both_ways_")):
                continue
            grus = [layer.forward_layer, layer.backward_layer] if settings.get("bidirectional") else [layer]
            stock = []
            for gru in grus:
                copy = keras.layers.GRU(gru.units, return_sequences=True, return_state=True)
                copy.build((None, None, gru.cell.kernel.shape[0]))
                copy.set_weights(gru.cell.get_weights())
                mean = np.zeros(gru.units) if gru.initial_mean is None else gru.initial_mean.numpy()
                stock.append((copy, mean.astype(np.float32)))
            self.layers.append(stock)
        self.kernel, self.bias = model.get_layer("logits").get_weights()

    def own(self) -> list[np.ndarray]:
        return [mean for layer in self.layers for _, mean in layer]

    def __call__(self, sequence: np.ndarray, states: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
        """Logits and last states of a sequence [T, F]."""
        given, ended = iter(states), []
        hidden = sequence
        for layer in self.layers:
            outputs = []
            for direction, (gru, _) in enumerate(layer):
                order = slice(None, None, -1 if direction else 1)
                steps, last = gru(hidden[None, order], initial_state=[next(given)[None]])
                outputs.append(steps.numpy()[0, order])
                ended.append(last.numpy()[0])
            hidden = np.concatenate(outputs, axis=1)
        if self.pooling == "last":
            top = np.concatenate(ended[-len(self.layers[-1]) :])
        else:
            top = hidden.max(axis=0) if self.pooling == "max" else hidden.mean(axis=0)
        return top @ self.kernel + self.bias, ended


def metrics(logits: list[np.ndarray], classes: list[int]) -> dict[str, float]:
    from scipy.special import log_softmax

    losses = [-log_softmax(each.astype(float))[label] for each, label in zip(logits, classes, strict=True)]
    right = [int(each.argmax()) == label for each, label in zip(logits, classes, strict=True)]
    return {"loss": float(np.mean(losses)), "nll": float(np.mean(losses)), "accuracy": float(np.mean(right))}


def check(found: dict[str, float], expected: dict[str, float]) -> None:
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-4), name


@pytest.mark.parametrize(
    "name",
    [
        "plain",
        *(
            pytest.param(name, marks=pytest.mark.long)
            for name in ("both_ways_pooled", "learned_mean", "both_ways", "pooled")
        ),
    ],
)
def test_every_start_is_as_stock_layers_have_it(make, classification, name):
    context, model = make(classification, **MODELS[name])
    oracle, rows = Oracle(model, MODELS[name]), sequences_of(context)
    classes = [label for _, label in rows]
    starts = FirstStates(STDDEVS, noise_scales=(1.0, 10.0), burn_in=(0, 2))
    measured, refused = measure_first_states(model, context, starts, seed=5)
    own = oracle.own()
    plain = [oracle(sequence, own) for sequence, _ in rows]
    check(measured["zero"], metrics([logits for logits, _ in plain], classes))

    donors = other_sequences(len(rows), 5)
    carried = [oracle(sequence, plain[donor][1])[0] for (sequence, _), donor in zip(rows, donors, strict=True)]
    check(measured["carried"], metrics(carried, classes))
    assert measured["carried"]["loss"] != pytest.approx(measured["zero"]["loss"], rel=1e-3)

    if name in ("plain", "learned_mean"):
        assert refused == {}
        for steps in (0, 2):
            halves = []
            for sequence, _ in rows:
                middle = len(sequence) // 2
                before = sequence[max(middle - steps, 0) : middle]
                state = oracle(before, own)[1] if len(before) else own
                halves.append(oracle(sequence[middle:], state)[0])
            check(measured[f"burn_in_{steps}"], metrics(halves, classes))
    else:
        assert set(refused) == {"burn_in_0", "burn_in_2"}
        expected = "bidirectional" if "both" in name else "pooling"
        assert f"model.{expected}" in refused["burn_in_0"]


def test_noise_has_the_law_that_it_is_asked_for(make, classification, monkeypatch):
    context, model = make(classification, learn_mean=True)
    given: list[Any] = []
    whole = StartedModel.__call__

    def call(self: Any, inputs: Any, states: Any = None, own: Any = 0.0) -> Any:
        import tensorflow as tf

        def keep(factor: Any, *values: Any) -> None:
            if factor.numpy() == 1 and values[0].numpy().any():
                given.append([value.numpy() for value in values])

        tf.py_function(keep, [own, *states], [])
        return whole(self, inputs, states, own)

    monkeypatch.setattr(StartedModel, "__call__", call)
    # Many draws of few sequences: seeds are independent.
    for seed in range(12):
        measure_first_states(model, context, FirstStates(STDDEVS, noise_scales=(10.0,)), seed=seed)
    for layer, stddev in enumerate(STDDEVS):
        drawn = np.concatenate([batch[layer] for batch in given]).ravel() / (10 * stddev)
        assert drawn.size == 12 * len(context.eval) * LAYERS[layer]["units"]
        assert drawn.mean() == pytest.approx(0, abs=4 / drawn.size**0.5)
        assert drawn.std() == pytest.approx(1, abs=3 / drawn.size**0.5)


def test_the_last_state_of_an_empty_sequence_is_its_first(make, classification):
    import tensorflow as tf

    context, model = make(classification)
    inputs = {"features": tf.ones([2, 3, len(context.layout.channels)]), "length": tf.constant([0, 3], tf.int64)}
    first = [np.full((2, 4), 0.25, np.float32), np.full((2, 3), -0.5, np.float32)]
    _, last = StartedModel(model)(inputs, first)
    for found, given in zip(last, first, strict=True):
        assert (found.numpy()[0] == given[0]).all()
        assert (found.numpy()[1] != given[1]).all()


@pytest.mark.parametrize("settings", [{}, {"segment": 2}, {"target": "difference"}])
def test_a_forecast_from_its_own_states_is_the_models(make, forecasting, settings):
    context, model = make(forecasting, **settings)
    (inputs, *_) = next(iter(context.eval.one_pass()))
    taken = {key: inputs[key] for key in model.input}
    outputs, last = StartedModel(model)(inputs)
    np.testing.assert_allclose(outputs, model(taken, training=False), rtol=1e-5, atol=1e-5)
    assert [state.shape for state in last] == [(16, 4), (16, 3)]
    moved, _ = StartedModel(model)(inputs, [np.full((16, 4), 0.9, np.float32), np.full((16, 3), 0.9, np.float32)])
    assert float(np.abs(moved - outputs).max()) > 1e-2
    measured, refused = measure_first_states(model, context, FirstStates(STDDEVS, burn_in=(1,)), seed=0)
    evaluated = model.evaluate(context.eval.one_pass(), verbose=0, return_dict=True)
    assert measured["zero"] == pytest.approx(evaluated, rel=1e-4)
    assert "known_in_advance" in refused["burn_in_1"] or "model.segment" in refused["burn_in_1"]


@pytest.mark.parametrize(
    "settings",
    [
        {"pooling": "attention"},
        {"convolutions": {"filters": [5], "kernels": [3], "placement": "front", "pool": 2}},
        {"convolutions": {"filters": [5], "kernels": [3], "placement": "beside"}, "bidirectional": True},
        {"segment": 2},
    ],
)
def test_other_layers_around_the_stack_are_the_models_own(make, classification, settings):
    context, model = make(classification, **settings)
    (inputs, *_) = next(iter(context.eval.one_pass()))
    outputs, last = StartedModel(model)(inputs)
    np.testing.assert_allclose(outputs, model(inputs, training=False), rtol=1e-4, atol=1e-5)
    again, _ = StartedModel(model)(inputs, last)
    assert float(np.abs(again - outputs).max()) > 1e-3
    measured, refused = measure_first_states(model, context, FirstStates(STDDEVS, burn_in=(1,)), seed=0)
    assert measured["zero"]["loss"] != pytest.approx(measured["carried"]["loss"], rel=1e-4)
    assert "needs what streams need" in refused["burn_in_1"]


def test_batches_that_are_padded_to_one_size_measure_the_same(make, classification):
    context, model = make(classification, learn_mean=True)
    starts = FirstStates(STDDEVS, burn_in=(1,))
    expected, _ = measure_first_states(model, context, starts, seed=1)
    padded = dataclasses.replace(context)
    context.eval.pad_to((12,))
    try:
        found, _ = measure_first_states(model, padded, starts, seed=1)
    finally:
        context.eval.pad_to(())
    assert found.keys() == expected.keys()
    for start, values in expected.items():
        assert found[start] == pytest.approx(values, rel=1e-4), start


@pytest.mark.parametrize("count", [2, 3, 40])
def test_every_sequence_gets_another_ones_state(count):
    for seed in range(20):
        others = other_sequences(count, seed)
        assert sorted(others) == list(range(count))
        assert (others != np.arange(count)).all()
    assert (other_sequences(count, 1) == other_sequences(count, 1)).all()

"""The stack of GRUs as it is served, in a Session as TF Serving loads it, against Keras' own GRU layers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose, assert_array_equal

from noisy_gru.components.serving_gate.graph_audit import audit
from noisy_gru.saved_model.c_api import registered_operations
from noisy_gru.saved_model.saved_model_proto import parse_saved_model
from noisy_gru.saved_model.session import SessionModel
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.trainer.export.serving_stack import serving_function
from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.model import VocabularySizes, build_model
from noisy_gru.trainer.model_config import ModelConfig

pytestmark = pytest.mark.slow

FEATURES, CLASSES = 3, 4
# Every way through the loops: directions, one layer or several, outputs of all steps or the last alone, a first state.
KINDS: dict[str, dict[str, Any]] = {
    "last": {"layers": [{"units": 7}, {"units": 5}, {"units": 4}]},
    "last of one layer": {"layers": [{"units": 6}], "learn_mean": True},
    "mean": {"layers": [{"units": 6}, {"units": 5}], "pooling": "mean", "learn_mean": True},
    "max of one layer": {"layers": [{"units": 6}], "pooling": "max"},
    "both ways": {"layers": [{"units": 7}, {"units": 5}, {"units": 4}], "bidirectional": True, "learn_mean": True},
    "both ways, max": {"layers": [{"units": 6}, {"units": 5}], "bidirectional": True, "pooling": "max"},
    "wide": {"layers": [{"units": 250}, {"units": 3}]},
}


def dataset() -> DatasetConfig:
    names = [f"x{index}" for index in range(FEATURES)]
    data = {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": names}
    return DatasetConfig.model_validate({"data": data, "task": {"kind": "classification", "label": "label"}})


def made(**config: Any) -> keras.Model:
    """A model for serving with weights by chance."""
    random = np.random.default_rng(0)
    model = build_model(
        ModelConfig.model_validate(config), Layout(dataset()), VocabularySizes(CLASSES), seed=1, for_serving=True
    )
    model.set_weights(
        [random.normal(0, 1 / np.sqrt(max(weight.shape)), weight.shape).astype(np.float32) for weight in model.weights]
    )
    return model


def stock_answers(model: keras.Model, config: dict[str, Any], x: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Logits of stock layers with the same weights, rows of a length by themselves, without padding or mask."""
    weights = [weight.numpy() for weight in model.weights]
    layers, below = [], FEATURES
    for index, layer in enumerate(config["layers"]):
        directions = []
        for backwards in range(1 + config.get("bidirectional", False)):
            mean = weights.pop(0) if config.get("learn_mean") else np.zeros(layer["units"], np.float32)
            options: Any = {"return_sequences": True, "go_backwards": bool(backwards), "use_cudnn": False}
            gru = keras.layers.GRU(layer["units"], name=f"{index}", **options)
            gru.build((None, None, below))
            gru.set_weights([weights.pop(0) for _ in range(3)])
            directions.append((gru, mean))
        layers.append(directions)
        below = layer["units"] * len(directions)
    kernel, bias = weights
    answers = np.zeros((len(lengths), CLASSES), np.float32)
    for length in np.unique(lengths):
        rows = lengths == length
        read, last = tf.constant(x[rows, :length]), np.zeros((rows.sum(), below), np.float32)
        if length:
            ends = []
            for directions in layers:
                reported = [
                    gru(read, initial_state=np.repeat(mean[np.newaxis], rows.sum(), 0)) for gru, mean in directions
                ]
                ends = [each[:, -1] for each in reported]
                read = tf.concat([reported[0], *(tf.reverse(each, [1]) for each in reported[1:])], 2)
            pooled = {"mean": tf.reduce_mean, "max": tf.reduce_max}.get(config.get("pooling", "last"))
            last = pooled(read, axis=1) if pooled else tf.concat(ends, 1)
        answers[rows] = np.array(last) @ kernel + bias
    return answers


def save(model: keras.Model, predict: Any, folder: Path) -> None:
    """A SavedModel whose signature `serve` is a function of padded features and lengths."""
    module: Any = tf.Module()
    module.variables_of_model = [variable.value for variable in model.weights]
    module.serve = tf.function(
        lambda features, length: {"logits": predict({"features": features, "length": length})},
        input_signature=[
            tf.TensorSpec([None, None, FEATURES], tf.float32, "features"),
            tf.TensorSpec([None], tf.int64, "length"),
        ],
        autograph=False,
    )
    tf.saved_model.save(module, str(folder), signatures={"serve": module.serve.get_concrete_function()})


def batch(lengths: list[int], steps: int, seed: int = 0) -> dict[str, np.ndarray]:
    x = np.random.default_rng(seed).normal(size=(len(lengths), steps, FEATURES)).astype(np.float32)
    return {"features": x, "length": np.array(lengths, np.int64)}


@pytest.fixture(scope="module", params=KINDS)
def served(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A model of each kind with its fast form in a Session."""
    config = KINDS[request.param]
    model = made(**config)
    predict = serving_function(model)
    assert predict is not None
    folder = tmp_path_factory.mktemp("served")
    save(model, predict, folder)
    with SessionModel(folder) as session:
        yield SimpleNamespace(kind=request.param, config=config, model=model, folder=folder, session=session)


def test_answers_are_those_of_the_stock_layers(served: Any) -> None:
    """Batches of one and of several, at and around the ends of a loop's rounds, padded and not, with empty rows."""
    cases = [([steps], steps) for steps in (1, 7, 8, 18)]
    cases += [([3], 11), ([0], 1), ([0], 20), ([1, 0, 4, 8], 8), ([2, 1], 2), ([0, 0], 1)]
    cases.append((np.random.default_rng(5).choice([0, 1, 5, 8], 40).tolist(), 15))
    for seed, (lengths, steps) in enumerate(cases):
        inputs = batch(lengths, steps, seed)
        answer = served.session.run("serve", inputs)["logits"]
        expected = stock_answers(served.model, served.config, inputs["features"], inputs["length"])
        assert_allclose(answer, expected, rtol=0, atol=5e-6, err_msg=str((lengths, steps)))


def test_an_empty_batch_has_no_answers(served: Any) -> None:
    assert served.session.run("serve", batch([], 3))["logits"].shape == (0, CLASSES)


def test_what_stands_behind_the_end_does_not_count(served: Any) -> None:
    for lengths in ([5], [5, 0, 9]):
        inputs = batch(lengths, 9)
        other = {**inputs, "features": inputs["features"].copy()}
        for row, length in enumerate(lengths):
            other["features"][row, length:] = 1e3
        answers = [served.session.run("serve", each)["logits"] for each in (inputs, other, inputs)]
        assert_array_equal(answers[0], answers[2])
        assert_array_equal(answers[0], answers[1])


def test_a_sequence_is_answered_alone_as_among_others(served: Any) -> None:
    """A thousand steps of padding included: the state after the end stays what it was."""
    inputs = batch([6, 0, 1000], 1000)
    together = served.session.run("serve", inputs)["logits"]
    for row, length in enumerate(inputs["length"]):
        alone = {"features": inputs["features"][row : row + 1, : max(length, 1)], "length": inputs["length"][[row]]}
        assert_allclose(served.session.run("serve", alone)["logits"][0], together[row], rtol=0, atol=2e-6)


def test_the_graph_is_small_and_holds_nothing_that_a_server_lacks(served: Any) -> None:
    content = (served.folder / "saved_model.pb").read_bytes()
    (graph,) = parse_saved_model(content).meta_graphs
    assert audit(graph, registered_operations()) == []
    assert len(content) < 1_000_000
    reader = tf.train.load_checkpoint(str(served.folder / "variables" / "variables"))
    stored = sum(
        reader.get_tensor(key).size
        for key in reader.get_variable_to_shape_map()
        if key != "_CHECKPOINTABLE_OBJECT_GRAPH"
    )
    assert stored == served.model.count_params()


@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_reference_stack_fits_into_two_megabytes(bidirectional: bool, tmp_path: Path) -> None:
    """With a form for one sequence of its own in it, which a wide stack does without: that one is smaller."""
    stacks = {"reference": [{"units": 64}, {"units": 32}, {"units": 16}], "wide": [{"units": 256}, {"units": 128}]}
    sizes = {}
    for name, layers in stacks.items():
        model = made(layers=layers, bidirectional=bidirectional)
        save(model, serving_function(model), tmp_path / name)
        sizes[name] = (tmp_path / name / "saved_model.pb").stat().st_size
    assert sizes["wide"] < sizes["reference"] < 2_000_000


def test_weights_that_saturate_the_gates_are_computed_as_in_keras(tmp_path: Path) -> None:
    """Gates at 0 and 1, where the state is kept or replaced whole, for one sequence and for several."""
    config = {"layers": [{"units": 5}, {"units": 4}]}
    model = made(**config)
    model.set_weights([30 * weight for weight in model.get_weights()[:-2]] + model.get_weights()[-2:])
    save(model, serving_function(model), tmp_path)
    with SessionModel(tmp_path) as session:
        for lengths in ([20], [20, 3, 0]):
            inputs = batch(lengths, 20)
            expected = stock_answers(model, config, inputs["features"], inputs["length"])
            assert_allclose(session.run("serve", inputs)["logits"], expected, rtol=0, atol=1e-5)


def test_no_shape_is_written_into_the_graph(served: Any) -> None:
    spec = served.session.signatures["serve"]
    assert spec.inputs["features"].shape == (None, None, FEATURES)
    assert spec.outputs["logits"].shape == (None, CLASSES)


@pytest.mark.parametrize(
    "change",
    [
        {"fused": False},
        {"activation": "relu"},
        {"recurrent_activation": "hard_sigmoid"},
        {"use_bias": False},
        {"reset_after": False},
        {"unroll": True},
        {"dtype": "float64"},
    ],
    ids=str,
)
def test_a_stack_that_the_loops_do_not_know_is_served_as_it_is(change: dict[str, Any]) -> None:
    """One layer is enough; without the change the same model has a fast form."""
    model = made(layers=[{"units": 4}, {"units": 3}])
    assert serving_function(model) is not None

    def clone(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        if layer.name == "noisy_gru_1":
            config.update(change)
        return type(layer).from_config(config)

    if change.get("unroll"):
        # Keras refuses to unroll a free time axis, so the layer is changed where it stands.
        model.get_layer("noisy_gru_1").unroll = True
        assert serving_function(model) is None
        return
    assert serving_function(keras.models.clone_model(model, clone_function=clone)) is None


def test_a_wave_of_layers_starts_each_one_from_its_own_state(tmp_path: Path) -> None:
    """Layer by layer in NumPy: the states before the first step differ, and no layer begins before its inputs do."""
    config = {"layers": [{"units": 3}, {"units": 3}, {"units": 3}], "learn_mean": True}
    model = made(**config)
    save(model, serving_function(model), tmp_path)
    weights = [weight.numpy().astype(np.float64) for weight in model.weights]
    inputs = batch([2], 2)
    read = inputs["features"][0].astype(np.float64)
    for start, end in pairwise(range(0, 13, 4)):
        mean, kernel, recurrent, bias = weights[start:end]
        h, reported = mean, []
        for x in read:
            a, b = x @ kernel + bias[0], h @ recurrent + bias[1]
            z, r = (1 / (1 + np.exp(-(a[part] + b[part]))) for part in (slice(3), slice(3, 6)))
            h = z * h + (1 - z) * np.tanh(a[6:] + r * b[6:])
            reported.append(h)
        read = np.array(reported)
    with SessionModel(tmp_path) as session:
        answer = session.run("serve", inputs)["logits"][0]
    assert_allclose(answer, read[-1] @ weights[-2] + weights[-1], rtol=0, atol=5e-6)


@pytest.mark.parametrize(
    "config",
    [
        {"layers": [{"units": 5}, {"units": 4}]},
        {"layers": [{"units": 5}], "pooling": "mean", "learn_mean": True, "hidden": [3]},
        {"layers": [{"units": 5}, {"units": 4}], "bidirectional": True, "target": "difference"},
        {"layers": [{"units": 4}], "pooling": "max", "target": "difference"},
    ],
)
@pytest.mark.parametrize("future", ["targets", "steps"])
def test_features_known_in_advance(config: dict[str, Any], future: str) -> None:
    """The loops read the past alone where each horizon reads its own target's time; else the whole axis."""
    known = {"known_in_advance": True}
    features = ["a", {"name": "p", "missing": "mask", **known}, {"name": "c", "kind": "categorical", **known}]
    data = {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": features}
    task = {"kind": "forecasting", "targets": ["a"], "input_length": 4, "horizons": [1, 3]}
    layout = Layout(DatasetConfig.model_validate({"data": data, "task": task}))
    made = ModelConfig.model_validate({**config, "future": future})
    model: Any = build_model(made, layout, VocabularySizes(0, (5,)), seed=1, for_serving=True)
    random = np.random.default_rng(0)
    model.set_weights([random.normal(0, 0.4, weight.shape) for weight in model.get_weights()])
    predict: Any = serving_function(model)
    graph = tf.function(lambda inputs: predict(inputs), autograph=False)
    for lengths, steps in (([7], 7), ([7], 12), ([7, 9, 0, 4], 9), ([0, 0], 1), ([0], 1)):
        rows = len(lengths)
        given = {
            "features": random.normal(size=(rows, steps, 4)).astype(np.float32),
            "length": np.array(lengths, np.int64),
            "ids_0": random.integers(0, 5, (rows, steps)),
            "last_target": random.normal(size=(rows, 1)).astype(np.float32),
        }
        inputs = {key: tf.constant(given[key]) for key in model.input}
        assert_allclose(graph(inputs), model(inputs, training=False), rtol=0, atol=2e-6, err_msg=str((lengths, steps)))

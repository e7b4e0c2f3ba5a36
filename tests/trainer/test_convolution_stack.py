"""Models with convolutions: against NumPy, padded, trained, compiled by XLA, served, and what may not be combined."""

from __future__ import annotations

import warnings
from pathlib import Path
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
from noisy_gru.trainer import features as names
from noisy_gru.trainer.config import TrainerConfig
from noisy_gru.trainer.custom_config import CustomConfig
from noisy_gru.trainer.export.saved_model import load_for_parity
from noisy_gru.trainer.export.serving_stack import serving_function
from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.model import VocabularySizes, build_model
from noisy_gru.trainer.model_checks import model_problems
from noisy_gru.trainer.model_config import PRESETS, ConvolutionsConfig, ModelConfig
from noisy_gru.trainer.objective import compile_model
from noisy_gru.trainer.training_config import TrainingConfig
from tests.trainer.numpy_gru import gru

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
]

LAYERS = [{"units": 5, "stddev": 0.0}, {"units": 4, "stddev": 0.0}]
FRONT: dict[str, Any] = {"filters": [6, 5], "kernels": [4, 3], "pool": 4}
BESIDE: dict[str, Any] = {"filters": [6, 5], "kernels": [4, 3], "placement": "beside"}
VARIANTS: dict[str, dict[str, Any]] = {
    "front": {"convolutions": FRONT},
    "front, every step": {"convolutions": {**FRONT, "pool": None}, "pooling": "attention", "hidden": [7]},
    "front, both ways": {"convolutions": FRONT, "bidirectional": True, "pooling": "max", "learn_mean": True},
    "beside": {"convolutions": BESIDE, "pooling": "mean"},
    "beside, segments": {"convolutions": BESIDE, "segment": 3, "head_dropout": 0.3},
    "front, random": {"convolutions": FRONT, "random_kernels": {"dilations": [1, 3]}},
    "random": {"random_kernels": {"dilations": [1, 3]}, "segment": 3},
    "attention alone": {"pooling": "attention"},
}
by_variant = pytest.mark.parametrize("variant", VARIANTS)


def dataset(features: list[Any] | None = None, **task: Any) -> DatasetConfig:
    columns = features or [{"name": "a", "missing": "impute"}, {"name": "b", "missing": "impute"}]
    data = {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": columns}
    return DatasetConfig.model_validate({"data": data, "task": {"kind": "classification", "label": "y", **task}})


def model(of: DatasetConfig | None = None, *, for_serving: bool = False, **config: Any) -> Any:
    keras.utils.set_random_seed(1)
    made = ModelConfig.model_validate({"layers": LAYERS, **config})
    layout = Layout(of or dataset())
    sizes = VocabularySizes(3, (4,) * len(layout.categorical), None, (3,) * len(layout.static_categorical))
    return build_model(made, layout, sizes, seed=1, for_serving=for_serving)


def inputs(lengths: list[int], steps: int = 11, after: float = 0.0) -> dict[str, Any]:
    features = np.random.default_rng(0).normal(size=(len(lengths), 30, 2)).astype(np.float32)[:, :steps]
    features[np.arange(steps) >= np.array(lengths)[:, None]] = after
    return {"features": features, "length": np.array(lengths, np.int64)}


def shifted(built: Any) -> Any:
    """The model with weights and statistics that are neither zeros nor ones."""
    random = np.random.default_rng(5)
    built.set_weights([np.abs(value + random.normal(0, 0.2, value.shape)) for value in built.get_weights()])
    return built


def convolved(rows: list[np.ndarray], weights: dict[str, Any], *, training: bool) -> list[np.ndarray]:
    """The blocks in NumPy: each sequence by itself, but for the statistics of a batch, which are over all steps."""
    for index in range(2):
        kernel = weights[f"convolution_{index}"][0]
        size = len(kernel)
        outputs = []
        for row in rows:
            # As Keras pads: the odd one comes last.
            before = (size - 1) // 2
            padded = np.concatenate(
                [np.zeros((before, row.shape[1])), row, np.zeros((size - 1 - before, row.shape[1]))]
            )
            steps = [np.einsum("kc,kcf->f", padded[step : step + size], kernel) for step in range(len(row))]
            outputs.append(np.reshape(steps, (len(row), kernel.shape[2])))
        gamma, beta, mean, variance = weights[f"batch_normalization_{index}"]
        if training:
            every = np.concatenate(outputs)
            mean, variance = every.mean(axis=0), every.var(axis=0)
        rows = [np.maximum((each - mean) / np.sqrt(variance + 1e-3) * gamma + beta, 0) for each in outputs]
    return rows


def oracle(built: Any, batch: dict[str, Any], *, front: bool, training: bool) -> np.ndarray:
    """Logits of `VARIANTS`' `front` and `beside`."""
    weights = {layer.name: [w.astype(np.float64) for w in layer.get_weights()] for layer in built.layers}
    sequences = [row[:n].astype(np.float64) for row, n in zip(batch["features"], batch["length"], strict=True)]
    answers = []
    for own, after in zip(sequences, convolved(sequences, weights, training=training), strict=True):
        read, count = (after, min(len(after), 4)) if front else (own, len(own))
        if front:
            bins = np.arange(len(read)) * count // max(len(read), 1)
            read = np.array([read[bins == place].mean(axis=0) for place in range(count)]).reshape(count, 5)
        state = np.zeros(4)
        if count:
            hidden = read[None]
            for index in range(2):
                hidden, last, _ = gru(hidden, weights[f"noisy_gru_{index}"])
            state = last[0] if front else hidden[0].mean(axis=0)
        mean = after.mean(axis=0) if len(after) else np.zeros(5)
        kernel, bias = weights["logits"]
        answers.append(np.concatenate([state, mean]) @ kernel + bias)
    return np.array(answers)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("variant", ["front", "beside"])
def test_the_answers_of_numpy(variant: str, training: bool) -> None:
    built = shifted(model(**VARIANTS[variant]))
    batch = inputs([11, 6, 3, 1, 0], after=9.0)
    expected = oracle(built, batch, front=variant == "front", training=training)
    assert_allclose(built(batch, training=training), expected, rtol=2e-4, atol=2e-4)


@by_variant
def test_padding_and_neighbours_change_nothing(variant: str, tmp_path: Path) -> None:
    built = model(**{**VARIANTS[variant], "head_dropout": 0.0})
    built(inputs([9, 6, 11, 4]), training=True)
    built = built if "random" in variant else shifted(built)
    weights = built.get_weights()

    def in_training(batch: dict[str, Any]) -> np.ndarray:
        built.set_weights(weights)
        return np.array(built(batch, training=True))

    alone, lengths = inputs([6], steps=6), [6, 11, 2, 0]
    expected = in_training(alone)
    padded = inputs([6], steps=19, after=7.0)
    assert_allclose(in_training(padded), expected, rtol=1e-4, atol=1e-5)
    # A row that doesn't count is an empty one.
    beside_empty = {key: np.concatenate([value, value]) for key, value in padded.items()}
    beside_empty["length"][1] = 0
    assert_allclose(in_training(beside_empty)[0], expected[0], rtol=1e-4, atol=1e-5)
    built.set_weights(weights)

    batch = inputs(lengths)
    served = np.array(built(batch, training=False))
    assert np.isfinite(served).all()
    assert_allclose(built(inputs(lengths, steps=17, after=-3.0), training=False), served, rtol=1e-4, atol=1e-5)
    assert_allclose(built(inputs([6], steps=6), training=False)[0], served[0], rtol=1e-4, atol=1e-5)
    built.save(tmp_path / "model.keras")
    again: Any = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    assert_array_equal(again(batch, training=False), served)
    serving = model(**{**VARIANTS[variant], "head_dropout": 0.0}, for_serving=True)
    serving.set_weights(built.get_weights())
    predict = serving_function(serving) or (lambda given: serving(given, training=False))
    assert_allclose(predict({key: tf.constant(value) for key, value in batch.items()}), served, rtol=1e-4, atol=1e-5)


def test_only_attention_without_convolutions_is_served_by_the_loops() -> None:
    served = {name: serving_function(model(**config, for_serving=True)) for name, config in VARIANTS.items()}
    assert [name for name, predict in served.items() if predict is not None] == ["attention alone"]


@pytest.mark.parametrize("xla", [False, True])
@pytest.mark.parametrize("variant", ["front, random", pytest.param("beside, segments", marks=pytest.mark.long)])
def test_a_step_of_training_with_and_without_xla(variant: str, xla: bool) -> None:
    """Rows without weight change neither gradient nor statistics, compiled or not."""
    batch, labels = inputs([11, 6, 3]), np.array([0, 2, 1])
    repeated = {key: np.concatenate([value, value[:1], value[:1]]) for key, value in batch.items()}

    def trained(rows: dict[str, Any], answer: np.ndarray, weight: np.ndarray | None) -> list[np.ndarray]:
        built = model(**{**VARIANTS[variant], "head_dropout": 0.0})
        arguments: dict[str, Any] = {"steps_per_epoch": 1, "epochs": 1, "xla": weight is not None}
        compile_model(built, TrainingConfig(weight_decay=0.01), Layout(dataset()), **arguments)
        if weight is None:
            built.fit(rows, answer, batch_size=8, epochs=1, verbose=0)
            return built.get_weights()
        built.optimizer.build(built.trainable_variables)
        given = tf.nest.map_structure(tf.constant, (rows, answer, weight))
        built.compute_metrics(rows, answer, tf.zeros((len(answer), 3)))
        tf.function(built.train_step, jit_compile=xla, autograph=False)(given)
        return built.get_weights()

    stock = trained(batch, labels, None)
    weight = np.array([1, 1, 1, 0, 0], np.float32)
    ours = trained(repeated, np.concatenate([labels, [0, 0]]), weight)
    for one, two in zip(stock, ours, strict=True):
        # Adam's first step is as large for the smallest gradient.
        assert np.mean(np.abs(one - two) > 1e-5) < 0.02
        assert_allclose(two, one, atol=2.1e-3)


def test_static_features_and_categories() -> None:
    columns = [
        "a",
        {"name": "on", "kind": "boolean"},
        {"name": "sky", "kind": "categorical"},
        {"name": "size", "static": True},
        {"name": "shop", "kind": "categorical", "static": True},
    ]
    of = dataset(columns)
    layout = Layout(of)
    built = model(of, convolutions=FRONT)
    random = np.random.default_rng(1)
    batch = {
        "features": random.normal(size=(3, 7, len(layout.channels))).astype(np.float32),
        "length": np.array([7, 4, 0]),
        layout.ids(0): random.integers(4, size=(3, 7)),
        names.STATIC: random.normal(size=(3, len(layout.static_channels))).astype(np.float32),
        layout.static_ids(0): random.integers(3, size=3),
    }
    outputs = np.array(built(batch, training=False))
    assert outputs.shape == (3, 3) and np.isfinite(outputs).all()
    for key in (names.STATIC, layout.static_ids(0), layout.ids(0)):
        changed = np.array(built({**batch, key: batch[key] * 0 + 1}, training=False))
        assert np.abs(changed[0] - outputs[0]).max() > 1e-5, key


@pytest.mark.parametrize("task", ["classification", pytest.param("regression", marks=pytest.mark.long)])
@pytest.mark.parametrize("variant", ["front, random", "beside"])
def test_what_is_trained_is_what_is_served(task: str, variant: str, request: Any, tmp_path: Path, encode: Any) -> None:
    """A Session, as TF Serving has it, answers as Keras does with moving statistics; by example and by tensor."""
    from noisy_gru.trainer.module import run_fn

    transformed = request.getfixturevalue(task)
    training = {"epochs": 3, "batch_size": 20, "learning_rate": 0.01, "xla": "off" if variant == "beside" else "on"}
    config = TrainerConfig.model_validate({"model": {"layers": LAYERS, **VARIANTS[variant]}, "training": training})
    arguments = transformed.fn_args(tmp_path, CustomConfig(transformed.dataset, config).to_dict())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "invalid value encountered in divide", RuntimeWarning)
        run_fn(arguments)
    answer = "probabilities" if task == "classification" else "predictions"
    requested = np.array([encode(row) for row in transformed.rows["test"]], object)
    eager = load_for_parity(arguments.serving_model_dir, transformed.graph)
    with SessionModel(arguments.serving_model_dir) as session:
        served = session.run("serving_default", {"examples": requested})[answer]
        assert_allclose(eager.from_examples(requested)[answer], served, rtol=1e-5, atol=1e-5)
        alone = [
            session.run("serving_default", {"examples": requested[index : index + 1]})[answer][0] for index in (0, 7)
        ]
        assert_allclose(alone, served[[0, 7]], rtol=1e-4, atol=1e-5)
        assert len(np.unique(np.round(served, 5), axis=0)) > 3
    reader = tf.train.load_checkpoint(f"{arguments.serving_model_dir}/variables/variables")
    stored = [name for name in reader.get_variable_to_shape_map() if name != "_CHECKPOINTABLE_OBJECT_GRAPH"]
    held = sorted(reader.get_tensor(name).tobytes() for name in stored)
    assert held == sorted(weight.numpy().tobytes() for weight in eager.model.weights)
    (graph,) = parse_saved_model((Path(arguments.serving_model_dir) / "saved_model.pb").read_bytes()).meta_graphs
    assert audit(graph, registered_operations()) == []


def problems(of: DatasetConfig | None = None, **config: Any) -> list[str]:
    return model_problems(ModelConfig.model_validate(config), of or dataset())


def test_what_does_not_fit_is_refused_by_name() -> None:
    forecast = DatasetConfig.model_validate(
        {
            "data": {"files": ["*.csv"], "entity": "id", "time": {"column": "t", "frequency": "1h"}, "features": ["a"]},
            "task": {"kind": "forecasting", "targets": ["a"], "input_length": 4, "horizons": [1]},
        }
    )
    for found, words in (
        (problems(forecast, convolutions={}), "model.convolutions needs task.kind: classification or regression"),
        (problems(convolutions={}, segment=4), "use model.convolutions.pool in place of segment"),
        (problems(convolutions={}, serving_step=True), "a step of model.convolutions reads steps after it"),
        (problems(convolutions={}, onnx=True), "model.onnx: true has no form for model.convolutions"),
        (problems(forecast, random_kernels={}), "model.random_kernels needs task.kind: classification or regression"),
        (problems(random_kernels={}, serving_step=True), "a step of model.random_kernels reads steps after it"),
        (problems(random_kernels={}, onnx=True), "model.onnx: true has no form for model.random_kernels"),
        (problems(dataset([{"name": "a", "kind": "categorical"}]), random_kernels={}), "data.features has none"),
        (problems(pooling="attention", serving_step=True), "needs model.pooling: last, received attention"),
    ):
        assert len(found) == 1 and words in found[0], found
    assert problems(convolutions={"placement": "beside"}, segment=4) == []
    for given, words in (
        ({"filters": [4]}, "one number for each block, received 1 and 3"),
        ({"placement": "beside", "pool": 3}, "pool shortens what the stack reads"),
    ):
        with pytest.raises(ValueError, match=words):
            ConvolutionsConfig.model_validate(given)


def test_a_preset_gives_what_is_left_out() -> None:
    reference = ModelConfig(preset="reference")
    assert [(layer.units, layer.stddev) for layer in reference.layers] == [(64, 0.1), (32, 0.05), (16, 0.025)]
    own = ModelConfig.model_validate({"preset": "classification", "layers": [{"units": 3}], "pooling": "max"})
    assert own.convolutions is not None and own.pooling == "max" and [each.units for each in own.layers] == [3]
    assert ModelConfig.model_validate({"preset": "classification", "convolutions": None}).convolutions is None
    for name in PRESETS:
        made = ModelConfig.model_validate({"preset": name})
        # What a run records and a step reads again is the same.
        assert ModelConfig.model_validate(made.model_dump(mode="json")) == made
    with pytest.raises(ValueError, match="reference"):
        ModelConfig.model_validate({"preset": "best"})

"""`serving_step`: streams fed piece by piece to an exported model, against the same steps in one call."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from noisy_gru.saved_model.session import SessionModel
from noisy_gru.saved_model.tensor_names import tensor_names
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import ConfigError, ModelError
from noisy_gru.trainer.config import TrainerConfig
from noisy_gru.trainer.custom_config import CustomConfig
from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.model_config import ModelConfig

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
]

CLOSE = {"rtol": 0, "atol": 1e-5}
NAN = float("nan")
# Data set, model, and the numbers that a state has: steps, mark, hidden units, and for a difference the two targets.
KINDS: dict[str, tuple[str, dict[str, Any], int]] = {
    "classification": ("classification", {"layers": [{"units": 8}, {"units": 4}], "learn_mean": True}, 2 + 8 + 4),
    "regression": ("regression", {"layers": [{"units": 6, "dropout": 0.2}], "hidden": [5], "head_dropout": 0.1}, 2 + 6),
    "level": ("streams", {"layers": [{"units": 5}, {"units": 4}, {"units": 3}]}, 2 + 5 + 4 + 3),
    # Of the last value and its age, one each for the feature with a mask.
    "decay": ("streams", {"layers": [{"units": 5}, {"units": 3}], "missing": "decay"}, 2 + 5 + 3 + 2),
    "difference": ("streams", {"layers": [{"units": 5}], "target": "difference", "learn_mean": True}, 2 + 5 + 2),
}


@pytest.fixture(scope="module")
def streams(datasets: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Two targets, one with a mask of what is missing, and a categorical column that has the name of an input."""
    dataset = DatasetConfig.model_validate(
        {
            "data": {
                "files": ["*.csv"],
                "entity": "id",
                "time": {"column": "t"},
                "features": [
                    "temp",
                    {"name": "wind", "scale": "minmax", "missing": "mask"},
                    {"name": "state", "kind": "categorical", "vocabulary_size": 2, "embedding_dim": 3},
                ],
            },
            "task": {"kind": "forecasting", "targets": ["temp", "wind"], "input_length": 4, "horizons": [1, 3]},
        }
    )
    rows = {
        split: [{**row, "state": row["sky"]} for row in datasets.forecasting_rows(40, seed=seed)]
        for seed, split in enumerate(("train", "eval", "test"))
    }
    return datasets.run_transform(dataset, rows, tmp_path_factory.mktemp("streams"))


@pytest.fixture(scope="module", params=KINDS)
def stepped(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """An exported model of each kind with weights by chance, in a Session and in eager mode."""
    import tensorflow_transform as tft

    from noisy_gru.trainer.export.saved_model import export_saved_model, keras_folder, load_for_parity, save_keras
    from noisy_gru.trainer.export.served_model import ServedModel
    from noisy_gru.trainer.features import LABEL_VOCABULARY
    from noisy_gru.trainer.model import VocabularySizes, build_model

    fixture, model, size = KINDS[request.param]
    transformed = request.getfixturevalue(fixture)
    config = ModelConfig.model_validate({**model, "serving_step": True})
    layout, graph = Layout(transformed.dataset), tft.TFTransformOutput(transformed.graph)
    vocabularies = [
        graph.vocabulary_size_by_name(layout.vocabulary(index)) + 1 for index in range(len(layout.categorical))
    ]
    classes = graph.vocabulary_size_by_name(LABEL_VOCABULARY) if layout.is_classification else 0
    trained, serving = (
        build_model(config, layout, VocabularySizes(classes, tuple(vocabularies)), seed=1, for_serving=value)
        for value in (False, True)
    )
    random = np.random.default_rng(0)
    weights = [random.normal(0, 0.5, weight.shape).astype(np.float32) for weight in trained.get_weights()]
    trained.set_weights(weights)
    serving.set_weights(weights)
    directory = str(tmp_path_factory.mktemp(f"{request.param}_step") / "Format-Serving")
    export_saved_model(ServedModel(serving, graph, layout, config), directory)
    custom_config = CustomConfig(transformed.dataset, TrainerConfig(model=config))
    save_keras(trained, custom_config, keras_folder(directory))
    with SessionModel(directory) as session:
        yield SimpleNamespace(
            kind=request.param,
            directory=directory,
            session=session,
            eager=load_for_parity(directory, transformed.graph),
            graph=graph,
            layout=layout,
            config=config,
            size=size,
            answer="probabilities" if layout.is_classification else "predictions",
            answers=4 if layout.is_classification else 1,
        )


def some_streams(layout: Layout, count: int, steps: int, seed: int = 0) -> dict[str, Any]:
    """Steps of streams by the inputs of `serving_tensors`: a third of the numbers missing, all kinds of categories."""
    random = np.random.default_rng(seed)
    features = random.normal(5, 3, (count, steps, len(layout.numeric))).astype(np.float32)
    features[random.random(features.shape) < 0.3] = NAN
    features[random.random(features.shape) < 0.05] = np.inf
    words = np.array([b"clear", b"rain", b"fog", b"plus", b"minus", b"never seen", b""], object)
    texts = {name: random.choice(words, (count, steps)) for name in tensor_names(layout.dataset.data).values()}
    return {"features": features, **texts}


def whole(model: Any, streams: dict[str, Any], lengths: Any) -> dict[str, np.ndarray]:
    """The answers to the first steps of each stream in one call."""
    return model.session.run("serving_tensors", {**streams, "lengths": np.asarray(lengths)})


def piece(streams: dict[str, Any], start: np.ndarray, lengths: np.ndarray, pad: int = 0) -> dict[str, Any]:
    """`lengths` steps of each stream from `start` on, padded with what must not count."""
    axis = int(lengths.max(initial=0)) + pad
    made: dict[str, Any] = {}
    for name, values in streams.items():
        made[name] = np.full((len(lengths), axis, *values.shape[2:]), b"padding" if values.dtype == object else 99.0)
        made[name] = made[name].astype(values.dtype)
        for row, (first, count) in enumerate(zip(start, lengths, strict=True)):
            made[name][row, :count] = values[row, first : first + count]
    return {**made, "lengths": lengths}


def test_the_signature_as_a_server_tells_it(stepped: Any) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((Path(stepped.directory) / "saved_model.pb").read_bytes())
    signatures = saved.meta_graphs[0].signature_def
    step, tensors = signatures["serving_step"], signatures["serving_tensors"]
    assert step.method_name == "tensorflow/serving/predict"

    def shapes(infos: Any) -> dict[str, tuple[int, list[int]]]:
        return {name: (info.dtype, [dim.size for dim in info.tensor_shape.dim]) for name, info in infos.items()}

    state = {"state": (1, [-1, stepped.size])}
    assert shapes(step.inputs) == {**shapes(tensors.inputs), **state}
    assert shapes(step.outputs) == {**shapes(tensors.outputs), **state}
    assert len(tensors.outputs) == stepped.answers
    assert "state" not in tensors.inputs  # a column of that name is `state_`


def test_one_step_at_a_time_equals_the_whole_at_every_step(stepped: Any) -> None:
    count, steps = 6, 12
    streams = some_streams(stepped.layout, count, steps)
    state, ones = np.zeros((count, stepped.size), np.float32), np.ones(count, np.int64)
    for step in range(steps):
        inputs = {**piece(streams, ones * step, ones, pad=step % 2), "state": state}
        answer = stepped.session.run("serving_step", inputs)
        again = stepped.session.run("serving_step", inputs)
        expected = whole(stepped, streams, ones * (step + 1))
        assert set(answer) == {*expected, "state"}
        for name, value in answer.items():
            assert_array_equal(value, again[name])
        for name, value in expected.items():
            if value.dtype == np.float32:
                assert_allclose(answer[name], value, **CLOSE, err_msg=f"{name} after step {step}")
            else:
                assert_array_equal(answer[name], value)
        state = answer["state"]


def test_any_cut_any_neighbours(stepped: Any) -> None:
    """Streams in pieces of 0 to 4 steps, each call with other streams in another order."""
    count, steps = 8, 20
    streams = some_streams(stepped.layout, count, steps, seed=1)
    random = np.random.default_rng(2)
    states, seen = np.zeros((count, stepped.size), np.float32), np.zeros(count, np.int64)
    while seen.min() < steps:
        chosen = random.permutation(count)[: random.integers(1, count + 1)]
        lengths = np.minimum(random.integers(0, 5, len(chosen)), steps - seen[chosen])
        new = piece({name: values[chosen] for name, values in streams.items()}, seen[chosen], lengths, pad=1)
        answer = stepped.session.run("serving_step", {**new, "state": states[chosen]})
        unmoved = lengths == 0
        assert_array_equal(answer["state"][unmoved], states[chosen][unmoved])
        states[chosen], seen[chosen] = answer["state"], seen[chosen] + lengths
        assert_allclose(answer[stepped.answer], whole(stepped, streams, seen)[stepped.answer][chosen], **CLOSE)


def test_a_long_stream_does_not_drift(stepped: Any) -> None:
    streams = some_streams(stepped.layout, 1, 600, seed=3)
    state, one = np.zeros((1, stepped.size), np.float32), np.ones(1, np.int64)
    answer: dict[str, Any] = {}
    for step in range(600):
        answer = stepped.session.run("serving_step", {**piece(streams, one * step, one), "state": state})
        state = answer["state"]
    assert_allclose(answer[stepped.answer], whole(stepped, streams, [600])[stepped.answer], **CLOSE)


def test_a_new_stream_without_a_step_is_an_empty_sequence(stepped: Any) -> None:
    for steps in (0, 2):
        streams = some_streams(stepped.layout, 3, steps)
        nothing = np.zeros((3, stepped.size), np.float32)
        inputs = {**streams, "lengths": np.zeros(3, np.int64), "state": nothing}
        answer = stepped.session.run("serving_step", inputs)
        assert_array_equal(answer["state"], nothing)
        assert np.isfinite(answer[stepped.answer]).all()
        assert_allclose(answer[stepped.answer], whole(stepped, streams, [0, 0, 0])[stepped.answer], **CLOSE)


def test_an_empty_batch_has_no_rows(stepped: Any) -> None:
    for steps in (0, 3):
        streams = some_streams(stepped.layout, 0, steps)
        inputs = {**streams, "lengths": np.zeros(0, np.int64), "state": np.zeros((0, stepped.size), np.float32)}
        answer = stepped.session.run("serving_step", inputs)
        assert answer["state"].shape == (0, stepped.size)
        assert {len(value) for value in answer.values()} == {0}


def test_steps_of_nothing_but_missing_values_or_zeros(stepped: Any) -> None:
    for value in (NAN, 0.0):
        streams = some_streams(stepped.layout, 4, 6, seed=4)
        streams["features"][:2, :3] = value  # at the start of a stream
        streams["features"][1:3, 3:] = value  # and in the middle of one
        first, second = np.full(4, 3), np.full(4, 3)
        state = np.zeros((4, stepped.size), np.float32)
        state = stepped.session.run("serving_step", {**piece(streams, first * 0, first), "state": state})["state"]
        answer = stepped.session.run("serving_step", {**piece(streams, first, second), "state": state})
        assert np.isfinite(answer[stepped.answer]).all()
        assert_allclose(answer[stepped.answer], whole(stepped, streams, [6] * 4)[stepped.answer], **CLOSE)


@pytest.mark.parametrize("stepped", ["difference"], indirect=True)
def test_a_forecast_starts_from_the_last_value_read_however_long_ago(stepped: Any) -> None:
    """With the same hidden state, another last value moves a forecast of differences by as much."""
    steps, first, later = some_streams(stepped.layout, 1, 4, seed=5), np.array([1]), np.array([3])
    steps["features"][:, 0, :2], steps["features"][:, 1:, :2] = (50.0, 5.0), NAN
    state = np.zeros((1, stepped.size), np.float32)
    state = stepped.session.run("serving_step", {**piece(steps, first * 0, first), "state": state})["state"]
    moved = state.copy()
    moved[:, -2:] += [[2.0, 3.0]]  # scaled units of temp and wind
    here, there = (
        stepped.session.run("serving_step", {**piece(steps, first, later), "state": given})["predictions"]
        for given in (state, moved)
    )
    from noisy_gru.trainer.export.saved_model import target_scale

    scale = target_scale(stepped.eager)
    assert scale is not None
    assert_allclose(there - here, np.broadcast_to([2.0, 3.0] * scale, here.shape), rtol=1e-4)


def test_keras_in_eager_mode_gives_the_same(stepped: Any) -> None:
    streams = some_streams(stepped.layout, 3, 5, seed=6)
    by_session = by_keras = np.zeros((3, stepped.size), np.float32)
    for start, lengths in ((0, [2, 0, 1]), (2, [3, 2, 0])):
        new = piece(streams, np.full(3, start), np.array(lengths))
        answer = stepped.session.run("serving_step", {**new, "state": by_session})
        eager = {name: value.numpy() for name, value in stepped.eager.from_step({**new, "state": by_keras}).items()}
        assert set(eager) == set(answer)
        assert_allclose(answer[stepped.answer], eager[stepped.answer], **CLOSE)
        assert_allclose(answer["state"], eager["state"], **CLOSE)
        by_session, by_keras = answer["state"], eager["state"]


def test_no_variable_is_added_and_no_op_is_random(stepped: Any) -> None:
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    reader = tf.train.load_checkpoint(f"{stepped.directory}/variables/variables")
    shapes = reader.get_variable_to_shape_map()
    values = sum(int(np.prod(shape)) for name, shape in shapes.items() if name != "_CHECKPOINTABLE_OBJECT_GRAPH")
    assert values == stepped.eager.model.count_params()
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((Path(stepped.directory) / "saved_model.pb").read_bytes())
    graph = saved.meta_graphs[0].graph_def
    operations = {node.op for node in [*graph.node, *(n for f in graph.library.function for n in f.node_def)]}
    assert not any(word in operation for operation in operations for word in ("Random", "PyFunc", "Cudnn", "Xla"))


def feed(model: Any, signature: str, inputs: dict[str, Any]) -> Any:
    """What a server does: it looks at no shape."""
    spec = model.session.signatures[signature]
    return model.session._run(signature, spec, {name: inputs[name] for name in spec.inputs})


WRONG: dict[str, tuple[Callable[[Any], Any], str]] = {
    "too few numbers": (lambda state: state[:, 1:], "Expected the shapes"),
    "too many numbers": (lambda state: np.concatenate([state, state[:, :1]], 1), "Expected the shapes"),
    "a stream too few": (lambda state: state[1:], "Expected the shapes"),
    "one stream's alone": (lambda state: state[0], "Expected the shapes"),
    "NaN": (lambda state: np.where([[False], [True]], NAN, state), r"in these rows: \] \[1\]"),
    "hidden units without a step": (lambda state: state * np.arange(state.shape[1]).clip(max=1), r"\] \[0 1\]"),
    "a hidden unit that no step gives": (
        lambda state: np.where(np.array([[True], [False]]) & (np.arange(state.shape[1]) == 2), 1e30, state),
        r"in these rows: \] \[0\]",
    ),
    "half a step": (
        lambda state: state + [[0.5], [0.0]] * np.eye(1, state.shape[1]),
        r"in these rows: \] \[0\]",
    ),
    "fewer than no steps": (
        lambda state: state - [[9.0], [0.0]] * np.eye(1, state.shape[1]),
        r"in these rows: \] \[0\]",
    ),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_state_that_no_call_returned_is_refused(stepped: Any, fault: str) -> None:
    spoil, message = WRONG[fault]
    inputs = {**some_streams(stepped.layout, 2, 3), "lengths": np.array([3, 2])}
    state = feed(stepped, "serving_step", {**inputs, "state": np.zeros((2, stepped.size), np.float32)})["state"]
    feed(stepped, "serving_step", {**inputs, "state": state})
    with pytest.raises(ModelError, match=message) as error:
        feed(stepped, "serving_step", {**inputs, "state": spoil(state).astype(np.float32)})
    assert "`state`" in str(error.value)


@pytest.mark.parametrize("stepped", ["classification", "difference"], indirect=True)
def test_another_version_refuses_the_state(stepped: Any) -> None:
    """One weight apart, and the numbers would mean something else."""
    import keras

    from noisy_gru.trainer.export.served_model import ServedModel

    other = keras.models.clone_model(stepped.eager.model)
    weights = stepped.eager.model.get_weights()
    weights[-1] = weights[-1] + np.float32(1e-6)
    other.set_weights(weights)
    inputs = {**some_streams(stepped.layout, 2, 3), "lengths": np.array([3, 2])}
    before = np.zeros((2, stepped.size), np.float32)
    state = ServedModel(other, stepped.graph, stepped.layout, stepped.config).from_step({**inputs, "state": before})[
        "state"
    ]
    before[1] = state[1]
    with pytest.raises(ModelError, match=r"what this version of the model returned.* in these rows: \] \[1\]"):
        stepped.session.run("serving_step", {**inputs, "state": before})


def test_lengths_beyond_the_new_steps_are_refused(stepped: Any) -> None:
    streams, state = some_streams(stepped.layout, 2, 3), np.zeros((2, stepped.size), np.float32)
    for wrong in (-1, 4):
        with pytest.raises(ModelError, match="`lengths` must be >= 0"):
            stepped.session.run("serving_step", {**streams, "lengths": [2, wrong], "state": state})


CLEAN = """
import sys
import numpy as np
from noisy_gru.saved_model.session import SessionModel
given = dict(np.load(sys.argv[2], allow_pickle=True))
state, steps = given.pop("state"), given["features"].shape[1]
with SessionModel(sys.argv[1]) as model:
    for step in range(steps):
        new = {name: values[:, step : step + 1] for name, values in given.items()}
        answer = model.run("serving_step", {**new, "lengths": [1] * len(state), "state": state})
        state = answer["state"]
assert "tensorflow" not in sys.modules and "keras" not in sys.modules
np.save(sys.argv[3], answer[sys.argv[4]])
"""


@pytest.mark.parametrize("stepped", ["difference"], indirect=True)
def test_in_a_process_of_its_own(stepped: Any, tmp_path: Path) -> None:
    streams, output = some_streams(stepped.layout, 2, 4, seed=7), tmp_path / "answer.npy"
    np.savez(tmp_path / "given.npz", state=np.zeros((2, stepped.size), np.float32), **streams)
    command = [sys.executable, "-c", CLEAN, stepped.directory, str(tmp_path / "given.npz"), str(output), stepped.answer]
    subprocess.run(command, check=True)
    assert_allclose(np.load(output), whole(stepped, streams, [4, 4])[stepped.answer], **CLOSE)


def test_a_training_exports_it_when_asked(classification: Any, tmp_path: Path) -> None:
    from noisy_gru.trainer.export.saved_model import load_for_parity
    from noisy_gru.trainer.module import run_fn

    trainer = TrainerConfig.model_validate(
        {"model": {"layers": [{"units": 3}], "serving_step": True}, "training": {"epochs": 1, "batch_size": 96}}
    )
    custom_config = CustomConfig(classification.dataset, trainer)
    arguments = classification.fn_args(tmp_path, custom_config.to_dict())
    run_fn(arguments)
    inputs = {"features": np.ones((1, 2, 2), np.float32), "lengths": [2], "state": np.zeros((1, 5), np.float32)}
    with SessionModel(arguments.serving_model_dir) as session:
        answer = session.run("serving_step", inputs)
    eager = load_for_parity(arguments.serving_model_dir, classification.graph).from_step(inputs)
    assert_allclose(answer["probabilities"], eager["probabilities"], **CLOSE)
    assert_allclose(answer["state"], eager["state"], **CLOSE)
    assert np.abs(answer["state"]).max() > 0


@pytest.mark.parametrize("stepped", ["regression"], indirect=True)
def test_what_needs_the_whole_sequence_is_refused_before_anything_is_built(stepped: Any) -> None:
    from noisy_gru.trainer.export.stream_step import Stepper
    from noisy_gru.trainer.model import VocabularySizes, build_model

    config = ModelConfig.model_validate({"serving_step": True, "pooling": "max"})
    with pytest.raises(ConfigError, match=r"needs model\.pooling: last, received max"):
        build_model(config, stepped.layout, VocabularySizes(3), seed=0)
    with pytest.raises(ConfigError, match=r"needs model\.pooling: last, received max"):
        Stepper(stepped.eager.model, config, stepped.layout)

"""The exported models of the three tasks, asked through a Session as TF Serving would, against Keras in eager mode."""

from __future__ import annotations

import contextlib
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose, assert_array_equal

from noisy_gru.saved_model.session import SessionModel
from noisy_gru.saved_model.tensor_names import tensor_names
from noisy_gru.schema.errors import ConfigError, ModelError
from noisy_gru.trainer.config import TrainerConfig
from noisy_gru.trainer.custom_config import CustomConfig
from noisy_gru.trainer.export.saved_model import keras_folder, load_for_parity, load_keras
from noisy_gru.trainer.features import Layout
from tests.trainer.example_requests import check_example_request
from tests.trainer.numpy_gru import gru

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
]

TASKS = ("classification", "regression", "forecasting")
MODELS: dict[str, Any] = {
    "classification": {"layers": [{"units": 8, "dropout": 0.1}, {"units": 4}], "learn_mean": True, "head_dropout": 0.1},
    "regression": {
        "layers": [{"units": 6, "recurrent_dropout": 0.1, "noise": "carried"}],
        "hidden": [5],
        "pooling": "mean",
        "bidirectional": True,
    },
    "forecasting": {"layers": [{"units": 6}, {"units": 5}], "pooling": "max", "target": "difference"},
}
NAN = float("nan")


def tensors(layout: Layout, rows: list[Any], steps: int = 0) -> dict[str, Any]:
    """Rows as `serving_tensors` takes them, padded to at least `steps`."""
    future = layout.future_steps
    known = {feature.name for feature in layout.dataset.data.features if feature.known_in_advance}
    first = next(feature.name for feature in layout.dataset.data.features if feature.name not in known)
    lengths = np.array([len(row.get(first, [])) for row in rows], np.int64)
    axis = max([steps, *(lengths + future)])
    features = np.full((len(rows), axis, len(layout.numeric)), 99.0, np.float32)
    texts = {feature.name: np.full((len(rows), axis), b"padding", object) for feature in layout.categorical}
    for index, row in enumerate(rows):
        for channel, feature in enumerate(layout.numeric):
            values = row.get(feature.name, [])
            features[index, : len(values), channel] = values
        for name, text in texts.items():
            values = [value.encode() for value in row.get(name, [])]
            text[index, : len(values)] = values
    inputs = tensor_names(layout.dataset.data)
    return {"features": features, "lengths": lengths, **{inputs[name]: text for name, text in texts.items()}}


@pytest.fixture(scope="module", params=TASKS)
def exported(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A model of each task, trained for a moment through `run_fn`, in a Session and in eager mode."""
    from noisy_gru.trainer.module import run_fn

    transformed = request.getfixturevalue(request.param)
    config = TrainerConfig.model_validate(
        {"model": MODELS[request.param], "training": {"epochs": 2, "learning_rate": 0.01, "weight_decay": 0.001}}
    )
    custom_config = CustomConfig(transformed.dataset, config)
    arguments = transformed.fn_args(tmp_path_factory.mktemp(f"{request.param}_model"), custom_config.to_dict())
    run_fn(arguments)
    with SessionModel(arguments.serving_model_dir) as session:
        yield SimpleNamespace(
            task=request.param,
            directory=arguments.serving_model_dir,
            session=session,
            eager=load_for_parity(arguments.serving_model_dir, transformed.graph),
            layout=Layout(transformed.dataset),
            transformed=transformed,
            rows=transformed.rows["test"],
            answer="probabilities" if request.param == "classification" else "predictions",
        )


def test_signatures_are_those_of_the_contract(exported: Any) -> None:
    outputs = {
        "classification": {
            "probabilities": ("float32", (None, 3)),
            "class_id": ("int64", (None,)),
            "label_bytes": ("string", (None,)),
            "labels_bytes": ("string", (None, 3)),
        },
        "regression": {"predictions": ("float32", (None, 1))},
        "forecasting": {"predictions": ("float32", (None, 2, 2))},
    }[exported.task]
    inputs: dict[str, Any] = {"lengths": ("int64", (None,))}
    inputs["features"] = (
        "float32",
        (None, None, {"classification": 2, "regression": 1, "forecasting": 5}[exported.task]),
    )
    texts = {"classification": [], "regression": ["kind_of_it"], "forecasting": ["sky", "day"]}[exported.task]
    inputs |= dict.fromkeys(texts, ("string", (None, None)))
    truth = {
        "classification": {"label": ("int64", (None,))},
        "regression": {"targets": ("float32", (None, 1))},
        "forecasting": {"targets": ("float32", (None, 2, 2))},
    }[exported.task]
    expected = {
        "serving_default": ({"examples": ("string", (None,))}, outputs),
        "serving_tensors": (inputs, outputs),
        "evaluation_labels": ({"examples": ("string", (None,))}, truth),
    }
    assert from_metadata(exported.directory) == expected
    assert {
        name: tuple(
            {key: (spec.dtype, spec.shape) for key, spec in part.items()} for part in (made.inputs, made.outputs)
        )
        for name, made in exported.session.signatures.items()
    } == expected


def from_metadata(directory: str) -> dict[str, Any]:
    """What `GetModelMetadata` gives: TF Serving copies the SignatureDefs of saved_model.pb, -1 for a free dimension."""
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((Path(directory) / "saved_model.pb").read_bytes())
    (graph,) = saved.meta_graphs
    assert list(graph.meta_info_def.tags) == ["serve"]
    nodes = {node.name for node in graph.graph_def.node}
    found = {}
    for name, signature in graph.signature_def.items():
        if name == "__saved_model_init_op":
            continue
        assert signature.method_name == "tensorflow/serving/predict"
        parts: list[dict[str, Any]] = []
        for infos in (signature.inputs, signature.outputs):
            assert all(
                info.name.rpartition(":")[0] in nodes and not info.tensor_shape.unknown_rank for info in infos.values()
            )
            parts.append(
                {
                    key: (
                        tf.dtypes.as_dtype(info.dtype).name,
                        tuple(None if dim.size == -1 else dim.size for dim in info.tensor_shape.dim),
                    )
                    for key, info in infos.items()
                }
            )
        found[name] = tuple(parts)
    return found


def test_variables_are_the_models_alone(exported: Any) -> None:
    """Every value of the file is a weight, once; Transform brings none, its constants are in the graph."""
    reader = tf.train.load_checkpoint(f"{exported.directory}/variables/variables")
    keys = set(reader.get_variable_to_shape_map()) - {"_CHECKPOINTABLE_OBJECT_GRAPH"}
    model = exported.eager.model
    transforms = sum(int(np.prod(variable.shape)) for variable in exported.eager.transform_layer.variables)
    assert transforms == 0
    assert sum(reader.get_tensor(key).size for key in keys) == model.count_params() + transforms
    stored = sorted(reader.get_tensor(key).tobytes() for key in keys)
    assert stored == sorted(weight.numpy().tobytes() for weight in model.weights)


def test_no_op_is_random_or_needs_more_than_a_cpu(exported: Any) -> None:
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((Path(exported.directory) / "saved_model.pb").read_bytes())
    graph = saved.meta_graphs[0].graph_def
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    bad = {node.op for node in nodes if any(word in node.op for word in ("Random", "PyFunc", "Cudnn", "Xla"))}
    assert not bad
    assert not any(node.attr["_XlaMustCompile"].b for node in nodes)


def test_session_keras_and_both_signatures_agree(exported: Any, encode: Any) -> None:
    for rows in (exported.rows[:1], exported.rows[1:8], exported.rows):
        serialized = [encode({key: row[key] for key in row if "target" not in key and key != "label"}) for row in rows]
        padded = tensors(exported.layout, rows, steps=12)
        default = exported.session.run("serving_default", {"examples": serialized})
        again = exported.session.run("serving_default", {"examples": serialized})
        by_tensor = exported.session.run("serving_tensors", padded)
        eager = exported.eager.from_examples(serialized)
        eager_by_tensor = exported.eager.from_tensors(padded)
        assert set(default) == set(eager)
        for key, value in default.items():
            assert_array_equal(value, again[key])
            for other in (by_tensor[key], eager[key].numpy(), eager_by_tensor[key].numpy()):
                if value.dtype == object:
                    assert value.tolist() == other.tolist()
                else:
                    assert_allclose(value, other, rtol=1e-5, atol=1e-5)


def test_serving_is_what_training_saw(exported: Any, encode: Any) -> None:
    """The transformed test split on disk through the Keras model gives what raw examples through the Session give."""
    import tensorflow_transform as tft

    from noisy_gru.trainer.inputs.dataset import BatchConfig, SequenceData

    spec = tft.TFTransformOutput(exported.transformed.graph).transformed_feature_spec()
    data = SequenceData(exported.transformed.files["test"], spec, exported.layout, BatchConfig(40), "test")
    ((inputs, _),) = data.one_pass()
    model = exported.eager.model
    outputs = model({key: inputs[key] for key in model.input}, training=False)
    if exported.task == "classification":
        outputs = tf.nn.softmax(outputs)
    else:
        columns = {"regression": ["total"], "forecasting": ["target/temp", "target/wind"]}[exported.task]
        train = [np.concatenate([row[key] for row in exported.transformed.rows["train"]]) for key in columns]
        outputs = outputs * np.array([values.std() for values in train]) + np.array([values.mean() for values in train])
    answer = exported.session.run("serving_default", {"examples": [encode(row) for row in exported.rows]})
    assert_allclose(answer[exported.answer], outputs, rtol=1e-5, atol=1e-5)


def test_labels_for_the_evaluation(exported: Any, encode: Any) -> None:
    examples = {"examples": [encode(row) for row in exported.rows]}
    truth = exported.session.run("evaluation_labels", examples)
    if exported.task == "classification":
        names = exported.session.run("serving_default", examples)["labels_bytes"][0].tolist()
        assert [names[index].decode() for index in truth["label"]] == [row["label"][0] for row in exported.rows]
    elif exported.task == "regression":
        assert_allclose(truth["targets"], [row["total"] for row in exported.rows], rtol=1e-5)
    else:
        expected = np.array([[row["target/temp"], row["target/wind"]] for row in exported.rows]).transpose(0, 2, 1)
        assert_allclose(truth["targets"], expected, rtol=1e-5)


def odd_rows(exported: Any) -> dict[str, Any]:
    """Rows that are strange in one way each; the first is the plain one."""
    row = exported.rows[0]
    features = [feature.name for feature in exported.layout.dataset.data.features]
    numeric = [feature.name for feature in exported.layout.numeric]
    future: dict[Any, Any] = dict.fromkeys(features, exported.layout.future_steps)
    future |= {f.name: 0 for f in exported.layout.dataset.data.features if not f.known_in_advance}

    longest = max(
        len(each[next(name for name in features if not future[name])]) for each in exported.transformed.rows["train"]
    )

    def stretched(steps: int) -> Any:
        return {name: (row[name] * 40)[: steps + future[name]] for name in features}

    return {
        "plain": {name: row[name] for name in features},
        "empty": {name: [] for name in numeric},
        "one step": stretched(1),
        "as long as the longest of train": stretched(longest),
        "longer than any of train": stretched(50),
        "all zero": {name: [0.0] * len(row[name]) if name in numeric else row[name] for name in features},
        "all missing": {name: [NAN] * len(row[name]) if name in numeric else row[name] for name in features},
        "infinite": {name: [float("inf")] * len(row[name]) if name in numeric else row[name] for name in features},
        "unknown category": {name: row[name] if name in numeric else ["?"] * len(row[name]) for name in features},
        "no category": {name: row[name] if name in numeric else [""] * len(row[name]) for name in features},
    }


@pytest.mark.parametrize("width", [16, 0], ids=["tensors", "an example"])
def test_the_example_that_serve_prints_is_answered(exported: Any, monkeypatch: Any, width: int) -> None:
    check_example_request(exported.session, exported.layout.dataset, monkeypatch, width)


def test_odd_input_has_a_finite_answer_that_its_neighbours_do_not_change(exported: Any, encode: Any) -> None:
    rows = odd_rows(exported)
    together = exported.session.run("serving_default", {"examples": [encode(row) for row in rows.values()]})
    answers = dict(zip(rows, together[exported.answer], strict=True))
    by_tensor = exported.session.run("serving_tensors", tensors(exported.layout, list(rows.values())))
    assert_allclose(by_tensor[exported.answer], together[exported.answer], rtol=1e-5, atol=1e-5)
    for name, row in rows.items():
        alone = exported.session.run("serving_default", {"examples": [encode(row)]})[exported.answer][0]
        assert np.isfinite(answers[name]).all(), name
        assert_allclose(answers[name], alone, rtol=1e-5, atol=1e-5, err_msg=name)
    assert_array_equal(answers["all missing"], answers["infinite"])
    if exported.layout.categorical:
        assert_array_equal(answers["unknown category"], answers["no category"])
    different = ["plain", "empty", "one step", "longer than any of train", "all zero", "all missing"]
    assert len({answers[name].tobytes() for name in different}) == len(different)


@pytest.mark.parametrize("exported", ["classification"], indirect=True)
def test_odd_answers_are_those_of_the_equations(exported: Any, encode: Any) -> None:
    """NumPy alone: scaling by train's mean and deviation, the GRUs step by step, the head; no step leaves the bias."""
    train = [np.concatenate([row[name] for row in exported.transformed.rows["train"]]) for name in ("x0", "x1")]
    means, deviations = [np.nanmean(values) for values in train], [np.nanstd(values) for values in train]
    weights = [weight.numpy().astype(np.float64) for weight in exported.eager.model.weights]
    (first, *lower), (second, *upper), (kernel, bias) = weights[:4], weights[4:8], weights[8:]
    for name, row in odd_rows(exported).items():
        hidden = np.zeros(4)
        if row["x0"]:
            values = np.array([row["x0"], row["x1"]]).T
            scaled = (np.where(np.isfinite(values), values, means) - means) / deviations
            outputs, _, _ = gru(scaled[None], lower, initial_state=first[None])
            (hidden,) = gru(outputs, upper, initial_state=second[None])[1]
        logits = hidden @ kernel + bias
        expected = np.exp(logits) / np.exp(logits).sum()
        answer = exported.session.run("serving_default", {"examples": [encode(row)]})["probabilities"][0]
        assert_allclose(answer, expected, atol=1e-5, err_msg=name)


def test_empty_batches(exported: Any) -> None:
    empty = exported.session.run("serving_default", {"examples": []})
    assert empty[exported.answer].shape[0] == 0
    padded = tensors(exported.layout, exported.rows[:1])
    for steps in (0, 3):
        nothing = {key: value[:0, :steps] if value.ndim > 1 else value[:0] for key, value in padded.items()}
        answer = exported.session.run("serving_tensors", nothing)
        assert {key: value.shape[0] for key, value in answer.items()} == dict.fromkeys(empty, 0)


def test_a_batch_of_empty_sequences_by_tensor(exported: Any, encode: Any) -> None:
    padded = tensors(exported.layout, exported.rows[:2])
    nothing = {key: value[:, :0] if value.ndim > 1 else value * 0 for key, value in padded.items()}
    answer = exported.session.run("serving_tensors", nothing)[exported.answer]
    no_steps = encode({feature.name: [] for feature in exported.layout.numeric})
    assert_allclose(answer[0], exported.session.run("serving_default", {"examples": [no_steps]})[exported.answer][0])
    assert_array_equal(answer[0], answer[1])


def test_what_has_no_answer_is_refused_in_words(exported: Any, encode: Any) -> None:
    features = [feature.name for feature in exported.layout.dataset.data.features]
    whole = {name: exported.rows[0][name] for name in features}
    for name in features[1:]:
        absent = {key: value for key, value in whole.items() if key != name}
        with pytest.raises(ModelError) as error:
            exported.session.run("serving_default", {"examples": [encode(absent)]})
        # TensorFlow escapes what is not ASCII.
        assert "has another number of steps" in str(error.value)
        assert not name.isascii() or f"Feature {name} has" in str(error.value)
    padded = tensors(exported.layout, exported.rows[:2])
    for wrong in (-1, 1000):
        with pytest.raises(ModelError, match="`lengths` must be >= 0"):
            exported.session.run("serving_tensors", {**padded, "lengths": [2, wrong]})
    with pytest.raises(ConfigError, match=r"Set model\.serving_step: true and train again"):
        exported.eager.from_step(padded)
    with pytest.raises(ModelError, match=r"0: its 14 bytes are no tf\.Example"):
        exported.session.run("serving_default", {"examples": [b"not an example"]})
    misspelt = {f"{name}s": values for name, values in whole.items()}
    for nothing_known in ({}, misspelt):
        with pytest.raises(ModelError, match="0: it has none of the model's features"):
            exported.session.run("serving_default", {"examples": [encode(nothing_known)]})
    for huge in (1e38, -1e38, 3e38):
        with contextlib.suppress(ModelError):  # an answer, or that there is none: never NaN
            given = {**padded, "features": np.full_like(padded["features"], huge)}
            answer = exported.session.run("serving_tensors", given)[exported.answer]
            assert np.isfinite(answer).all()


def test_shapes_that_are_not_the_signatures_are_refused_in_words(exported: Any) -> None:
    """A server looks at dtypes alone; so does this call, past the checks of `SessionModel.run`."""
    padded = tensors(exported.layout, exported.rows[:2])
    spec = exported.session.signatures["serving_tensors"]
    features, lengths = padded["features"], padded["lengths"]
    wrong: dict[str, dict[str, Any]] = {
        "a channel too many": {"features": np.concatenate([features, features[:, :, :1]], 2)},
        "no channel": {"features": features[:, :, :0]},
        "no axis of channels": {"features": features[:, :, 0]},
        "a length too few": {"lengths": lengths[:1]},
        "a length too many": {"lengths": np.append(lengths, 1)},
        "a column of lengths": {"lengths": lengths[:, None]},
    }
    for name in set(padded) - {"features", "lengths"}:
        wrong[f"a row of {name} too few"] = {name: padded[name][:1]}
        wrong[f"one row of {name}"] = {name: padded[name][0]}
    for fault, change in wrong.items():
        given = {**padded, **change}
        with pytest.raises(ModelError) as error:
            exported.session._run("serving_tensors", spec, {name: given[name] for name in spec.inputs})
        assert "Expected the shapes `features` [sequences, steps, " in str(error.value), fault


CLEAN = """
import pickle, sys
from noisy_gru.saved_model.session import SessionModel
with open(sys.argv[2], "rb") as file:
    questions = pickle.load(file)
with SessionModel(sys.argv[1]) as model:
    answers = [model.run(signature, inputs)[sys.argv[4]] for signature, inputs in questions]
assert "tensorflow" not in sys.modules and "keras" not in sys.modules
with open(sys.argv[3], "wb") as file:
    pickle.dump(answers, file)
"""


def test_in_a_process_of_its_own_the_answers_are_keras(exported: Any, encode: Any, tmp_path: Path) -> None:
    """The odd rows too; a process without TensorFlow's Python has nothing that a server hasn't."""
    rows = list(odd_rows(exported).values())
    examples, padded = [encode(row) for row in rows], tensors(exported.layout, rows)
    questions = [("serving_default", {"examples": examples}), ("serving_tensors", padded)]
    (tmp_path / "questions").write_bytes(pickle.dumps([*questions, ("serving_default", {"examples": []})]))
    files = [str(tmp_path / name) for name in ("questions", "answers")]
    subprocess.run([sys.executable, "-c", CLEAN, exported.directory, *files, exported.answer], check=True)
    default, by_tensor, none = pickle.loads((tmp_path / "answers").read_bytes())
    eager = exported.eager.from_examples(examples)[exported.answer]
    assert_allclose(default, eager, rtol=1e-5, atol=1e-5)
    assert_allclose(by_tensor, eager, rtol=1e-5, atol=1e-5)
    assert len(none) == 0


def test_the_keras_file_is_apart_from_what_a_server_sees(exported: Any) -> None:
    assert keras_folder(exported.directory) == str(Path(exported.directory).parent / "Format-Keras")
    model, custom_config = load_keras(keras_folder(exported.directory))
    assert custom_config.dataset == exported.transformed.dataset
    assert not model.compiled
    assert not any(path.suffix == ".keras" for path in Path(exported.directory).rglob("*"))

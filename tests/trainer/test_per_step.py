"""Answers at each step (`task.per_step`): from Transform to loss, metrics and the served graph, against NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import accuracy_score, average_precision_score, balanced_accuracy_score

from noisy_gru.components.serving_gate.signature_contract import broken_promises
from noisy_gru.saved_model.session import SessionModel
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.trainer import features as names
from noisy_gru.trainer.class_balance import ClassSettings, balance_problems
from noisy_gru.trainer.eval_outputs import eval_outputs
from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.inputs.dataset import BatchConfig, SequenceData
from noisy_gru.trainer.model import VocabularySizes, build_model
from noisy_gru.trainer.model_checks import model_problems
from noisy_gru.trainer.model_config import ModelConfig
from noisy_gru.trainer.objective import compile_model
from noisy_gru.trainer.training_config import TrainingConfig
from tests.trainer.numpy_gru import gru

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:invalid value encountered in divide:RuntimeWarning"),
]

CLASSES = ["idle", "run", "fault"]
STREAMED = {"layers": [{"units": 5}, {"units": 4}], "hidden": [3], "serving_step": True}
BOTH_WAYS = {"layers": [{"units": 4}, {"units": 3}], "bidirectional": True}


def dataset(**task: Any) -> DatasetConfig:
    features = ["x", {"name": "age", "static": True}]
    data = {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": features}
    return DatasetConfig.model_validate(
        {"data": data, "task": {"kind": "classification", "label": "state", "per_step": True, **task}}
    )


def some_rows(count: int, seed: int) -> list[dict[str, list[Any]]]:
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        steps = int(random.integers(1, 9))
        states = random.choice([*CLASSES, ""], steps, p=[0.5, 0.2, 0.1, 0.2]).tolist()
        states[0] = states[0] or "idle"
        x = random.normal(size=steps).astype(np.float32).tolist()
        rows.append({"x": x, "age": [float(random.normal(50, 9))], "state": states})
    return rows


@pytest.fixture(scope="module")
def machines(datasets: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    rows = {
        split: some_rows(count, seed) for seed, (split, count) in enumerate((("train", 60), ("eval", 20), ("test", 23)))
    }
    rows["test"][3]["state"][0] = "never seen in train"
    return datasets.run_transform(dataset(), rows, tmp_path_factory.mktemp("machines"))


def vocabulary(transformed: Any) -> list[str]:
    import tensorflow_transform as tft

    words = tft.TFTransformOutput(transformed.graph).vocabulary_by_name(names.LABEL_VOCABULARY)
    return [word.decode() for word in words]


def data_of(transformed: Any, split: str, **config: Any) -> SequenceData:
    import tensorflow_transform as tft

    spec = tft.TFTransformOutput(transformed.graph).transformed_feature_spec()
    return SequenceData(transformed.files[split], spec, Layout(transformed.dataset), BatchConfig(7, **config), split)


def by_chance(model: keras.Model) -> keras.Model:
    random = np.random.default_rng(4)
    model.set_weights([random.normal(0, 0.7, each.shape).astype(np.float32) for each in model.weights])
    return model


def made(config: dict[str, Any], **build: Any) -> keras.Model:
    layout = Layout(dataset())
    return by_chance(build_model(ModelConfig.model_validate(config), layout, VocabularySizes(3), seed=1, **build))


def oracle(model: keras.Model, config: dict[str, Any], inputs: dict[str, Any]) -> np.ndarray:
    """The logits in NumPy, from the weights by the layers' names."""
    weights = {layer.name: [np.asarray(each, np.float64) for each in layer.get_weights()] for layer in model.layers}
    x, lengths = np.asarray(inputs["features"], np.float64), np.asarray(inputs["length"])
    static = np.asarray(inputs["static_features"], np.float64)
    mask = np.arange(x.shape[1]) < lengths[:, np.newaxis]
    for index in range(len(config["layers"])):
        kernel, bias = weights[f"initial_mean_{index}"]
        means = np.split(np.tanh(static @ kernel + bias), 1 + bool(config.get("bidirectional")), axis=1)
        own, outputs = weights[f"{'both_ways' if config.get('bidirectional') else 'noisy_gru'}_{index}"], []
        for backwards, start in enumerate(means):
            kernels, own = own[:3], own[3:]
            found, _, _ = gru(x, kernels, initial_state=start, mask=mask, go_backwards=bool(backwards))
            outputs.append(found[:, ::-1] if backwards else found)
        x = np.concatenate(outputs, axis=2)
    hidden = np.concatenate([x, np.repeat(static[:, np.newaxis], x.shape[1], axis=1)], axis=2)
    for index in range(len(config.get("hidden", []))):
        kernel, bias = weights[f"hidden_{index}"]
        hidden = np.maximum(hidden @ kernel + bias, 0)
    kernel, bias = weights["logits"]
    return hidden @ kernel + bias


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("config", [STREAMED, BOTH_WAYS])
def test_outputs_against_numpy(config: dict[str, Any]) -> None:
    model, random = made(config), np.random.default_rng(1)
    inputs = {
        "features": random.normal(size=(4, 6, 1)).astype(np.float32),
        "length": np.array([6, 3, 0, 1]),
        "static_features": random.normal(size=(4, 1)).astype(np.float32),
    }
    there = np.arange(6) < inputs["length"][:, np.newaxis]
    outputs, expected = model(inputs, training=False), oracle(model, config, inputs)
    # Keras would weigh the losses by it once more.
    assert getattr(outputs, "_keras_mask", None) is None
    found = np.asarray(outputs)
    assert found.shape == (4, 6, 3)
    assert_allclose(found[there], expected[there], atol=1e-5)


@pytest.mark.parametrize("cache", [1e9, pytest.param(0.0, marks=pytest.mark.long)])
def test_answers_hold_classes_and_weights(machines: Any, cache: float) -> None:
    words = vocabulary(machines)
    data, rows = data_of(machines, "test", cache_bytes=cache), machines.rows["test"]
    assert set(words) == set(CLASSES) and len(data) == len(rows)
    known = [[words.index(each) if each in words else -1 for each in row["state"]] for row in rows]
    expected = [place for row in known for place in row if place >= 0]
    assert data.labels.tolist() == expected
    seen = 0
    for inputs, answer in data.one_pass():
        assert answer.shape[2] == 2 and answer.shape[1] == int(np.max(inputs["length"]))
        for row in answer.numpy():
            labels = np.array(known[seen] + [-1] * (len(row) - len(known[seen])))
            # Sums over sequences of the mean's weights: 1 / (known labels of a sequence, on average).
            assert_allclose(row[:, 1], (labels >= 0) * len(rows) / len(expected), rtol=1e-6)
            assert (row[:, 0] == np.maximum(labels, 0)).all()
            seen += 1
    assert seen == len(rows)


@pytest.mark.parametrize(
    ("weights", "padded"),
    [
        (np.array([0.5, 2.0, 3.0], np.float32), True),
        pytest.param(None, True, marks=pytest.mark.long),
        pytest.param(None, False, marks=pytest.mark.long),
    ],
)
def test_loss_and_metrics_are_over_the_known_labels(machines: Any, weights: Any, padded: bool) -> None:
    data, model = data_of(machines, "test"), made(STREAMED)
    if padded:
        data.pad_to((5, 12))
    settings = ClassSettings(weights)
    training = TrainingConfig.model_validate({"steps_per_execution": 1})
    compile_model(model, training, data.layout, steps_per_epoch=data.steps, epochs=1, classes=settings, xla=False)
    if padded:
        from noisy_gru.trainer.loss_units import use_row_weights

        use_row_weights(model)
    logits, labels = [], []
    losses, counted = 0.0, 0
    for batch in data.one_pass():
        inputs, answer, *more = batch
        found = np.asarray(model(inputs, training=False), np.float64)
        real = more[0].numpy() > 0 if more else np.ones(len(found), bool)
        known = answer.numpy()[..., 1] > 0
        known[~real] = False
        logits.append(found[known])
        labels.append(answer.numpy()[..., 0][known].astype(int))
        logs = model.test_step(batch)
        counted += int(real.sum())
    losses = float(logs["loss"])  # Keras' mean over the rows so far
    scores, true = softmax(np.concatenate(logits)), np.concatenate(labels)
    of_steps = -np.log(scores[np.arange(len(true)), true]) * (1 if weights is None else weights[true])
    assert counted == len(data)
    assert_allclose(losses, of_steps.mean(), rtol=1e-4)
    assert_allclose(float(logs["accuracy"]), accuracy_score(true, scores.argmax(1)), rtol=1e-5)
    assert_allclose(float(logs["balanced_accuracy"]), balanced_accuracy_score(true, scores.argmax(1)), rtol=1e-5)
    # Scores are counted in sixteenths of the log-odds.
    odds = np.rint(16 * (np.log(scores) - np.log1p(-scores)))
    areas: list[Any] = [average_precision_score(true == place, odds[:, place]) for place in range(3)]
    assert_allclose(float(logs["pr_auc"]), np.mean(areas), rtol=1e-2)


def test_outputs_of_eval_are_those_of_labelled_steps(machines: Any) -> None:
    data, model = data_of(machines, "eval"), made(STREAMED)
    (scores,), labels = eval_outputs(data, lambda inputs: [model(inputs, training=False)])
    assert labels.tolist() == data.labels.tolist()
    expected = [
        np.asarray(model(inputs, training=False))[answer.numpy()[..., 1] > 0] for inputs, answer in data.one_pass()
    ]
    assert_allclose(scores, np.concatenate(expected), atol=1e-5)


@pytest.fixture(scope="module", params=["streamed", pytest.param("both ways", marks=pytest.mark.long)])
def served(request: Any, machines: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A model in a Session as a server runs it, with weights by chance."""
    import tensorflow_transform as tft

    from noisy_gru.trainer.export.saved_model import export_saved_model
    from noisy_gru.trainer.export.served_model import ServedModel
    from noisy_gru.trainer.export.serving_stack import serving_function

    given = STREAMED if request.param == "streamed" else BOTH_WAYS
    model, config = made(given, for_serving=True), ModelConfig.model_validate(given)
    predict = serving_function(model)
    assert predict is not None
    graph, directory = tft.TFTransformOutput(machines.graph), tmp_path_factory.mktemp("per_step_served")
    export_saved_model(ServedModel(model, graph, Layout(machines.dataset), config, predict), str(directory))
    with SessionModel(str(directory)) as session:
        yield SimpleNamespace(model=model, given=given, session=session, words=vocabulary(machines))


def expected_answers(served: Any, machines: Any) -> list[np.ndarray]:
    """Probabilities [T, C] of each test sequence, in NumPy, with the scales of train."""
    train, rows = machines.rows["train"], machines.rows["test"]
    x = np.concatenate([row["x"] for row in train]).astype(np.float64)
    age = np.array([row["age"][0] for row in train], np.float32).astype(np.float64)
    found = []
    for row in rows:
        inputs = {
            "features": ((np.array(row["x"]) - x.mean()) / x.std())[np.newaxis, :, np.newaxis],
            "length": [len(row["x"])],
            "static_features": [[(row["age"][0] - age.mean()) / age.std()]],
        }
        found.append(softmax(oracle(served.model, served.given, inputs)[0]))
    return found


def test_the_served_graph_answers_each_step(served: Any, machines: Any, encode: Any) -> None:
    rows = machines.rows["test"]
    features = [{key: row[key] for key in ("x", "age")} for row in rows]
    serving_step = "serving_step" in served.given
    assert not broken_promises(served.session.signatures, machines.dataset, serving_step=serving_step)
    expected = expected_answers(served, machines)
    for part in (slice(0, len(rows)), slice(2, 3), slice(0, 0)):
        examples = [encode(row) for row in features[part]]
        answers = served.session.run("serving_default", {"examples": np.array(examples, object)})
        lengths = [len(row["x"]) for row in features[part]]
        assert answers["lengths"].tolist() == lengths
        assert answers["probabilities"].shape == (len(lengths), max([1, *lengths]), 3)
        for row, (count, scores) in enumerate(zip(lengths, expected[part], strict=True)):
            assert_allclose(answers["probabilities"][row, :count], scores, atol=1e-5)
            chosen = [served.words[place].encode() for place in scores.argmax(1)]
            assert answers["label_bytes"][row, :count].tolist() == chosen
            assert not answers["probabilities"][row, count:].any()
            assert (answers["class_id"][row, count:] == -1).all()
            assert answers["label_bytes"][row, count:].tolist() == [b""] * (len(answers["class_id"][row]) - count)
    nothing = served.session.run("serving_default", {"examples": np.array([encode({"x": [], "age": [50.0]})], object)})
    assert nothing["lengths"].tolist() == [0] and not nothing["probabilities"].any()


def test_a_stream_gives_the_answers_to_its_new_steps(served: Any, machines: Any) -> None:
    if "serving_step" not in served.given:
        pytest.skip("read in both directions")
    rows, expected = machines.rows["test"][:5], expected_answers(served, machines)
    state = np.zeros((5, served.session.signatures["serving_step"].inputs["state"].shape[1]), np.float32)
    done = np.zeros(5, int)
    for size in (2, 1, 4, 3):
        pieces = [row["x"][begin : begin + size] for row, begin in zip(rows, done, strict=True)]
        features = np.full((5, size + 1, 1), 7, np.float32)
        for row, piece in enumerate(pieces):
            features[row, : len(piece), 0] = piece
        lengths = np.array([len(piece) for piece in pieces], np.int64)
        static = np.array([row["age"] for row in rows], np.float32)
        inputs = {"features": features, "lengths": lengths, "static_features": static, "state": state}
        answers = served.session.run("serving_step", inputs)
        state = answers["state"]
        assert answers["lengths"].tolist() == lengths.tolist()
        for row, (begin, count) in enumerate(zip(done, lengths, strict=True)):
            assert_allclose(answers["probabilities"][row, :count], expected[row][begin : begin + count], atol=1e-5)
        done += lengths


def test_what_has_no_form_for_steps_is_refused() -> None:
    settings = {
        "pooling": "mean",
        "segment": 4,
        "random_kernels": {},
        "convolutions": {"placement": "beside"},
        "onnx": True,
    }
    problems = " ".join(model_problems(ModelConfig.model_validate(settings), dataset()))
    for named in ("pooling: mean", "model.segment has", "random_kernels has", "convolutions has", "onnx: true has"):
        assert named in problems, named
    assert model_problems(ModelConfig.model_validate(BOTH_WAYS), dataset()) == []
    balanced = TrainingConfig.model_validate({"sampling": "balanced"})
    assert "use training.class_weights: balanced" in " ".join(balance_problems(balanced, dataset()))

"""Numbers at each step (`per_step` of a regression): Transform, loss, metric and the served graph, against NumPy."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose

from noisy_gru.components.serving_gate.importance import importance_plan
from noisy_gru.components.serving_gate.output_difference import largest_difference
from noisy_gru.components.serving_gate.signature_contract import broken_promises
from noisy_gru.components.serving_gate.training_path import TrainingPath
from noisy_gru.saved_model.session import SessionModel
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.inputs.dataset import BatchConfig, SequenceData
from noisy_gru.trainer.loss_units import use_row_weights
from noisy_gru.trainer.model import VocabularySizes, build_model
from noisy_gru.trainer.model_checks import model_problems
from noisy_gru.trainer.model_config import ModelConfig
from noisy_gru.trainer.objective import compile_model
from noisy_gru.trainer.training_config import TrainingConfig

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:invalid value encountered in divide:RuntimeWarning"),
]

TARGETS = ["level", "flow"]
STREAMED = {"layers": [{"units": 5}], "serving_step": True}


def dataset() -> DatasetConfig:
    data = {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": ["x"]}
    task = {"kind": "regression", "targets": TARGETS, "per_step": True}
    return DatasetConfig.model_validate({"data": data, "task": task})


def some_rows(count: int, seed: int) -> list[dict[str, list[Any]]]:
    random, rows = np.random.default_rng(seed), []
    for _ in range(count):
        steps = int(random.integers(1, 9))
        truth = random.normal(size=(steps, 2)) * [3, 100] + [50, 1e4]
        truth[random.random(truth.shape) < 0.2] = np.nan
        columns = {name: truth[:, place].tolist() for place, name in enumerate(TARGETS)}
        rows.append({"x": random.normal(size=steps).astype(np.float32).tolist(), **columns})
    return rows


def truth_of(rows: list[dict[str, list[Any]]]) -> np.ndarray:
    """All steps, one after the other, float64 [N, 2]."""
    return np.concatenate([np.array([row[name] for name in TARGETS], np.float32).T for row in rows]).astype(np.float64)


@pytest.fixture(scope="module")
def rivers(datasets: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    rows = {split: some_rows(count, seed) for seed, (split, count) in enumerate((("train", 50), ("test", 23)))}
    return datasets.run_transform(dataset(), rows, tmp_path_factory.mktemp("rivers"))


def data_of(transformed: Any, split: str, **config: Any) -> SequenceData:
    import tensorflow_transform as tft

    spec = tft.TFTransformOutput(transformed.graph).transformed_feature_spec()
    return SequenceData(transformed.files[split], spec, Layout(transformed.dataset), BatchConfig(7, **config), split)


def made(**build: Any) -> keras.Model:
    model = build_model(ModelConfig.model_validate(STREAMED), Layout(dataset()), VocabularySizes(), seed=1, **build)
    random = np.random.default_rng(4)
    model.set_weights([random.normal(0, 0.7, each.shape).astype(np.float32) for each in model.weights])
    return model


def scales(transformed: Any) -> tuple[np.ndarray, np.ndarray]:
    train = truth_of(transformed.rows["train"])
    return np.nanmean(train, axis=0), np.nanstd(train, axis=0)


@pytest.mark.parametrize("cache", [1e9, pytest.param(0.0, marks=pytest.mark.long)])
def test_answers_are_scaled_by_the_steps_of_train_and_weigh_what_is_known(rivers: Any, cache: float) -> None:
    data, rows = data_of(rivers, "test", cache_bytes=cache), rivers.rows["test"]
    truth, (mean, deviation) = truth_of(rows), scales(rivers)
    known, seen = int((~np.isnan(truth)).sum()), 0
    for inputs, answer in data.one_pass():
        assert answer.shape[1:] == (int(np.max(inputs["length"])), 4)
        for row in answer.numpy():
            own = (truth_of(rows[seen : seen + 1]) - mean) / deviation
            padded = np.concatenate([own, np.full((len(row) - len(own), 2), np.nan)])
            assert_allclose(row[:, :2], np.nan_to_num(padded), atol=1e-3)
            # Sums over sequences, of the mean over two targets, are the mean over the known ones.
            assert_allclose(row[:, 2:], ~np.isnan(padded) * len(rows) * 2 / known, rtol=1e-6)
            seen += 1
    assert seen == len(rows)


@pytest.mark.parametrize(("loss", "power"), [("mse", 2), pytest.param("mae", 1, marks=pytest.mark.long)])
def test_loss_and_metric_are_over_the_known_targets(rivers: Any, loss: str, power: int) -> None:
    data, model, (mean, deviation) = data_of(rivers, "test"), made(), scales(rivers)
    data.pad_to((5, 12))
    training = TrainingConfig.model_validate({"steps_per_execution": 1, "loss": loss})
    compile_model(model, training, data.layout, steps_per_epoch=data.steps, epochs=1, target_scale=deviation, xla=False)
    use_row_weights(model)
    outputs, logs = [], {}
    for inputs, answer, weight in data.one_pass():
        found, real = np.asarray(model(inputs, training=False), np.float64), weight.numpy() > 0
        for row, length in zip(found[real], inputs["length"].numpy()[real], strict=True):
            outputs.append(row[:length])
        logs = model.test_step((inputs, answer, weight))
    truth = (truth_of(rivers.rows["test"]) - mean) / deviation
    errors, known = np.abs(np.concatenate(outputs) - truth), ~np.isnan(truth)
    assert_allclose(float(logs["loss"]), (errors**power)[known].mean(), rtol=1e-4)
    assert_allclose(float(logs["mae"]), (errors * deviation)[known].mean(), rtol=1e-4)


@pytest.fixture(scope="module")
def served(rivers: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model in a Session as a server runs it."""
    import tensorflow_transform as tft

    from noisy_gru.trainer.export.saved_model import export_saved_model
    from noisy_gru.trainer.export.served_model import ServedModel
    from noisy_gru.trainer.export.serving_stack import serving_function

    model, config = made(for_serving=True), ModelConfig.model_validate(STREAMED)
    graph, folder = tft.TFTransformOutput(rivers.graph), tmp_path_factory.mktemp("steps_served")
    of_steps = ServedModel(model, graph, Layout(dataset()), config, serving_function(model))
    export_saved_model(of_steps, str(folder))
    with SessionModel(str(folder)) as session:
        yield SimpleNamespace(model=model, session=session, of_steps=of_steps)


def test_the_served_graph_answers_each_step(served: Any, rivers: Any, encode: Any) -> None:
    assert not broken_promises(served.session.signatures, dataset(), serving_step=True)
    rows, (mean, deviation) = rivers.rows["test"], scales(rivers)
    examples = [encode({"x": row["x"]}) for row in rows]
    answers = served.session.run("serving_default", {"examples": np.array(examples, object)})
    lengths = [len(row["x"]) for row in rows]
    assert answers["lengths"].tolist() == lengths and answers["predictions"].shape == (len(rows), max(lengths), 2)
    place = 0
    for inputs, _ in data_of(rivers, "test").one_pass():
        for outputs in np.asarray(served.model(inputs, training=False), np.float64):
            count = lengths[place]
            expected = outputs[:count] * deviation + mean
            assert_allclose(answers["predictions"][place, :count], expected, rtol=1e-4)
            assert not answers["predictions"][place, count:].any()
            place += 1
    # The way of training comes to the same.
    expected = TrainingPath(rivers.graph, served.of_steps).answer([encode(row) for row in rows])
    assert largest_difference(answers, expected, deviation) <= 1e-5
    nothing = served.session.run("serving_default", {"examples": np.array([encode({"x": []})], object)})
    assert nothing["lengths"].tolist() == [0] and not nothing["predictions"].any()


def test_targets_of_steps_for_an_evaluation(served: Any, rivers: Any, encode: Any) -> None:
    rows = rivers.rows["test"]
    found = served.of_steps.labels_of([encode(row) for row in rows])["targets"].numpy()
    for row, targets in zip(rows, found, strict=True):
        assert_allclose(targets[: len(row["x"])], truth_of([row]), rtol=1e-5)
        assert np.isnan(targets[len(row["x"]) :]).all()
    plan = importance_plan([encode(row) for row in rows], dataset(), 1.0)
    assert plan is not None and plan.labels.shape[1:] == (8, 2)


def test_a_stream_gives_the_answers_to_its_new_steps(served: Any, rivers: Any, encode: Any) -> None:
    whole = next(row["x"] for row in rivers.rows["test"] if len(row["x"]) == 8)
    examples = np.array([encode({"x": whole})], object)
    expected = served.session.run("serving_default", {"examples": examples})["predictions"][0]
    state = np.zeros((1, served.session.signatures["serving_step"].inputs["state"].shape[1]), np.float32)
    for begin, end in ((0, 3), (3, 4), (4, 8)):
        features = np.array([*whole[begin:end], 7], np.float32).reshape(1, -1, 1)
        given = {"features": features, "lengths": np.array([end - begin]), "state": state}
        answers = served.session.run("serving_step", given)
        state = answers["state"]
        assert answers["lengths"].tolist() == [end - begin]
        assert_allclose(answers["predictions"][0, : end - begin], expected[begin:end], rtol=1e-4)


def test_what_has_no_form_for_steps_is_refused() -> None:
    config = ModelConfig.model_validate({"pooling": "mean", "segment": 4, "onnx": True})
    problems = " ".join(model_problems(config, dataset()))
    for named in ("pooling: mean", "model.segment has", "onnx: true has"):
        assert named in problems, named

"""Static features: from Transform to the served graph, against NumPy."""

from __future__ import annotations

from collections.abc import Iterator
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
from noisy_gru.schema.errors import ModelError
from noisy_gru.trainer import features as names
from noisy_gru.trainer.config import TrainerConfig
from noisy_gru.trainer.custom_config import CustomConfig
from noisy_gru.trainer.features import Layout, model_inputs
from noisy_gru.trainer.inputs.dataset import BatchConfig, SequenceData
from noisy_gru.trainer.model import VocabularySizes, build_model
from noisy_gru.trainer.model_config import ModelConfig
from noisy_gru.trainer.transform_record import read_record
from noisy_gru.trainer.warm_start.weight_transfer import transfer_weights
from tests.trainer.example_requests import check_example_request
from tests.trainer.numpy_gru import gru

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:invalid value encountered in divide:RuntimeWarning"),
]

NAN = float("nan")
NUMERIC: list[Any] = [
    {"name": "age", "static": True},
    "x",
    {"name": "income", "static": True, "scale": "minmax", "missing": "mask"},
]
TEXTS: list[Any] = [
    {"name": "shop", "kind": "categorical", "static": True, "vocabulary_size": 2, "embedding_dim": 3},
    {"name": "sky", "kind": "categorical", "embedding_dim": 2},
]
# Directions, layers, pooling, a learned mean, a hidden layer, stacks too wide for the loop of one sequence.
KINDS: dict[str, dict[str, Any]] = {
    "last": {"layers": [{"units": 6}, {"units": 4}, {"units": 3}], "learn_mean": True, "serving_step": True},
    "one layer": {"layers": [{"units": 5}], "hidden": [4], "serving_step": True},
    "both ways": {"layers": [{"units": 5}, {"units": 4}], "bidirectional": True, "learn_mean": True},
    "both ways, mean": {
        "layers": [{"units": 5}, {"units": 3}],
        "bidirectional": True,
        "pooling": "mean",
        "hidden": [4],
    },
    "max": {"layers": [{"units": 5}, {"units": 4}], "pooling": "max"},
    "wide": {"layers": [{"units": 250}, {"units": 3}]},
    "not fused": {"layers": [{"units": 5}, {"units": 4}], "fused": False},
}


def dataset(features: list[Any] | None = None) -> DatasetConfig:
    columns = features or NUMERIC + TEXTS
    data = {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": columns}
    return DatasetConfig.model_validate({"data": data, "task": {"kind": "regression", "label": "y"}})


def some_rows(count: int, seed: int, *, level: float = 50.0, shops: tuple[str, ...] = ("mall", "street", "web")) -> Any:
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        steps = int(random.integers(1, 9))
        income = float(random.normal(level, 10)) if random.random() > 0.25 else NAN
        rows.append(
            {
                "x": random.normal(size=steps).astype(np.float32).tolist(),
                "sky": random.choice(["clear", "rain"], steps).tolist(),
                "age": [float(random.normal(level, 9))],
                "income": [income],
                "shop": [str(random.choice(shops, p=np.array([4, 2, 1][: len(shops)]) / sum([4, 2, 1][: len(shops)])))],
                "y": [float(random.normal())],
            }
        )
    return rows


@pytest.fixture(scope="module")
def shops(datasets: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    rows = {
        split: some_rows(count, seed) for seed, (split, count) in enumerate((("train", 60), ("eval", 20), ("test", 24)))
    }
    return datasets.run_transform(dataset(), rows, tmp_path_factory.mktemp("shops"))


def graph_of(transformed: Any) -> Any:
    import tensorflow_transform as tft

    return tft.TFTransformOutput(transformed.graph)


def transform(transformed: Any, rows: list[Any], encode: Any) -> dict[str, Any]:
    graph = graph_of(transformed)
    spec = {feature.name: graph.raw_feature_spec()[feature.name] for feature in transformed.dataset.data.features}
    return graph.transform_features_layer()(tf.io.parse_example([encode(row) for row in rows], spec))


def sizes_of(transformed: Any) -> VocabularySizes:
    layout, graph = Layout(transformed.dataset), graph_of(transformed)
    steps = [layout.vocabulary(index) for index in range(len(layout.categorical))]
    static = [layout.static_vocabulary(index) for index in range(len(layout.static_categorical))]
    counts = [tuple(graph.vocabulary_size_by_name(name) + 1 for name in each) for each in (steps, static)]
    return VocabularySizes(0, counts[0], static_vocabularies=counts[1])


def by_chance(model: keras.Model, seed: int = 0) -> keras.Model:
    random = np.random.default_rng(seed)
    values = [random.normal(0, 1 / np.sqrt(max(each.shape)), each.shape).astype(np.float32) for each in model.weights]
    model.set_weights(values)
    return model


# Transform.


def test_scales_and_vocabularies_count_each_sequence_once(shops: Any, encode: Any) -> None:
    train, rows = shops.rows["train"], shops.rows["test"]
    outputs = transform(shops, rows, encode)
    ages = np.array([row["age"][0] for row in train], np.float32).astype(np.float64)
    incomes = np.array([row["income"][0] for row in train], np.float32).astype(np.float64)
    incomes = incomes[np.isfinite(incomes)]
    age = (np.array([row["age"][0] for row in rows]) - ages.mean()) / ages.std()
    raw = np.array([row["income"][0] for row in rows])
    income = (np.where(np.isnan(raw), incomes.mean(), raw) - incomes.min()) / np.ptp(incomes)
    assert Layout(shops.dataset).static_channels == ["age", "income", "income is missing"]
    expected = np.stack([age, income, np.isnan(raw)], axis=1)
    assert outputs[names.STATIC].shape == (len(rows), 3)
    assert_allclose(outputs[names.STATIC], expected, atol=1e-5)
    # A vocabulary of two: the others are unknown.
    known = graph_of(shops).vocabulary_by_name("static_vocabulary_0")
    assert known == [b"mall", b"street"]
    assert outputs["static_ids_0"].numpy().tolist() == [{"mall": 0, "street": 1}.get(row["shop"][0], 2) for row in rows]
    assert names.STATIC not in Layout(dataset(["x"])).static_inputs


def test_the_record_has_their_scales_and_words(shops: Any) -> None:
    record = read_record(graph_of(shops), Layout(shops.dataset))
    train = shops.rows["train"]
    ages = np.array([row["age"][0] for row in train])
    incomes = np.array([row["income"][0] for row in train])
    assert list(record.numeric) == ["x", "age", "income"]
    assert_allclose([record.numeric["age"].centre, record.numeric["age"].scale], [ages.mean(), ages.std()], rtol=1e-5)
    assert_allclose(record.numeric["income"].fill, np.nanmean(incomes), rtol=1e-5)
    assert_allclose(record.numeric["income"].scale, np.nanmax(incomes) - np.nanmin(incomes), rtol=1e-5)
    assert record.vocabularies["shop"] == ["mall", "street"]


def test_missing_and_odd_values(shops: Any, encode: Any) -> None:
    row = shops.rows["test"][0]
    nothing: dict[str, Any] = {}
    odd = [{**row, "age": [NAN], "shop": [""]}, {**row, "age": [float("inf")], "shop": ["never seen"]}, nothing]
    outputs = transform(shops, odd, encode)
    assert_allclose(outputs[names.STATIC][:, 0], 0, atol=5e-6)
    assert outputs["static_ids_0"].numpy().tolist() == [2, 2, 2]
    assert outputs[names.LENGTH].numpy().tolist() == [len(row["x"])] * 2 + [0]


@pytest.mark.parametrize(
    ("change", "shown"), [({"age": [1.0, 2.0]}, "1.*2"), ({"age": []}, "1.*0"), ({"shop": ["a", "b"]}, "1.*2")]
)
def test_another_number_of_values_is_an_error(shops: Any, encode: Any, change: Any, shown: str) -> None:
    good, (name,) = shops.rows["test"][0], change
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"static feature {name} has another number.*{shown}"):
        transform(shops, [good, {**good, **change}], encode)


def test_training_reads_what_serving_reads(shops: Any) -> None:
    """The batches that are gathered from memory, and the padded ones of a server, for every sequence."""
    layout = Layout(shops.dataset)
    spec = graph_of(shops).transformed_feature_spec()
    for cache in (1e9, 0.0):
        data = SequenceData(shops.files["test"], spec, layout, BatchConfig(7, cache_bytes=cache), "test")
        records = tf.data.TFRecordDataset(shops.files["test"], "GZIP").batch(7)
        wanted = {key: spec[key] for key in (names.FEATURES, names.LENGTH, "ids_0", *layout.static_inputs)}
        for (inputs, _), block in zip(data.one_pass(), records, strict=True):
            expected = model_inputs(tf.io.parse_example(block, wanted), layout)
            assert set(inputs) == set(expected) >= {names.STATIC, "static_ids_0"}
            for key, value in expected.items():
                assert_array_equal(inputs[key], value, err_msg=key)


# The model.


def oracle(model: keras.Model, config: dict[str, Any], inputs: dict[str, Any]) -> np.ndarray:
    """The model's outputs in NumPy, from its weights by the layers' names."""
    weights = {layer.name: [np.asarray(each, np.float64) for each in layer.get_weights()] for layer in model.layers}
    x = np.asarray(inputs["features"], np.float64)
    lengths = np.asarray(inputs["length"])
    if "ids_0" in inputs:
        x = np.concatenate([x, weights["embedding_0"][0][np.asarray(inputs["ids_0"])]], axis=2)
    static = np.asarray(inputs["static_features"], np.float64)
    if "static_ids_0" in inputs:
        static = np.concatenate([static, weights["static_embedding_0"][0][np.asarray(inputs["static_ids_0"])]], axis=1)
    mask = np.arange(x.shape[1]) < lengths[:, np.newaxis]
    ends: list[np.ndarray] = []
    for index, layer in enumerate(config["layers"]):
        kernel, bias = weights[f"initial_mean_{index}"]
        means = np.split(np.tanh(static @ kernel + bias), 1 + bool(config.get("bidirectional")), axis=1)
        own = weights[f"both_ways_{index}" if config.get("bidirectional") else f"noisy_gru_{index}"]
        outputs, ends = [], []
        for backwards, start in enumerate(means):
            learned = own.pop(0) if config.get("learn_mean") else 0.0
            kernels, own = own[:3], own[3:]
            found, last, _ = gru(x, kernels, initial_state=start + learned, mask=mask, go_backwards=bool(backwards))
            outputs.append(found[:, ::-1] if backwards else found)
            ends.append(np.where(lengths[:, np.newaxis] > 0, last, 0))
            assert layer["units"] == last.shape[1]
        x = np.concatenate(outputs, axis=2)
    hidden = np.concatenate(ends, axis=1)
    if config.get("pooling") == "mean":
        hidden = (x * mask[:, :, np.newaxis]).sum(1) / np.maximum(lengths, 1)[:, np.newaxis]
    if config.get("pooling") == "max":
        hidden = np.where(mask[:, :, np.newaxis], x, -np.inf).max(1)
        hidden = np.where(lengths[:, np.newaxis] > 0, hidden, 0)
    hidden = np.concatenate([hidden, static], axis=1)
    for index in range(len(config.get("hidden", []))):
        kernel, bias = weights[f"hidden_{index}"]
        hidden = np.maximum(hidden @ kernel + bias, 0)
    kernel, bias = weights["prediction"]
    return hidden @ kernel + bias


def some_inputs(lengths: list[int], steps: int) -> dict[str, Any]:
    random = np.random.default_rng(len(lengths))
    return {
        "features": random.normal(size=(len(lengths), steps, 1)).astype(np.float32),
        "length": np.array(lengths, np.int64),
        "ids_0": random.integers(0, 3, (len(lengths), steps)),
        "static_features": random.normal(size=(len(lengths), 3)).astype(np.float32),
        "static_ids_0": random.integers(0, 3, len(lengths)),
    }


def made(config: dict[str, Any], *, for_serving: bool = False) -> keras.Model:
    keras.utils.set_random_seed(1)
    sizes = VocabularySizes(0, (3,), static_vocabularies=(3,))
    return build_model(ModelConfig.model_validate(config), Layout(dataset()), sizes, seed=1, for_serving=for_serving)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "wide"])
def test_outputs_against_numpy(kind: str) -> None:
    model = by_chance(made(KINDS[kind]))
    inputs = some_inputs([5, 3, 0, 1], 5)
    assert_allclose(model(inputs, training=False), oracle(model, KINDS[kind], inputs), atol=1e-5)
    # Each part of the sequence's static values counts.
    for key, other in (
        ("static_features", inputs["static_features"] + 1),
        ("static_ids_0", (inputs["static_ids_0"] + 1) % 3),
    ):
        assert np.abs(model({**inputs, key: other}, training=False) - model(inputs, training=False)).min() > 1e-4, key


@pytest.mark.parametrize("bidirectional", [False, pytest.param(True, marks=pytest.mark.long)])
def test_the_noise_is_around_the_static_state(bidirectional: bool) -> None:
    """Without noise training starts where inference does; with noise around it, on average."""
    config = {"layers": [{"units": 4, "stddev": 0.0}], "bidirectional": bidirectional}
    model = by_chance(made(config))
    inputs = some_inputs([2, 3, 1], 3)
    assert_allclose(model(inputs, training=True), model(inputs, training=False), atol=5e-6)
    noisy = made({**config, "layers": [{"units": 4, "stddev": 0.05}]})
    noisy.set_weights(model.get_weights())
    draws = np.stack([np.asarray(noisy(inputs, training=True)) for _ in range(400)])
    spread = draws.std(axis=0)
    assert spread.min() > 1e-4
    assert_allclose(draws.mean(axis=0), model(inputs, training=False), atol=5 * spread.max() / np.sqrt(len(draws)))


def test_the_same_seed_gives_the_same_model() -> None:
    first, second = made(KINDS["both ways"]), made(KINDS["both ways"])
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        assert_array_equal(one, other)


def test_a_model_without_static_features_has_the_layers_it_had() -> None:
    layout = Layout(dataset(["x", TEXTS[1]]))
    config = ModelConfig.model_validate(KINDS["both ways"])
    model = build_model(config, layout, VocabularySizes(0, (3,)), seed=1)
    kinds = [(type(layer).__name__, layer.name) for layer in model.layers]
    assert [kind for kind in kinds if kind[0] != "InputLayer"] == [
        ("Embedding", "embedding_0"),
        ("Concatenate", "inputs"),
        ("LengthMask", "mask"),
        ("Bidirectional", "both_ways_0"),
        ("Bidirectional", "both_ways_1"),
        ("Dense", "prediction"),
    ]


def test_a_keras_file_keeps_it(tmp_path: Path) -> None:
    model = by_chance(made(KINDS["both ways"]))
    model.save(tmp_path / "model.keras")
    inputs = some_inputs([5, 0, 1], 5)
    again: Any = keras.saving.load_model(tmp_path / "model.keras")
    assert_array_equal(again(inputs, training=False), model(inputs, training=False))


# The served model.


@pytest.fixture(scope="module", params=["last", "both ways", "both ways, mean", "max", "wide"])
def served(request: Any, shops: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A model of each kind in a Session as a server runs it, with weights by chance."""
    from noisy_gru.trainer.export.saved_model import export_saved_model
    from noisy_gru.trainer.export.served_model import ServedModel
    from noisy_gru.trainer.export.serving_stack import serving_function

    config, layout = ModelConfig.model_validate(KINDS[request.param]), Layout(shops.dataset)
    model = by_chance(build_model(config, layout, sizes_of(shops), seed=1, for_serving=True))
    predict = serving_function(model)
    assert predict is not None
    graph = graph_of(shops)
    directory = tmp_path_factory.mktemp("static_served")
    export_saved_model(ServedModel(model, graph, layout, config, predict), str(directory))
    with SessionModel(str(directory)) as session:
        yield SimpleNamespace(
            kind=request.param, model=model, layout=layout, session=session, directory=directory, config=config
        )


def tensors(rows: list[Any], steps: int = 0) -> dict[str, Any]:
    """Rows as `serving_tensors` takes them; what stands behind the end must not matter."""
    lengths = np.array([len(row["x"]) for row in rows], np.int64)
    axis = max([steps, *lengths])
    features, sky = np.full((len(rows), axis, 1), 99.0, np.float32), np.full((len(rows), axis), b"padding", object)
    for place, row in enumerate(rows):
        features[place, : len(row["x"]), 0] = row["x"]
        sky[place, : len(row["sky"])] = [text.encode() for text in row["sky"]]
    return {
        "features": features,
        "lengths": lengths,
        "sky": sky,
        "static_features": np.array([[row["age"][0], row["income"][0]] for row in rows], np.float32),
        "shop": np.array([row["shop"][0].encode() for row in rows], object),
    }


def expected_of(served: Any, shops: Any, rows: list[Any], encode: Any) -> np.ndarray:
    outputs = transform(shops, rows, encode)
    inputs = {key: np.asarray(value) for key, value in model_inputs(outputs, served.layout).items()}
    scale, mean = (np.asarray(outputs[key]) for key in (names.TARGET_SCALE, names.TARGET_MEAN))
    return oracle(served.model, KINDS[served.kind], inputs) * scale + mean


def test_both_signatures_against_numpy(served: Any, shops: Any, encode: Any) -> None:
    rows = shops.rows["test"]
    rows = [*rows[:9], {**rows[0], "age": [NAN], "income": [float("inf")], "shop": ["never seen"]}]
    for some in (rows, rows[:1], rows[3:4], rows[-1:]):
        expected = expected_of(served, shops, some, encode)
        by_examples = served.session.run("serving_default", {"examples": [encode(row) for row in some]})
        by_tensors = served.session.run("serving_tensors", tensors(some, 11))
        assert_allclose(by_examples["predictions"], expected, atol=1e-5)
        assert_allclose(by_tensors["predictions"], expected, atol=1e-5)


@pytest.mark.parametrize("width", [16, 0], ids=["tensors", "an example"])
def test_the_example_that_serve_prints_is_answered(served: Any, shops: Any, monkeypatch: Any, width: int) -> None:
    check_example_request(served.session, shops.dataset, monkeypatch, width)


def test_an_empty_batch_and_an_empty_sequence(served: Any, shops: Any, encode: Any) -> None:
    inputs = tensors(shops.rows["test"][:2])
    nothing = {name: values[:0] for name, values in inputs.items()}
    assert served.session.run("serving_tensors", nothing)["predictions"].shape == (0, 1)
    inputs["lengths"][:] = 0
    answers = served.session.run("serving_tensors", inputs)["predictions"]
    assert np.isfinite(answers).all() and answers[0] != answers[1]
    assert np.isfinite(served.session.run("serving_default", {"examples": [encode({"x": []})]})["predictions"]).all()


def test_other_shapes_are_errors(served: Any, shops: Any) -> None:
    if served.kind != "last":
        pytest.skip("the same checks in all kinds")
    changes: list[dict[str, np.ndarray]] = [
        {"static_features": np.zeros((2, 3), np.float32)},
        {"static_features": np.zeros((1, 2), np.float32)},
        {"static_features": np.zeros((2, 1, 2), np.float32)},
        {"shop": np.array([[b"a"], [b"b"]], object)},
        {"shop": np.array([b"a"], object)},
    ]
    for change in changes:
        with pytest.raises(ModelError, match=r"static_features|shop"):
            served.session.run("serving_tensors", {**tensors(shops.rows["test"][:2]), **change})


def test_nothing_random_is_served(served: Any) -> None:
    (graph,) = parse_saved_model((Path(served.directory) / "saved_model.pb").read_bytes()).meta_graphs
    assert audit(graph, registered_operations()) == []


def test_a_stream_in_pieces(served: Any, shops: Any) -> None:
    if served.kind != "last":
        pytest.skip("needs serving_step")
    rows = [row for row in shops.rows["test"] if len(row["x"]) >= 2][:8]
    whole = tensors(rows)
    random = np.random.default_rng(0)
    size = served.session.signatures["serving_step"].inputs["state"].shape[-1]
    state, done = np.zeros((len(rows), size), np.float32), np.zeros(len(rows), np.int64)
    while (done < whole["lengths"]).any():
        counts = np.minimum(random.integers(0, 4, len(rows)), whole["lengths"] - done)
        piece = {
            name: np.stack([np.roll(values[row], -start, axis=0) for row, start in enumerate(done)])
            for name, values in whole.items()
            if name in ("features", "sky")
        }
        static = {name: whole[name] for name in ("static_features", "shop")}
        answer = served.session.run("serving_step", {**piece, **static, "lengths": counts, "state": state})
        done, state = done + counts, answer["state"]
        expected = served.session.run("serving_tensors", {**whole, "lengths": done})
        assert_allclose(answer["predictions"], expected["predictions"], atol=1e-5)


# Training, ONNX, warm start.


def test_a_training_learns_them_and_is_served(shops: Any, encode: Any, tmp_path: Path) -> None:
    from noisy_gru.trainer.export.saved_model import load_for_parity
    from noisy_gru.trainer.module import run_fn

    config = TrainerConfig.model_validate({"model": KINDS["last"], "training": {"epochs": 2, "learning_rate": 0.01}})
    found = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        arguments = shops.fn_args(folder, CustomConfig(shops.dataset, config).to_dict())
        run_fn(arguments)
        found.append(load_for_parity(arguments.serving_model_dir, shops.graph).model.get_weights())
    for one, other in zip(*found, strict=True):
        assert_array_equal(one, other)
    model = load_for_parity(arguments.serving_model_dir, shops.graph)
    assert np.abs(model.model.get_layer("initial_mean_0").get_weights()[1]).max() > 0  # zeros at first
    examples = [encode(row) for row in shops.rows["test"]]
    with SessionModel(arguments.serving_model_dir) as session:
        answers = session.run("serving_default", {"examples": examples})
    assert_allclose(answers["predictions"], model.from_examples(examples)["predictions"], atol=1e-5)


@pytest.mark.parametrize(
    "kind", ["last", *(pytest.param(kind, marks=pytest.mark.long) for kind in ("both ways", "both ways, mean", "max"))]
)
def test_onnx_runtime_answers_as_tensorflow_does(kind: str, datasets: Any, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    from noisy_gru.trainer.export.onnx_export import ONNX_FILE, export_onnx
    from noisy_gru.trainer.export.served_model import ServedModel

    columns = NUMERIC
    rows = {split: some_rows(30, seed) for seed, split in enumerate(("train", "eval"))}
    transformed = datasets.run_transform(dataset(columns), rows, tmp_path / "transform")
    layout = Layout(transformed.dataset)
    config = ModelConfig.model_validate({**KINDS[kind], "onnx": True})
    model = by_chance(build_model(config, layout, VocabularySizes(), seed=1, for_serving=True))
    graph = graph_of(transformed)
    served = ServedModel(model, graph, layout)
    assert "within" in export_onnx(served, config, read_record(graph, layout), str(tmp_path))
    session = onnxruntime.InferenceSession(tmp_path / ONNX_FILE)
    for some in (rows["eval"], rows["eval"][:1]):
        inputs = tensors(some, 9)
        del inputs["sky"], inputs["shop"]
        inputs["lengths"][0] = 0
        inputs["static_features"][-1] = NAN
        (answers,) = session.run(None, inputs)
        assert_allclose(answers, served.from_tensors(inputs)["predictions"], atol=1e-5)


@pytest.mark.parametrize(
    "kind", ["last", *(pytest.param(kind, marks=pytest.mark.long) for kind in ("both ways", "both ways, mean"))]
)
def test_a_warm_start_answers_as_the_old_model(
    kind: str, shops: Any, datasets: Any, encode: Any, tmp_path: Path
) -> None:
    from noisy_gru.trainer.export.served_model import ServedModel

    rows = {"train": some_rows(50, 7, level=65.0, shops=("street", "mall"))}
    new = datasets.run_transform(dataset(), rows, tmp_path)
    config, layout = ModelConfig.model_validate(KINDS[kind]), Layout(shops.dataset)
    models, records, served = [], [], []
    for seed, each in enumerate((shops, new)):
        models.append(by_chance(build_model(config, layout, sizes_of(each), seed=1), seed))
        records.append(read_record(graph_of(each), layout))
        served.append(ServedModel(models[-1], graph_of(each), layout))
    assert records[1].vocabularies["shop"] == ["street", "mall"]
    assert abs(records[0].numeric["age"].centre - records[1].numeric["age"].centre) > 5
    transfer_weights(*models, before=records[0], after=records[1], layout=layout, config=config)
    some = [row for row in shops.rows["test"] if row["shop"] != ["web"]]
    assert any(np.isnan(row["income"][0]) for row in some)
    before, after = (np.asarray(each.from_examples([encode(row) for row in some])["predictions"]) for each in served)
    assert np.ptp(before) > 0.1
    assert_allclose(after, before, atol=2e-5)


# Together with what is known in advance.


def forecast_rows(count: int, seed: int, level: float) -> Any:
    random = np.random.default_rng(seed)
    rows = []
    for row in some_rows(count, seed, level=level, shops=("mall", "street")):
        x = random.normal(level / 10, 1, 7).astype(np.float32)
        static = {name: row[name] for name in ("age", "income", "shop")}
        plan = random.normal(level, 3, 7).astype(np.float32).tolist()
        rows.append({**static, "x": x[:4].tolist(), "plan": plan, "target/x": x[[4, 6]].tolist()})
    return rows


@pytest.mark.parametrize("future", [pytest.param("steps", marks=pytest.mark.long), "targets"])
def test_a_forecast_with_a_plan(future: str, datasets: Any, encode: Any, tmp_path: Path) -> None:
    """Served as Keras answers, and a warm start answers as the old model."""
    from noisy_gru.trainer.export.saved_model import export_saved_model
    from noisy_gru.trainer.export.served_model import ServedModel
    from noisy_gru.trainer.export.serving_stack import serving_function

    columns = [*NUMERIC, TEXTS[0], {"name": "plan", "known_in_advance": True, "missing": "mask"}]
    data = {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": columns}
    task = {"kind": "forecasting", "targets": ["x"], "input_length": 4, "horizons": [1, 3]}
    forecasts = DatasetConfig.model_validate({"data": data, "task": task})
    layout = Layout(forecasts)
    config = ModelConfig.model_validate({"layers": [{"units": 5}, {"units": 4}], "future": future})
    models, records, served = [], [], []
    for seed, level in ((1, 50.0), (2, 65.0)):
        rows = {"train": forecast_rows(40, seed, level)}
        transformed = datasets.run_transform(forecasts, rows, tmp_path / str(seed))
        graph = graph_of(transformed)
        model = build_model(config, layout, sizes_of(transformed), seed=1, for_serving=True)
        models.append(by_chance(model, seed))
        records.append(read_record(graph, layout))
        served.append(ServedModel(models[-1], graph, layout, config))
    transfer_weights(*models, before=records[0], after=records[1], layout=layout, config=config)
    examples = [encode(row) for row in forecast_rows(12, 3, 55.0)]
    before, after = (np.asarray(each.from_examples(examples)["predictions"]) for each in served)
    assert np.ptp(before) > 0.1
    assert_allclose(after, before, atol=2e-5)
    predict = serving_function(models[1])
    assert predict is not None
    export_saved_model(ServedModel(models[1], graph, layout, config, predict), str(tmp_path / "model"))
    with SessionModel(str(tmp_path / "model")) as session:
        for some in (examples, examples[:1]):
            answers = session.run("serving_default", {"examples": some})["predictions"]
            assert_allclose(answers, before[: len(some)], atol=2e-5)


@pytest.mark.parametrize(
    "config",
    [
        {"segment": 2, "window_normalization": "last"},
        pytest.param({"window_normalization": "mean_std", "linear_path": True}, marks=pytest.mark.long),
    ],
    ids=["segments", "relative"],
)
def test_a_forecast_relative_to_its_window_is_served(
    config: dict[str, Any], datasets: Any, encode: Any, tmp_path: Path
) -> None:
    """Both signatures answer as Keras does on what Transform gives, for a batch and for one sequence."""
    from noisy_gru.trainer.export.saved_model import export_saved_model
    from noisy_gru.trainer.export.served_model import ServedModel

    columns = [*NUMERIC, TEXTS[0]]
    data = {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": columns}
    task = {"kind": "forecasting", "targets": ["x"], "input_length": 4, "horizons": [1, 3]}
    forecasts = DatasetConfig.model_validate({"data": data, "task": task})
    layout = Layout(forecasts)
    transformed = datasets.run_transform(forecasts, {"train": forecast_rows(40, 1, 50.0)}, tmp_path / "transform")
    graph = graph_of(transformed)
    record = read_record(graph, layout)
    sizes = VocabularySizes(record=record, static_vocabularies=sizes_of(transformed).static_vocabularies)
    model_config = ModelConfig.model_validate({"layers": [{"units": 5}, {"units": 4}], **config})
    model = by_chance(build_model(model_config, layout, sizes, seed=1, for_serving=True))
    export_saved_model(ServedModel(model, graph, layout, model_config), str(tmp_path / "model"))
    rows = forecast_rows(8, 3, 50.0)
    outputs = transform(transformed, rows, encode)
    expected = np.asarray(model(model_inputs(outputs, layout), training=False))
    scale, mean = (np.asarray(outputs[key]) for key in (names.TARGET_SCALE, names.TARGET_MEAN))
    expected = expected * scale[:, None] + mean[:, None]
    assert np.ptp(expected, axis=0).min() > 0.1
    requests = {
        "features": np.array([row["x"] for row in rows], np.float32)[..., None],
        "lengths": np.full(8, 4, np.int64),
        "static_features": np.array([[row["age"][0], row["income"][0]] for row in rows], np.float32),
        "shop": np.array([row["shop"][0].encode() for row in rows], object),
    }
    with SessionModel(str(tmp_path / "model")) as session:
        for count in (8, 1):
            examples = [encode(row) for row in rows[:count]]
            answers = session.run("serving_default", {"examples": examples})["predictions"]
            assert_allclose(answers, expected[:count], atol=1e-4)
            tensors = {name: values[:count] for name, values in requests.items()}
            assert_allclose(session.run("serving_tensors", tensors)["predictions"], answers, atol=1e-5)

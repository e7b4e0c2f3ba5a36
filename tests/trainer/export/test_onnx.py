"""The ONNX file, in ONNX Runtime, against the model that TensorFlow serves."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import ConfigError, ModelError
from noisy_gru.trainer.config import TrainerConfig
from noisy_gru.trainer.custom_config import CustomConfig
from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.model_checks import model_problems
from noisy_gru.trainer.model_config import ModelConfig

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
]

NAN, INFINITY = float("nan"), float("inf")
MODELS: dict[str, dict[str, Any]] = {
    "last": {"layers": [{"units": 6}, {"units": 4}], "learn_mean": True, "hidden": [5]},
    "both ways": {"layers": [{"units": 5}, {"units": 4}], "bidirectional": True},
    "mean": {"layers": [{"units": 5}], "pooling": "mean", "bidirectional": True, "learn_mean": True},
    "max": {"layers": [{"units": 5}, {"units": 3}], "pooling": "max"},
    "attention": {"layers": [{"units": 5}, {"units": 3}], "pooling": "attention"},
}


def numeric_dataset() -> DatasetConfig:
    """Forecasting of two targets at two horizons; every scaling, a mask, a feature that never varies."""
    features = [
        {"name": "temp", "scale": "robust"},
        {"name": "wind", "scale": "minmax", "missing": "mask"},
        {"name": "flat"},
        {"name": "plain", "scale": "none"},
    ]
    return DatasetConfig.model_validate(
        {
            "data": {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": features},
            "task": {"kind": "forecasting", "targets": ["temp", "wind"], "input_length": 4, "horizons": [1, 3]},
        }
    )


@pytest.fixture(scope="module")
def forecasts(datasets: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Large values that vary little, so that float32 alone would lose digits, and missing ones."""
    random = np.random.default_rng(0)
    rows: dict[str, Any] = {}
    for split in ("train", "eval", "test"):
        rows[split] = []
        for _ in range(30):
            temp = 1e6 + np.cumsum(random.normal(0, 3, 7))
            wind = random.normal(4, 1, 7)
            seen = wind[:4].copy()
            seen[random.random(4) < 0.2] = NAN
            rows[split].append(
                {
                    "temp": temp[:4].tolist(), "wind": seen.tolist(), "flat": [7.5] * 4,
                    "plain": random.normal(size=4).tolist(),
                    "target/temp": temp[[4, 6]].tolist(), "target/wind": wind[[4, 6]].tolist(),
                }
            )  # fmt: skip
    return datasets.run_transform(numeric_dataset(), rows, tmp_path_factory.mktemp("forecasts"))


def served_by(transformed: Any, **config: Any) -> tuple[Any, ModelConfig, Any]:
    """A model with weights by chance, its configuration, and what Transform fitted."""
    import tensorflow_transform as tft

    from noisy_gru.trainer.export.served_model import ServedModel
    from noisy_gru.trainer.features import LABEL_VOCABULARY
    from noisy_gru.trainer.model import VocabularySizes, build_model
    from noisy_gru.trainer.transform_record import read_record

    layout, graph = Layout(transformed.dataset), tft.TFTransformOutput(transformed.graph)
    made = ModelConfig.model_validate({**config, "onnx": True})
    classes = graph.vocabulary_size_by_name(LABEL_VOCABULARY) if layout.is_classification else 0
    model = build_model(made, layout, VocabularySizes(classes), seed=1, for_serving=True)
    random = np.random.default_rng(0)
    model.set_weights([random.normal(0, 0.5, weight.shape).astype(np.float32) for weight in model.weights])
    return ServedModel(model, graph, layout), made, read_record(graph, layout)


def requests(layout: Layout, lengths: list[int], steps: int) -> dict[str, np.ndarray]:
    """Raw values of the kind that the data has, missing and infinite ones among them."""
    random = np.random.default_rng(len(lengths))
    features = random.normal(5, 2, (len(lengths), steps, len(layout.numeric))).astype(np.float32)
    for channel, feature in enumerate(layout.numeric):
        features[:, :, channel] += 1e6 if feature.name == "temp" else 0
    features[random.random(features.shape) < 0.1] = NAN
    features[random.random(features.shape) < 0.05] = INFINITY
    return {"features": features, "lengths": np.array(lengths, np.int64)}


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ("classification", "last"),
        ("classification", "max"),
        ("classification", "attention"),
        ("forecasts", "both ways"),
        ("forecasts", "mean"),
    ],
)
def test_onnx_runtime_answers_as_tensorflow_does(data: str, kind: str, request: Any, tmp_path: Path) -> None:
    from noisy_gru.trainer.export.onnx_export import ONNX_FILE, export_onnx

    served, config, record = served_by(request.getfixturevalue(data), **MODELS[kind])
    note = export_onnx(served, config, record, str(tmp_path))
    assert "within" in note
    session = onnxruntime.InferenceSession(tmp_path / ONNX_FILE)
    answer = "probabilities" if served.layout.is_classification else "predictions"
    # In the units of the targets, as far as float32 has digits for it around a mean of a million.
    scales = [record.targets[name].scale for name in served.layout.targets] or [1.0]
    for lengths, steps in (([5], 5), ([0], 1), ([3, 0, 12, 7, 1, 0], 12)):
        inputs = requests(served.layout, lengths, steps)
        named = [output.name for output in session.get_outputs()]
        outputs = dict(zip(named, session.run(None, inputs), strict=True))
        expected = served.from_tensors(inputs)
        allowed = 1e-5 + 2 * np.spacing(np.abs(expected[answer].numpy())) / scales
        assert (np.abs(outputs[answer] - expected[answer]) / scales <= allowed).all(), (lengths, steps)
        if served.layout.is_classification:
            assert_array_equal(outputs["class_id"], expected["class_id"])
    shapes = {each.name: each.shape for each in (*session.get_inputs(), *session.get_outputs())}
    assert shapes["features"][:2] == ["B", "T"]
    if served.layout.is_classification:
        assert json.loads(session.get_modelmeta().custom_metadata_map["labels"]) == served_labels(served)
    else:
        assert shapes["predictions"] == ["B", 2, 2]


def served_labels(served: Any) -> list[str]:
    return [label.decode() for label in served.label_names]


def test_the_same_model_gives_the_same_bytes(classification: Any) -> None:
    from noisy_gru.trainer.export.onnx_model import onnx_model

    served, config, record = served_by(classification, **MODELS["last"])
    first, second = (onnx_model(served.model, served.layout, config, record) for _ in range(2))
    assert first == second


def test_a_file_that_answers_otherwise_is_not_written(
    classification: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from noisy_gru.trainer.export import onnx_export, onnx_model

    served, config, record = served_by(classification, **MODELS["last"])
    right = onnx_model.onnx_model(served.model, served.layout, config, record)
    weights = served.model.get_weights()
    served.model.set_weights([1.1 * weight for weight in weights])
    monkeypatch.setattr(onnx_model, "onnx_model", lambda *_: right)
    with pytest.raises(ModelError, match=r"outputs differ from the model's by .*; at most 1e-05 may be"):
        onnx_export.export_onnx(served, config, record, str(tmp_path))
    assert not list(tmp_path.iterdir())


def test_without_onnx_runtime_it_is_said_that_nothing_was_compared(
    classification: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from noisy_gru.trainer.export import onnx_export

    served, config, record = served_by(classification, **MODELS["last"])
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name))
    assert "not installed" in onnx_export.export_onnx(served, config, record, str(tmp_path))
    assert (tmp_path / onnx_export.ONNX_FILE).stat().st_size > 0


def test_training_writes_it_into_the_model_that_is_published(classification: Any, tmp_path: Path) -> None:
    from noisy_gru.saved_model.session import SessionModel
    from noisy_gru.trainer.module import run_fn

    config = TrainerConfig.model_validate({"model": {**MODELS["last"], "onnx": True}, "training": {"epochs": 1}})
    custom_config = CustomConfig(classification.dataset, config)
    arguments = classification.fn_args(tmp_path, custom_config.to_dict())
    run_fn(arguments)
    folder = Path(arguments.serving_model_dir)
    session = onnxruntime.InferenceSession(folder / "assets.extra" / "onnx" / "model.onnx")
    inputs = requests(Layout(classification.dataset), [4, 9], 9)
    with SessionModel(folder) as model:
        expected = model.run("serving_tensors", inputs)["probabilities"]
    (answer,) = session.run(["probabilities"], inputs)
    assert_allclose(np.asarray(answer), expected, rtol=0, atol=1e-5)


def test_what_it_has_no_words_for_is_refused_before_training(datasets: Any) -> None:
    config = ModelConfig.model_validate({"onnx": True, "target": "difference"})
    problems = "\n".join(model_problems(config, datasets.forecasting_dataset()))
    for words in ("sky, day is categorical", "plan, day is known_in_advance", "needs model.target: level"):
        assert words in problems
    assert model_problems(ModelConfig(onnx=True), numeric_dataset()) == []


def test_the_writer_refuses_it_too(datasets: Any) -> None:
    from noisy_gru.trainer.export.onnx_model import onnx_model

    nothing: Any = None
    layout = Layout(datasets.forecasting_dataset())
    with pytest.raises(ConfigError, match="sky, day is categorical"):
        onnx_model(nothing, layout, ModelConfig(onnx=True), nothing)

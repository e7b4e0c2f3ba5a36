"""Models over segments against a NumPy oracle, and what may not be combined."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.task_config import RegressionConfig
from noisy_gru.trainer.config import TrainerConfig
from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.loss_unit_checks import loss_unit_problems
from noisy_gru.trainer.model import VocabularySizes, build_model
from noisy_gru.trainer.model_checks import model_problems
from noisy_gru.trainer.model_config import ModelConfig
from noisy_gru.trainer.objective import compile_model
from noisy_gru.trainer.training_config import TrainingConfig
from noisy_gru.trainer.transform_record import Scale, TransformRecord
from tests.trainer.numpy_gru import gru

pytestmark = pytest.mark.slow
saves_a_model = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
SCALES = {"a": Scale(10.0, 2.0, 10.0), "b": Scale(0.0, 1.0, 0.0)}
TARGETS = {"a": Scale(12.0, 4.0, 12.0), "b": Scale(0.0, 1.0, 0.0)}
RECORD = TransformRecord(SCALES, {}, [], TARGETS)


def dataset(features: list[Any] | None = None, **task: Any) -> DatasetConfig:
    columns = features or [{"name": "a", "missing": "impute"}, {"name": "b", "missing": "impute"}]
    forecast = {"kind": "forecasting", "targets": ["a", "b"], "input_length": 12, "horizons": [1, 2, 3, 4, 5, 6, 7]}
    data = {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": columns}
    return DatasetConfig.model_validate({"data": data, "task": {**forecast, **task}})


def model(of: DatasetConfig | None = None, *, for_serving: bool = False, **config: Any) -> Any:
    keras.utils.set_random_seed(1)
    made = ModelConfig.model_validate({"layers": [{"units": 6}, {"units": 4}], "segment": 4, **config})
    return build_model(made, Layout(of or dataset()), VocabularySizes(3, (), RECORD), seed=1, for_serving=for_serving)


def inputs(lengths: list[int], channels: int = 2, steps: int = 12) -> dict[str, Any]:
    features = np.random.default_rng(0).normal(size=(len(lengths), steps, channels)).astype(np.float32)
    for row, length in enumerate(lengths):
        features[row, length:] = 0
    last = np.full((len(lengths), 2), 7.0, np.float32)
    return {"features": features, "length": np.array(lengths, np.int64), "last_target": last}


def oracle(built: Any, window: np.ndarray, target: int, static: np.ndarray | None = None) -> np.ndarray:
    """The forecast of one target of one window [n, 2], with `channels: shared`, `last` and a linear path.

    `static` are its static values and embeddings, if it has some.
    """
    weights = {layer.name: [w.astype(np.float64) for w in layer.get_weights()] for layer in built.layers}
    offset = window[-1, target]
    series = window[:, target].astype(np.float64) - offset
    padded = np.concatenate([np.zeros(-len(series) % 4), series]).reshape(-1, 4)
    kernel, bias = weights["segment_embedding"]
    hidden = np.maximum(padded @ kernel + bias, 0)[None]
    states = []
    for index in range(2):
        start = None
        if static is not None:
            kernel, bias = weights[f"initial_mean_{index}"]
            start = np.tanh(static @ kernel + bias)[None]
        hidden, _, state = gru(hidden, weights[f"noisy_gru_{index}"], initial_state=start)
        states.append(state)
    position, channel = weights["positions"]
    kernel, bias = weights["prediction"]
    decoded = []
    for place in position:
        step = np.concatenate([place, channel[target]])[None, None]
        for index in range(2):
            step, _, _ = gru(step, weights[f"noisy_gru_{index}"], initial_state=states[index])
        read = step[0, 0] if static is None else np.concatenate([step[0, 0], static])
        decoded.append(read @ kernel + bias)
    forecast = np.concatenate(decoded)[:7]
    kernel, bias = weights["linear_path"]
    path = np.concatenate([np.zeros(12 - len(series)), series]) @ kernel + bias
    name = "ab"[target]
    own, other = SCALES[name], TARGETS[name]
    # In the units of the data, then in the target's scaled ones.
    data = (forecast + path + offset) * own.scale + own.centre
    return (data - other.centre) / other.scale


def test_a_forecast_as_in_numpy() -> None:
    built = model(channels="shared", window_normalization="last", linear_path=True)
    path = built.get_layer("linear_path")
    path.set_weights([np.random.default_rng(3).normal(size=w.shape) for w in path.get_weights()])
    batch = inputs([12, 12, 9, 1])
    outputs = built(batch, training=False)
    assert outputs.shape == (4, 7, 2)
    for row, length in enumerate([12, 12, 9, 1]):
        for target in range(2):
            expected = oracle(built, batch["features"][row, :length], target)
            assert_allclose(outputs[row, :, target], expected, rtol=1e-4, atol=1e-4)


STATIC: list[Any] = [
    {"name": "a", "missing": "impute"},
    {"name": "b", "missing": "impute"},
    {"name": "age", "static": True},
    {"name": "shop", "kind": "categorical", "static": True, "embedding_dim": 3},
]


def static_model(*, for_serving: bool = False, **config: Any) -> Any:
    keras.utils.set_random_seed(1)
    made = ModelConfig.model_validate({"layers": [{"units": 6}, {"units": 4}], "segment": 4, **config})
    sizes = VocabularySizes(0, (), RECORD, static_vocabularies=(3,))
    built = build_model(made, Layout(dataset(STATIC)), sizes, seed=1, for_serving=for_serving)
    random = np.random.default_rng(4)
    built.set_weights([random.normal(0, 0.5, each.shape) for each in built.weights])
    return built


def static_inputs(lengths: list[int]) -> dict[str, Any]:
    random = np.random.default_rng(9)
    ages, shops = random.normal(size=(len(lengths), 1)), random.integers(0, 3, len(lengths))
    return {**inputs(lengths), "static_features": ages.astype(np.float32), "static_ids_0": shops}


def test_static_features_set_the_first_states_as_in_numpy() -> None:
    built = static_model(channels="shared", window_normalization="last", linear_path=True)
    lengths = [12, 9, 1]
    batch = static_inputs(lengths)
    outputs = built(batch, training=False)
    embedding = built.get_layer("static_embedding_0").get_weights()[0]
    for row, length in enumerate(lengths):
        static = np.concatenate([batch["static_features"][row], embedding[batch["static_ids_0"][row]]])
        for target in range(2):
            expected = oracle(built, batch["features"][row, :length], target, static.astype(np.float64))
            assert_allclose(outputs[row, :, target], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"hidden": [5], "window_normalization": "mean_std"},
        {"segment": None, "window_normalization": "last", "linear_path": True, "bidirectional": True},
    ],
    ids=str,
)
def test_static_features_beside_windows(config: dict[str, Any]) -> None:
    """Each row reads its own, padding changes nothing, noise is of training alone, and serving has the same model."""
    built = static_model(**config)
    batch = static_inputs([12, 7, 12])
    outputs = built(batch, training=False)
    for row in range(3):
        alone = built({key: value[row : row + 1] for key, value in batch.items()}, training=False)
        assert_allclose(alone[0], outputs[row], rtol=1e-4, atol=1e-5)
    longer = {**batch, "features": np.pad(batch["features"], [(0, 0), (0, 5), (0, 0)], constant_values=9.0)}
    assert_allclose(built(longer, training=False), outputs, rtol=1e-4, atol=1e-5)
    for key, other in (("static_features", batch["static_features"] + 1), ("static_ids_0", [0, 0, 0])):
        changed = np.array(other) != batch[key]
        differences = np.abs(built({**batch, key: np.array(other)}, training=False) - outputs).max(axis=(1, 2))
        assert_array_equal(differences > 1e-4, changed.reshape(3))
    assert np.abs(built(batch, training=True) - outputs).max() > 1e-4
    serving = static_model(**config, for_serving=True)
    serving.set_weights(built.get_weights())
    assert_allclose(serving(batch, training=False), outputs, rtol=1e-5, atol=5e-6)


VARIANTS: list[dict[str, Any]] = [
    {},
    {"channels": "shared"},
    {"window_normalization": "mean_std", "hidden": [5], "head_dropout": 0.2},
    {"channels": "shared", "window_normalization": "mean_abs", "linear_path": True, "learn_mean": True},
    {"segment": None, "window_normalization": "last", "linear_path": True, "bidirectional": True, "pooling": "mean"},
]


@saves_a_model
@pytest.mark.parametrize("config", VARIANTS, ids=str)
def test_every_variant(config: dict[str, Any], tmp_path: Path) -> None:
    """Padding and the batch change nothing, only training is noisy, and a saved model is the same."""
    built = model(**config)
    lengths = [12, 7, 1, 0]
    batch = inputs(lengths)
    outputs = built(batch, training=False)
    assert np.isfinite(outputs).all()
    longer = {**batch, "features": np.pad(batch["features"], [(0, 0), (0, 5), (0, 0)], constant_values=9.0)}
    assert_allclose(built(longer, training=False), outputs, rtol=1e-4, atol=1e-5)
    alone = {key: value[1:2] for key, value in batch.items()}
    assert_allclose(built(alone, training=False)[0], outputs[1], rtol=1e-4, atol=1e-5)
    assert np.abs(built(batch, training=True) - outputs).max() > 1e-4
    built.save(tmp_path / "model.keras")
    again: Any = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    assert_array_equal(again(batch, training=False), outputs)
    serving = model(**config, for_serving=True)
    serving.set_weights(built.get_weights())
    assert_allclose(serving(batch, training=False), outputs, rtol=1e-5, atol=5e-6)


@pytest.mark.parametrize("channels", ["joint", "shared"])
def test_a_forecast_that_fits_into_one_segment_is_that_of_each_window_alone(channels: str) -> None:
    built = model(dataset(horizons=[1, 2, 3]), channels=channels)
    batch = inputs([12, 9, 12])
    outputs = built(batch, training=False)
    assert outputs.shape == (3, 3, 2)
    for row in range(3):
        alone = built({key: value[row : row + 1] for key, value in batch.items()}, training=False)
        assert_allclose(alone[0], outputs[row], rtol=1e-4, atol=1e-5)
    assert np.abs(outputs[0] - outputs[2]).max() > 1e-4


def test_what_is_known_in_advance_reaches_the_horizon_it_is_of() -> None:
    columns = ["a", "b", {"name": "plan", "known_in_advance": True, "missing": "impute"}]
    columns[:2] = [{"name": name, "missing": "impute"} for name in "ab"]
    built = model(dataset(columns), channels="shared")
    # a, b, plan, is future; 12 steps of the past, 7 of the future
    batch = inputs([19, 19], channels=4, steps=19)
    before = built(batch, training=False).numpy()
    batch["features"][0, 12 + 5, 2] += 3.0
    after = built(batch, training=False).numpy()
    assert_allclose(after[1], before[1], atol=5e-6)
    # Horizon 6 is in the second segment of four: the first doesn't see it.
    assert_allclose(after[0, :4], before[0, :4], atol=5e-6)
    assert np.abs(after[0, 4:] - before[0, 4:]).max() > 1e-4


def test_a_classifier_over_segments() -> None:
    data = {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": ["a", "b"]}
    of = DatasetConfig.model_validate({"data": data, "task": {"kind": "classification", "label": "y"}})
    built = model(of, bidirectional=True, pooling="max")
    batch = inputs([12, 7, 1, 0], len(Layout(of).channels))
    outputs = built({key: batch[key] for key in ("features", "length")}, training=False)
    assert outputs.shape == (4, 3) and np.isfinite(outputs).all()
    longer = np.pad(batch["features"], [(0, 0), (0, 3), (0, 0)], constant_values=9.0)
    assert_allclose(built({"features": longer, "length": batch["length"]}, training=False), outputs, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "of", "message"),
    [
        ({"segment": 4, "bidirectional": True}, {}, "model.segment decodes a forecast"),
        ({"segment": 4, "pooling": "mean"}, {}, "model.segment needs model.pooling: last"),
        ({"channels": "shared"}, {}, "model.channels: shared needs model.segment"),
        ({"window_normalization": "last", "target": "difference"}, {}, "use one of them"),
        ({"linear_path": True}, {"features": ["b"]}, "a is not a numeric feature; add it to data.features"),
        ({"segment": 4, "serving_step": True}, {}, "model.segment needs the whole window at once"),
        ({"linear_path": True, "onnx": True}, {}, "has no form for model.linear_path yet"),
    ],
)
def test_combinations_that_do_not_fit(config: dict[str, Any], of: dict[str, Any], message: str) -> None:
    problems = model_problems(ModelConfig.model_validate(config), dataset(**of))
    assert [message in problem for problem in problems] == [True], problems


def test_classification_has_no_window_to_be_relative_to() -> None:
    data = {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": ["a"]}
    of = DatasetConfig.model_validate({"data": data, "task": {"kind": "classification", "label": "y"}})
    config = ModelConfig(window_normalization="mean_std", linear_path=True, channels="shared", segment=4)
    assert [problem.split(" needs ")[0] for problem in model_problems(config, of)] == [
        "model.window_normalization: mean_std",
        "model.linear_path: true",
        "model.channels: shared",
    ]


@pytest.mark.parametrize("masked", [False, True])
def test_the_loss_in_the_units_of_the_window(masked: bool) -> None:
    built = model(window_normalization="mean_std", channels="shared")
    training = TrainingConfig(loss="mae", loss_units="window")
    compile_model(built, training, Layout(dataset()), steps_per_epoch=1, epochs=1)
    batch = inputs([12, 12, 9])
    targets = np.random.default_rng(5).normal(size=(3, 7, 2)).astype(np.float32)
    weights = np.ones_like(targets)
    if masked:
        weights[0, 3, 1], weights[2] = 0.0, 2.0
    answer = np.concatenate([targets, weights], axis=-1) if masked else targets
    predicted = np.array(built(batch, training=False))
    spread = [batch["features"][row, :n].std(axis=0) for row, n in enumerate([12, 12, 9])]
    scale = np.sqrt(np.square(spread) + 1e-5) * [SCALES[name].scale / TARGETS[name].scale for name in "ab"]
    expected = (np.abs(targets - predicted) / scale[:, None] * weights).mean()
    loss = built.compute_loss(batch, answer, predicted, training=False)
    assert_allclose(loss, expected, rtol=1e-3)
    history: Any = built.fit(batch, answer, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


def test_the_loss_in_several_units_at_once() -> None:
    features = [{"name": "a", "missing": "mask"}, {"name": "b", "missing": "impute"}]
    of = dataset(features, season_length=4)
    built = model(of, window_normalization="mean_abs", channels="shared")
    training = TrainingConfig.model_validate(
        {"loss": "mae", "loss_units": {"window": 2.0, "season": 0.5, "value": 3.0}}
    )
    compile_model(built, training, Layout(of), steps_per_epoch=1, epochs=1, record=RECORD)
    batch = inputs([12, 9, 3, 12], channels=3)
    place = {name: Layout(of).channels.index(name) for name in ("a", "b", "a is missing")}
    batch["features"][..., place["a is missing"]] = 0
    batch["features"][0, 5, place["a is missing"]] = 1
    batch["features"][3, :, place["b"]] = np.tile([1.0, 4.0, 2.0, 3.0], 3)  # repeats itself exactly
    predicted = np.array(built(batch, training=False))
    targets = predicted + np.random.default_rng(6).normal(size=predicted.shape).astype(np.float32)
    losses = np.zeros(predicted.shape)
    for row, length in enumerate([12, 9, 3, 12]):
        for target, name in enumerate("ab"):
            values = batch["features"][row, :length, place[name]].astype(np.float64)
            if (row, name) == (0, "a"):
                values[5] = np.nan
            slope = SCALES[name].scale / TARGETS[name].scale
            scale = np.nanmean(np.abs(values + SCALES[name].centre / SCALES[name].scale)) + 1e-6
            difference = 1.0
            if length > 4:
                difference = max(np.nanmean(np.abs(values[4:] - values[:-4])), 0.05 * np.nanstd(values) + 1e-3)
            weight = 2.0 / (slope * scale) + 0.5 / (slope * difference)
            truth, guess = (each[row, :, target].astype(np.float64) for each in (targets, predicted))
            zero = TARGETS[name].centre / TARGETS[name].scale
            size = (np.abs(truth + zero) + np.abs(guess + zero)) / 2 + 1e-3
            losses[row, :, target] = np.abs(truth - guess) * (weight + 3.0 / size)
    assert_allclose(built.compute_loss(batch, targets, predicted, training=False), losses.mean(), rtol=1e-3)
    history: Any = built.fit(batch, targets, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


def test_what_units_of_a_season_refuse() -> None:
    training = TrainingConfig.model_validate({"loss_units": {"season": 1.0}})
    assert loss_unit_problems(training, dataset(season_length=4)) == []
    regression = {"kind": "regression", "label": "y"}
    for of, part in (
        (dataset(), "give task.season_length"),
        (dataset(season_length=12), r"a season of 12 steps, and a window has task.input_length: 12"),
        (dataset(["a", "c"], season_length=4), "b is not a numeric feature"),
        (dataset().model_copy(update={"task": RegressionConfig.model_validate(regression)}), "received regression"),
    ):
        (problem,) = loss_unit_problems(training, of)
        assert problem.startswith("training.loss_units") and part in problem
    training = TrainingConfig.model_validate({"loss_units": {"value": 1.0}})
    assert loss_unit_problems(training, dataset()) == []
    logged = dataset([{"name": "a", "scale": "log1p"}, "b"])
    assert "those of a are logarithms" in loss_unit_problems(training, logged)[0]
    law = dataset(quantiles=[0.1, 0.5, 0.9], distribution="normal")
    assert "no form for the likelihood" in loss_unit_problems(training, law)[0]
    with pytest.raises(ValueError, match="all 0, and no error would count"):
        TrainingConfig.model_validate({"loss_units": {}})


def test_units_of_the_window_need_some() -> None:
    with pytest.raises(ValueError, match=r"loss_units: window needs model.window_normalization"):
        TrainerConfig.model_validate({"training": {"loss_units": "window"}, "model": {"window_normalization": "last"}})

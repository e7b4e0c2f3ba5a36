"""The Keras model: the mask, pooling, heads, and what a configuration makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import ConfigError
from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.layers.pooling import MaskedPooling
from noisy_gru.trainer.model import VocabularySizes, build_model
from noisy_gru.trainer.model_checks import reads_targets
from noisy_gru.trainer.model_config import ModelConfig

saves_a_model = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
CLASSIFICATION = {"kind": "classification", "label": "y"}
FORECASTING = {"kind": "forecasting", "targets": ["a"], "input_length": 4, "horizons": [1, 2, 5]}


def layout(task: dict[str, Any], features: list[Any] | None = None) -> Layout:
    columns = features or ["a", "b", {"name": "c", "kind": "categorical", "embedding_dim": 3}]
    data = {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": columns}
    return Layout(DatasetConfig.model_validate({"data": data, "task": task}))


def model(task: dict[str, Any], *, for_serving: bool = False, **config: Any) -> Any:
    keras.utils.set_random_seed(1)
    made = ModelConfig.model_validate({"layers": [{"units": 6}, {"units": 4}], **config})
    return build_model(made, layout(task), VocabularySizes(3, (5,)), seed=1, for_serving=for_serving)


def inputs(lengths: list[int], steps: int, *, padding: float = 0.0, last: bool = False) -> dict[str, Any]:
    random = np.random.default_rng(0)
    features = random.normal(size=(len(lengths), 30, 2)).astype(np.float32)[:, :steps]
    ids = random.integers(0, 5, (len(lengths), 30))[:, :steps]
    for row, length in enumerate(lengths):
        features[row, length:], ids[row, length:] = padding, 0
    made = {"features": features, "length": np.array(lengths, np.int64), "ids_0": ids}
    return {**made, "last_target": np.full((len(lengths), 1), 7.0, np.float32)} if last else made


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
def test_what_stands_behind_the_end_does_not_count(pooling: str, bidirectional: bool) -> None:
    built = model(CLASSIFICATION, pooling=pooling, bidirectional=bidirectional)
    outputs = built(inputs([5, 3, 1], 5), training=False)
    assert_allclose(built(inputs([5, 3, 1], 9, padding=50.0), training=False), outputs, rtol=1e-5, atol=5e-6)


def test_a_step_of_zeros_counts() -> None:
    built = model(CLASSIFICATION)
    three, five = inputs([3], 5), inputs([5], 5)
    five["features"][:, 3:], five["ids_0"][:, 3:] = 0.0, 0
    assert np.abs(built(three, training=False) - built(five, training=False)).max() > 1e-4


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
def test_an_empty_sequence_has_a_finite_answer(pooling: str) -> None:
    outputs = model(CLASSIFICATION, pooling=pooling, learn_mean=True)(inputs([0, 2], 3), training=False)
    assert np.isfinite(outputs).all()


def test_pooling_against_numpy() -> None:
    values = -np.abs(np.random.default_rng(0).normal(size=(3, 4, 2)).astype(np.float32))
    mask = np.array([[True] * 4, [True, True, False, False], [False] * 4])
    mean, maximum = (np.array(MaskedPooling(kind)(values, mask)) for kind in ("mean", "max"))
    assert_allclose(mean, [values[0].mean(0), values[1, :2].mean(0), [0, 0]], rtol=1e-6)
    assert_allclose(maximum, [values[0].max(0), values[1, :2].max(0), [0, 0]])
    with pytest.raises(ValueError, match="Received: kind='sum'"):
        MaskedPooling("sum")


def test_heads() -> None:
    regression = {"kind": "regression", "label": "y"}
    assert model(CLASSIFICATION).output_shape == (None, 3)
    assert model(regression, hidden=[7], head_dropout=0.5).output_shape == (None, 1)
    assert model(FORECASTING).output_shape == (None, 3, 1)


def test_a_difference_is_added_to_the_last_value_read() -> None:
    level, difference = model(FORECASTING), model(FORECASTING, target="difference")
    difference.set_weights(level.get_weights())
    given = inputs([4, 2], 4, last=True)
    assert_allclose(difference(given, training=False), level(given, training=False) + 7.0, rtol=1e-6)


def test_a_difference_needs_the_targets_among_the_inputs() -> None:
    config = ModelConfig.model_validate({"target": "difference"})
    with pytest.raises(
        ConfigError, match=r"model\.target: difference needs task\.kind: forecasting, received classification"
    ):
        build_model(config, layout(CLASSIFICATION), VocabularySizes(3, (5,)), seed=0)
    with pytest.raises(ConfigError, match="but z is not a numeric feature"):
        build_model(config, layout({**FORECASTING, "targets": ["a", "z"]}), VocabularySizes(0, (5,)), seed=0)


def test_columns_of_one_kind_are_enough() -> None:
    config = ModelConfig.model_validate({"layers": [{"units": 3}]})
    only_text = layout(CLASSIFICATION, [{"name": "c", "kind": "categorical"}])
    built = build_model(config, only_text, VocabularySizes(3, (5,)), seed=0)
    given = inputs([4, 2], 4)
    assert built({**given, "features": given["features"][:, :, :0]}, training=False).shape == (2, 3)
    assert build_model(config, layout(CLASSIFICATION, ["a"]), VocabularySizes(3), seed=0).output_shape == (None, 3)


def test_noise_in_training_alone_and_different_in_each_layer() -> None:
    built = model(CLASSIFICATION, layers=[{"units": 4, "stddev": 0.5}, {"units": 4, "stddev": 0.5}])
    given = inputs([4, 2], 4)
    assert_array_equal(built(given, training=False), built(given, training=False))
    assert np.abs(built(given, training=True) - built(given, training=True)).max() > 1e-3
    seeds = {tuple(layer.noise_seed_generator.state.numpy()) for layer in built.layers if hasattr(layer, "stddev")}
    assert len(seeds) == 2


def test_for_serving_the_weights_and_answers_are_the_same() -> None:
    layers = [{"units": 6, "dropout": 0.3, "recurrent_dropout": 0.3}, {"units": 4}]
    trained, served = model(CLASSIFICATION, layers=layers), model(CLASSIFICATION, layers=layers, for_serving=True)
    served.set_weights(trained.get_weights())
    # Recurrent dropout takes Keras' loop, which rounds otherwise than the fused one.
    assert_allclose(
        served(inputs([4, 2], 4), training=False), trained(inputs([4, 2], 4), training=False), rtol=0, atol=5e-6
    )
    assert all(layer.dropout == 0.0 and layer.use_cudnn is False for layer in served.layers if hasattr(layer, "stddev"))


@saves_a_model
def test_a_keras_file_holds_it(tmp_path: Path) -> None:
    built = model(FORECASTING, pooling="max", target="difference", bidirectional=True)
    built.save(tmp_path / "model.keras")
    loaded: Any = keras.saving.load_model(tmp_path / "model.keras")
    given = inputs([4, 2], 4, last=True)
    assert_array_equal(loaded(given, training=False), built(given, training=False))


FUTURE_FEATURES: list[Any] = [
    "a",
    {"name": "p", "known_in_advance": True, "missing": "mask"},
    {"name": "c", "kind": "categorical", "embedding_dim": 3, "known_in_advance": True},
]


def forecaster(**config: Any) -> Any:
    """A model with weights by chance that reads `p` and `c` up to horizon 5; past 4 steps, horizons 1, 2, 5."""
    made = ModelConfig.model_validate({"layers": [{"units": 6}, {"units": 4}], **config})
    built = build_model(made, layout(FORECASTING, FUTURE_FEATURES), VocabularySizes(0, (5,)), seed=1)
    random = np.random.default_rng(0)
    built.set_weights([random.normal(0, 0.4, weight.shape) for weight in built.get_weights()])
    return built


def known_inputs(lengths: list[int], steps: int) -> dict[str, Any]:
    """Channels are a, p, `p is missing`, `is future`."""
    random = np.random.default_rng(0)
    features = random.normal(size=(len(lengths), steps, 4)).astype(np.float32)
    ids = random.integers(0, 5, (len(lengths), steps))
    for row, length in enumerate(lengths):
        features[row, length:], ids[row, length:] = 0, 0
    return {
        "features": features,
        "length": np.array(lengths, np.int64),
        "ids_0": ids,
        "last_target": np.ones((len(lengths), 1), np.float32),
    }


@pytest.mark.parametrize("channel", ["features", "ids_0"])
@pytest.mark.parametrize(("future", "reads"), [("targets", {1: [0], 2: [1], 3: [], 4: [], 5: [2]}), ("steps", None)])
def test_each_horizon_reads_what_is_known_of_its_own_target(future: str, reads: Any, channel: str) -> None:
    """Horizons 1, 2 and 5: a change of step 3 of the future changes nothing; with `steps` all read all."""
    built, given = forecaster(future=future), known_inputs([9, 7], 9)
    before = np.array(built(given, training=False))[:, :, 0]
    for ahead in range(1, 6):
        changed = {key: value.copy() for key, value in given.items()}
        for row, past in enumerate((4, 2)):
            if channel == "features":
                changed["features"][row, past + ahead - 1, 1] += 3
            else:
                changed["ids_0"][row, past + ahead - 1] = (changed["ids_0"][row, past + ahead - 1] + 1) % 5
        moved = np.abs(np.array(built(changed, training=False))[:, :, 0] - before) > 1e-6
        expected = [0, 1, 2] if reads is None else reads[ahead]
        for row in moved:
            assert np.flatnonzero(row).tolist() == expected, ahead


def test_the_state_ends_with_the_past_where_targets_are_read() -> None:
    """What isn't known in advance has no part in the future: neither the measured channel nor the step count."""
    built, given = forecaster(future="targets", pooling="mean", target="difference"), known_inputs([9, 7, 0], 9)
    before = np.array(built(given, training=False))
    changed = {key: value.copy() for key, value in given.items()}
    for row, past in enumerate((4, 2)):
        changed["features"][row, past:, [0, 3]] += 5
    assert_allclose(built(changed, training=False), before, rtol=1e-6)
    assert np.isfinite(before).all()
    # Rows alone, without padding, are as in the batch.
    for row, length in enumerate((9, 7)):
        alone = {key: value[[row], :length] if value.ndim > 1 else value[[row]] for key, value in given.items()}
        assert_allclose(
            built({**alone, "last_target": given["last_target"][[row]]}, training=False)[0], before[row], rtol=1e-5
        )


def test_an_empty_batch_of_targets_has_finite_answers() -> None:
    assert np.isfinite(forecaster(future="targets")(known_inputs([0, 0], 1), training=False)).all()


@saves_a_model
def test_a_model_that_reads_targets_survives_its_file(tmp_path: Path) -> None:
    built, given = forecaster(future="targets"), known_inputs([9, 7], 9)
    built.save(tmp_path / "model.keras")
    read: Any = keras.models.load_model(tmp_path / "model.keras")
    assert_array_equal(read(given, training=False), built(given, training=False))


def test_calendars_alone_are_read_at_their_targets_by_default() -> None:
    calendar = {"calendar": "hour_of_day", "known_in_advance": True}
    for features, future, expected in [
        (["a", calendar], "auto", True),
        (["a", calendar], "steps", False),
        (["a", calendar, {"name": "p", "known_in_advance": True}], "auto", False),
        (["a", {"name": "p", "known_in_advance": True}], "auto", False),
        (["a", {"name": "p", "known_in_advance": True}], "targets", True),
        (["a", {"calendar": "hour_of_day"}], "targets", False),
    ]:
        time = {"column": "t", "kind": "timestamp"}
        data = {"files": ["*.csv"], "entity": "id", "time": time, "features": features}
        dataset = DatasetConfig.model_validate({"data": data, "task": FORECASTING})
        assert reads_targets(ModelConfig.model_validate({"future": future}), dataset) is expected

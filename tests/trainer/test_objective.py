"""Learning rates by hand, losses and metrics against NumPy."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from noisy_gru.schema.config import DatasetConfig
from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.learning_rate import WarmupSchedule, learning_rate
from noisy_gru.trainer.objective import compile_model
from noisy_gru.trainer.training_config import TrainingConfig


def training(**values: Any) -> TrainingConfig:
    return TrainingConfig.model_validate({"learning_rate": 0.1, **values})


def layout(task: dict[str, Any]) -> Layout:
    data = {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": ["a", "b"]}
    return Layout(DatasetConfig.model_validate({"data": data, "task": task}))


CLASSIFICATION = layout({"kind": "classification", "label": "y"})
FORECASTING = layout({"kind": "forecasting", "targets": ["a", "b"], "input_length": 4, "horizons": [1, 2]})


def test_a_constant_rate_is_a_number() -> None:
    assert learning_rate(training(), 10, 5) == 0.1


def test_warm_up_rises_and_cosine_and_exponential_end_at_the_fraction() -> None:
    def rates(kind: str, warmup_epochs: float, **more: float) -> np.ndarray:
        schedule = {"kind": kind, "warmup_epochs": warmup_epochs, "final_fraction": 0.01, **more}
        rate: Any = learning_rate(training(schedule=schedule), 10, 5)
        assert WarmupSchedule.from_config(rate.get_config())(7) == rate(7)
        return np.array([float(rate(step)) for step in range(50)])

    np.testing.assert_allclose(rates("constant", 2), 0.1 * np.r_[np.arange(1, 21) / 20, np.ones(30)], rtol=1e-5)
    progress = np.linspace(0, 1, 50)
    np.testing.assert_allclose(rates("cosine", 0), 0.1 * (0.01 + 0.99 * (1 + np.cos(np.pi * progress)) / 2), rtol=1e-4)
    np.testing.assert_allclose(rates("exponential", 0), 0.1 * 0.01**progress, rtol=1e-4)
    held = {"hold_epochs": 2, "factor": 0.5}
    np.testing.assert_allclose(
        rates("step", 1, **held), 0.1 * np.r_[np.arange(1, 11) / 10, np.ones(20), [0.5] * 10, [0.25] * 10], rtol=1e-5
    )
    progress = np.r_[np.zeros(20), np.linspace(0, 1, 30)]
    np.testing.assert_allclose(rates("exponential", 0, hold_epochs=2), 0.1 * 0.01**progress, rtol=1e-4)
    warm = rates("cosine", 0.5)
    assert warm.argmax() in (4, 5) and warm[-1] == pytest.approx(0.001, rel=1e-4)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("auto", lambda e: np.where(np.abs(e) < 1, e**2 / 2, np.abs(e) - 0.5)),
        ("huber", lambda e: np.where(np.abs(e) < 1, e**2 / 2, np.abs(e) - 0.5)),
        ("mse", np.square),
        ("mae", np.abs),
    ],
)
def test_forecasting_loss_is_scaled_and_the_error_in_units_of_the_data(kind: str, expected: Any) -> None:
    model = keras.Sequential([keras.Input((2, 2)), keras.layers.Activation("linear")])
    scale = np.array([10.0, 0.5], np.float32)
    config = training(loss=kind)
    compile_model(model, config, FORECASTING, steps_per_epoch=1, epochs=1, target_scale=scale)
    random = np.random.default_rng(0)
    predicted, target = random.normal(0, 2, (2, 5, 2, 2)).astype(np.float32)
    measured: Any = model.evaluate(predicted, target, verbose=0, return_dict=True)  # pyright: ignore[reportArgumentType]
    assert measured["loss"] == pytest.approx(expected(predicted - target).mean(), rel=1e-5)
    assert measured["mae"] == pytest.approx((np.abs(predicted - target) * scale).mean(), rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("huber", lambda e: np.where(e < 1, e**2 / 2, e - 0.5)), ("mse", np.square), ("mae", lambda e: e)],
)
@pytest.mark.parametrize("xla", [False, True])
def test_loss_and_error_are_means_over_the_known_targets(kind: str, expected: Any, xla: bool) -> None:
    model = keras.Sequential([keras.Input((2, 2)), keras.layers.Activation("linear")])
    scale = np.array([10.0, 0.5], np.float32)
    compile_model(model, training(loss=kind), FORECASTING, steps_per_epoch=2, epochs=1, target_scale=scale, xla=xla)
    random = np.random.default_rng(0)
    predicted, target = random.normal(0, 2, (2, 6, 2, 2)).astype(np.float32)
    known = random.random(target.shape) < 0.4
    answer = np.concatenate([np.where(known, target, 0), known / known.mean()], axis=-1).astype(np.float32)
    # Batches of four and two, and, of those padded to one size, rows that don't count.
    data: Any = [(predicted[:4], answer[:4]), (predicted[4:], answer[4:])]
    if xla:
        repeated = [4, 5, 5, 5]
        data = [
            (*data[0], np.ones(4, np.float32)),
            (predicted[repeated], answer[repeated], np.array([1, 1, 0, 0], np.float32)),
        ]
    model.reset_metrics()
    for batch in data:
        logs: Any = model.test_step(tuple(map(keras.ops.convert_to_tensor, batch)))
    error = np.abs(predicted - target)
    assert float(logs["loss"]) == pytest.approx(expected(error)[known].mean(), rel=1e-5)
    assert float(logs["mae"]) == pytest.approx((error * scale)[known].mean(), rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_label_smoothing(smoothing: float) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Activation("linear")])
    compile_model(model, training(label_smoothing=smoothing), CLASSIFICATION, steps_per_epoch=1, epochs=1)
    logits = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    labels = np.array([0, 1, 2, 0, 1, 2])
    wanted = np.eye(3)[labels] * (1 - smoothing) + smoothing / 3
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    measured: Any = model.evaluate(logits, labels, verbose=0, return_dict=True)  # pyright: ignore[reportArgumentType]
    assert measured["loss"] == pytest.approx(-(wanted * log_probabilities).sum(axis=1).mean(), rel=1e-5)
    assert measured["accuracy"] == pytest.approx((logits.argmax(axis=1) == labels).mean())


def test_decay_leaves_biases_alone_and_clipping_is_global() -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    compile_model(model, training(weight_decay=0.1, clip_norm=0.5), CLASSIFICATION, steps_per_epoch=1, epochs=1)
    optimizer: Any = model.optimizer
    optimizer.build(model.trainable_variables)
    assert isinstance(optimizer, keras.optimizers.AdamW) and optimizer.global_clipnorm == 0.5
    decayed = [variable.path for variable in model.trainable_variables if optimizer._use_weight_decay(variable)]
    assert len(decayed) == 1 and decayed[0].endswith("kernel")

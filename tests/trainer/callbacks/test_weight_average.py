"""Averaged weights against averages that NumPy computes of a training without them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from noisy_gru.trainer.callbacks.checkpoint import BestWeights, Checkpoint
from noisy_gru.trainer.callbacks.progress import HistoryFile
from noisy_gru.trainer.callbacks.weight_average import WeightAverage
from noisy_gru.trainer.training_config import EarlyStoppingConfig, WeightAverageConfig

pytestmark = pytest.mark.slow
DATA = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
EMA = {"kind": "ema", "decay": 0.7}
SWA = {"kind": "swa", "from_epoch": 3}


def compiled(**optimizer: Any) -> Any:
    keras.utils.set_random_seed(0)
    layers = [keras.Input((3,)), keras.layers.Dense(2), keras.layers.BatchNormalization(), keras.layers.Dense(1)]
    model: Any = keras.Sequential(layers)
    model.compile(optimizer=keras.optimizers.Adam(0.1, **optimizer), loss="mse")
    model.optimizer.build(model.trainable_variables)
    return model


class Recorder(keras.callbacks.Callback):
    """The weights that an evaluation would see after each epoch, which is one step."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[list[np.ndarray]] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        model: Any = self.model
        self.seen.append(model.get_weights())


def fit(model: Any, callbacks: list[Any], first: int = 0, last: int = 6) -> None:
    model.fit(
        DATA,
        DATA[:, :1] ** 2,
        batch_size=8,
        initial_epoch=first,
        epochs=last,
        shuffle=False,
        verbose=0,
        callbacks=callbacks,
    )


def averaged(config: dict[str, Any]) -> tuple[Any, WeightAverage]:
    ema = {"use_ema": True, "ema_momentum": config["decay"]} if config["kind"] == "ema" else {}
    model = compiled(**ema)
    return model, WeightAverage(model, WeightAverageConfig.model_validate(config))


@pytest.fixture(scope="module")
def plain() -> list[list[np.ndarray]]:
    """The weights after each step of a training that averages nothing."""
    recorder = Recorder()
    fit(compiled(), [recorder])
    return recorder.seen


def test_an_exponential_average_is_evaluated_and_the_training_goes_on_without_it(plain: Any) -> None:
    model, average = averaged(EMA)
    before, after = Recorder(), Recorder()
    fit(model, [average, before, average.resume, after])
    trained = [variable.name in ("kernel", "bias", "gamma", "beta") for variable in model.weights]
    for index, is_trained in enumerate(trained):
        expected = plain[0][index]
        for step in range(6):
            np.testing.assert_array_equal(after.seen[step][index], plain[step][index])
            if is_trained:
                expected = 0.7 * expected + 0.3 * plain[step][index] if step else expected
                np.testing.assert_allclose(before.seen[step][index], expected, rtol=1e-5, atol=1e-6)
            else:
                np.testing.assert_array_equal(before.seen[step][index], plain[step][index])
        np.testing.assert_array_equal(model.get_weights()[index], before.seen[-1][index])
    assert sum(trained) == 6


def test_the_mean_of_epochs_is_evaluated_from_the_first_that_counts(plain: Any) -> None:
    model, average = averaged(SWA)
    before, after = Recorder(), Recorder()
    fit(model, [average, before, average.resume, after])
    for index in range(len(plain[0])):
        for epoch in range(6):
            np.testing.assert_array_equal(after.seen[epoch][index], plain[epoch][index])
            expected = np.mean([plain[each][index] for each in range(2, epoch + 1)] or [plain[epoch][index]], axis=0)
            np.testing.assert_allclose(before.seen[epoch][index], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("config", [EMA, SWA], ids=["ema", "swa"])
def test_an_interrupted_training_goes_on_with_the_same_average(config: dict[str, Any], tmp_path: Path) -> None:
    def parts(name: str) -> tuple[Any, Checkpoint, list[Any]]:
        model, average = averaged(config)
        history, best = HistoryFile(str(tmp_path / f"{name}.csv")), BestWeights(EarlyStoppingConfig(monitor="loss"))
        checkpoint = Checkpoint(
            str(tmp_path / name[:5] / "state.npz"), history=history, best=best, variables=average.variables
        )
        return model, checkpoint, [average, history, best, average.resume, checkpoint]

    whole, _, callbacks = parts("whole")
    fit(whole, callbacks)
    first, _, callbacks = parts("apart-1")
    fit(first, callbacks, last=4)
    second, checkpoint, callbacks = parts("apart-2")
    assert checkpoint.restore(second) == 4
    fit(second, callbacks, first=4)
    for one, other in zip(whole.weights, second.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())

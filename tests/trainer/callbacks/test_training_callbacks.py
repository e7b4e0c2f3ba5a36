"""Early stopping, the checkpoint, and what a training tells."""

from __future__ import annotations

import csv
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from noisy_gru.schema.errors import ConfigError
from noisy_gru.trainer.callbacks.checkpoint import BestWeights, Checkpoint
from noisy_gru.trainer.callbacks.progress import FiniteLoss, HistoryFile, Progress, TensorBoardLog
from noisy_gru.trainer.training_config import EarlyStoppingConfig


class FakeModel:
    """Weights that are the number of the epoch."""

    stop_training = False
    weights: list[Any] = []  # noqa: RUF012

    def get_weights(self) -> list[Any]:
        return self.weights

    def set_weights(self, weights: list[Any]) -> None:
        self.weights = weights


def run(values: list[float], **config: Any) -> tuple[BestWeights, FakeModel]:
    best, model = BestWeights(EarlyStoppingConfig.model_validate(config)), FakeModel()
    best.set_model(model)  # pyright: ignore[reportArgumentType]
    for epoch, value in enumerate(values):
        model.weights = [epoch]
        best.on_epoch_end(epoch, {config.get("monitor", "val_loss"): value})
        if model.stop_training:
            break
    best.on_train_end()
    return best, model


def test_the_best_epoch_comes_back() -> None:
    best, model = run([3.0, 1.0, 2.0, 1.5, 0.5], patience=3)
    assert (best.best_epoch, model.weights, best.stopped) == (5, [4], False)
    best, model = run([3.0, 1.0, 2.0, 1.5, 0.5], patience=2)
    assert (best.best_epoch, model.weights, best.stopped) == (2, [1], True)
    best, model = run([0.1, 0.5, 0.4], patience=5, monitor="val_accuracy", mode="max")
    assert (best.best_epoch, model.weights) == (2, [1])
    best, model = run([1.0, 0.95, 0.8], patience=5, min_delta=0.1)
    assert (best.best_epoch, model.weights) == (3, [2])
    best, model = run([float("nan"), 2.0, float("nan")], patience=5)
    assert (best.best_epoch, model.weights) == (2, [1])


def compiled() -> Any:
    keras.utils.set_random_seed(0)
    layers = [keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dropout(0.5, seed=1), keras.layers.Dense(1)]
    model: Any = keras.Sequential(layers)
    model.compile(optimizer="adam", loss="mse", metrics=["mae"])
    return model


def test_a_checkpoint_holds_weights_moments_random_states_and_early_stopping(tmp_path: Path) -> None:
    data = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)

    def callbacks(folder: str) -> tuple[Checkpoint, BestWeights, HistoryFile]:
        history, best = HistoryFile(str(tmp_path / f"{folder}.csv")), BestWeights(EarlyStoppingConfig(monitor="loss"))
        return Checkpoint(str(tmp_path / "training-1" / "state.npz"), history=history, best=best), best, history

    def fit(model: Any, first: int, last: int, parts: Any) -> None:
        checkpoint, best, history = parts
        model.fit(
            data,
            data[:, :1],
            initial_epoch=first,
            epochs=last,
            shuffle=False,
            verbose=0,
            callbacks=[history, best, checkpoint],
        )

    whole, parts = compiled(), callbacks("whole")
    assert parts[0].restore(whole) == 0
    fit(whole, 0, 4, parts)
    parts[0].remove()
    assert not (tmp_path / "training-1").exists()

    first, parts = compiled(), callbacks("first")
    parts[1].on_train_end = lambda logs=None: None  # killed: nothing is put back
    fit(first, 0, 2, parts)
    second, parts = compiled(), callbacks("second")
    assert parts[0].restore(second) == 2
    fit(second, 2, 4, parts)
    for one, other in zip(whole.variables, second.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    assert (tmp_path / "whole.csv").read_text() == (tmp_path / "second.csv").read_text()
    assert not list((tmp_path / "training-1").glob("*.tmp"))

    other: Any = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    other.compile(optimizer="adam", loss="mse")
    with pytest.raises(ValueError, match="belongs to another model"):
        parts[0].restore(other)


def test_progress_is_a_log_record_with_an_event(caplog: pytest.LogCaptureFixture) -> None:
    times = iter([0.0, 4.0, 4.0, 6.0])
    progress = Progress(epochs=5, clock=lambda: next(times))
    with caplog.at_level(logging.INFO, "noisy_gru.progress"):
        for epoch in range(2):
            progress.on_epoch_begin(epoch)
            progress.on_epoch_end(epoch, {"loss": 0.5, "val_loss": 0.25})
    events: list[Any] = [record.event for record in caplog.records]  # pyright: ignore[reportAttributeAccessIssue]
    assert events[1] == {
        "kind": "epoch",
        "epoch": 2,
        "epochs": 5,
        "metrics": {"loss": 0.5, "val_loss": 0.25},
        "seconds": 2.0,
        "remaining_seconds": 6.0,
    }
    assert caplog.messages[1] == "epoch 2/5 loss=0.5 val_loss=0.25 (2.0 s, at most 6 s left)"


def test_batches_and_early_stopping_bound_the_time_left(caplog: pytest.LogCaptureFixture) -> None:
    stopping: Any = SimpleNamespace(config=EarlyStoppingConfig(patience=4), wait=1, stopped=False)
    now = [0.0]
    progress = Progress(epochs=20, best=stopping, clock=lambda: now[0])
    progress.set_params({"steps": 10})
    with caplog.at_level(logging.INFO, "noisy_gru.progress"):
        progress.on_train_batch_end(0, {"loss": 1.0})
        assert not caplog.records, "nothing within an epoch reaches a log"
    with caplog.at_level(logging.DEBUG, "noisy_gru.progress"):
        progress.on_epoch_begin(0)
        for batch in range(10):
            now[0] += 0.25
            progress.on_train_batch_end(batch, {"loss": 1.0 / (batch + 1), "accuracy": 0.5})
        progress.on_epoch_end(0, {"loss": 0.5})
        now[0] += 1.0
        progress.on_epoch_begin(1)
        progress.on_train_batch_end(4, {"loss": 0.25, "accuracy": 0.5})
    events: list[Any] = [record.event for record in caplog.records]  # pyright: ignore[reportAttributeAccessIssue]
    assert [event["batch"] for event in events if event["kind"] == "batch"] == [2, 4, 6, 8, 10, 5], (
        "once in half a second"
    )
    assert events[0] == {
        "kind": "batch", "epoch": 1, "epochs": 20, "batch": 2, "batches": 10, "metrics": {"loss": 1 / 2},
    }  # fmt: skip
    # Three epochs of 2.5 s until early stopping can end it; 19 at most.
    bounds = {"seconds": 2.5, "soonest_seconds": 7.5, "remaining_seconds": 47.5}
    assert events[5].items() >= bounds.items()
    assert events[6].items() >= {"kind": "batch", "epoch": 2, "metrics": {"loss": 0.25}, **bounds}.items()


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_lost_loss_ends_the_training_in_words(loss: float) -> None:
    FiniteLoss().on_epoch_end(0, {"loss": 1.0})
    with pytest.raises(ConfigError, match=f"loss became {loss} in epoch 3. Lower training.learning_rate"):
        FiniteLoss().on_epoch_end(2, {"loss": loss})


def test_history_and_event_files(tmp_path: Path) -> None:
    history, board = HistoryFile(str(tmp_path / "history.csv")), TensorBoardLog(str(tmp_path))
    history.set_model(compiled())
    for epoch in range(2):
        for callback in (history, board):
            callback.on_epoch_end(epoch, {"loss": 0.5, "val_loss": 0.25 + epoch})
    board.on_train_end()
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["val_loss"] for row in rows] == ["0.25", "1.25"]
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx([0.001, 0.001])  # Adam's default
    read: Any = SimpleNamespace(event=tf.compat.v1.Event)
    for part, values in (("train", [0.5, 0.5]), ("validation", [0.25, 1.25])):
        (path,) = (tmp_path / part).glob("events.out.tfevents.*")
        events = [read.event.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(path))]
        assert events[0].file_version == "brain.Event:2"
        assert [(e.step, e.summary.value[0].tag, e.summary.value[0].simple_value) for e in events[1:]] == [
            (0, "epoch_loss", values[0]),
            (1, "epoch_loss", values[1]),
        ]

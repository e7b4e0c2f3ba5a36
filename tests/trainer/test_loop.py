"""The epochs of a training: as Keras' `fit`, in one trace, and with batches filled up to few shapes."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from noisy_gru.trainer.config import TrainerConfig
from noisy_gru.trainer.custom_config import CustomConfig
from noisy_gru.trainer.loop import run_epochs
from noisy_gru.trainer.loss_units import use_row_weights
from noisy_gru.trainer.model import build_model
from noisy_gru.trainer.module import run_fn
from noisy_gru.trainer.objective import compile_model
from noisy_gru.trainer.training_context import EpochOrder, TrainingContext, prepare_training

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
]
EPOCHS = 3
FUNCTION = type(tf.function(lambda: None))
# 96 and 128 sequences: the last batch is not whole.
BATCH = 20


def workbench(transformed: Any, folder: Path, **training: Any) -> TrainingContext:
    config = {"batch_size": BATCH, "learning_rate": 0.01, "bucket_by_length": True, **training}
    model = {"layers": [{"units": 4, "stddev": 0.3}, {"units": 3, "stddev": 0.2}]}
    trainer = TrainerConfig.model_validate({"model": model, "training": config, "seed": 5})
    return prepare_training(transformed.fn_args(folder, {}), CustomConfig(transformed.dataset, trainer))


def new_model(context: TrainingContext) -> Any:
    trainer = context.custom_config.trainer
    keras.utils.set_random_seed(trainer.seed)
    model: Any = build_model(trainer.model, context.layout, context.sizes, seed=trainer.seed)
    compile_model(model, trainer.training, context.layout, steps_per_epoch=context.train.steps, epochs=EPOCHS)
    model.optimizer.build(model.trainable_variables)
    return model


def keras_fit(model: Any, context: TrainingContext) -> dict[str, list[float]]:
    """What is to be computed, by Keras' own loop."""
    history = model.fit(
        context.train.shuffled(),
        validation_data=context.eval.one_pass(),
        epochs=EPOCHS,
        shuffle=False,
        verbose=0,
        callbacks=[EpochOrder(context.train)],
    )
    return history.history


@pytest.fixture
def tracings(monkeypatch: pytest.MonkeyPatch) -> Any:
    """How often each function of TensorFlow that the loop makes was traced."""
    made: list[Any] = []
    original = tf.function

    def function(*given: Any, **more: Any) -> Any:
        made.append(original(*given, **more))
        return made[-1]

    monkeypatch.setattr(tf, "function", function)
    return lambda: [each.experimental_get_tracing_count() for each in made if isinstance(each, FUNCTION)]


@pytest.mark.parametrize("kind", ["classification", "forecasting"])
def test_filled_batches_train_as_keras_does_without_the_filling(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, caplog: pytest.LogCaptureFixture, tracings: Any
) -> None:
    """Loss, metrics and weights, against Keras' own step on batches that are as they come."""
    transformed = request.getfixturevalue(kind)
    plain = workbench(transformed, tmp_path)
    expected = new_model(plain)
    expected_history = keras_fit(expected, plain)
    before = len(tracings())

    context = workbench(transformed, tmp_path, steps_per_execution=4)
    context.train.pad_to((6, 9))
    context.eval.pad_to((9,))
    model = new_model(context)
    use_row_weights(model)
    with caplog.at_level(logging.INFO, "noisy_gru.progress"):
        history = run_epochs(model, context.train, context.eval, initial_epoch=0, epochs=EPOCHS, callbacks=[])
    events = [record.__dict__["event"] for record in caplog.records if record.name == "noisy_gru.progress"]
    assert [(event["step"], event["steps"]) for event in events] == [
        ("training", 6),
        ("training", 9),
        ("evaluation", 9),
    ]
    assert "XLA compiled the training step for 20 sequences of 9 steps (2 of 2 shapes) in" in caplog.text
    # One step and several, of training and of evaluation, for all shapes and epochs.
    assert tracings()[before:] == [1, 1, 1, 1]
    assert set(history) == set(expected_history) >= {"loss", "val_loss"}
    for name, values in expected_history.items():
        np.testing.assert_allclose(history[name], values, rtol=2e-5, err_msg=name)
    for found, wanted in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(found, wanted, atol=2e-5)


def test_the_loop_goes_on_where_it_is_told_to(classification: Any, tmp_path: Path) -> None:
    """As Keras' fit; also in two parts, and with nothing left to do."""

    class Seen(keras.callbacks.Callback):
        def __init__(self) -> None:
            super().__init__()
            self.called = []

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.called.append((epoch, set(logs)))

        def on_train_end(self, logs: Any = None) -> None:
            self.called.append("end")

    context = workbench(classification, tmp_path, steps_per_execution=3)
    expected = new_model(context)
    expected_history = keras_fit(expected, context)
    model, seen = new_model(context), Seen()
    parts = [
        run_epochs(model, context.train, context.eval, initial_epoch=first, epochs=last, callbacks=[seen])
        for first, last in ((0, 1), (1, EPOCHS), (EPOCHS, EPOCHS))
    ]
    names = ("loss", "accuracy", "balanced_accuracy", "pr_auc")
    logs = {*names, *(f"val_{name}" for name in names)}
    assert seen.called == [(0, logs), "end", (1, logs), (2, logs), "end", "end"]
    for name in logs:
        np.testing.assert_allclose(parts[0][name] + parts[1][name], expected_history[name], rtol=1e-5)
    for found, wanted in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_xla_trains_the_same_model_and_says_what_it_compiles(
    classification: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from noisy_gru.trainer.export.saved_model import load_keras

    results = {}
    for xla in ("off", "on"):
        config = {"batch_size": BATCH, "epochs": EPOCHS, "learning_rate": 0.01, "xla": xla}
        trainer = TrainerConfig.model_validate({"model": {"layers": [{"units": 3}]}, "training": config, "seed": 5})
        custom_config = CustomConfig(classification.dataset, trainer)
        folder = tmp_path / xla
        with caplog.at_level(logging.INFO, "noisy_gru.progress"):
            run_fn(classification.fn_args(folder, custom_config.to_dict()))
        summary = json.loads((folder / "model_run" / "training.json").read_text())
        assert summary["xla"]["enabled"] == (xla == "on") and summary["xla"]["reason"] == f"training.xla is {xla}"
        weights = load_keras(str(folder / "model" / "Format-Keras"))[0].get_weights()
        results[xla] = (summary["final"], weights)
    assert "seed 5; XLA: training.xla is on" in caplog.text
    assert "XLA compiled the training step for 20 sequences of 9 steps" in caplog.text
    (plain, plain_weights), (compiled, weights) = results["off"], results["on"]
    assert compiled == pytest.approx(plain, rel=1e-4)
    for found, wanted in zip(weights, plain_weights, strict=True):
        np.testing.assert_allclose(found, wanted, atol=2e-5)

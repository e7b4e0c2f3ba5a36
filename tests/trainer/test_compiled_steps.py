"""Steps for batches filled up to one size: rows without weight count for nothing, and nothing is compiled twice."""

from __future__ import annotations

import inspect
import json
import logging
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from noisy_gru.trainer.compiled_steps import compile_ahead, count_rows_by_weight
from noisy_gru.trainer.config import TrainerConfig
from noisy_gru.trainer.model import build_model
from noisy_gru.trainer.module import run_fn
from noisy_gru.trainer.objective import compile_model
from noisy_gru.trainer.settings import Settings
from noisy_gru.trainer.workbench import EpochOrder, Workbench, prepare

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
]
EPOCHS = 3
# 96 and 128 sequences: the last batch is not whole.
BATCH = 20


def workbench(transformed: Any, folder: Path, **training: Any) -> Workbench:
    config = {"batch_size": BATCH, "learning_rate": 0.01, "bucket_by_length": True, **training}
    model = {"layers": [{"units": 4, "stddev": 0.3}, {"units": 3, "stddev": 0.2}]}
    trainer = TrainerConfig.model_validate({"model": model, "training": config, "seed": 5})
    return prepare(transformed.fn_args(folder, {}), Settings(transformed.dataset, trainer))


def new_model(bench: Workbench) -> Any:
    trainer = bench.settings.trainer
    keras.utils.set_random_seed(trainer.seed)
    model: Any = build_model(trainer.model, bench.layout, bench.sizes, seed=trainer.seed)
    compile_model(model, trainer.training, bench.layout, steps_per_epoch=bench.train.steps, epochs=EPOCHS)
    model.optimizer.build(model.trainable_variables)
    return model


def fit(model: Any, bench: Workbench) -> dict[str, list[float]]:
    history = model.fit(
        bench.train.shuffled(),
        validation_data=bench.eval.one_pass(),
        epochs=EPOCHS,
        shuffle=False,
        verbose=0,
        callbacks=[EpochOrder(bench.train)],
    )
    return history.history


def tracings(function: Any) -> list[int]:
    """How often the tf.functions in Keras' train or test function were traced: for several steps, and for one."""
    found = []
    for cell in function.__closure__ or ():
        inner: Any = cell.cell_contents
        if hasattr(inner, "experimental_get_tracing_count"):
            found.append(inner.experimental_get_tracing_count())
            inner = inner.python_function
        if inspect.isfunction(inner):
            found += tracings(inner)
    return found


@pytest.mark.parametrize("kind", ["classification", "forecasting"])
def test_filled_batches_train_as_keras_does_without_the_filling(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Loss, metrics and weights, against Keras' own step on batches that are as they come."""
    transformed = request.getfixturevalue(kind)
    plain = workbench(transformed, tmp_path)
    expected = new_model(plain)
    expected_history = fit(expected, plain)

    bench = workbench(transformed, tmp_path)
    bench.train.pad_to((6, 9))
    bench.eval.pad_to((9,))
    model = new_model(bench)
    count_rows_by_weight(model)
    untouched = [variable.numpy() for variable in [*model.variables, *model.optimizer.variables]]
    with caplog.at_level(logging.INFO, "noisy_gru.progress"):
        compile_ahead(model, bench.train, bench.eval, clock=iter(range(100)).__next__)
    events = [record.__dict__["event"] for record in caplog.records if record.name == "noisy_gru.progress"]
    assert [(event["step"], event["steps"], event["seconds"]) for event in events] == [
        ("training", 6, 1),
        ("training", 9, 1),
        ("evaluation", 9, 1),
    ]
    assert "XLA compiled the training step for 20 sequences of 9 steps (2 of 2 shapes) in 1.0 s" in caplog.text
    for variable, before in zip([*model.variables, *model.optimizer.variables], untouched, strict=True):
        np.testing.assert_array_equal(variable.numpy(), before)

    history = fit(model, bench)
    # One for all shapes, and none after what was compiled ahead.
    for function in (model.train_function, model.test_function):
        assert len(tracings(function)) >= 2 and set(tracings(function)) == {1}
    assert set(history) == set(expected_history) >= {"loss", "val_loss"}
    for name, values in expected_history.items():
        np.testing.assert_allclose(history[name], values, rtol=2e-5, err_msg=name)
    for found, wanted in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(found, wanted, atol=2e-5)


def test_xla_trains_the_same_model_and_says_what_it_compiles(
    classification: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from noisy_gru.trainer.export import load_keras

    results = {}
    for xla in ("off", "on"):
        config = {"batch_size": BATCH, "epochs": EPOCHS, "learning_rate": 0.01, "xla": xla}
        trainer = TrainerConfig.model_validate({"model": {"layers": [{"units": 3}]}, "training": config, "seed": 5})
        settings = Settings(classification.dataset, trainer)
        folder = tmp_path / xla
        with caplog.at_level(logging.INFO, "noisy_gru.progress"):
            run_fn(classification.fn_args(folder, settings.as_custom_config()))
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

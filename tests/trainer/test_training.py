"""`run_fn` on small data: the files it leaves, all epochs without early stopping, and what it refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import pytest
import tensorflow as tf

from noisy_gru.schema.errors import ConfigError, DataError
from noisy_gru.trainer import noise_scale, single_training
from noisy_gru.trainer.config import TrainerConfig
from noisy_gru.trainer.custom_config import CustomConfig
from noisy_gru.trainer.experiments.first_states import measure_first_states
from noisy_gru.trainer.export.saved_model import load_keras
from noisy_gru.trainer.module import run_fn
from noisy_gru.trainer.training import train
from noisy_gru.trainer.training_context import prepare_training, require_keras_3

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
]


def settings(transformed: Any, working_dir: str | None = None, **values: Any) -> CustomConfig:
    config = TrainerConfig.model_validate({"model": {"layers": [{"units": 3}]}, "training": values})
    return CustomConfig(transformed.dataset, config, working_dir=working_dir)


def test_all_epochs_without_early_stopping_and_without_an_eval_split(classification: Any, tmp_path: Path) -> None:
    given = settings(classification, epochs=5, early_stopping=None, bucket_by_length=True, steps_per_execution=2)
    # TFX's train_args.num_steps bounds the epochs: 96 sequences are 3 steps.
    arguments = classification.fn_args(tmp_path, given.to_dict(), eval_files=[], train_steps=7)
    run_fn(arguments)
    summary = json.loads((tmp_path / "model_run" / "training.json").read_text())
    assert summary["epochs"] == summary["best_epoch"] == 3 and summary["seed"] == 0
    assert set(summary["final"]) == {"epoch", "loss", "accuracy", "balanced_accuracy", "pr_auc", "learning_rate"}
    assert (tmp_path / "model_run" / "train").is_dir()


def test_early_stopping_needs_an_eval_split(classification: Any, tmp_path: Path) -> None:
    arguments = classification.fn_args(tmp_path, settings(classification).to_dict(), eval_files=[])
    with pytest.raises(ConfigError, match="early_stopping needs sequences in the eval split, which is empty"):
        run_fn(arguments)


def test_early_stopping_watches_what_there_is(classification: Any, tmp_path: Path) -> None:
    given = settings(classification, early_stopping={"monitor": "val_mae"})
    with pytest.raises(
        ConfigError,
        match=r"one of loss, accuracy, balanced_accuracy, pr_auc, val_loss, .*, val_pr_auc\. Received: val_mae",
    ):
        prepare_training(classification.fn_args(tmp_path, {}), given)


def test_an_empty_train_split_is_refused(classification: Any, tmp_path: Path) -> None:
    arguments = classification.fn_args(tmp_path, {}, train_files=[str(tmp_path / "*")])
    with pytest.raises(DataError, match="train split holds no sequence"):
        prepare_training(arguments, settings(classification))


def test_one_class_is_refused(datasets: Any, tmp_path: Path) -> None:
    rows = [{**row, "label": ["only"]} for row in datasets.classification_rows(8, seed=1)]
    one = datasets.run_transform(datasets.classification_dataset(), {"train": rows, "eval": rows}, tmp_path)
    with pytest.raises(DataError, match="two classes or more in the train split; column label has 1 there"):
        prepare_training(one.fn_args(tmp_path, {}), settings(one))


def test_another_configuration_or_other_data_is_another_training(classification: Any, tmp_path: Path) -> None:
    def key(given: CustomConfig, **files: Any) -> str:
        return single_training.checkpoint_key(prepare_training(classification.fn_args(tmp_path, {}, **files), given))

    plain = key(settings(classification))
    assert key(settings(classification, working_dir="elsewhere")) == plain
    assert key(settings(classification, epochs=7)) != plain
    assert key(settings(classification), train_files=classification.files["test"]) != plain
    assert key(settings(classification), eval_files=classification.files["test"]) != plain


def test_only_keras_3_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    require_keras_3()
    monkeypatch.setattr(keras, "__version__", "2.15.0")
    with pytest.raises(RuntimeError, match=r"needs Keras 3 on TensorFlow\. Received: Keras 2\.15\.0"):
        require_keras_3()


def noisy(transformed: Any, stddev: str, **model: Any) -> CustomConfig:
    layers = [{"units": 3, "stddev": 0.2}, {"units": 2, "stddev": 0.1}]
    config = TrainerConfig.model_validate(
        {"model": {"layers": layers, "stddev": stddev, **model}, "training": {"epochs": 2, "learning_rate": 0.02}}
    )
    return CustomConfig(transformed.dataset, config)


def results(folder: Path) -> tuple[dict[str, Any], list[dict[str, float]], list[Any]]:
    with (folder / "model_run" / "history.csv").open(encoding="utf-8") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    weights = load_keras(str(folder / "model" / "Format-Keras"))[0].get_weights()
    return json.loads((folder / "model_run" / "training.json").read_text()), rows, weights


def test_the_scale_is_chosen_by_the_loss_from_the_right_and_from_wrong_starts(
    classification: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The measured losses make the scale best that has the larger clean loss; it is the model that it is alone."""
    losses = {0.0: (0.3, 0.9), 2.0: (0.4, 0.5)}
    measured = []

    def measure(model: Any, context: Any, starts: Any, *, seed: int) -> Any:
        scale = context.custom_config.trainer.model.layers[0].stddev / 0.2
        found = measure_first_states(model, context, starts, seed=seed)[0]
        measured.append((scale, found["carried"]["loss"]))
        clean, wrong = losses[round(scale, 6)]
        return {"zero": {"loss": clean}, "carried": {"loss": wrong}}, {}

    monkeypatch.setattr(noise_scale, "measure_first_states", measure)
    given = noisy(classification, "auto", stddev_scales=[2, 0])
    train(classification.fn_args(tmp_path, given.to_dict()), given)
    summary, rows, weights = results(tmp_path)
    noise = summary["noise"]
    assert (noise["kind"], noise["scale"], noise["stddev"]) == ("auto", 2.0, [0.4, 0.2])
    assert [each["scale"] for each in noise["tried"]] == [0.0, 2.0] and not noise["left_out"]
    assert [each["sum"] for each in noise["tried"]] == pytest.approx([1.2, 0.9])
    assert [row["stddev_scale"] for row in rows] == [2.0, 2.0]
    assert len({loss for _, loss in measured}) == 2, "two models"
    layers = [{"units": 3, "stddev": 0.4}, {"units": 2, "stddev": 0.2}]
    alone = noisy(classification, "layers", layers=layers)
    train(classification.fn_args(tmp_path / "alone", alone.to_dict()), alone)
    assert all((one == other).all() for one, other in zip(weights, results(tmp_path / "alone")[2], strict=True))


def test_a_split_of_one_sequence_chooses_no_scale(classification: Any) -> None:
    context = SimpleNamespace(eval=[0], custom_config=noisy(classification, "auto"))
    with pytest.raises(ConfigError, match="needs two sequences or more; it holds 1"):
        noise_scale.choose_scale(context, lambda *_: None)  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize("stddev", ["learned", pytest.param("residual", marks=pytest.mark.long)])
def test_a_scale_that_adapts_is_in_the_history_and_not_in_the_export(
    classification: Any, tmp_path: Path, stddev: str
) -> None:
    given = noisy(classification, stddev)
    train(classification.fn_args(tmp_path, given.to_dict()), given)
    summary, rows, weights = results(tmp_path)
    if stddev == "residual":
        train(classification.fn_args(tmp_path / "again", given.to_dict()), given)
        assert all((one == other).all() for one, other in zip(weights, results(tmp_path / "again")[2], strict=True))
    assert summary["noise"]["kind"] == stddev
    last = [rows[summary["best_epoch"] - 1][f"stddev_{place}"] for place in (1, 2)]
    assert summary["noise"]["stddev"] == pytest.approx(last, rel=1e-5)
    assert abs(last[0] - 0.2) > 1e-4, "it moved"
    reader = tf.train.load_checkpoint(str(tmp_path / "model" / "Format-Serving" / "variables" / "variables"))
    shapes = [tuple(shape) for key, shape in reader.get_variable_to_shape_map().items() if "VARIABLE_VALUE" in key]
    assert len(shapes) == len(weights) - 2


def test_several_devices_are_refused(classification: Any, tmp_path: Path) -> None:
    given = noisy(classification, "residual")
    strategy: Any = SimpleNamespace(num_replicas_in_sync=2)
    with pytest.raises(ConfigError, match="on 2 devices splits each batch among several"):
        train(classification.fn_args(tmp_path, given.to_dict()), given, strategy)

"""`run_fn` on small data: the files it leaves, all epochs without early stopping, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import pytest

from noisy_gru.schema.errors import ConfigError, DataError
from noisy_gru.trainer import training
from noisy_gru.trainer.config import TrainerConfig
from noisy_gru.trainer.custom_config import CustomConfig
from noisy_gru.trainer.module import run_fn
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
        return training._key(prepare_training(classification.fn_args(tmp_path, {}, **files), given))

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

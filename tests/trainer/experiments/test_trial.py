"""One training of an experiment is the Trainer's own, and is measured on eval alone."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import pytest

from noisy_gru.schema.errors import ConfigError
from noisy_gru.trainer.config import TrainerConfig
from noisy_gru.trainer.custom_config import CustomConfig
from noisy_gru.trainer.experiments.starts import FirstStates

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
]
CONFIG = TrainerConfig.model_validate(
    {
        "model": {"layers": [{"units": 3, "stddev": 0.5}]},
        "training": {
            "epochs": 3,
            "learning_rate": 0.05,
            "batch_size": 16,
            "early_stopping": {"monitor": "val_accuracy", "mode": "max", "patience": 3},
        },
        "seed": 11,
    }
)


def test_a_training_is_the_trainers_and_leaves_nothing_behind(classification, tmp_path: Path):
    from noisy_gru.trainer.experiments.trial import TransformedFiles, data_key, train_and_measure
    from noisy_gru.trainer.training import train

    custom = CustomConfig(classification.dataset, CONFIG, fingerprint="f")
    arguments = classification.fn_args(tmp_path, {})
    train(arguments, custom)
    with Path(arguments.model_run_dir, "history.csv").open(encoding="utf-8") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]

    files = TransformedFiles(classification.graph, classification.files["train"], classification.files["eval"])
    working = tmp_path / "experiment"
    resuming = dataclasses.replace(custom, working_dir=str(working))
    found = train_and_measure(files, resuming, FirstStates((0.5,), burn_in=(1,)))
    for name in ("loss", "accuracy", "balanced_accuracy", "pr_auc"):
        assert found["history"][f"val_{name}"] == pytest.approx([row[f"val_{name}"] for row in rows], rel=1e-6)
        kept = rows[found["best_epoch"] - 1][f"val_{name}"]
        assert found["metrics"][name] == pytest.approx(kept, rel=1e-5), "the best epoch's weights are measured"
    assert found["epochs"] == len(rows)
    assert set(found["first_states"]) == {"noise_x1", "carried", "burn_in_1"}
    assert not [path for path in working.rglob("*") if path.is_file()]
    again = train_and_measure(files, dataclasses.replace(custom, working_dir=None))
    assert again["metrics"] == found["metrics"], "no matter what was trained before in this process"

    key = data_key(files, custom)
    assert key == data_key(files, custom)
    assert key == data_key(files, dataclasses.replace(custom, trainer=TrainerConfig())), "of the data, not the model"
    assert key != data_key(files, dataclasses.replace(custom, fingerprint="g"))
    swapped = dataclasses.replace(files, eval=classification.files["test"])
    assert key != data_key(swapped, custom)


def test_an_empty_eval_split_is_refused(classification):
    from noisy_gru.trainer.experiments.trial import TransformedFiles, train_and_measure

    files = TransformedFiles(classification.graph, classification.files["train"], [])
    trainer = CONFIG.model_copy(update={"training": CONFIG.training.model_copy(update={"early_stopping": None})})
    with pytest.raises(ConfigError, match="eval split, which holds no sequence"):
        train_and_measure(files, CustomConfig(classification.dataset, trainer))

"""`noisy-gru init` on tables with several columns of true and false for each sequence: several labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from noisy_gru.pipeline.config.checks import check_config
from noisy_gru.pipeline.config.loading import load_config
from noisy_gru.pipeline.init.proposal import propose
from noisy_gru.schema.config import ClassificationConfig, MultiLabelConfig


def drafted(folder: Path, frame: pd.DataFrame, **given: Any) -> tuple[Any, list[str]]:
    """The configuration of a draft that `validate` accepts, and what was guessed."""
    frame.to_csv(folder / "rows.csv", index=False)
    proposal = propose([str(folder / "rows.csv")], out=folder / "out", **given)
    (folder / "out").mkdir(exist_ok=True)
    proposal.write(folder / "out", force=True)
    config = load_config(folder / "out" / "config.yaml")
    check_config(config)
    return config, proposal.guesses


def patients(**flags: Any) -> pd.DataFrame:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"patient": np.repeat([f"p{number}" for number in range(30)], 12), "t": [*range(12)] * 30})
    frame["pulse"] = random.normal(70, 9, len(frame)).round(1)
    for name, (yes, no) in flags.items():
        frame[name] = np.repeat(np.where(random.random(30) < 0.4, yes, no), 12)
    return frame


@pytest.mark.parametrize("spelt", [(1, 0), ("yes", "no"), ("True", "False"), (1.0, 0.0)])
def test_columns_that_begin_alike_are_labels_not_sure(tmp_path: Path, spelt: Any) -> None:
    config, guesses = drafted(tmp_path, patients(tag_fever=spelt, tag_cough=spelt, tag_rash=spelt))
    assert isinstance(config.task, MultiLabelConfig)
    assert config.task.labels == ["tag_fever", "tag_cough", "tag_rash"]
    assert [feature.name for feature in config.data.features] == ["pulse"]
    (guess,) = [each for each in guesses if "labels tag_fever, tag_cough, tag_rash" in each]
    assert "NOT SURE" in guess


def test_given_targets_of_true_and_false_are_labels(tmp_path: Path) -> None:
    frame = patients(wet=(1, 0), dry=("t", "f"))
    config, _ = drafted(tmp_path, frame, targets=["wet", "dry"], task="classification")
    assert isinstance(config.task, MultiLabelConfig) and config.task.labels == ["wet", "dry"]


def test_one_of_them_is_a_label_by_itself(tmp_path: Path) -> None:
    frame = patients(tag_fever=(1, 0), tag_site=("north", "south"))
    config, _ = drafted(tmp_path, frame, targets=["tag_fever"])
    assert isinstance(config.task, ClassificationConfig) and config.task.label == "tag_fever"
    # Two values that are not true and false are no pair of labels, and flags that change are features.
    frame["is_moving"], frame["is_lying"] = np.arange(len(frame)) % 2, np.arange(len(frame)) % 3 == 0
    config, _ = drafted(tmp_path, frame)
    assert not isinstance(config.task, MultiLabelConfig)

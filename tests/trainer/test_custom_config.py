"""What `custom_config` may be, and what is said when it is not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from noisy_gru.schema.errors import ConfigError
from noisy_gru.trainer.custom_config import CustomConfig

DATASET: dict[str, Any] = {
    "data": {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": ["a"]},
    "task": {"kind": "classification", "label": "y"},
}


def test_sections_are_mappings_or_text() -> None:
    trainer = {"training": {"epochs": 3}}
    given = {"dataset": DATASET, "trainer": trainer, "fingerprint": "f", "working_dir": "/w"}
    parsed = CustomConfig.parse(given)
    assert CustomConfig.parse({**given, "dataset": json.dumps(DATASET), "trainer": json.dumps(trainer)}) == parsed
    assert CustomConfig.parse(parsed.to_dict()) == parsed
    assert parsed.trainer.training.epochs == 3 and parsed.working_dir == "/w"
    assert CustomConfig.parse({"dataset": DATASET}).working_dir is None


def test_what_is_wrong_is_named() -> None:
    for nothing in (None, {"trainer": {}}):
        with pytest.raises(ConfigError, match="must hold 'dataset'"):
            CustomConfig.parse(nothing)
    with pytest.raises(ConfigError, match=r"(?s)custom_config\['trainer'\] is not a valid TrainerConfig.*epochs"):
        CustomConfig.parse({"dataset": DATASET, "trainer": {"training": {"epochs": 0}}})
    with pytest.raises(ConfigError, match=r"custom_config\['dataset'\]"):
        CustomConfig.parse({"dataset": "{"})

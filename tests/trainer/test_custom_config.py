"""What `custom_config` may be, and what is said when it is not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from noisy_gru.schema.errors import ConfigError
from noisy_gru.trainer.custom_config import Settings

DATASET: dict[str, Any] = {
    "data": {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": ["a"]},
    "task": {"kind": "classification", "label": "y"},
}


def test_sections_are_mappings_or_text() -> None:
    trainer = {"training": {"epochs": 3}}
    given = {"dataset": DATASET, "trainer": trainer, "fingerprint": "f", "working_dir": "/w"}
    parsed = Settings.parse(given)
    assert Settings.parse({**given, "dataset": json.dumps(DATASET), "trainer": json.dumps(trainer)}) == parsed
    assert Settings.parse(parsed.as_custom_config()) == parsed
    assert parsed.trainer.training.epochs == 3 and parsed.working_dir == "/w"
    assert Settings.parse({"dataset": DATASET}).working_dir is None


def test_what_is_wrong_is_named() -> None:
    for nothing in (None, {"trainer": {}}):
        with pytest.raises(ConfigError, match="must hold 'dataset'"):
            Settings.parse(nothing)
    with pytest.raises(ConfigError, match=r"(?s)custom_config\['trainer'\] is not a valid TrainerConfig.*epochs"):
        Settings.parse({"dataset": DATASET, "trainer": {"training": {"epochs": 0}}})
    with pytest.raises(ConfigError, match=r"custom_config\['dataset'\]"):
        Settings.parse({"dataset": "{"})

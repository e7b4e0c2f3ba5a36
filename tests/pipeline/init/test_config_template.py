"""What `noisy-gru init` writes is what it meant, whatever things are called: read again by PyYAML."""

from __future__ import annotations

import math
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from noisy_gru.pipeline.init.config_template import _scalar, config_text
from noisy_gru.pipeline.init.roles import Guess
from noisy_gru.pipeline.init.sizing import Training
from noisy_gru.schema.config import DatasetConfig

# Text that YAML 1.1 or 1.2 reads as a number, Boolean, null, date, mapping, comment, tag, anchor or document end.
ODD = [
    *("400", "-1", "1_000", "0x10", "0o7", "010", "0b1", "1e3", "1.5", ".5", "1.", "-.inf", ".nan", "NaN", "1:30"),
    *("true", "True", "false", "yes", "no", "on", "OFF", "y", "N", "null", "Null", "~", "", " ", "None"),
    *("2024-01-01", "2024-01-01T00:00:00Z", "2024-01-01 00:00:00"),
    *("a: b", "a:", ": a", "a #b", "#a", "- a", "-", "?", "? a", "!a", "!!int 1", "&a", "*a", "|", ">", "%a", "@a"),
    *("---", "...", "--- a", "[a]", "{a: b}", "a, b", "'a'", '"a"', "\\n", "a\\", "<<", "="),
    *(" a", "a ", "a\nb", "a\r\nb", "a\tb", "\ta", "a\x85b", "a\u2028b", "\ufeffa", "a\x7fb", "a\x00"),
    *("a\x9f", "\ufffe", "190:20:30", "`a`", "déjà vu", "😀", "\u00a0", "\udcff.csv", "x" * 3000, "a " * 500),
]  # fmt: skip
TEXT = st.sampled_from(ODD) | st.text(st.characters(exclude_categories=()), max_size=20)
TRAINING = Training(epochs=20, batch_size=64, patience=5, difference=True)
NAMES = st.lists(TEXT, min_size=4, max_size=4, unique=True)


@pytest.mark.parametrize("text", ODD)
def test_odd_text_is_read_as_text(text):
    assert yaml.safe_load(f"key: {_scalar(text)}") == {"key": text}
    assert yaml.safe_load(f"{{a: [{_scalar(text)}], b: {_scalar(text)}}}") == {"a": [text], "b": text}


@given(TEXT)
def test_any_text_is_read_as_text(text):
    assert yaml.safe_load(f"[{_scalar(text)}]") == [text]


@given(st.floats() | st.integers() | st.booleans() | st.none())
@example(1e22)
@example(1e-7)
def test_numbers_are_read_as_numbers(value):
    read = yaml.safe_load(_scalar(value))
    assert type(read) is type(value)
    assert read == value or (math.isnan(read) and math.isnan(value))


@settings(deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(names=NAMES, files=st.lists(TEXT, min_size=1, max_size=3), words=TEXT, offset=st.floats(1e-30, 1e30))
def test_a_draft_is_read_as_what_it_was_written_from(names, files, words, offset):
    entity, time, feature, label = names
    given: dict[str, Any] = {
        "data": {
            "files": files,
            "entity": entity,
            "time": {"column": time, "frequency": words},
            "features": [feature, {"name": label + "2", "offset": offset}],
        },
        "task": {"kind": "classification", "label": label},
        "splits": {"by": "column", "column": words, "values": {"train": [words], "test": [f"{words}2"]}},
    }
    try:
        dataset = DatasetConfig.model_validate(given)
    except ValidationError:
        assume(False)
    read = yaml.safe_load(config_text("400", dataset, [Guess(words, words)], {words: words}, TRAINING))
    read["data"].pop("max_length", None)
    assert read["name"] == "400"
    assert read["data"]["time"].pop("kind") == "integer"
    assert {key: read[key] for key in given} == given


def test_a_forecast_is_read_as_what_it_was_written_from():
    for text in (each for each in ODD if not each.startswith("\udcff")):
        given: dict[str, Any] = {
            "data": {"files": ["a.csv"], "entity": "e", "time": {"column": "t"}, "features": [text or "x"]},
            "task": {"kind": "forecasting", "targets": [text or "x"], "input_length": 4, "horizons": [1]},
            "splits": {"by": "time"},
        }
        read = yaml.safe_load(config_text("a", DatasetConfig.model_validate(given), [], {}, TRAINING))
        assert (read["data"]["features"], read["task"]) == ([text or "x"], given["task"])


def test_calendars_are_read_as_what_they_were_written_from():
    features: list[Any] = [
        "x",
        {"calendar": "hour_of_day"},
        {"calendar": "month_of_year", "known_in_advance": True, "encoding": "category", "embedding_dim": 3},
        {"calendar": "holiday", "known_in_advance": True, "country": "NO"},
    ]
    time = {"column": "t", "kind": "timestamp", "timezone": "Europe/Oslo"}
    given: dict[str, Any] = {
        "data": {"files": ["a.csv"], "entity": "e", "time": time, "features": features},
        "task": {"kind": "forecasting", "targets": ["x"], "input_length": 4, "horizons": [1]},
        "splits": {"by": "time"},
    }
    read = yaml.safe_load(config_text("a", DatasetConfig.model_validate(given), [], {}, TRAINING))
    assert (read["data"]["features"], read["data"]["time"]) == (features, time)

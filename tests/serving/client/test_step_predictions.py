"""Answers at each step (`task.per_step`) as rows: which sequence, which step, when, what."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from noisy_gru.data.requests.origins import Origins
from noisy_gru.schema.config import ClassificationConfig
from noisy_gru.schema.errors import ConfigError, ModelError
from noisy_gru.serving.client.prediction_columns import Part
from noisy_gru.serving.client.predictions import Predictions

TAGS = ClassificationConfig(kind="classification", label="state", per_step=True)


def part(ids: list[str], lengths: list[int], version: int = 3) -> Part:
    steps, count = max([1, *lengths]), len(ids)
    first = (np.arange(count * steps, dtype=np.float32).reshape(count, steps) + 1) / 64
    names = np.array([b"on", b"off"], object)
    there = np.arange(steps) < np.array(lengths).reshape(-1, 1)
    ids_of = np.where(there, (first < 0.5).astype(np.int64), -1)
    outputs = {
        "probabilities": np.where(there[..., None], np.stack([first, 1 - first], axis=-1), np.float32(0)),
        "class_id": ids_of,
        "label_bytes": np.where(there, names[ids_of], b""),
        "labels_bytes": np.tile(names, (count, 1)),
        "lengths": np.array(lengths, np.int64),
    }
    return Part(ids, outputs, version)


def predictions(**more: Any) -> Predictions:
    return Predictions(TAGS, [part(["a", "b"], [2, 1]), part(["c", "d"], [0, 3])], **more)


def origins(kind: str = "integer") -> dict[str, Any]:
    times = [np.array([7, 8]), np.array([5]), np.array([], np.int64), np.array([1, 2, 4])]
    return {
        "origins": Origins(["A", "B", "C", "D"], None, kind, step_times=times),
        "places": {name: place for place, name in enumerate("abcd")},
    }


def test_a_row_for_each_step() -> None:
    found = predictions(**origins())
    rows = [(row["sequence_id"], row["step"], row["time"], row["state"]) for row in found]
    assert rows == [
        ("a", 1, 7, "off"),
        ("a", 2, 8, "off"),
        ("b", 1, 5, "off"),
        ("d", 1, 1, "off"),
        ("d", 2, 2, "off"),
        ("d", 3, 4, "off"),
    ]
    assert list(found.answers[0]) == ["sequence_id", "step", "time", "state", "probability_on", "probability_off"]
    assert [row["probability_on"] for row in found] == [1 / 64, 2 / 64, 3 / 64, 4 / 64, 5 / 64, 6 / 64]
    assert len(found) == 4 and found.ids == ["a", "b", "c", "d"]
    frame = found.to_pandas()
    assert frame.columns.tolist() == list(found.answers[0]) and frame.probability_on.dtype == np.float32


def test_wide_and_long() -> None:
    wide = predictions(**origins("timestamp")).to_arrow("wide")
    assert wide.column_names == [
        "sequence_id", "entity", "step", "time", "state", "probability_on", "probability_off", "model_version"
    ]  # fmt: skip
    assert wide["entity"].to_pylist() == ["A", "A", "B", "D", "D", "D"]
    assert str(wide["time"].type) == "timestamp[ns, tz=UTC]"
    long = predictions(**origins()).to_arrow("long")
    assert long.num_rows == 12
    assert long.to_pylist()[1] == {
        "sequence_id": "a",
        "entity": "A",
        "step": 1,
        "time": 7,
        "class": "off",
        "probability": 63 / 64,
        "predicted": True,
        "model_version": 3,
    }


def test_without_times_there_is_the_step_alone() -> None:
    # Ready-made tf.Examples, or data without a time.
    assert predictions().to_arrow("short").column_names == [
        "sequence_id", "step", "state", "probability_on", "probability_off"
    ]  # fmt: skip
    assert Predictions(TAGS, []).answers == []


def test_outputs_are_padded_to_one_number_of_steps() -> None:
    found = predictions()
    assert found.output("class_id").tolist() == [[1, 1, -1], [1, -1, -1], [-1, -1, -1], [1, 1, 1]]
    assert found.output("label_bytes")[1].tolist() == [b"off", b"", b""]
    assert found.output("probabilities").shape == (4, 3, 2)


def test_what_does_not_fit_is_named() -> None:
    given = part(["a"], [2])
    with pytest.raises(ModelError, match=r"with an answer for each step \(task.per_step: true\)"):
        list(Predictions(TAGS, [Part(["a"], {key: each for key, each in given.outputs.items() if key != "lengths"})]))
    with pytest.raises(ModelError, match="lengths up to 9, and answers to 2 steps"):
        list(Predictions(TAGS, [Part(["a"], {**given.outputs, "lengths": np.array([9])})]))
    with pytest.raises(ModelError, match="other numbers of steps than it was sent"):
        list(Predictions(TAGS, [part(["d"], [2])], **origins()))
    named = ClassificationConfig(kind="classification", label="step", per_step=True)
    with pytest.raises(ConfigError, match="columns of the names step already; rename them in the data"):
        list(Predictions(named, [given]))

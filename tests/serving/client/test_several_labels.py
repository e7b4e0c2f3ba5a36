"""Answers of several labels (`task.labels`), by name."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from noisy_gru.components.serving_gate.signature_contract import promised_outputs
from noisy_gru.schema.config import DatasetConfig, MultiLabelConfig
from noisy_gru.schema.errors import ModelError
from noisy_gru.serving.client.prediction_columns import Part
from noisy_gru.serving.client.prediction_tables import plain_rows
from noisy_gru.serving.client.predictions import Predictions
from noisy_gru.serving.client.rest_messages import outputs_of

TASK = MultiLabelConfig(kind="classification", labels=["fever", "cough"])


def outputs(labels: list[str] | None = None) -> dict[str, np.ndarray]:
    names = [name.encode() for name in labels or TASK.labels]
    return {
        "probabilities": np.array([[0.75, 0.25], [0.5, 0.125]], np.float32),
        "answers": np.array([[1, 0], [1, 0]]),
        "labels_bytes": np.array([names, names], object),
    }


def test_an_answer_and_a_probability_for_each_label() -> None:
    found = Predictions(TASK, [Part(["a", "b"], outputs(), 7)])
    assert found.answers == [
        {"sequence_id": "a", "fever": 1, "probability_fever": 0.75, "cough": 0, "probability_cough": 0.25},
        {"sequence_id": "b", "fever": 1, "probability_fever": 0.5, "cough": 0, "probability_cough": 0.125},
    ]
    assert found.to_pandas()["fever"].dtype == np.int64 and found.versions == [7]
    wide = list(plain_rows(found.to_arrow("wide")))
    assert json.dumps(wide[0]["fever"]) == "1" and wide[0]["model_version"] == 7
    long = found.to_arrow("long").select(["sequence_id", "class", "probability", "predicted"]).to_pylist()
    assert long[:2] == [
        {"sequence_id": "a", "class": "fever", "probability": 0.75, "predicted": True},
        {"sequence_id": "a", "class": "cough", "probability": 0.25, "predicted": False},
    ]
    assert len(long) == 4


def test_rest_has_the_same_types() -> None:
    # JSON as TensorFlow Serving writes it: bytes as base64, and one type of numbers.
    names = [{"b64": base64.b64encode(name.encode()).decode()} for name in TASK.labels]
    rows = [{"probabilities": [0.75, 0.25], "answers": [1, 0], "labels_bytes": names}]
    rows.append({"probabilities": [0.5, 0.125], "answers": [1, 0], "labels_bytes": names})
    found, expected = outputs_of(rows), outputs()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype and (found[name] == value).all(), name


def test_nothing_asked_is_nothing_answered() -> None:
    empty = {name: value[:0] for name, value in outputs().items()}
    assert Predictions(TASK, [Part([], empty)]).answers == []


def test_a_model_of_other_labels_is_another() -> None:
    with pytest.raises(ModelError, match=r"to the labels fever, rash; expected \[2, 2\], of fever, cough"):
        list(Predictions(TASK, [Part(["a", "b"], outputs(["fever", "rash"]))]))
    with pytest.raises(ModelError, match="expected probabilities, answers, labels_bytes"):
        list(Predictions(TASK, [Part(["a"], {"predictions": np.array([[1]], np.float32)})]))
    data = {"files": ["x.csv"], "entity": "id", "time": {"column": "t"}, "features": ["x"]}
    promised = promised_outputs(DatasetConfig.model_validate({"data": data, "task": TASK.model_dump()}))
    assert promised["probabilities"] == ("float32", (None, 2)) and promised["answers"] == ("int64", (None, 2))

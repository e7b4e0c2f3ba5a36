"""Answers of numbers at each step (`per_step` of a regression): a row for each step."""

from __future__ import annotations

import numpy as np
import pytest

from noisy_gru.components.serving_gate.signature_contract import promised_outputs
from noisy_gru.data.requests.origins import Origins
from noisy_gru.schema.config import DatasetConfig, RegressionConfig
from noisy_gru.schema.errors import ModelError
from noisy_gru.serving.client.prediction_columns import Part
from noisy_gru.serving.client.predictions import Predictions

ONE = RegressionConfig(kind="regression", label="level", per_step=True, units="m")
BOTH = RegressionConfig(kind="regression", targets=["level", "flow"], per_step=True)
NUMBERS = np.array([[[1, 5], [2, 6]], [[3, 7], [0, 0]]], np.float32)
LENGTHS = np.array([2, 1])


def test_a_row_for_each_step() -> None:
    origins = Origins(["a", "b"], None, "integer", (), [np.array([10, 11]), np.array([7])])
    part = Part(["a", "b"], {"predictions": NUMBERS, "lengths": LENGTHS}, 7)
    found = Predictions(BOTH, [part], origins=origins, places={"a": 0, "b": 1})
    assert found.answers == [
        {"sequence_id": "a", "step": 1, "time": 10, "level": 1, "flow": 5},
        {"sequence_id": "a", "step": 2, "time": 11, "level": 2, "flow": 6},
        {"sequence_id": "b", "step": 1, "time": 7, "level": 3, "flow": 7},
    ]
    long = found.to_arrow("long").select(["sequence_id", "step", "target", "prediction"]).to_pylist()
    assert [(row["step"], row["target"], row["prediction"]) for row in long] == [
        (1, "level", 1), (1, "flow", 5), (2, "level", 2), (2, "flow", 6), (1, "level", 3), (1, "flow", 7),
    ]  # fmt: skip


def test_one_number_has_its_units_and_parts_are_padded_alike() -> None:
    parts = [
        Part(["a"], {"predictions": NUMBERS[:1, :, :1], "lengths": LENGTHS[:1]}),
        Part(["b"], {"predictions": NUMBERS[1:, :1, :1], "lengths": LENGTHS[1:]}),
    ]
    found = Predictions(ONE, parts)
    assert [answer["level"] for answer in found.answers] == [1, 2, 3]
    assert found.to_arrow("long")["units"].to_pylist() == ["m"] * 3
    assert found.output("predictions")[..., 0].tolist() == [[1, 2], [3, 0]]


def test_a_model_of_one_number_for_a_sequence_is_another() -> None:
    with pytest.raises(ModelError, match="expected predictions, lengths, with an answer for each step"):
        list(Predictions(ONE, [Part(["a"], {"predictions": np.array([[1]], np.float32)})]))
    with pytest.raises(ModelError, match=r"expected \[3, 1\]"):
        list(Predictions(ONE, [Part(["a", "b"], {"predictions": NUMBERS, "lengths": LENGTHS})]))
    data = {"files": ["x.csv"], "entity": "id", "time": {"column": "t"}, "features": ["x"]}
    promised = promised_outputs(DatasetConfig.model_validate({"data": data, "task": BOTH.model_dump()}))
    assert promised == {"predictions": ("float32", (None, None, 2)), "lengths": ("int64", (None,))}

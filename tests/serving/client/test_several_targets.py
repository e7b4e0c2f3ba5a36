"""Answers of several numbers (`task.targets` of a regression), by name."""

from __future__ import annotations

import numpy as np
import pytest

from noisy_gru.components.serving_gate.signature_contract import promised_outputs
from noisy_gru.schema.config import DatasetConfig, RegressionConfig
from noisy_gru.schema.errors import ModelError
from noisy_gru.serving.client.prediction_columns import Part
from noisy_gru.serving.client.predictions import Predictions

BOTH = RegressionConfig(kind="regression", targets=["price", "size"])
SURE = RegressionConfig(kind="regression", targets=["price", "size"], quantiles=[0.1, 0.5, 0.9])


def test_a_column_for_each_target() -> None:
    part = Part(["a", "b"], {"predictions": np.array([[1, 2], [3, 4]], np.float32)}, 7)
    assert Predictions(BOTH, [part]).answers == [
        {"sequence_id": "a", "price": 1, "size": 2},
        {"sequence_id": "b", "price": 3, "size": 4},
    ]
    long = Predictions(BOTH, [part]).to_arrow("long")
    assert long["target"].to_pylist() == ["price", "size"] * 2
    assert long["prediction"].to_pylist() == [1, 2, 3, 4]


def test_quantiles_follow_their_target() -> None:
    outputs = {
        "predictions": np.array([[1, 5]], np.float32),
        "quantiles": np.array([[[0, 1, 2], [4, 5, 6]]], np.float32),
    }
    (row,) = Predictions(SURE, [Part(["a"], outputs)]).answers
    assert list(row.items())[1:] == [
        ("price", 1), ("price_q0.1", 0), ("price_q0.5", 1), ("price_q0.9", 2),
        ("size", 5), ("size_q0.1", 4), ("size_q0.5", 5), ("size_q0.9", 6),
    ]  # fmt: skip


def test_a_model_of_one_number_is_another() -> None:
    with pytest.raises(ModelError, match=r"shape \[1, 1\]; expected \[1, 2\] \(regression\)"):
        list(Predictions(BOTH, [Part(["a"], {"predictions": np.array([[1]], np.float32)})]))
    data = {"files": ["x.csv"], "entity": "id", "time": {"column": "t"}, "features": ["x"]}
    promised = promised_outputs(DatasetConfig.model_validate({"data": data, "task": SURE.model_dump()}))
    assert promised == {"predictions": ("float32", (None, 2)), "quantiles": ("float32", (None, 2, 3))}

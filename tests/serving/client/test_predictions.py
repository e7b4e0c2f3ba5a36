"""Outputs as named answers, for each task."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from noisy_gru.schema.config import ClassificationConfig, ForecastingConfig, RegressionConfig
from noisy_gru.schema.errors import ModelError
from noisy_gru.serving.client.predictions import Part, Predictions, answers_of, columns_of

CLASSES = ClassificationConfig(kind="classification", label="way")
NUMBER = RegressionConfig(kind="regression", label="price")
AHEAD = ForecastingConfig(kind="forecasting", targets=["temp", "wind"], input_length=3, horizons=[1, 6])


def class_outputs(*names: str, rows: int = 2) -> dict[str, Any]:
    probabilities = np.full((rows, len(names)), 0.125, np.float32)
    probabilities[:, 0] = 1 - 0.125 * (len(names) - 1)
    return {
        "probabilities": probabilities,
        "class_id": np.zeros(rows, np.int64),
        "label_bytes": np.array([names[0].encode()] * rows, object),
        "labels_bytes": np.array([[name.encode() for name in names]] * rows, object),
    }


def test_classification():
    answers = answers_of(["s", "t"], class_outputs("süd", "nord"), CLASSES)
    assert answers[1] == {"sequence_id": "t", "way": "süd", "probability_süd": 0.875, "probability_nord": 0.125}
    assert list(answers[0]) == ["sequence_id", "way", "probability_süd", "probability_nord"]


def test_forecasting():
    outputs = {"predictions": np.array([[[1, 2], [3, 4]]], np.float32)}
    assert answers_of(["s@9"], outputs, AHEAD) == [
        {"sequence_id": "s@9", "temp@1": 1, "wind@1": 2, "temp@6": 3, "wind@6": 4}
    ]


def test_any_two_numbers_stay_apart():
    low = np.float32(0.1)
    values = np.array([[low], [np.nextafter(low, np.float32(1))], [np.nan]], np.float32)
    found = [answer["price"] for answer in answers_of(["a", "b", "c"], {"predictions": values}, NUMBER)]
    assert (np.array(found, np.float32)[:2] == values[:2, 0]).all()
    assert found[:2] == [0.100000001, 0.100000009]
    assert np.isnan(found[2])


@pytest.mark.parametrize("task", [CLASSES, NUMBER, AHEAD])
def test_nothing(task):
    outputs = class_outputs("a", "b", rows=0) | {"predictions": np.zeros((0, 2, 2) if task is AHEAD else (0, 1))}
    assert answers_of([], outputs, task) == []


@pytest.mark.parametrize(
    ("outputs", "task", "told"),
    [
        ({"predictions": np.zeros((2, 1))}, CLASSES, "returned predictions; expected probabilities, class_id"),
        (class_outputs("a"), NUMBER, "expected predictions .regression.. Is it a model of this configuration?"),
        ({"predictions": np.zeros((2, 1))}, AHEAD, r"shape \[2, 1\]; expected \[2, 2, 2\]"),
        ({"predictions": np.zeros((3, 1))}, NUMBER, "returned 3 of predictions for 2 sequences"),
    ],
)
def test_a_model_of_another_task(outputs, task, told):
    with pytest.raises(ModelError, match=told):
        answers_of(["a", "b"], outputs, task)


@pytest.mark.parametrize(
    ("output", "value", "told"),
    [
        ("label_bytes", np.array([b"\xff"], object), "label_bytes is not text in UTF-8"),
        ("labels_bytes", np.array([[b"a", b"\xff"]], object), "labels_bytes is not text in UTF-8"),
        ("label_bytes", np.array([1.0], np.float32), "label_bytes is not text in UTF-8"),
        ("labels_bytes", np.array([[b"a"]], object), r"labels_bytes of \[1, 1\]; expected \[1, classes\] of both"),
        ("probabilities", np.array([0.5], np.float32), r"probabilities of the shape \[1\]"),
    ],
)
def test_outputs_that_are_no_classes(output, value, told):
    outputs = {
        "probabilities": np.array([[0.5, 0.5]], np.float32),
        "class_id": np.array([0]),
        "label_bytes": np.array([b"a"], object),
        "labels_bytes": np.array([[b"a", b"b"]], object),
        output: value,
    }
    with pytest.raises(ModelError, match=told):
        columns_of(outputs, 1, ClassificationConfig(kind="classification", label="way"))


def test_predictions_of_several_parts():
    first = Part(["a", "b"], class_outputs("u", "v"), 1)
    second = Part(["c"], class_outputs("u", "v", rows=1), 2)
    predictions = Predictions(CLASSES, [first, second])
    assert (len(predictions), predictions.ids, predictions.versions) == (3, ["a", "b", "c"], [1, 2])
    assert [answer["sequence_id"] for answer in predictions] == ["a", "b", "c"]
    assert predictions.output("probabilities").shape == (3, 2)
    expected = pd.DataFrame(
        {
            "sequence_id": ["a", "b", "c"],
            "way": ["u"] * 3,
            "probability_u": np.full(3, 0.875, np.float32),
            "probability_v": np.full(3, 0.125, np.float32),
        }
    )
    pd.testing.assert_frame_equal(predictions.to_pandas(), expected)
    with pytest.raises(ModelError, match="no output nothing; there are class_id"):
        predictions.output("nothing")


def test_versions_with_different_classes():
    predictions = Predictions(
        CLASSES, [Part(["a", "b"], class_outputs("u", "v"), 1), Part(["c", "d"], class_outputs("u", "v", "w"), 2)]
    )
    assert "probability_w" not in predictions.answers[0]
    assert predictions.answers[3]["probability_w"] == 0.125
    assert np.isnan(predictions.to_pandas()["probability_w"][0])
    with pytest.raises(ModelError, match=r"versions that answered \(1, 2\) differ"):
        predictions.output("probabilities")


def test_no_predictions():
    predictions = Predictions(NUMBER, [])
    assert (len(predictions), predictions.answers, predictions.versions) == (0, [], [])
    assert list(predictions.to_pandas().columns) == ["sequence_id"]

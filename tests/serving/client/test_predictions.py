"""Outputs as named answers, for each task."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from noisy_gru.data.requests.origins import Origins
from noisy_gru.schema.config import ClassificationConfig, ForecastingConfig, RegressionConfig
from noisy_gru.schema.errors import ConfigError, ModelError
from noisy_gru.serving.client.prediction_columns import Part, columns_of
from noisy_gru.serving.client.prediction_tables import plain_rows
from noisy_gru.serving.client.predictions import Predictions, answers_of

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


def test_what_came_stands_beside_the_prediction_and_is_empty_where_nothing_did():
    import json

    task = ForecastingConfig(kind="forecasting", targets=["load"], input_length=3, horizons=[1, 2], intervals=[0.8])
    predictions = np.array([[[1.0], [2.0]]], np.float32)
    outputs = {
        "predictions": predictions,
        "quantiles": predictions[..., None] + np.array([-1, 0, 1], np.float32),
        "actual": np.array([[[1.5], [np.nan]]], np.float32),
        "p_values": np.array([[[0.25], [np.nan]]], np.float32),
    }
    (answer,) = answers_of(["a"], outputs, task)
    names = [f"load@{h}{end}" for h in (1, 2) for end in ("", "_q0.1", "_q0.5", "_q0.9", "_actual", "_p_value")]
    values = [1.0, 0.0, 1.0, 2.0, 1.5, 0.25, 2.0, 1.0, 2.0, 3.0, None, None]
    assert answer == dict(zip(["sequence_id", *names], ["a", *values], strict=True))
    json.dumps(answer, allow_nan=False)
    found = Predictions(task, [Part(["a"], outputs, 7)])
    wide = found.to_arrow("wide").to_pylist()[0]
    assert wide == {**answer, "entity": None, "time@1": None, "time@2": None, "model_version": 7}
    long = found.to_arrow("long").to_pylist()
    assert [(row["quantile"], row["actual"], row["p_value"]) for row in long] == [
        (None, 1.5, 0.25),
        (0.1, None, None),
        (0.5, None, None),
        (0.9, None, None),
        *[(level, None, None) for level in (None, 0.1, 0.5, 0.9)],
    ]
    assert [row["prediction"] for row in long] == values[:4] + values[6:10]


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
    ("outputs", "task", "message"),
    [
        ({"predictions": np.zeros((2, 1))}, CLASSES, "returned predictions; expected probabilities, class_id"),
        (class_outputs("a"), NUMBER, "expected predictions .regression.. Is it a model of this configuration?"),
        ({"predictions": np.zeros((2, 1))}, AHEAD, r"shape \[2, 1\]; expected \[2, 2, 2\]"),
        ({"predictions": np.zeros((3, 1))}, NUMBER, "returned 3 of predictions for 2 sequences"),
    ],
)
def test_a_model_of_another_task(outputs, task, message):
    with pytest.raises(ModelError, match=message):
        answers_of(["a", "b"], outputs, task)


@pytest.mark.parametrize(
    ("output", "value", "message"),
    [
        ("label_bytes", np.array([b"\xff"], object), "label_bytes is not text in UTF-8"),
        ("labels_bytes", np.array([[b"a", b"\xff"]], object), "labels_bytes is not text in UTF-8"),
        ("label_bytes", np.array([1.0], np.float32), "label_bytes is not text in UTF-8"),
        ("labels_bytes", np.array([[b"a"]], object), r"labels_bytes of \[1, 1\]; expected \[1, classes\] of both"),
        ("probabilities", np.array([0.5], np.float32), r"probabilities of the shape \[1\]"),
    ],
)
def test_outputs_that_are_no_classes(output, value, message):
    outputs = {
        "probabilities": np.array([[0.5, 0.5]], np.float32),
        "class_id": np.array([0]),
        "label_bytes": np.array([b"a"], object),
        "labels_bytes": np.array([[b"a", b"b"]], object),
        output: value,
    }
    with pytest.raises(ModelError, match=message):
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


NANOSECONDS = 3600 * 10**9


def forecasts(**changes: Any) -> Predictions:
    """Three windows in two parts of versions 4 and 5; horizons 1 and 6, an hour each."""
    values = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    parts = [Part(["b@1", "a@2"], {"predictions": values[:2]}, 4), Part(["c@3"], {"predictions": values[2:]}, None)]
    last = np.array([[1], [2], [3]], np.int64) * NANOSECONDS
    times = last + np.array([1, 6]) * NANOSECONDS
    given = {"origins": Origins(["b", "a", "c"], times, "timestamp"), "places": {"b@1": 0, "a@2": 1, "c@3": 2}}
    return Predictions(**({"task": AHEAD, "parts": parts} | given | changes))


def test_a_wide_table_says_what_a_forecast_is_of():
    table = forecasts().to_arrow()
    names = ["sequence_id", "entity", "temp@1", "wind@1", "temp@6", "wind@6", "time@1", "time@6", "model_version"]
    assert table.column_names == names
    rows = table.to_pylist()
    assert rows[1] == {
        "sequence_id": "a@2",
        "entity": "a",
        "temp@1": 4,
        "wind@1": 5,
        "temp@6": 6,
        "wind@6": 7,
        "time@1": pd.Timestamp(3 * NANOSECONDS, tz="UTC"),
        "time@6": pd.Timestamp(8 * NANOSECONDS, tz="UTC"),
        "model_version": 4,
    }
    assert (rows[2]["entity"], rows[2]["time@6"], rows[2]["model_version"]) == (
        "c",
        pd.Timestamp(9 * NANOSECONDS, tz="UTC"),
        None,
    )
    assert [str(table.schema.field(name).type) for name in ("temp@1", "time@1", "model_version")] == [
        "float",
        "timestamp[ns, tz=UTC]",
        "int64",
    ]


def test_a_long_table_is_the_wide_one_melted():
    table, wide = forecasts().to_arrow("long").to_pandas(), forecasts().to_arrow().to_pandas()
    assert list(table) == ["sequence_id", "entity", "horizon", "time", "target", "prediction", "model_version"]
    assert len(table) == 3 * 2 * 2
    melted: dict[Any, Any] = {
        (row["sequence_id"], key): value for row in wide.to_dict("records") for key, value in row.items()
    }
    for row in table.to_dict("records"):
        assert melted[row["sequence_id"], f"{row['target']}@{row['horizon']}"] == row["prediction"]
        assert melted[row["sequence_id"], f"time@{row['horizon']}"] == row["time"]
        assert row["entity"] == row["sequence_id"][0]
    assert table["prediction"].tolist() == list(range(12))


def test_what_is_not_known_is_null():
    table = forecasts(origins=None, places={}).to_arrow("long")
    assert table["entity"].null_count == table["time"].null_count == 12
    irregular = forecasts(origins=Origins(["b", "a", "c"], None, "integer")).to_arrow()
    assert irregular["time@1"].null_count == 3
    assert irregular["entity"].to_pylist() == ["b", "a", "c"]
    numbers = forecasts(origins=Origins(["b", "a", "c"], np.array([[1.5, 2], [3, 4], [5, 6]]), "float")).to_arrow(
        "long"
    )
    assert numbers["time"].to_pylist() == [1.5, 1.5, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]


def test_tables_of_classes_and_amounts():
    parts = [Part(["s", "t"], class_outputs("a", "b"), 1), Part(["u"], class_outputs("c", rows=1), 2)]
    found = Predictions(CLASSES, parts)
    assert found.to_arrow("short").to_pylist()[0] == {
        "sequence_id": "s",
        "way": "a",
        "probability_a": 0.875,
        "probability_b": 0.125,
        "probability_c": None,
    }
    assert found.to_arrow("long").to_pylist()[1] == {
        "sequence_id": "s",
        "entity": None,
        "class": "b",
        "probability": 0.125,
        "predicted": False,
        "model_version": 1,
    }
    amounts = Predictions(NUMBER, [Part(["s"], {"predictions": np.ones((1, 1), np.float32)}, 3)])
    assert amounts.to_arrow("long").to_pylist() == [
        {"sequence_id": "s", "entity": None, "target": "price", "prediction": 1.0, "model_version": 3}
    ]
    assert amounts.to_arrow("wide").column_names == ["sequence_id", "entity", "price", "model_version"]


LEVELS = [0.1, 0.5, 0.9]
SPREAD = ForecastingConfig(
    kind="forecasting", targets=["temp", "wind"], input_length=2, horizons=[1, 6], quantiles=LEVELS, units="kWh"
)


def spread_forecasts() -> Predictions:
    given = forecasts(task=SPREAD)
    for part in given.parts:
        part.outputs["quantiles"] = part.outputs["predictions"][..., np.newaxis] + np.array([-0.5, 0, 0.5], np.float32)
    return given


def test_quantiles_are_columns_beside_their_prediction():
    found = spread_forecasts()
    table = found.to_arrow("short")
    assert table.column_names[:6] == ["sequence_id", "temp@1", "temp@1_q0.1", "temp@1_q0.5", "temp@1_q0.9", "wind@1"]
    assert len(table.column_names) == 1 + 4 * 4
    assert table.schema.metadata == {b"units": b"kWh"}
    row = table.to_pylist()[1]
    assert [row[f"wind@6{end}"] for end in ("", "_q0.1", "_q0.5", "_q0.9")] == [7, 6.5, 7, 7.5]
    assert found.answers[1] == {"sequence_id": "a@2", **{name: row[name] for name in table.column_names[1:]}}
    assert list(found.to_pandas()) == table.column_names
    assert {"time@1", "model_version", "temp@6_q0.9"} <= set(found.to_arrow("wide").column_names)


def test_a_long_table_has_a_row_for_each_quantile():
    table, plain = spread_forecasts().to_arrow("long").to_pandas(), forecasts().to_arrow("long").to_pandas()
    assert list(table) == [*plain.columns[:5], "quantile", "prediction", "units", "model_version"]
    assert (table["units"] == "kWh").all()
    points = table[table["quantile"].isna()].reset_index(drop=True)
    pd.testing.assert_frame_equal(points[list(plain.columns)], plain)
    for place, level in enumerate(LEVELS):
        rows = table[table["quantile"] == level].reset_index(drop=True)
        pd.testing.assert_frame_equal(rows[list(plain.columns[:5])], plain[list(plain.columns[:5])])
        assert (rows["prediction"] == plain["prediction"] + (place - 1) / 2).all()
    assert table["quantile"][:4].fillna(0).tolist() == [0, *LEVELS]


def test_an_interval_around_an_amount():
    task = RegressionConfig(kind="regression", label="price", intervals=[0.8])
    outputs = {"predictions": np.ones((1, 1), np.float32), "quantiles": np.array([[[0, 1, 2]]], np.float32)}
    found = Predictions(task, [Part(["s"], outputs, 3)])
    assert found.answers == [{"sequence_id": "s", "price": 1, "price_q0.1": 0, "price_q0.5": 1, "price_q0.9": 2}]
    rows = found.to_arrow("long").to_pylist()
    assert [(row["target"], row["quantile"], row["prediction"]) for row in rows] == [
        ("price", None, 1),
        ("price", 0.1, 0),
        ("price", 0.5, 1),
        ("price", 0.9, 2),
    ]
    assert "units" not in rows[0]


def test_a_model_without_the_quantiles_of_the_configuration():
    with pytest.raises(ModelError, match="returned predictions; expected predictions, quantiles"):
        _ = forecasts(task=SPREAD).answers
    wrong = {"predictions": np.ones((1, 2, 2)), "quantiles": np.ones((1, 2, 2, 5))}
    with pytest.raises(ModelError, match=r"quantiles of the shape \[1, 2, 2, 5\]; expected \[1, 2, 2, 3\]"):
        answers_of(["a"], wrong, SPREAD)


def test_the_columns_that_name_an_entity_together():
    given = forecasts()
    ids, count = given.ids, len(given.ids)
    columns = {"shop": [f"s{place}" for place in range(count)], "temp@1": ["taken"] * count}
    origins = Origins([f"s{place}|taken" for place in range(count)], None, "integer", ("shop", "temp@1"))
    found = Predictions(AHEAD, given.parts, origins=origins, places={name: place for place, name in enumerate(ids)})
    assert list(found.answers[1]) == ["sequence_id", "shop", *list(given.answers[1])[1:]]
    assert [answer["shop"] for answer in found.answers] == columns["shop"]
    assert list(found.to_pandas()) == list(found.answers[0]) == found.to_arrow("short").column_names
    assert found.to_arrow("wide").column_names[:3] == ["sequence_id", "entity", "shop"]
    rows = found.to_arrow("long").to_pylist()
    assert {(row["sequence_id"], row["shop"]) for row in rows} == set(zip(ids, columns["shop"], strict=True))
    assert {row["temp@1"] for row in rows} == {"taken"}


def test_names_that_are_taken_and_layouts_that_are_none():
    task = RegressionConfig(kind="regression", label="entity")
    given = Predictions(task, [Part(["s"], {"predictions": np.ones((1, 1), np.float32)})])
    with pytest.raises(ConfigError, match="columns of the names entity already"):
        given.to_arrow("wide")
    with pytest.raises(ConfigError, match="expected one of short, wide, long, received 'tall'"):
        given.to_arrow("tall")  # type: ignore[arg-type]
    assert given.to_arrow("short").column_names == ["sequence_id", "entity"]
    assert Predictions(AHEAD, []).to_arrow("long").num_rows == 0


def test_rows_of_text_have_times_of_iso_8601_and_numbers_of_nine_digits():
    rows = list(plain_rows(forecasts().to_arrow("wide")))
    assert (rows[0]["time@1"], rows[0]["temp@6"]) == ("1970-01-01T02:00:00Z", 2.0)
    unknown = list(plain_rows(forecasts(origins=None, places={}).to_arrow("wide")))
    assert unknown[0]["time@1"] is None

"""What objects of the public API show in a notebook: small tables, in which text of the data is text."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.runs.run_record import RunRecord, StepRecord
from noisy_gru.schema.config import ClassificationConfig, ForecastingConfig
from noisy_gru.schema.html_tables import html_table
from noisy_gru.serving.client.prediction_columns import Part
from noisy_gru.serving.client.predictions import Predictions

EVIL = "<script>alert(1)</script>"
ALLOWED = {"div", "p", "b", "ul", "li", "table", "tr", "th", "td", "code", "h2"}


class Reader(HTMLParser):
    """Cells of tables, all text, and the elements that there are."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.rows: list[list[str]] = []
        self.text = ""
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.add(tag)
        assert all(name == "class" for name, _ in attrs)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        self.inside = tag in ("td", "th")

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.inside:
            self.rows[-1][-1] += data


def shown(value: Any) -> Reader:
    read = Reader(value._repr_html_())
    assert read.elements <= ALLOWED
    assert len(value._repr_html_()) < 20_000
    return read


def record(**values: Any) -> RunRecord:
    given = {"run_id": "20260401-030000-114270", "pipeline": "odd", "started": "2026-04-01T03:00:00Z"}
    given |= {"config_path": "c.yaml", "config_hash": "0", "config": {}, "root": "/a root", "log": "log"}
    return RunRecord(**{**given, "seed": 0, "fingerprint": "f", "pid": 1, "host": "h", **values})


def test_a_run() -> None:
    steps = [StepRecord(name="Trainer", status="complete", seconds=12.34, summary=f"label {EVIL}")]
    metrics = {"accuracy": 0.978378, f"recall/{EVIL}": 0.5, "example_count": 370.0}
    read = shown(
        record(status="succeeded", version=4, metrics=metrics, previous={"accuracy": 0.5}, steps=steps, warnings=[EVIL])
    )
    assert "odd 20260401-030000-114270: succeeded, published as version 4" in read.text
    assert ["accuracy", "0.9784", "0.5"] in read.rows
    assert [f"recall/{EVIL}", "0.5", ""] in read.rows
    assert ["Trainer", "complete", "12.3", f"label {EVIL}"] in read.rows
    assert "--root '/a root'" in read.text
    failed = shown(record(status="failed", error=f"row 3: {EVIL}"))
    assert f"row 3: {EVIL}" in failed.text
    assert failed.rows == []
    many = shown(record(metrics={f"mae/x@{horizon}": 1.0 for horizon in range(500)}))
    assert len(many.rows) == 21


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"kind": "classification", "label": EVIL}, f"classification of {EVIL}"),
        ({"kind": "regression", "label": "y"}, "regression of y"),
        (
            {"kind": "forecasting", "targets": ["a", "b"], "input_length": 24, "horizons": [1, 12]},
            "forecasting of a, b, from 24 steps to 12 ahead",
        ),
    ],
)
def test_a_configuration(task: dict[str, Any], message: str) -> None:
    data = {"files": ["rows.csv"], "entity": "id", "time": {"column": "t"}, "features": ["a", "b", "<b>"]}
    splits = {"by": "time", "eval": 0.1, "test": 0.1} if task["kind"] == "forecasting" else {"by": "entity"}
    config = {"name": "odd", "schema": "schema.pbtxt", "data": data, "task": task, "splits": splits}
    if task["kind"] == "forecasting":
        data["time"] = {"column": "t", "kind": "integer"}
    rows = dict(shown(PipelineConfig.model_validate(config)).rows)
    assert (rows["task"], rows["features"], rows["files"]) == (message, "a, b, <b>", "rows.csv")
    assert rows["splits"] == f"by {splits['by']}"


def test_predictions_of_classes() -> None:
    count = 5000
    outputs = {
        "probabilities": np.tile(np.array([0.25, 0.75], np.float32), (count, 1)),
        "class_id": np.ones(count, np.int64),
        "label_bytes": np.array([EVIL.encode()] * count, object),
        "labels_bytes": np.array([[b"fine", EVIL.encode()]] * count, object),
    }
    task = ClassificationConfig.model_validate({"kind": "classification", "label": "label"})
    part = Part([f"<i>{number}" for number in range(count)], outputs, 3)
    read = shown(Predictions(task, [Part([], {}, 3), part], unusable=[{"row": 1}]))
    assert "5000 predictions of version 3" in read.text
    assert len(read.rows) == 11
    assert read.rows[1][:2] == ["<i>0", EVIL]
    assert "1 rows without a prediction" in read.text
    assert "0 predictions" in shown(Predictions(task, [])).text


def test_predictions_of_numbers() -> None:
    task = ForecastingConfig.model_validate(
        {"kind": "forecasting", "targets": ["x"], "input_length": 4, "horizons": list(range(1, 41))}
    )
    read = shown(Predictions(task, [Part(["a"], {"predictions": np.arange(40, dtype=np.float32).reshape(1, 40, 1)})]))
    assert read.rows == [["sequence_id", *(f"x@{h}" for h in range(1, 12))], ["a", *(str(h) for h in range(11))]]


def test_numbers_of_a_table() -> None:
    assert Reader(html_table(["a"], [(1234567,), (0.123456,), (None,), ("<",)])).rows == [
        ["a"], ["1234567"], ["0.1235"], [""], ["<"],
    ]  # fmt: skip

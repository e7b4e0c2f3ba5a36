"""A table without an entity column is one series: named, split by time, read alike in training and prediction."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from noisy_gru.data.reading.in_memory_tables import rows_source
from noisy_gru.data.requests.prediction_input import read_sources
from noisy_gru.data.sequences.splits import without_splits

FORECAST = {"kind": "forecasting", "targets": ["x"], "input_length": 2, "horizons": [1]}
BY_TIME = {"by": "time", "eval": 0.2, "test": 0.2}


def test_all_rows_of_all_files_are_one_series(ingest, table, configured) -> None:
    dataset = configured(entity=None, task=FORECAST, splits=BY_TIME)
    first = table("t,x\n" + "".join(f"{step},{step}\n" for step in range(10, 20)), "b.csv")
    second = table("t,x\nt,x\n" + "".join(f"{step},{step}\n" for step in range(10)), "a.csv")
    found = ingest(dataset, [first, second])
    names = sorted(name for split in ("train", "eval", "test") for name in found.ids(split))
    assert {name.partition("@")[0] for name in names} == {"series"}
    assert "series@1" in names and "series@18" in names  # windows cross the border between the files
    assert found.report.entities == 1
    assert found.report.quarantined == {"repeated_header": 1}
    assert found.report.rows_kept == 20


def test_a_prediction_reads_the_same_series(configured) -> None:
    dataset = configured(entity=None, task=FORECAST, splits=BY_TIME)
    rows = [{"t": step, "x": float(step)} for step in range(5)]
    request = read_sources([rows_source(rows, ["t", "x"])], dataset)
    assert request.ids == ["series@4"]


def test_the_configuration_of_a_retraining_plan_survives_its_trip_as_json(configured) -> None:
    dataset = without_splits(configured(entity=None, task=FORECAST, splits=BY_TIME))
    assert type(dataset).model_validate_json(dataset.model_dump_json()) == dataset


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"splits": {"by": "entity"}}, "one series, which can't be split by entity: set splits.by: time"),
        ({"task": {"kind": "regression", "label": "y"}}, "one series of all rows, and regression needs many"),
        ({"format": "example", "time": None}, "entity: null is for tables, and format is example"),
        (
            {"splits": {"by": "column", "column": "part", "eval_from_train": 0.1}},
            "eval_from_train takes whole entities",
        ),
    ],
)
def test_what_one_series_cannot_be(configured, changes, message) -> None:
    with pytest.raises(ValidationError, match=message):
        configured(**{"entity": None, "task": FORECAST, "splits": BY_TIME, **changes})

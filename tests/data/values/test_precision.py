"""Float32 keeps 24 bits of a number: columns far from zero are refused, or read with an offset, never flattened."""

from __future__ import annotations

import random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noisy_gru.data.ingestion.report_summary import report_summary
from noisy_gru.data.reading.in_memory_tables import frame_source
from noisy_gru.data.report.ingestion_report import IngestionReport
from noisy_gru.data.requests.prediction_input import read_sources
from noisy_gru.data.values.precision import KEPT, check_precision, merge_samples, precision_loss, sample_distinct
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import DataError

SECONDS = 1_700_000_000 + np.arange(40)


def frame(values: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"id": np.arange(40) // 2, "t": np.arange(40), "x": values, "y": ["c", "c", "d", "d"] * 10})


@pytest.fixture
def read(ingest, tmp_path):
    """Ingests values as CSV and as Parquet, which have to give the same."""

    def reading(dataset: DatasetConfig, values: np.ndarray):
        frame(values).to_csv(tmp_path / "rows.csv", index=False)
        frame(values).to_parquet(tmp_path / "rows.parquet", row_group_size=7)
        found, other = (ingest(dataset, [tmp_path / name]) for name in ("rows.csv", "rows.parquet"))
        assert found.report.value_samples == other.report.value_samples
        return found

    return reading


def test_seconds_are_refused_with_the_offset_that_helps(read, configured) -> None:
    found = read(configured(), SECONDS)
    remedy = r"x: float32, .* makes 1 of 40 different values \(near 1700000000 .* 128 apart\): .*offset: 1700000000\}"
    with pytest.raises(DataError, match=remedy):
        check_precision(found.report.value_samples, configured())
    dataset = configured(features=[{"name": "x", "offset": 1_700_000_000}])
    found = read(dataset, SECONDS)
    check_precision(found.report.value_samples, dataset)
    values = [value for entry in found.by_id.values() for value in entry["values"]["x"]]
    assert sorted(values) == list(range(40))
    assert report_summary(found.report, dataset, None)["precision"] == []


def test_a_client_subtracts_the_same(read, configured) -> None:
    dataset = configured(features=[{"name": "x", "offset": 1_700_000_000}])
    plain = configured()
    shifted = read_sources([frame_source(frame(SECONDS), ["id", "t", "x"])], dataset)
    given = read_sources([frame_source(frame(SECONDS - 1_700_000_000), ["id", "t", "x"])], plain)
    assert shifted.examples == given.examples


@pytest.mark.parametrize("task", [{"kind": "regression", "label": "x"}, None])
def test_what_is_to_be_predicted_takes_no_offset(configured, task) -> None:
    features = ["t2"] if task else ["x"]
    forecasting = {"kind": "forecasting", "targets": ["x"], "input_length": 1, "horizons": [1]}
    dataset = configured(task=task or forecasting, features=features)
    with pytest.raises(DataError, match=r"x: float32, .*: it is predicted, so subtract a constant"):
        check_precision({"x": sample_distinct(SECONDS.astype(float))}, dataset)


@pytest.mark.parametrize(
    "values",
    [
        np.full(40, 0.1),
        np.array([0.1 + 0.2, 0.3] * 20),  # the rounding of float64, not two values
        np.linspace(0, 1, 40),
        1e6 + np.linspace(0, 1e3, 40),
        1.7e9 + 86_400.0 * np.arange(40),
        np.array([1e-30, 1e30] * 20),
        np.array([1e39, 1.0] * 20),
    ],
)
def test_what_float32_keeps(read, configured, values) -> None:
    found = read(configured(), values)
    check_precision(found.report.value_samples, configured())
    assert report_summary(found.report, configured(), None)["precision"] == []


def test_a_part_that_is_lost_is_told(read, configured) -> None:
    """With a code for missing at 0, an offset wouldn't help: the report says so, and the run goes on."""
    values = np.where(np.arange(40) % 10 == 0, 0, SECONDS)
    found = read(configured(), values)
    check_precision(found.report.value_samples, configured())
    (reported,) = report_summary(found.report, configured(), None)["precision"]
    assert reported.startswith("x: float32, in which models read numbers, makes 2 of 37 different values")


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=300), st.integers(1, 9), st.randoms())
def test_parts_merge_in_any_order(values: list[float], parts: int, order: random.Random) -> None:
    whole = sample_distinct(np.array(values))
    pieces = [sample_distinct(np.array(values[start::parts])) for start in range(parts)]
    order.shuffle(pieces)
    report = IngestionReport.merged(IngestionReport(value_samples={"x": piece}) for piece in pieces)
    assert IngestionReport.from_json(report.to_json()).value_samples["x"] == whole == merge_samples(whole)
    assert len(whole) <= KEPT


@settings(deadline=None)
@given(st.floats(-1e15, 1e15), st.integers(-6, 6), st.integers(2, 60))
def test_the_proposed_offset_helps(base: float, size: int, count: int) -> None:
    """Where a column is refused, what it says to do is enough: hardly a value is lost then."""
    values = base + 10.0**size * np.arange(count)
    found = precision_loss("x", sample_distinct(values))
    if found is not None and found.is_severe:
        rest = values - found.offset
        assert len(np.unique(rest.astype(np.float32))) >= 0.9 * found.values


def test_bounds_of_an_offset(configured) -> None:
    with pytest.raises(ValueError, match="offset is for numeric columns"):
        configured(features=[{"name": "x", "kind": "categorical", "offset": 1.0}])
    with pytest.raises(ValueError, match="finite"):
        configured(features=[{"name": "x", "offset": float("inf")}])
    task = {"kind": "forecasting", "targets": ["x"], "input_length": 1, "horizons": [1]}
    with pytest.raises(ValueError, match="target x takes no offset"):
        configured(features=[{"name": "x", "offset": 1.0}], task=task)


def test_a_label_beyond_float32_is_named_with_its_row(ingest, table, configured) -> None:
    dataset = configured(task={"kind": "regression", "label": "y"})
    rows = "".join(
        f"e{row},0,1,{value}\n" for row, value in enumerate(["1", "1e39", "-3.5e38", "3.4e38", "inf", "nan"])
    )
    found = ingest(dataset, [table("id,t,x,y\n" + rows)])
    assert [(line["row"], line["column"]) for line in found.lines if "column" in line] == [(2, "y"), (3, "y"), (5, "y")]
    assert found.lines[0]["problem"] == "expected a finite number (float32), received '1e39'"

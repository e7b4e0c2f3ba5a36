"""Forecasts and regressions in the account, against pandas and zoneinfo."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from noisy_gru.data.values.parsing import format_times
from noisy_gru.pipeline.report.account import run_account
from noisy_gru.pipeline.report.page import run_page

HORIZONS, TARGETS = [1, 6], ["load", "heat"]
ZONE = "Europe/Berlin"
FORECASTING = {
    "name": "loads",
    "schema": "schema.pbtxt",
    "data": {
        "files": ["rows.csv"],
        "entity": "id",
        "time": {"column": "t", "kind": "timestamp", "frequency": "1h", "timezone": ZONE, "gaps": "fill"},
        "features": ["load", "heat"],
    },
    "task": {"kind": "forecasting", "targets": TARGETS, "horizons": HORIZONS, "input_length": 4, "season_length": 24},
    "splits": {"by": "time", "eval": 0.1, "test": 0.1},
}


@pytest.fixture
def forecast(make_run) -> SimpleNamespace:
    """A run of 3 series, 50 windows each over the night on which the clock is put forward."""
    run = make_run()
    random = np.random.default_rng(5)
    began = datetime(2026, 3, 28, 12, tzinfo=UTC)
    moments = [began + timedelta(hours=hour) for hour in range(50)]
    texts = format_times(np.array([int(each.timestamp() * 1e9) for each in moments]), "timestamp")
    rows = [(f"s{series}", moment, text) for series in range(3) for moment, text in zip(moments, texts, strict=True)]
    shape = (len(rows), len(HORIZONS), len(TARGETS))
    label = random.normal(size=shape).astype(np.float32)
    label[3, 0, 0] = np.nan
    candidate = label + random.normal(size=shape).astype(np.float32) * [1.0, 10.0]
    candidate[3, 0, 0] = 0.5
    columns: dict[str, Any] = {"sequence_id": [f"{series}@{text}" for series, _, text in rows]}
    columns["slices"] = [[] for _ in rows]
    answers = {"label": label, "candidate": candidate, "last": label + 2, "seasonal": label - 3}
    kind = pa.list_(pa.float32())
    columns |= {
        name: pa.array(list(value.reshape(len(rows), -1).astype(np.float32)), kind) for name, value in answers.items()
    }
    columns["published"] = pa.nulls(len(rows), kind)
    folder = run.directory.artifacts / "Evaluator" / "evaluation" / "1" / "answers"
    pq.write_table(pa.table(columns).take(random.permutation(len(rows))), folder / "answers-0.parquet")
    run.record.config = FORECASTING
    table = pd.DataFrame(
        [
            (series, moment, horizon, target, label[row, h, k], np.float32(candidate[row, h, k]))
            for row, (series, moment, _) in enumerate(rows)
            for h, horizon in enumerate(HORIZONS)
            for k, target in enumerate(TARGETS)
        ],
        columns=["series", "moment", "horizon", "target", "label", "candidate"],
    )
    table["error"] = (table.candidate - table.label).abs()
    return SimpleNamespace(run=run, table=table, account=lambda: run_account(run.record, run.directory.root))


def of(account: dict[str, Any], target: str) -> dict[str, Any]:
    return next(each for each in account["evaluation"]["targets"] if each["target"] == target)


@pytest.mark.parametrize("target", TARGETS)
def test_errors_by_horizon_and_series_are_those_of_pandas(forecast, target):
    found, table = of(forecast.account(), target), forecast.table[forecast.table.target == target]
    by_horizon = table.groupby("horizon").error.mean()
    assert {each["horizon"]: each["mae"]["candidate"] for each in found["by_horizon"]} == pytest.approx(
        by_horizon.to_dict(), rel=1e-5
    )
    assert [each["mae"]["last"] for each in found["by_horizon"]] == pytest.approx([2, 2], rel=1e-5)
    assert [each["mae"]["seasonal"] for each in found["by_horizon"]] == pytest.approx([3, 3], rel=1e-5)
    by_series = table.groupby("series").error.mean()
    assert {each["series"]: each["mae"]["candidate"] for each in found["by_series"]} == pytest.approx(
        by_series.to_dict(), rel=1e-5
    )
    bias = (table.candidate - table.label).groupby(table.series).mean()
    assert {each["series"]: each["bias"] for each in found["by_series"]} == pytest.approx(bias.to_dict(), rel=1e-4)
    worst_first = [each["series"] for each in found["by_series"]]
    assert worst_first == by_series.sort_values(ascending=False).index.tolist()


def test_errors_by_hour_are_of_the_hour_on_the_wall_that_is_forecast(forecast):
    table = forecast.table[forecast.table.target == "load"].dropna()
    zone = ZoneInfo(ZONE)
    ahead = [moment + timedelta(hours=hours) for moment, hours in zip(table.moment, table.horizon, strict=True)]
    hours = np.array([moment.astimezone(zone).hour for moment in ahead])
    expected = table.error.groupby(hours).mean()
    counts = table.error.groupby(hours).size()
    found = of(forecast.account(), "load")["by_hour"]
    assert {each["hour"]: each["mae"] for each in found} == pytest.approx(expected.to_dict(), rel=1e-5)
    assert {each["hour"]: each["answers"] for each in found} == counts.to_dict()


def test_forecasts_against_what_came_are_in_the_order_of_time(forecast):
    (first, *_) = of(forecast.account(), "heat")["came"]
    expected = forecast.table.query("series == 's0' and horizon == 1 and target == 'heat'").sort_values("moment")
    assert (first["series"], first["horizon"]) == ("s0", 1)
    assert first["last_input"] == sorted(first["last_input"])
    assert first["candidate"] == pytest.approx(expected.candidate.tolist(), rel=1e-6)
    assert first["came"] == pytest.approx(expected.label.tolist(), rel=1e-6)
    assert of(forecast.account(), "load")["came"][0]["came"][3] is None


def test_the_worst_windows_are_far_in_their_targets_units_and_do_not_overlap(forecast):
    table = forecast.table.copy()
    table["error"] /= table.groupby("target").error.transform("mean")
    total = table.groupby(["series", "moment"]).error.mean().sort_values(ascending=False)
    cases = forecast.account()["worst"]["cases"]
    assert cases[0]["error"] == pytest.approx(total.iloc[0], rel=1e-4)
    assert cases[0]["id"].startswith(f"{total.index[0][0]}@")
    assert len(cases) == 4
    moments: dict[str, list[pd.Timestamp]] = {}
    for case in cases:
        series, _, text = case["id"].partition("@")
        moments.setdefault(series, []).append(pd.Timestamp(text))
    for each in moments.values():
        gaps = pd.Series(sorted(each)).diff().dropna()
        assert (gaps >= pd.Timedelta("4h")).all()


def test_windows_of_the_median_and_the_largest_error_and_some_that_a_seed_chose(forecast):
    table = forecast.table.copy()
    table["error"] /= table.groupby("target").error.transform("mean")
    total = table.groupby(["series", "moment"]).error.mean().sort_values()
    median, worst, *drawn = forecast.account()["evaluation"]["windows"]
    assert [each["why"] for each in (median, worst)] == ["median error", "largest error"]
    assert median["error"] == pytest.approx(total.iloc[len(total) // 2], rel=1e-4)
    assert worst["error"] == pytest.approx(total.iloc[-1], rel=1e-4)
    assert {each["why"] for each in drawn} == {"drawn with seed 0"}
    assert forecast.account()["evaluation"]["windows"] == [median, worst, *drawn]
    series, _, text = worst["id"].partition("@")
    expected = forecast.table[(forecast.table.series == series) & (forecast.table.moment == pd.Timestamp(text))]
    expected = expected[expected.target == "heat"].sort_values("horizon")
    assert worst["came"]["heat"] == pytest.approx(expected.label.tolist(), rel=1e-6)
    assert worst["forecast"]["heat"] == pytest.approx(expected.candidate.tolist(), rel=1e-6)
    assert f"Window {worst['id']}" in run_page(forecast.account())


def test_intervals_are_drawn_and_counted(forecast):
    folder = forecast.run.directory.artifacts / "Evaluator" / "evaluation" / "1" / "answers"
    table = pq.read_table(folder / "answers-0.parquet")
    answers, reach = np.array(table["candidate"].to_pylist()), np.array([1, 5, 2, 5])
    ends = np.stack([answers - reach, answers + reach], axis=-1).reshape(len(answers), -1)
    table = table.append_column("candidate_interval", pa.array(list(ends.astype(np.float32)), pa.list_(pa.float32())))
    pq.write_table(table, folder / "answers-0.parquet")
    forecast.run.record.config = {**FORECASTING, "task": {**FORECASTING["task"], "quantiles": [0.05, 0.5, 0.95]}}
    account = forecast.account()
    assert account["notes"] == {}
    reaches = {("load", 1): 1, ("heat", 1): 5, ("load", 6): 2, ("heat", 6): 5}
    known = forecast.table.dropna()
    for (target, horizon), each in reaches.items():
        errors = known[(known.target == target) & (known.horizon == horizon)].error
        found = next(row for row in of(account, target)["by_horizon"] if row["horizon"] == horizon)["interval"]
        assert found["covered"] == pytest.approx((errors <= each).mean(), abs=1e-3)
        assert (found["coverage"], found["answers"]) == (0.9, len(errors))
        assert found["width"] == pytest.approx(2 * each, rel=1e-5)
    (window, *_) = account["evaluation"]["windows"]
    assert np.subtract(window["high"]["load"], window["low"]["load"]) == pytest.approx([2, 4], rel=1e-4)
    page = run_page(account)
    assert "load: coverage by horizon" in page
    assert "inside the 0.9 interval" in page
    # Of an earlier release, or without intervals: nothing of it.
    pq.write_table(table.drop(["candidate_interval"]), folder / "answers-0.parquet")
    assert of(forecast.account(), "load")["interval"] is None
    assert "coverage by horizon" not in run_page(forecast.account())


def test_without_examples_no_series_is_named(forecast):
    forecast.run.record.config = {**FORECASTING, "report": {"examples": False}}
    account = forecast.account()
    assert "s0@" not in json.dumps(account)
    assert "windows" not in account["evaluation"]
    assert "by_series" not in of(account, "load")
    assert len(of(account, "load")["by_horizon"]) == 2
    assert "hour of the day" in run_page(account)


def test_the_page_shows_them(forecast):
    page = run_page(forecast.account())
    assert "can&#39;t be" not in page
    for title in (
        "load of s0, 1 steps ahead",
        "heat: error by horizon",
        "load: error by hour",
        "heat: error by series",
    ):
        assert title in page


def test_a_regression(make_run):
    run = make_run()
    random = np.random.default_rng(2)
    true = random.normal(size=1000)
    predicted = true + random.normal(size=1000) + 0.25
    ids = [f"id{number:04d}" for number in range(1000)]
    columns = {"sequence_id": ids, "slices": [[] for _ in ids], "label": true, "candidate": predicted}
    columns["published"] = pa.nulls(1000, pa.float64())
    folder = run.directory.artifacts / "Evaluator" / "evaluation" / "1" / "answers"
    pq.write_table(pa.table(columns), folder / "answers-0.parquet")
    run.record.config = {**run.record.config, "task": {"kind": "regression", "label": "label"}}
    account = run_account(run.record, run.directory.root)
    found = account["evaluation"]
    assert len(found["pairs"]["true"]) == 400
    assert found["pairs"]["of"] == 1000
    error = pd.Series(predicted - true)
    assert found["residuals"]["mean"] == pytest.approx(error.mean())
    assert found["residuals"]["quantiles"]["0.95"] == pytest.approx(error.quantile(0.95))
    assert sum(found["residuals"]["counts"]) == 1000
    assert found["interval"] is None
    far = error.abs().sort_values(ascending=False)
    assert [case["id"] for case in account["worst"]["cases"]] == [ids[place] for place in far.index[:4]]
    assert "Residuals" in run_page(account)

"""Rows between the steps of a grid: moved to the nearest one or the one before, as pandas has it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noisy_gru.data.ingestion.report_checks import check_rows
from noisy_gru.data.sequences.alignment import check_alignment
from noisy_gru.data.sequences.steps import floor_times, nearest_times
from noisy_gru.schema.config import TimeConfig
from noisy_gru.schema.errors import DataError

START = pd.Timestamp("2024-01-01")
TASK = {"kind": "regression", "label": "y"}
SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def aligned(configured: Any, **time: Any) -> Any:
    return configured(
        task=TASK,
        time={"column": "t", "kind": "timestamp", "frequency": "5min", **time},
        splits={"by": "entity", "eval": 0, "test": 1e-12},
        policies={"max_quarantined_fraction": 1},
    )


def csv(frame: pd.DataFrame) -> str:
    return frame.assign(id="a", y=1).to_csv(columns=["id", "t", "x", "y"], index=False)


def frame_of(seconds: list[int]) -> pd.DataFrame:
    return pd.DataFrame(
        {"t": START + pd.to_timedelta(seconds, unit="s"), "x": np.arange(len(seconds), dtype=float)}
    ).astype({"t": "datetime64[ns]"})


@SETTINGS
@given(
    seconds=st.lists(st.integers(0, 3 * 3600), min_size=1, max_size=60, unique=True).map(sorted),
    tolerance=st.none() | st.integers(1, 150),
)
def test_nearest_is_pandas_merge_asof(ingest, table, configured, seconds, tolerance) -> None:
    # An odd number of half steps is a tie, which merge_asof gives to the earlier step.
    seconds = [second for second in seconds if second % 300 != 150] or [1]
    frame = frame_of(seconds)
    limit = {} if tolerance is None else {"tolerance": f"{tolerance}s"}
    found = ingest(aligned(configured, align="nearest", **limit), [table(csv(frame))])
    grid = pd.DataFrame({"t": pd.date_range(START, periods=60, freq="5min").astype("datetime64[ns]")})
    within = pd.Timedelta(seconds=149 if tolerance is None else min(tolerance, 149))
    nearest = pd.merge_asof(grid, frame, on="t", direction="nearest", tolerance=within).dropna()
    given_ = found.by_id.get("a", {"time": [], "values": {"x": []}})
    assert given_["time"] == nearest["t"].astype("int64").tolist()
    assert given_["values"]["x"] == nearest["x"].tolist()
    far = sum(min(second % 300, 300 - second % 300) > (tolerance or 300) for second in seconds)
    assert found.report.quarantined["off_grid"] == far
    assert found.report.dropped["same_step"] == len(seconds) - far - len(nearest)


@SETTINGS
@given(seconds=st.lists(st.integers(-4000, 4000), min_size=1, max_size=60, unique=True).map(sorted))
def test_floor_is_the_first_of_pandas_floor(ingest, table, configured, seconds) -> None:
    frame = frame_of(seconds)
    found = ingest(aligned(configured, align="floor"), [table(csv(frame))])
    first = frame.groupby(frame["t"].dt.floor("5min"))["x"].first()
    assert found.by_id["a"]["time"] == first.index.astype("int64").tolist()
    assert found.by_id["a"]["values"]["x"] == first.tolist()


@settings(max_examples=200)
@given(st.integers(-(10**6), 10**6), st.integers(1, 1000), st.sampled_from([1, 1000]))
def test_steps_of_numbers(time: int, frequency: int, unit: int) -> None:
    low = time // frequency * frequency
    near = low + (frequency if 2 * (time - low) >= frequency else 0)
    whole = np.array([time])
    assert (floor_times(whole, frequency)[0], nearest_times(whole, frequency)[0]) == (low, near)
    # The same in a unit of which float64 has no exact numbers.
    part = np.array([time / unit])
    assert floor_times(part, frequency / unit)[0] == pytest.approx(low / unit, abs=1e-6)
    assert nearest_times(part, frequency / unit)[0] == pytest.approx(near / unit, abs=1e-6)


@pytest.mark.parametrize("moved", [floor_times, nearest_times])
def test_times_at_the_ends_of_their_range_stay_there(moved: Any) -> None:
    ends = np.array([np.iinfo(np.int64).min, np.iinfo(np.int64).max])
    steps = moved(ends, 300 * 10**9).tolist()
    assert [int(end) // 10**12 for end in ends] == pytest.approx([step // 10**12 for step in steps], abs=1)
    assert [step % (300 * 10**9) for step in steps] == [0, 0]


def test_a_sensor_that_restarts_with_another_phase_keeps_its_rows(ingest, table, configured) -> None:
    seconds = [*range(0, 6000, 300), *range(6000 + 130, 9000, 300)]
    exact = ingest(aligned(configured, gaps="fill"), [table(csv(frame_of(seconds)))])
    assert exact.report.quarantined["off_grid"] == 10
    near = ingest(aligned(configured, gaps="fill", align="nearest"), [table(csv(frame_of(seconds)))])
    assert near.report.rows_kept == len(seconds) == len(near.by_id["a"]["time"])
    assert near.report.steps_filled == 0
    assert set(np.diff(near.by_id["a"]["time"])) == {300 * 10**9}


def test_gaps_are_filled_between_aligned_steps(ingest, table, configured) -> None:
    found = ingest(aligned(configured, gaps="fill", align="nearest"), [table(csv(frame_of([10, 290, 1210])))])
    assert str(found.by_id["a"]["values"]["x"]) == "[0.0, 1.0, nan, nan, 2.0]"


def test_of_two_rows_as_close_the_earlier_is_kept_and_far_ones_are_named(ingest, table, configured) -> None:
    rows = csv(frame_of([290, 310, 700]))
    found = ingest(aligned(configured, align="nearest", tolerance="1min"), [table(rows)])
    assert found.by_id["a"]["values"]["x"] == [0.0]
    assert found.report.dropped == {"same_step": 1}
    (line,) = found.lines
    assert (line["reason"], line["row"], line["time"]) == ("off_grid", 3, "2024-01-01T00:11:40Z")
    assert line["problem"] == "expected a time within 1min (data.time.tolerance) of a step of 5min"


def test_many_rows_of_each_step_ask_for_resample(ingest, table, configured) -> None:
    dataset = aligned(configured, align="nearest")
    few = ingest(dataset, [table(csv(frame_of([0, 20, 300, 320])))])
    check_rows(few.report, dataset)
    many = ingest(dataset, [table(csv(frame_of([0, 20, 40, 300, 320, 340])))])
    with pytest.raises(
        DataError, match=r"leaves out 4 of 6 rows \(67%\): set data\.resample to aggregate them instead"
    ):
        check_rows(many.report, dataset)


@pytest.mark.parametrize(
    ("time", "message"),
    [
        ({"align": "nearest"}, "align: nearest needs frequency, for example frequency: 5min"),
        ({"frequency": "5min", "tolerance": "1min"}, "tolerance is for align: nearest and align: floor"),
    ],
)
def test_combinations_that_mean_nothing(time: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TimeConfig.model_validate({"column": "t", "kind": "timestamp", **time})


@pytest.mark.parametrize(
    ("tolerance", "message"),
    [
        ("soon", r"data\.time\.tolerance: expected a fixed duration such as 1h .* received 'soon'"),
        ("-1min", r"data\.time\.tolerance: expected a fixed duration"),
        ("5min", r"tolerance: expected less than data\.time\.frequency \(5min\), received 5min"),
    ],
)
def test_a_tolerance_that_is_none(tolerance: str, message: str) -> None:
    time = TimeConfig.model_validate(
        {"column": "t", "kind": "timestamp", "frequency": "5min", "align": "floor", "tolerance": tolerance}
    )
    with pytest.raises(DataError, match=message):
        check_alignment(time)

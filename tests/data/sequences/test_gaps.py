"""Gaps filled, cut or left, for whole sequences and windows."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noisy_gru.data.sequences.steps import FixedSteps, parse_steps
from noisy_gru.schema.config import TimeConfig
from noisy_gru.schema.errors import DataError

ROWS = "id,t,x,k,y\na,0,10,u,c\na,1,11,v,c\na,4,14,w,c\na,5,15,w,c\n"
FEATURES = ["x", {"name": "k", "kind": "categorical"}]


def timed(configured: Any, gaps: str, **keywords: Any) -> Any:
    time = {"column": "t", "gaps": gaps, "frequency": "1"}
    return configured(
        **{"time": time, "features": FEATURES, "splits": {"by": "entity", "eval": 0, "test": 1e-9}, **keywords}
    )


def test_ignored(ingest, table, configured) -> None:
    found = ingest(timed(configured, "ignore"), [table(ROWS)])
    assert found.by_id["a"]["time"] == [0, 1, 4, 5]


def test_filled(ingest, table, configured) -> None:
    found = ingest(timed(configured, "fill"), [table(ROWS)])
    assert found.by_id["a"]["time"] == [0, 1, 2, 3, 4, 5]
    assert str(found.by_id["a"]["values"]["x"]) == "[10.0, 11.0, nan, nan, 14.0, 15.0]"
    assert found.by_id["a"]["texts"]["k"] == ["u", "v", "", "", "w", "w"]
    assert found.by_id["a"]["label"] == "c"
    assert (found.report.steps_filled, found.report.rows_kept, found.report.rows_read) == (2, 4, 4)


def test_filled_steps_are_no_rows_when_truncated_or_taken_out(ingest, table, configured) -> None:
    found = ingest(timed(configured, "fill", max_length=3), [table(ROWS)])
    assert found.by_id["a"]["time"] == [3, 4, 5]
    assert found.report.dropped == {"too_long": 2}
    short = ingest(timed(configured, "fill", min_length=7), [table(ROWS)])
    assert short.report.quarantined == {"too_short": 4}
    assert [line["row"] for line in short.lines] == [1, 2, 3, 4]


def test_cut(ingest, table, configured) -> None:
    found = ingest(timed(configured, "split"), [table(ROWS)])
    assert {name: entry["time"] for name, entry in found.by_id.items()} == {"a@1": [0, 1], "a@5": [4, 5]}


def forecast(**keywords: Any) -> dict[str, Any]:
    return {"kind": "forecasting", "targets": ["x"], "input_length": 2, "horizons": [1], **keywords}


def test_windows_over_filled_gaps_have_missing_values(ingest, table, configured) -> None:
    found = ingest(timed(configured, "fill", task=forecast(), features=["x"]), [table(ROWS)])
    assert list(found.by_id) == ["a@4"]
    assert str(found.by_id["a@4"]["values"]["x"]) == "[nan, 14.0]"
    # The windows that end at 1 and 2 have their target in the gap; that of 3 reads nothing but the gap.
    assert found.report.sequences_dropped == {"missing_target": 2, "no_readings": 1}


def test_a_gap_beyond_the_limit_is_cut_and_shorter_ones_are_filled(ingest, table, configured) -> None:
    rows = ROWS.partition("\n")[0] + "\n" + "".join(f"a,{step},{step},w,c\n" for step in (0, 1, 3, 7, 9, 10))
    time = {"column": "t", "frequency": "1", "gaps": "fill", "fill_limit": 2}
    found = ingest(timed(configured, "fill", time=time), [table(rows)])
    assert {name: entry["time"] for name, entry in found.by_id.items()} == {"a@3": [0, 1, 2, 3], "a@10": [7, 8, 9, 10]}
    assert found.report.steps_filled == 2 and found.report.unbalanced == 0
    # Three missing steps are within a limit of three.
    whole = ingest(timed(configured, "fill", time={**time, "fill_limit": 3}), [table(rows)])
    assert {name: entry["time"] for name, entry in whole.by_id.items()} == {"a@10": list(range(11))}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.sets(st.integers(0, 60), min_size=1), limit=st.integers(1, 20))
def test_parts_with_a_limit_are_those_of_pandas(ingest, table, configured, steps, limit) -> None:
    rows = ROWS.partition("\n")[0] + "\n" + "".join(f"a,{step},{step},w,c\n" for step in sorted(steps))
    time = {"column": "t", "frequency": "1", "gaps": "fill", "fill_limit": limit}
    found = ingest(timed(configured, "fill", time=time), [table(rows)])
    present = pd.Series(sorted(steps))
    parts = present.groupby((present.diff() > limit + 1).cumsum())
    expected = {f"a@{part.max()}": list(range(part.min(), part.max() + 1)) for _, part in parts}
    assert {name: entry["time"] for name, entry in found.by_id.items()} == expected


def test_a_season_reaches_back_over_a_cut_by_the_limit(ingest, table, configured) -> None:
    time = {"column": "t", "frequency": "1", "gaps": "fill", "fill_limit": 1}
    rows = ROWS + "a,6,16,w,c\n"
    found = ingest(timed(configured, "fill", time=time, task=forecast(season_length=5), features=["x"]), [table(rows)])
    assert found.by_id["a@5"]["answers"]["naive_seasonal/x"] == [11.0]


def test_a_limit_needs_fill(configured) -> None:
    with pytest.raises(ValueError, match="fill_limit is for gaps: fill, received gaps: split"):
        configured(time={"column": "t", "frequency": "1", "gaps": "split", "fill_limit": 2})


def test_no_window_crosses_a_cut_but_seasons_do(ingest, table, configured) -> None:
    rows = ROWS + "a,6,16,w,c\n"
    found = ingest(timed(configured, "split", task=forecast(season_length=5), features=["x"]), [table(rows)])
    assert list(found.by_id) == ["a@5"]
    # The target is step 6; one season of 5 before is step 1, which stands before the gap.
    assert found.by_id["a@5"]["answers"]["naive_seasonal/x"] == [11.0]
    other = ingest(timed(configured, "split", task=forecast(season_length=4), features=["x"]), [table(rows)])
    assert str(other.by_id["a@5"]["answers"]["naive_seasonal/x"]) == "[nan]"  # step 2 is not there


def test_rows_between_the_steps_are_taken_out(ingest, table, configured) -> None:
    time = {"column": "t", "kind": "timestamp", "gaps": "fill", "frequency": "1h"}
    rows = "id,t,x,y\n" + "".join(
        f"a,2020-01-01T{clock}Z,1,c\n" for clock in ("00:10:00", "00:51:00", "01:51:00", "04:51:00", "05:00:00")
    )
    found = ingest(timed(configured, "fill", time=time, features=["x"]), [table(rows)])
    assert found.report.quarantined == {"off_grid": 2}
    assert [line["time"] for line in found.lines] == ["2020-01-01T00:10:00Z", "2020-01-01T05:00:00Z"]
    assert len(found.by_id["a"]["time"]) == 5  # 00:51 to 04:51


def test_float_times(ingest, table, configured) -> None:
    time = {"column": "t", "kind": "float", "gaps": "fill", "frequency": "0.1"}
    rows = "id,t,x,y\n" + "".join(f"a,{step / 10},1,c\n" for step in (0, 1, 2, 3, 6, 7))
    found = ingest(timed(configured, "fill", time=time, features=["x"]), [table(rows)])
    assert found.by_id["a"]["time"] == pytest.approx([step / 10 for step in range(8)])


def test_a_gap_too_wide_to_fill_is_an_error(ingest, table, configured) -> None:
    with pytest.raises(
        DataError,
        match=r"a: 2 rows cover 5000001 steps .* set data\.time\.fill_limit or data\.time\.gaps: split",
    ):
        ingest(timed(configured, "fill"), [table("id,t,x,k,y\na,0,1,u,c\na,5000000,1,u,c\n")])


@pytest.mark.parametrize(
    ("kind", "frequency", "value"),
    [
        ("timestamp", "1h", 3_600_000_000_000),
        ("timestamp", "15min", 900_000_000_000),
        ("timestamp", "D", 86400 * 10**9),
        ("integer", "5", 5),
        ("float", "0.5", 0.5),
    ],
)
def test_frequencies(kind, frequency, value) -> None:
    assert parse_steps(TimeConfig(column="t", kind=kind, frequency=frequency)) == FixedSteps(value)


@pytest.mark.parametrize(
    ("kind", "frequency"),
    [
        ("timestamp", "BMS"),
        ("timestamp", "soon"),
        ("integer", "0.5"),
        ("integer", "0"),
        ("float", "-1"),
        ("float", "h"),
    ],
)
def test_frequencies_that_are_none(kind, frequency) -> None:
    with pytest.raises(DataError, match=r"data\.time\.frequency: expected a .*received"):
        parse_steps(TimeConfig(column="t", kind=kind, frequency=frequency))

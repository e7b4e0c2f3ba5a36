"""Windows, targets and naive forecasts: by hand, and against pandas."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TASK = {"kind": "forecasting", "targets": ["x"], "input_length": 3, "horizons": [1, 2]}
TABLE = "id,t,x\n" + "".join(f"a,{step},{10 + step}\n" for step in range(10))
TRAIN = {"by": "column", "column": "part"}


def all_train(configured: Any, **keywords: Any) -> Any:
    """A configuration whose test split takes none of the few entities of these tests."""
    return configured(splits={"by": "entity", "eval": 0, "test": 1e-9}, **keywords)


def plain(values: list[float]) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values]


def test_ten_rows_by_hand(ingest, table, configured) -> None:
    found = ingest(all_train(configured, task={**TASK, "season_length": 2}), [table(TABLE)])
    assert list(found.by_id) == ["a@2", "a@3", "a@4", "a@5", "a@6", "a@7"]
    first, last = found.by_id["a@2"], found.by_id["a@7"]
    assert (first["time"], first["values"]["x"]) == ([0, 1, 2], [10, 11, 12])
    assert first["answers"] == {
        "target/x": [13, 14],
        "naive_last/x": [12, 12],
        "naive_seasonal/x": [11, 12],  # one season of 2 before steps 3 and 4: steps 1 and 2
    }
    assert (last["time"], last["answers"]["target/x"]) == ([5, 6, 7], [18, 19])
    assert found.report.rows_kept == 10


def test_stride_counts_from_the_first_step(ingest, table, configured) -> None:
    dataset = all_train(configured, task={**TASK, "stride": 3})
    assert list(ingest(dataset, [table(TABLE)]).by_id) == ["a@2", "a@5"]
    longer = TABLE + "".join(f"a,{step},{10 + step}\n" for step in range(10, 14))
    assert list(ingest(dataset, [table(longer)]).by_id) == ["a@2", "a@5", "a@8", "a@11"]


def test_season_goes_further_back_where_one_season_before_is_not_yet_known(ingest, table, configured) -> None:
    task = {**TASK, "horizons": [2, 3, 5], "season_length": 2, "input_length": 2}
    found = ingest(all_train(configured, task=task), [table(TABLE)])
    # The window ends at step 1; horizons reach steps 3, 4 and 6: 1, 0 (4 - 2 is not yet known) and 0 of the past.
    assert next(iter(found.by_id)) == "a@1"
    assert found.by_id["a@1"]["answers"]["naive_seasonal/x"] == [11, 10, 10]


def test_season_before_the_first_step_is_unknown(ingest, table, configured) -> None:
    found = ingest(all_train(configured, task={**TASK, "season_length": 4}), [table(TABLE)])
    assert plain(found.by_id["a@2"]["answers"]["naive_seasonal/x"]) == [None, 10]


def test_known_in_advance_reaches_the_horizon_and_nothing_else_does(ingest, table, configured) -> None:
    from noisy_gru.data.sequences.encoding import Encoder

    features = ["x", {"name": "plan", "known_in_advance": True}]
    rows = "id,t,x,plan\n" + "".join(f"a,{step},{10 + step},{100 + step}\n" for step in range(5))
    dataset = all_train(configured, task=TASK, features=features)
    (part,) = ingest(dataset, [table(rows)]).parts
    record = Encoder(part, dataset)(0)
    for value, stands in ((12, True), (102, True), (104, True)):
        assert (np.float32(value).tobytes() in record) == stands
    plan = np.arange(100, 105, dtype="<f4").tobytes()
    x = np.arange(10, 13, dtype="<f4").tobytes()
    assert plan in record and x in record
    assert x + np.float32(13).tobytes() not in record


@pytest.mark.parametrize("key", ["missing_target", "missing_label"])
@pytest.mark.parametrize("action", ["error", "quarantine", "drop"])
def test_window_with_a_missing_target(ingest, table, configured, action, key) -> None:
    dataset = all_train(configured, task=TASK, policies={key: action})
    found = ingest(dataset, [table(TABLE.replace("a,4,14", "a,4,"))])
    # Step 4 is a target of the windows that end at 2 and 3; later ones read it as a missing value.
    assert list(found.by_id) == ["a@4", "a@5", "a@6", "a@7"]
    assert plain(found.by_id["a@4"]["answers"]["naive_last/x"]) == [None, None]
    assert found.report.rows_kept == 10
    if action == "drop":
        assert found.report.sequences_dropped == {"missing_target": 2}
    else:
        assert found.report.sequences_quarantined == {"missing_target": 2}
        assert [line["sequence_id"] for line in found.lines] == ["a@2", "a@3"]
    assert found.report.errors == ({"missing_target": 2} if action == "error" else {})


def test_a_window_with_one_known_target_is_kept_and_the_missing_ones_are_nan(ingest, table, configured) -> None:
    rows = TABLE.replace("a,4,14", "a,4,").replace("a,5,15", "a,5,")
    task = {**TASK, "horizons": [1, 2]}
    found = ingest(all_train(configured, task=task), [table(rows)])
    targets = {name: plain(entry["answers"]["target/x"]) for name, entry in found.by_id.items()}
    # Of the window that ends at 3 both targets are missing: there is nothing to learn from it.
    assert targets == {"a@2": [13, None], "a@4": [None, 16], "a@5": [16, 17], "a@6": [17, 18], "a@7": [18, 19]}
    assert found.report.sequences_dropped == {"missing_target": 1}
    assert found.report.targets_masked == {"x": 2}
    assert not found.lines


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(st.one_of(st.none(), st.integers(0, 99)), min_size=5, max_size=25),
    horizons=st.sets(st.integers(1, 4), min_size=1),
)
def test_masked_windows_are_those_of_pandas_shift(ingest, table, configured, values, horizons) -> None:
    rows = "id,t,x\n" + "".join(f"a,{step},{'' if x is None else x}\n" for step, x in enumerate(values))
    task = {**TASK, "horizons": sorted(horizons), "input_length": 2}
    found = ingest(all_train(configured, task=task), [table(rows)])
    series = pd.Series(values, dtype="float32")
    ahead = pd.concat({horizon: series.shift(-horizon) for horizon in sorted(horizons)}, axis=1)
    read = series.notna() | series.shift(1).notna()
    ends = [end for end in range(1, len(values) - max(horizons)) if read[end] and ahead.loc[end].notna().any()]
    assert set(found.by_id) == {f"a@{end}" for end in ends}
    for end in ends:
        np.testing.assert_array_equal(found.by_id[f"a@{end}"]["answers"]["target/x"], ahead.loc[end])
    assert found.report.targets_masked.total() == int(ahead.loc[ends].isna().to_numpy().sum())


def test_a_window_without_a_reading_is_dropped_with_a_reason_of_its_own(ingest, table, configured) -> None:
    rows = TABLE
    for step in (3, 4, 5):
        rows = rows.replace(f"a,{step},1{step}", f"a,{step},")
    found = ingest(all_train(configured, task=TASK), [table(rows)])
    assert "a@5" not in found.by_id and {"a@4", "a@6"} <= set(found.by_id)
    assert found.report.sequences_dropped["no_readings"] == 1


def test_a_category_is_a_reading_and_an_empty_one_is_none(ingest, table, configured) -> None:
    rows = "id,t,k,x\n" + "".join(f"a,{step},{'on' if step == 2 else ''},{step}\n" for step in range(9))
    features = [{"name": "k", "kind": "categorical"}]
    found = ingest(all_train(configured, task=TASK, features=features), [table(rows)])
    # The window of steps 2 to 4 is the last that reads it.
    assert list(found.by_id) == ["a@2", "a@3", "a@4"]
    assert found.report.sequences_dropped == {"no_readings": 2}


def test_too_short_for_a_window(ingest, table, configured) -> None:
    rows = TABLE + "".join(f"b,{step},1\n" for step in range(4))
    found = ingest(all_train(configured, task=TASK), [table(rows)])
    assert found.report.quarantined == {"too_short": 4}
    assert "expected at least 5 steps" in found.lines[0]["problem"]
    enough = ingest(all_train(configured, task=TASK), [table(rows + "b,4,1\n")])
    assert "b@2" in enough.by_id


def test_target_that_is_no_feature_is_not_read_by_the_model(ingest, table, configured) -> None:
    from noisy_gru.data.sequences.encoding import Encoder

    rows = "id,t,x,goal\n" + "".join(f"a,{step},{step},{50 + step}\n" for step in range(5))
    dataset = all_train(configured, task={**TASK, "targets": ["goal"]})
    (part,) = ingest(dataset, [table(rows)]).parts
    assert part.horizon_values["target/goal"].tolist() == [[53, 54]]
    record = Encoder(part, dataset)(0)
    assert b"\x0a\x0btarget/goal" in record and b"\x0a\x04goal" not in record


def test_ids_name_the_time_of_the_last_input_step(ingest, table, configured) -> None:
    rows = "id,t,x\n" + "".join(f"JFK,2013-01-01T{hour:02d}:00:00Z,1\n" for hour in range(5))
    found = ingest(
        all_train(configured, task=TASK, time={"column": "t", "kind": "timestamp", "frequency": "1h"}), [table(rows)]
    )
    assert list(found.by_id) == ["JFK@2013-01-01T02:00:00Z"]


def test_against_pandas(ingest, tmp_path, configured) -> None:
    random = np.random.default_rng(5)
    frame = pd.DataFrame(
        [
            {"id": name, "t": int(time), "x": float(random.normal()), "z": float(random.normal())}
            for name in ("a", "b", "c", "d")
            for time in np.cumsum(random.integers(1, 4, size=random.integers(5, 40)))
        ]
    )
    frame.sample(frac=1, random_state=1).to_csv(tmp_path / "rows.csv", index=False)
    task = {"kind": "forecasting", "targets": ["x", "z"], "input_length": 4, "horizons": [1, 3], "stride": 2}
    dataset = all_train(configured, task=task, features=["x", "z"])
    found = ingest(dataset, [tmp_path / "rows.csv"], buckets=3)
    expected = {}
    for name, rows in frame.groupby("id"):
        rows = rows.sort_values("t").reset_index(drop=True)
        for column in ("x", "z"):
            for horizon in (1, 3):
                rows[f"{column}{horizon}"] = rows[column].shift(-horizon)
        for end in range(3, len(rows) - 3, 2):
            expected[f"{name}@{rows['t'][end]}"] = (rows.loc[end - 3 : end, "x"].tolist(), rows.loc[end])
    assert found.by_id.keys() == expected.keys()
    for name, (values, last) in expected.items():
        entry = found.by_id[name]
        assert entry["values"]["x"] == pytest.approx(values)
        for column in ("x", "z"):
            assert entry["answers"][f"target/{column}"] == pytest.approx([last[f"{column}1"], last[f"{column}3"]])
            assert entry["answers"][f"naive_last/{column}"] == pytest.approx([last[column]] * 2)

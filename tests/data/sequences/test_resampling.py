"""Rows aggregated to steps, as pandas resamples them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from noisy_gru.data.reading.in_memory_tables import rows_source
from noisy_gru.data.requests.prediction_input import read_for_prediction
from noisy_gru.data.requests.stream_steps import read_stream_steps
from noisy_gru.data.sequences.encoding import Encoder

HOWS = ["mean", "sum", "last", "first", "min", "max", "count", "median"]
START = pd.Timestamp("2024-01-01")
TASK = {"kind": "regression", "label": "y"}
SETTINGS = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def resampled(configured: Any, aggregate: dict[str, str], *, time: Any = None, **keywords: Any) -> Any:
    return configured(
        task=keywords.pop("task", TASK),
        time={"column": "t", "kind": "timestamp", **(time or {})},
        splits={"by": "entity", "eval": 0, "test": 1e-12},
        resample={"frequency": "1h", "aggregate": aggregate},
        **keywords,
    )


ROWS = st.lists(
    st.tuples(
        st.integers(-20, 20),  # minutes, by 20: several rows of one time
        st.none() | st.floats(-1e4, 1e4, width=32),
        st.sampled_from(["", "on", "off"]),
    ),
    min_size=1,
    max_size=40,
)

# Steps of several rows and of none, of several values and of none.
GAP = [(0, 1.0, "on"), (1, None, ""), (2, 5.0, "off"), (9, None, ""), (12, 2.0, "on"), (12, 4.0, ""), (15, 1.0, "")]


def frame_of(rows: list[tuple[int, float | None, str]]) -> pd.DataFrame:
    rows = sorted(rows, key=lambda row: row[0])
    times = START + pd.to_timedelta([20 * row[0] for row in rows], unit="min")
    frame = pd.DataFrame({"t": times, "x": [row[1] for row in rows], "k": [row[2] for row in rows]})
    return frame.astype({"t": "datetime64[ns]", "x": "float64"})


def csv(frame: pd.DataFrame, entity: str = "a") -> str:
    return frame.assign(id=entity, y=1).to_csv(columns=["id", "t", "x", "k", "y"], index=False)


@pytest.mark.parametrize("how", HOWS)
@SETTINGS
@given(rows=ROWS, of_text=st.sampled_from(["first", "last"]))
@example(rows=GAP, of_text="last")
def test_aggregates_are_those_of_pandas(ingest, table, configured, rows, how, of_text) -> None:
    frame = frame_of(rows)
    dataset = resampled(
        configured,
        {"x": how, "k": of_text},
        time={"gaps": "fill"},
        features=["x", {"name": "k", "kind": "categorical"}],
    )
    found = ingest(dataset, [table(csv(frame))])
    grouped = frame.set_index("t").assign(k=frame["k"].replace("", None).to_numpy()).resample("1h")
    expected = grouped["x"].sum(min_count=1) if how == "sum" else getattr(grouped["x"], how)()
    texts = getattr(grouped["k"], of_text)().fillna("")
    entry = found.by_id["a"]
    assert entry["time"] == expected.index.astype("int64").tolist()
    np.testing.assert_allclose(entry["values"]["x"], expected.to_numpy(float), rtol=1e-6, atol=1e-3)
    assert entry["texts"]["k"] == texts.tolist()
    hours = frame["t"].dt.floor("1h").nunique()
    assert found.report.rows_merged == len(frame) - hours
    assert found.report.rows_kept == hours
    assert found.report.steps_filled == len(expected) - hours


@SETTINGS
@given(rows=ROWS, other=ROWS)
def test_columns_without_an_entry_have_mean_and_last_and_entities_stay_apart(
    ingest, table, configured, rows, other
) -> None:
    dataset = resampled(configured, {}, features=["x", {"name": "k", "kind": "categorical"}])
    frames = {"a": frame_of(rows), "b": frame_of(other)}
    text = csv(frames["a"]) + csv(frames["b"], "b").partition("\n")[2]
    found = ingest(dataset, [table(text)])
    for name, frame in frames.items():
        grouped = frame.assign(k=frame["k"].replace("", None)).groupby(frame["t"].dt.floor("1h"))
        np.testing.assert_allclose(found.by_id[name]["values"]["x"], grouped["x"].mean(), rtol=1e-6, atol=1e-3)
        assert found.by_id[name]["texts"]["k"] == grouped["k"].last().fillna("").tolist()


def test_rows_of_one_time_are_readings_also_exact_copies(ingest, table, configured) -> None:
    rows = "id,t,x,y\n" + "a,2024-01-01T00:10,5,1\n" * 3 + "a,2024-01-01T00:10,7,1\n"
    found = ingest(resampled(configured, {"x": "sum"}), [table(rows)])
    assert found.by_id["a"]["values"]["x"] == [22]
    assert not found.report.quarantined and not found.report.dropped


@pytest.mark.parametrize(("action", "kept"), [("quarantine", 0), ("drop", 2)])
def test_rows_of_one_time_in_two_splits_would_leak(ingest, table, configured, action, kept) -> None:
    dataset = configured(
        task=TASK,
        files={"train": ["a.csv"], "test": ["b.csv"]},
        splits={"by": "files"},
        time={"column": "t", "kind": "timestamp"},
        resample={"frequency": "1h"},
        policies={"duplicate_step": action, "max_quarantined_fraction": 1},
    )
    row = "a,2024-01-01T00:10,5,1\n"
    train, test = table("id,t,x,y\n" + row, "a.csv"), table("id,t,x,y\n" + row * 2, "b.csv")
    found = ingest(dataset, {"train": [train], "test": [test]})
    total = found.report.rows_kept + found.report.rows_merged
    assert total == kept
    assert (found.report.quarantined + found.report.dropped)["duplicate_step_across_splits"] == 3 - kept
    assert {entry["split"] for entry in found.by_id.values()} == ({"test"} if kept else set())


def test_numbers_as_times_and_sums_beyond_float32(ingest, table, configured) -> None:
    dataset = configured(
        task=TASK,
        time={"column": "t", "kind": "float"},
        resample={"frequency": "0.5", "aggregate": {"x": "sum"}},
        splits={"by": "entity", "eval": 0, "test": 1e-12},
    )
    rows = "id,t,x,y\na,0.1,3e38,1\na,0.4,3e38,1\na,0.5,1,1\na,1.2,2,1\n"
    found = ingest(dataset, [table(rows)])
    assert found.by_id["a"]["time"] == [0, 0.5, 1]
    # As an infinite value, it counts as missing.
    assert str(found.by_id["a"]["values"]["x"]) == "[nan, 1.0, 2.0]"
    assert found.report.imputed == {"infinite_value": {"x": 1}}


def test_targets_that_are_no_features_are_aggregated(ingest, table, configured) -> None:
    dataset = resampled(
        configured,
        {"y": "sum"},
        task={"kind": "forecasting", "targets": ["y"], "input_length": 1, "horizons": [1]},
    )
    rows = "id,t,x,y\n" + "".join(
        f"a,2024-01-01T0{step // 2}:{30 * (step % 2):02},{step},{step}\n" for step in range(6)
    )
    found = ingest(dataset, [table(rows)])
    assert [entry["answers"]["target/y"] for entry in found.by_id.values()] == [[5], [9]]


def test_the_steps_are_those_of_time(configured) -> None:
    dataset = resampled(configured, {}, time={"gaps": "split"})
    assert dataset.data.time.frequency == "1h"
    assert type(dataset).model_validate_json(dataset.model_dump_json()) == dataset


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"time": {"frequency": "2h"}}, r"time\.frequency \(2h\) and resample\.frequency \(1h\) differ: leave"),
        ({"time": {"align": "floor"}}, r"time\.align: floor keeps one row of each step.*remove one of both"),
        ({"aggregate": {"z": "sum"}}, r"data\.resample\.aggregate: z is neither a feature nor a target.*one of x, k"),
        ({"aggregate": {"k": "mean"}}, "k is categorical, so expected last or first, received mean"),
        ({"aggregate": {"o": "sum"}}, "sum of o would not be less its offset once: remove the offset"),
    ],
)
def test_combinations_that_mean_nothing(configured, keywords, message) -> None:
    features = ["x", {"name": "k", "kind": "categorical"}, {"name": "o", "offset": 3.0}]
    with pytest.raises(ValueError, match=message):
        resampled(configured, keywords.pop("aggregate", {}), features=features, **keywords)


@pytest.mark.slow
@pytest.mark.parametrize("how", HOWS)
@SETTINGS
@given(rows=ROWS)
@example(rows=GAP)
def test_a_request_has_the_steps_of_training(ingest, table, configured, rows, how) -> None:
    task = {"kind": "forecasting", "targets": ["x"], "input_length": 2, "horizons": [1]}
    features = ["x", {"name": "k", "kind": "categorical"}]
    dataset = resampled(configured, {"x": how}, time={"gaps": "fill"}, task=task, features=features)
    frame = frame_of(rows)
    found = ingest(dataset, [table(csv(frame))])
    for part in found.parts:
        encode = Encoder(part, dataset)
        for place, name in enumerate(part.ids):
            if part.rows.row[part.stop[place] - 1] == 0:
                continue  # a request can't end with a filled step
            end = pd.Timestamp(part.rows.time[part.stop[place] - 1]) + pd.Timedelta("1h")
            request = read_for_prediction([table(csv(frame[frame["t"] < end]), "new.csv")], dataset)
            assert request.ids == [name]
            trained, requested = lists(encode(place)), lists(request.examples[0])
            assert {key: trained[key] for key in requested} == requested


def lists(record: bytes) -> dict[str, str]:
    from tensorflow.core.example import example_pb2

    return {name: str(value) for name, value in example_pb2.Example.FromString(record).features.feature.items()}


@pytest.mark.parametrize("how", HOWS)
def test_a_stream_of_whole_steps_has_the_steps_of_training(ingest, table, configured, how) -> None:
    random = np.random.default_rng(HOWS.index(how))
    minutes = np.sort(random.choice(60 * 24, 90, replace=False))
    frame = pd.DataFrame({"t": START + pd.to_timedelta(minutes, unit="min"), "x": random.normal(size=90), "k": ""})
    frame.loc[random.random(90) < 0.3, "x"] = np.nan
    dataset = resampled(configured, {"x": how}, time={"gaps": "fill"})
    whole = ingest(dataset, [table(csv(frame))]).by_id["a"]["values"]["x"]
    sent: list[float] = []
    rows: list[Any] = []
    last: dict[str, Any] = {}
    for _, part in frame.groupby(frame["t"].dt.floor("5h")):
        rows = part.assign(id="a", t=part["t"].astype(str)).to_dict("records")
        steps = read_stream_steps([rows_source(rows, ["id", "t", "x"])], dataset, last, ["x"])
        sent += steps.tensors["features"][0, : steps.tensors["lengths"][0], 0].tolist()
        last = {"a": steps.times[0]}
    np.testing.assert_array_equal(sent, whole)
    late = read_stream_steps([rows_source(rows[-1:], ["id", "t", "x"])], dataset, last, ["x"])
    assert late.ids == [] and [line["reason"] for line in late.unusable] == ["late_step"]


def test_counts_of_the_future_are_not_known(table, configured) -> None:
    task = {"kind": "forecasting", "targets": ["x"], "input_length": 2, "horizons": [1]}
    dataset = resampled(configured, {"x": "count"}, task=task, features=["x", {"name": "p", "known_in_advance": True}])
    times = ["00:10", "00:20", "01:00", "02:00"]
    rows = "".join(f"a,2024-01-01T{time},{place if place < 2 else ''},{place}\n" for place, time in enumerate(times))
    # Two hours of which one has readings; that of no reading may be the past only if something follows.
    assert read_for_prediction([table("id,t,x,p\n" + rows)], dataset).unusable[0]["reason"] == "too_short"
    rows += "a,2024-01-01T03:00,1,9\na,2024-01-01T04:00,,9\n"
    assert read_for_prediction([table("id,t,x,p\n" + rows)], dataset).ids == ["a@2024-01-01T03:00:00Z"]

"""What passed since the row before, and since a column was observed: within each sequence, as pandas has it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noisy_gru.data.reading.in_memory_tables import rows_source
from noisy_gru.data.requests.prediction_input import read_for_prediction
from noisy_gru.data.requests.stream_steps import read_stream_steps
from noisy_gru.data.sequences.encoding import Encoder
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import DataError

START = pd.Timestamp("2024-01-01")
FEATURES = [
    "x",
    {"name": "k", "kind": "categorical"},
    {"elapsed": "seconds_since_last"},
    {"elapsed": "steps_since_observed", "column": "x", "missing": "mask"},
    {"elapsed": "steps_since_observed", "column": "k", "name": "since_k"},
]
NAMES = ["seconds_since_last", "steps_since_observed_x", "since_k"]
SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
# Minutes to the next row, a number or none, a category or none.
ROWS = st.lists(
    st.tuples(st.integers(1, 4), st.none() | st.integers(0, 9), st.sampled_from(["", "on"])), min_size=1, max_size=30
)


def irregular(configured: Any, gaps: str = "ignore", **keywords: Any) -> DatasetConfig:
    time = {"column": "t", "kind": "timestamp", "gaps": gaps}
    time |= {} if gaps == "ignore" else {"frequency": "1min"}
    return configured(
        time=time, **{"features": FEATURES, "splits": {"by": "entity", "eval": 0, "test": 1e-12}, **keywords}
    )


def frame_of(rows: list[tuple[int, int | None, str]]) -> pd.DataFrame:
    times = START + pd.to_timedelta(np.cumsum([row[0] for row in rows]), unit="min")
    frame = pd.DataFrame({"t": times, "x": [row[1] for row in rows], "k": [row[2] for row in rows]})
    return frame.astype({"t": "datetime64[ns]", "x": "float64"})


def csv(frame: pd.DataFrame) -> str:
    return frame.assign(id="a", y=1).to_csv(columns=["id", "t", "x", "k", "y"], index=False)


def expected_of(frame: pd.DataFrame) -> pd.DataFrame:
    """The features of a sequence of steps in pandas; ``is_row`` tells rows from filled steps."""
    row_time = frame["t"].where(frame["is_row"]).ffill().shift(1)
    place = pd.Series(np.arange(len(frame), dtype=float), frame.index)
    return pd.DataFrame(
        {
            "seconds_since_last": (frame["t"] - row_time).dt.total_seconds(),
            "steps_since_observed_x": place - place.where(frame["x"].notna()).ffill(),
            "since_k": place - place.where(frame["k"] != "").ffill(),
        }
    )


def float_lists(record: bytes) -> dict[str, list[float]]:
    from tensorflow.core.example import example_pb2

    features = example_pb2.Example.FromString(record).features.feature
    return {name: list(value.float_list.value) for name, value in features.items() if value.HasField("float_list")}


@SETTINGS
@given(rows=ROWS, gaps=st.sampled_from(["ignore", "fill"]))
def test_whole_sequences(ingest, table, configured, rows, gaps) -> None:
    frame = frame_of(rows).assign(is_row=True)
    found = ingest(irregular(configured, gaps, task={"kind": "regression", "label": "y"}), [table(csv(frame))])
    if gaps == "fill":
        grid = pd.date_range(frame["t"].iloc[0], frame["t"].iloc[-1], freq="1min")
        frame = frame.set_index("t").reindex(grid).rename_axis("t").reset_index()
        frame = frame.assign(is_row=frame["is_row"].eq(True), k=frame["k"].fillna(""))
    expected = expected_of(frame)
    for name in NAMES:
        np.testing.assert_array_equal(found.by_id["a"]["values"][name], expected[name].astype("float32"))


@pytest.mark.slow
@SETTINGS
@given(rows=ROWS, length=st.integers(1, 4), gaps=st.sampled_from(["ignore", "fill"]))
def test_windows_count_within_themselves_and_requests_have_the_values_of_training(
    ingest, table, configured, rows, length, gaps
) -> None:
    task = {"kind": "forecasting", "targets": ["x"], "input_length": length, "horizons": [1]}
    dataset = irregular(configured, gaps, task=task)
    frame = frame_of(rows).assign(is_row=True)
    found = ingest(dataset, [table(csv(frame))])
    for part in found.parts:
        encode = Encoder(part, dataset)
        for place, name in enumerate(part.ids):
            trained = float_lists(encode(place))
            first, last = part.start[place], part.stop[place]
            window = pd.DataFrame(
                {
                    "t": part.rows.time[first:last].astype("datetime64[ns]"),
                    "x": part.rows.numeric["x"][first:last],
                    "k": [
                        part.rows.categorical["k"][1][code] if code >= 0 else ""
                        for code in part.rows.categorical["k"][0][first:last]
                    ],
                    "is_row": part.rows.row[first:last] > 0,
                }
            )
            expected = expected_of(window)
            for feature in NAMES:
                np.testing.assert_array_equal(trained[feature], expected[feature].astype("float32"))
            # A request that ends where the window ends, with all its history, or with the rows of the window alone.
            end = frame[frame["t"] <= window["t"].iloc[-1]]
            if end["t"].iloc[-1] != window["t"].iloc[-1]:
                continue  # a request can't end with a filled step
            for history in (end, end[end["t"] >= window["t"].iloc[0]]):
                request = read_for_prediction([table(csv(history).replace(",1\n", ",\n"), "new.csv")], dataset)
                if gaps == "fill" and history["t"].iloc[0] != window["t"].iloc[0] and len(request.ids) == 0:
                    continue  # the window begins with a filled step, which rows of the window alone don't tell
                assert request.ids == [name]
                sent = float_lists(request.examples[0])
                for feature in ("x", *NAMES):
                    np.testing.assert_array_equal(sent[feature], trained[feature])


def test_each_cut_and_entity_begins_anew(ingest, table, configured) -> None:
    task = {"kind": "regression", "label": "y"}
    dataset = irregular(configured, "split", task=task)
    times = [0, 1, 5, 6]
    rows = "".join(
        f"{entity},{(START + pd.Timedelta(minutes=m)).isoformat()},{m or ''},,1\n" for entity in "ab" for m in times
    )
    found = ingest(dataset, [table("id,t,x,k,y\n" + rows)])
    assert {str(entry["values"]["seconds_since_last"]) for entry in found.by_id.values()} == {"[nan, 60.0]"}
    since = sorted(str(entry["values"]["steps_since_observed_x"]) for entry in found.by_id.values())
    assert since == ["[0.0, 0.0]"] * 2 + ["[nan, 0.0]"] * 2


def test_a_stream_goes_on_from_its_last_step(configured) -> None:
    features = ["x", {"elapsed": "seconds_since_last"}]
    dataset = configured(features=features, time={"column": "t", "kind": "timestamp"})
    rows = [{"id": name, "t": f"1970-01-01T00:00:{second:02}", "x": 1} for name in "ab" for second in (10, 25)]
    steps = read_stream_steps(
        [rows_source(rows, ["id", "t", "x"])], dataset, {"a": 4 * 10**9}, ["x", "seconds_since_last"]
    )
    assert steps.ids == ["a", "b"]
    np.testing.assert_array_equal(steps.tensors["lengths"], [2, 2])
    np.testing.assert_array_equal(steps.tensors["features"][:, :, 1], [[6, 15], [np.nan, 15]])


def test_a_stream_does_not_remember_what_was_observed(configured) -> None:
    dataset = configured(features=["x", {"elapsed": "steps_since_observed", "column": "x"}])
    with pytest.raises(DataError, match=r"steps_since_observed_x \(elapsed: steps_since_observed\) counts back"):
        read_stream_steps([rows_source([{"id": "a", "t": 1, "x": 1}], ["id", "t", "x"])], dataset, {}, ["x"])


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (
            [{"elapsed": "steps_since_observed"}],
            r"needs column, a feature that is measured \(one of x, k\); received none",
        ),
        ([{"elapsed": "steps_since_observed", "column": "z"}], r"\(one of x, k\); received z"),
        ([{"elapsed": "seconds_since_last", "column": "x"}], r"is of all rows: remove column \(x\)"),
        (
            [{"elapsed": "seconds_since_last", "known_in_advance": True}],
            "without known_in_advance, offset and calendar",
        ),
        ([{"name": "z", "column": "x"}], "feature z: column is for elapsed: steps_since_observed"),
    ],
)
def test_combinations_that_mean_nothing(configured, features, message) -> None:
    with pytest.raises(ValueError, match=message):
        irregular(configured, features=["x", {"name": "k", "kind": "categorical"}, *features])


def test_seconds_need_timestamps(configured) -> None:
    with pytest.raises(ValueError, match=r"elapsed: seconds_since_last needs time\.kind: timestamp"):
        configured(features=["x", {"elapsed": "seconds_since_last"}])


def test_the_name_is_kept_when_the_configuration_travels(configured) -> None:
    dataset = irregular(configured)
    assert [feature.name for feature in dataset.data.features] == ["x", "k", *NAMES]
    assert type(dataset).model_validate_json(dataset.model_dump_json()) == dataset

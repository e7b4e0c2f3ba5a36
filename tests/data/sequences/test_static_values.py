"""Static features: one value for each entity, taken from any of its rows, checked to be the only one."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noisy_gru.data.ingestion.report_checks import check_report
from noisy_gru.data.reading.in_memory_tables import rows_source
from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.data.requests.prediction_input import read_for_prediction, read_rows, read_sources
from noisy_gru.data.sequences.sequences import regular_series
from noisy_gru.schema.errors import DataError

FEATURES: list[Any] = [
    "x",
    {"name": "age", "static": True},
    {"name": "kind", "kind": "categorical", "static": True},
]
HEAD = "id,t,x,age,kind,y\n"
FORECAST = {"kind": "forecasting", "targets": ["x"], "input_length": 2, "horizons": [1]}


def example(record: bytes) -> dict[str, list[Any]]:
    from tensorflow.core.example import example_pb2

    features = example_pb2.Example.FromString(record).features.feature
    lists = {name: getattr(each, each.WhichOneof("kind")) for name, each in features.items()}
    return {name: list(each.value) for name, each in lists.items()}


def static_of(found: Any) -> dict[str, tuple[Any, Any]]:
    """The static values in the first row of each sequence; all its rows have them."""
    values = {}
    for name, each in found.by_id.items():
        ages, kinds = each["values"]["age"], each["texts"]["kind"]
        assert len(set(map(str, ages))) == len(set(kinds)) == 1
        values[name] = (ages[0], kinds[0])
    return values


def test_a_row_may_leave_out_what_another_has(ingest, table, configured) -> None:
    rows = "a,0,1,,,c\na,1,2,30,,c\na,2,3,,shop,c\nb,0,1,40,mall,d\n"
    found = ingest(configured(features=FEATURES), [table(HEAD + rows)])
    assert static_of(found) == {"a": (30.0, "shop"), "b": (40.0, "mall")}
    assert found.report.imputed == {}


@pytest.mark.parametrize("written", ["30\na,1,2,30.0", "0.1\na,1,2,0.10000000149", "0\na,1,2,-0.0"])
def test_numbers_are_compared_as_they_are_stored(ingest, table, configured, written) -> None:
    first, second = written.split("\n")
    rows = f"a,0,1,{first},shop,c\n{second},shop,c\n"
    found = ingest(configured(features=FEATURES), [table(HEAD + rows)])
    assert found.report.rows_kept == 2 and not found.lines


CONFLICTS = [
    ("a,0,1,30,,c\na,1,2,31,,c\na,2,2,,,c\n", "age", "30, 31"),
    ("a,0,1,,shop,c\na,1,2,,mall,c\na,2,2,,,c\n", "kind", "'mall', 'shop'"),
    ("a,0,1,,shop,c\na,1,2,,Shop,c\na,2,2,,,c\n", "kind", "'Shop', 'shop'"),
]


@pytest.mark.parametrize(("rows", "column", "values"), CONFLICTS)
@pytest.mark.parametrize("action", ["error", "quarantine", "drop"])
def test_a_conflict_takes_the_entity(ingest, table, configured, rows, column, values, action) -> None:
    dataset = configured(features=FEATURES, policies={"conflicting_static": action, "max_quarantined_fraction": 1})
    found = ingest(dataset, [table(HEAD + rows + "b,0,1,40,mall,d\n")])
    assert list(found.by_id) == ["b"]
    report = found.report
    assert report.dropped == ({"conflicting_static": 3} if action == "drop" else {})
    assert report.errors == ({"conflicting_static": 3} if action == "error" else {})
    if action == "drop":
        assert not found.lines
        return
    assert report.quarantined == {"conflicting_static": 3}
    assert [(line["entity"], line["row"], line["reason"]) for line in found.lines] == [
        ("a", row, "conflicting_static") for row in (1, 2, 3)
    ]
    start = f"expected one value of {column}, which is static, in all rows of entity a, received "
    (problem,) = {line["problem"] for line in found.lines}
    assert problem.startswith(start)
    assert sorted(problem.removeprefix(start).split(";")[0].split(", ")) == values.split(", ")
    assert found.lines[0]["values"]["age"] == (30 if column == "age" else None)
    if action == "error":
        with pytest.raises(
            DataError, match=r"policies.conflicting_static is error:[\s\S]*rows.csv, row 1: expected one"
        ):
            check_report(report, dataset)


def test_many_values_are_shortened(ingest, table, configured) -> None:
    rows = "".join(f"a,{step},1,{step},shop,c\n" for step in range(9))
    found = ingest(configured(features=FEATURES, policies={"max_quarantined_fraction": 1}), [table(HEAD + rows)])
    assert found.lines[0]["problem"].split(";")[0].endswith("received 0, 1, 2, 3, 4, …")


@pytest.mark.parametrize("action", ["error", "quarantine", "drop", "impute"])
def test_an_entity_without_a_value(ingest, table, configured, action) -> None:
    dataset = configured(features=FEATURES, policies={"missing_value": action})
    found = ingest(dataset, [table(HEAD + "a,0,1,,shop,c\na,1,2,NaN,,c\nb,0,1,40,mall,d\n")])
    if action == "impute":
        # Once for the entity, not for each row.
        assert found.report.imputed == {"missing_value": {"age": 1}}
        age, kind = static_of(found)["a"]
        assert np.isnan(age) and kind == "shop"
        return
    assert list(found.by_id) == ["b"]
    counts = {"missing_value": 2}
    assert (found.report.dropped if action == "drop" else found.report.quarantined) == counts
    assert found.report.errors == (counts if action == "error" else {})
    if action != "drop":
        expected = "expected a value of age, which is static, in a row of the entity, received none"
        assert {line["problem"] for line in found.lines} == {expected}


def test_an_exact_copy_may_lack_a_static_value(ingest, table, configured) -> None:
    found = ingest(configured(features=FEATURES), [table(HEAD + "a,0,1,30,shop,c\na,0,1,,,c\n")])
    assert found.by_id["a"]["time"] == [0] and found.report.quarantined == {}


def test_filled_steps_have_the_value(ingest, table, configured) -> None:
    dataset = configured(features=FEATURES, time={"column": "t", "kind": "integer", "frequency": "1", "gaps": "fill"})
    found = ingest(dataset, [table(HEAD + "a,0,1,30,shop,c\na,3,1,30,shop,c\n")])
    assert found.by_id["a"]["values"]["age"] == [30.0] * 4
    assert found.by_id["a"]["texts"]["kind"] == ["shop"] * 4


def test_resampled_steps_have_the_value(ingest, table, configured) -> None:
    time = {"column": "t", "kind": "integer", "gaps": "fill"}
    dataset = configured(features=FEATURES, time=time, resample={"frequency": "10", "aggregate": {"x": "sum"}})
    found = ingest(dataset, [table(HEAD + "a,0,1,0.1,shop,c\na,1,2,0.1,,c\na,2,4,,,c\na,31,1,,,c\n")])
    assert found.by_id["a"]["values"]["x"][0] == 7.0
    assert found.by_id["a"]["values"]["age"] == [float(np.float32(0.1))] * 4
    assert found.by_id["a"]["texts"]["kind"] == ["shop"] * 4
    with pytest.raises(ValueError, match=r"age is static, .* so it takes no resample\.aggregate"):
        configured(features=FEATURES, time=time, resample={"frequency": "10", "aggregate": {"age": "sum"}})


def test_windows_of_all_splits_share_the_value(ingest, table, configured) -> None:
    """The value stands in the first row alone, which is in train."""
    rows = "a,0,0,30,shop,\n" + "".join(f"a,{step},{step},,,\n" for step in range(1, 12))
    dataset = configured(features=FEATURES, task=FORECAST, splits={"by": "time", "eval": 0.2, "test": 0.2})
    found = ingest(dataset, [table(HEAD + rows)])
    assert {each["split"] for each in found.by_id.values()} == {"train", "eval", "test"}
    assert set(static_of(found).values()) == {(30.0, "shop")}


def test_the_entity_as_a_static_feature(ingest, table, configured) -> None:
    dataset = configured(features=["x", {"name": "id", "kind": "categorical", "static": True}])
    found = ingest(dataset, [table("id,t,x,y\na,0,1,c\na,1,2,c\nb,0,1,d\n")])
    assert {name: each["texts"]["id"] for name, each in found.by_id.items()} == {"a": ["a", "a"], "b": ["b"]}


def test_true_and_false(ingest, table, configured) -> None:
    features = ["x", {"name": "open", "kind": "boolean", "static": True}]
    rows = "a,0,1,yes,c\na,1,1,TRUE,c\na,2,1,,c\nb,0,1,f,d\nc,0,1,yes,d\nc,1,1,no,d\n"
    found = ingest(
        configured(features=features, policies={"max_quarantined_fraction": 1}), [table("id,t,x,open,y\n" + rows)]
    )
    assert {name: each["values"]["open"] for name, each in found.by_id.items()} == {"a": [1.0] * 3, "b": [0.0]}
    assert found.report.quarantined == {"conflicting_static": 2}


def test_an_offset_applies(ingest, table, configured) -> None:
    features = ["x", {"name": "age", "static": True, "offset": 1.7e9}]
    found = ingest(configured(features=features), [table("id,t,x,age,y\na,0,1,1700000001,c\n")])
    assert found.by_id["a"]["values"]["age"] == [1.0]


@pytest.mark.slow
def test_an_example_holds_it_once(ingest, table, configured) -> None:
    from noisy_gru.data.sequences.encoding import Encoder

    dataset = configured(features=FEATURES)
    path = table(HEAD + "a,0,1,30,shop,c\na,1,2,30,,c\nb,0,1,,,c\n")
    (part,) = ingest(dataset, [path], buckets=1).parts
    encode = Encoder(part, dataset)
    first, second = example(encode(0)), example(encode(1))
    assert (first["x"], first["age"], first["kind"]) == ([1.0, 2.0], [30.0], [b"shop"])
    assert np.isnan(second["age"]).all() and second["kind"] == [b""]
    # Predicting, the same rows give the same Example, but for the label.
    request = read_for_prediction([path], dataset)
    for place, expected in enumerate((first, second)):
        shown = {name: str(values) for name, values in expected.items() if name != "y"}
        assert {name: str(values) for name, values in example(request.examples[place]).items()} == shown


@pytest.mark.slow
def test_a_forecast_with_a_future(table, configured) -> None:
    """Rows of the future hold only what is known in advance, be the static value in them or not."""
    features = [*FEATURES, {"name": "plan", "known_in_advance": True}]
    dataset = configured(features=features, task=FORECAST)
    for age in ("30", ""):
        rows = f"a,0,1,30,shop,5\na,1,2,30,,6\na,2,,{age},,7\n"
        found = read_for_prediction([table("id,t,x,age,kind,plan\n" + rows)], dataset)
        lists = example(found.examples[0])
        assert (lists["x"], lists["plan"], lists["age"]) == ([1.0, 2.0], [5.0, 6.0, 7.0], [30.0])


def test_a_request_names_the_missing_column(configured) -> None:
    source = rows_source([{"id": "a", "t": 0, "x": 1, "kind": "s"}], ["id", "t", "x", "kind"])
    with pytest.raises(DataError, match="age"):
        read_sources([source], configured(features=FEATURES))


VALUES = st.one_of(st.none(), st.sampled_from([0.0, -0.0, 1.5, -3.25, 1e30]))
TEXTS = st.sampled_from(["", "a", "b", "ü"])
ROWS = st.lists(st.tuples(st.sampled_from("pqr"), VALUES, TEXTS), min_size=1, max_size=12)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, action=st.sampled_from(["quarantine", "drop"]))
def test_against_pandas(configured: Any, rows: list[tuple[str, float | None, str]], action: str) -> None:
    dataset = configured(features=FEATURES, policies={"conflicting_static": action})
    frame = pd.DataFrame(rows, columns=["id", "age", "kind"]).assign(t=range(len(rows)), x=1.0)
    frame["age"] = frame["age"].astype("float64")
    given_rows = json.loads(frame.to_json(orient="records"))
    quarantine = Quarantine()
    source = rows_source(given_rows, ["id", "t", "x", "age", "kind"])
    read = read_rows([source], dataset, quarantine)
    assert read is not None
    series, _ = regular_series(read, dataset, quarantine, prediction=True)
    found = series.rows
    received = {found.entities[code] for code in found.entity.tolist()}
    grouped = frame.assign(kind=frame["kind"].replace("", None)).groupby("id")
    distinct = grouped[["age", "kind"]].nunique()
    good = distinct[(distinct <= 1).all(axis=1)].index
    assert received == set(good)
    assert len(found) == int(frame["id"].isin(good).sum())
    for place, code in enumerate(found.entity.tolist()):
        expected = grouped[["age", "kind"]].first().loc[found.entities[code]]
        # As numbers: 0.0 and -0.0 are one value.
        np.testing.assert_array_equal(found.numeric["age"][place], np.float32(expected["age"]))
        codes, texts = found.categorical["kind"]
        assert (texts[codes[place]] if codes[place] >= 0 else "") == (expected["kind"] or "")
    bad = int((~frame["id"].isin(good)).sum())
    counts = quarantine.report.dropped if action == "drop" else quarantine.report.quarantined
    assert counts["conflicting_static"] == bad

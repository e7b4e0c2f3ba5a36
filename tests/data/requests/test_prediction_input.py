"""Predictions read files by the same rules, without labels."""

from __future__ import annotations

from typing import Any

import pytest

from noisy_gru.data.requests.prediction_input import read_for_prediction
from noisy_gru.schema.errors import DataError

TASK = {"kind": "forecasting", "targets": ["x"], "input_length": 3, "horizons": [1, 2]}


def float_lists(record: bytes) -> dict[str, list[float]]:
    from tensorflow.core.example import example_pb2

    features = example_pb2.Example.FromString(record).features.feature
    return {name: list(value.float_list.value) for name, value in features.items() if value.HasField("float_list")}


def reasons(found: Any) -> dict[str, int]:
    return dict(found.report.quarantined)


def test_whole_sequences_in_the_order_of_the_files(table, configured) -> None:
    first = table("id,t,x\nz,0,1\nz,1,2\nb,0,oops\n", "2.csv")
    second = table("id,t,x\na,0,5\n", "1.csv")
    found = read_for_prediction([first, second], configured())
    assert found.ids == ["z", "a"]
    assert len(found.examples) == 2
    (line,) = found.unusable
    assert (line["file"], line["row"], line["reason"]) == (str(first), 3, "unparsable_value")
    assert found.report.unbalanced == 0


@pytest.mark.slow
def test_the_same_example_as_in_training_but_for_the_label(ingest, table, configured) -> None:
    from noisy_gru.data.sequences.encoding import Encoder

    dataset = configured()
    path = table("id,t,x,y\na,1,2,c\na,0,1,c\n")
    (part,) = ingest(dataset, [path]).parts
    assert float_lists(read_for_prediction([path], dataset).examples[0]) == float_lists(Encoder(part, dataset)(0))


@pytest.mark.slow
def test_the_latest_window(table, configured) -> None:
    rows = "".join(f"a,{step},{step}\n" for step in range(6)) + "b,0,1\nb,1,1\n"
    found = read_for_prediction([table("id,t,x\n" + rows)], configured(task=TASK))
    assert found.ids == ["a@5"]
    assert float_lists(found.examples[0]) == {"x": [3, 4, 5]}
    assert reasons(found) == {"too_short": 2}


KNOWN: list[Any] = ["x", {"name": "plan", "known_in_advance": True}]


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["impute", "quarantine"])
def test_known_in_advance_reaches_the_horizon(table, configured, policy) -> None:
    dataset = configured(task=TASK, features=KNOWN, policies={"missing_value": policy})
    past = "".join(f"a,{step},{step},{10 + step}\n" for step in range(4))
    head = "id,t,x,plan\n"
    found = read_for_prediction([table(head + past + "a,4,,14\na,5,,15\na,6,,16\n")], dataset)
    assert found.ids == ["a@3"]
    assert float_lists(found.examples[0]) == {"x": [1, 2, 3], "plan": [11, 12, 13, 14, 15]}
    assert found.report.rows_kept == 7

    short = read_for_prediction([table(head + past + "a,4,,14\n")], dataset)
    assert reasons(short) == {"future_missing": 5}
    assert "expected 2 rows without a gap at the end" in short.unusable[0]["problem"]
    assert short.unusable[0]["problem"].endswith("(plan), received 1")


def test_the_entity_as_a_feature_is_no_measurement(table, configured) -> None:
    dataset = configured(task=TASK, features=[*KNOWN, {"name": "id", "kind": "categorical"}])
    past = "".join(f"a,{step},{step},{10 + step}\n" for step in range(4))
    found = read_for_prediction([table("id,t,x,plan\n" + past + "a,4,,14\na,5,,15\n")], dataset)
    assert found.ids == ["a@3"]


@pytest.mark.slow
def test_all_columns_known_in_advance(table, configured) -> None:
    dataset = configured(task={**TASK, "targets": ["goal"]}, features=[{"name": "plan", "known_in_advance": True}])
    rows = "".join(f"a,{step},{step}\n" for step in range(6))
    found = read_for_prediction([table("id,t,plan\n" + rows)], dataset)
    assert found.ids == ["a@3"]
    assert float_lists(found.examples[0]) == {"plan": [1, 2, 3, 4, 5]}


def test_no_window_over_a_gap(table, configured) -> None:
    time = {"column": "t", "gaps": "split", "frequency": "1"}
    dataset = configured(task=TASK, features=KNOWN, time=time)
    rows = "a,0,0,0\na,1,1,1\na,2,2,2\na,3,,3\na,5,,5\n" + "b,0,0,0\nb,2,2,2\nb,3,3,3\nb,4,,4\nb,5,,5\n"
    found = read_for_prediction([table("id,t,x,plan\n" + rows)], dataset)
    assert found.ids == []
    assert reasons(found) == {"future_missing": 5, "too_short": 5}


def test_errors(table, configured, tmp_path) -> None:
    strict = configured(policies={"unparsable_value": "error"})
    with pytest.raises(DataError, match="column x: expected a number, received 'oops'"):
        read_for_prediction([table("id,t,x\na,0,oops\n")], strict)
    with pytest.raises(DataError, match=r"expected the column x; the file has id, t"):
        read_for_prediction([table("id,t\na,0\n")], configured())
    with pytest.raises(DataError, match=r"none\.csv: can't be read as a CSV file"):
        read_for_prediction([tmp_path / "none.csv"], configured())
    empty = read_for_prediction([table("id,t,x\n")], configured())
    assert (empty.ids, empty.examples, empty.unusable) == ([], [], [])

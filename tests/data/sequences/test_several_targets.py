"""Several numbers to predict of a sequence (`task.targets` of a regression): one value each, some of them unknown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from noisy_gru.data.requests.prediction_input import read_for_prediction
from noisy_gru.data.sequences.encoding import Encoder
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import DataError
from noisy_gru.schema.loading import expected_columns

BOTH = {"kind": "regression", "targets": ["price", "size"]}
HEAD = "id,t,x,price,size\n"


def encoded(found: Any, dataset: DatasetConfig) -> dict[str, tuple[float, ...]]:
    """The targets in the tf.Examples, parsed by protobuf."""
    from tensorflow.core.example import example_pb2

    targets = {}
    for sequences in found.parts:
        encode = Encoder(sequences, dataset)
        for place, name in enumerate(sequences.ids):
            features = example_pb2.Example.FromString(encode(place)).features.feature
            targets[name] = tuple(value for each in ("price", "size") for value in features[each].float_list.value)
            assert set(features) == {"sequence_id", "steps", "x", "price", "size"}
    return targets


def test_any_row_may_hold_a_target_and_one_may_be_unknown(ingest, table, configured) -> None:
    dataset = configured(task=BOTH)
    found = ingest(dataset, [table(HEAD + "a,0,1,7,\na,1,2,,3\nb,0,1,4,\nb,1,1,4,\n")])
    targets = encoded(found, dataset)
    assert targets["a"] == (7, 3)
    assert targets["b"][0] == 4 and np.isnan(targets["b"][1])
    assert found.report.targets_masked == {"size": 1}
    assert not found.lines


@pytest.mark.parametrize(
    ("rows", "reason", "message"),
    [
        ("a,0,1,,\na,1,2,,\n", "missing_label", "expected a value of price, size in a row of the sequence"),
        ("a,0,1,7,1\na,1,2,8,1\n", "conflicting_label", "expected the same price, size in all rows of the sequence"),
    ],
)
def test_sequences_without_one_value_are_set_aside(
    ingest, table, configured, rows: str, reason: str, message: str
) -> None:
    found = ingest(configured(task=BOTH), [table(HEAD + rows + "b,0,1,4,2\n")])
    assert list(found.by_id) == ["b"]
    assert found.report.quarantined == {reason: 2}
    assert message in found.lines[0]["problem"]


def test_filled_steps_and_cut_beginnings_change_nothing(ingest, table, configured) -> None:
    time = {"column": "t", "kind": "integer", "frequency": "1", "gaps": "fill"}
    dataset = configured(task=BOTH, time=time, max_length=3, policies={"too_long": "truncate"})
    # The sequence begins at a filled step, and the row with the targets is cut off.
    found = ingest(dataset, [table(HEAD + "a,0,1,7,3\na,4,2,,\n")])
    assert encoded(found, dataset) == {"a": (7, 3)}
    dataset = configured(task=BOTH, time={**time, "gaps": "split"})
    found = ingest(dataset, [table(HEAD + "a,0,1,7,3\na,4,2,,\n")])
    assert encoded(found, dataset) == {"a@0": (7, 3), "a@4": (7, 3)}


def test_prediction_needs_none_of_them(table, configured) -> None:
    dataset = configured(task=BOTH)
    without = read_for_prediction([table("id,t,x\na,0,4\na,1,5\n", "without.csv")], dataset)
    beside = read_for_prediction([table(HEAD + "a,0,4,1,\na,1,5,2,\n", "beside.csv")], dataset)
    assert without.examples == beside.examples and without.ids == ["a"]
    with pytest.raises(DataError, match="size"):
        read_for_prediction([table("id,t,size\na,0,4\n", "other.csv")], configured(task=BOTH, features=["size2"]))


def test_the_schema_has_one_value_of_each_that_may_be_unknown(configured) -> None:
    found = {each.name: each for each in expected_columns(configured(task=BOTH))}
    for name in BOTH["targets"]:
        assert (found[name].type, found[name].least, found[name].most) == ("FLOAT", 1, 1)
        assert found[name].masked and not found[name].is_feature


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (
            {"kind": "regression"},
            "expected label, the column of the number, or targets, several columns; received neither",
        ),
        ({**BOTH, "label": "y"}, "received both"),
        ({"kind": "regression", "targets": ["a", "b", "a"]}, "targets must be listed once, received a more than once"),
        ({"kind": "regression", "targets": ["x", "b"]}, "task.targets x is also a feature"),
    ],
)
def test_targets_that_are_none_are_refused(configured, task: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        configured(task=task)


def test_one_target_is_a_label(configured) -> None:
    assert configured(task={"kind": "regression", "targets": ["y"]}) == configured(
        task={"kind": "regression", "label": "y"}
    )

"""Numbers to predict at each step (`per_step` of a regression): one for each row, some of them missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from noisy_gru.data.requests.prediction_input import read_for_prediction
from noisy_gru.data.sequences.encoding import Encoder
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.loading import expected_columns

BOTH = {"kind": "regression", "targets": ["level", "flow"], "per_step": True}
ONE = {"kind": "regression", "label": "level", "per_step": True}
HEAD = "id,t,x,level,flow\n"
NAN = float("nan")


def encoded(found: Any, dataset: DatasetConfig, *names: str) -> dict[str, Any]:
    """The targets in the tf.Examples, parsed by protobuf."""
    from tensorflow.core.example import example_pb2

    targets = {}
    for sequences in found.parts:
        encode = Encoder(sequences, dataset)
        for place, name in enumerate(sequences.ids):
            features = example_pb2.Example.FromString(encode(place)).features.feature
            targets[name] = [list(features[each].float_list.value) for each in names]
            assert set(features) == {"sequence_id", "steps", "x", *names}
    return targets


@pytest.mark.parametrize(("task", "names"), [(ONE, ["level"]), (BOTH, ["level", "flow"])])
def test_each_step_has_its_own(ingest, table, configured, task: dict[str, Any], names: list[str]) -> None:
    dataset = configured(task=task)
    found = ingest(dataset, [table(HEAD + "a,0,1,7,1\na,1,2,,2\na,2,2,9,\nb,0,1,4,3\n")])
    targets = encoded(found, dataset, *names)
    assert np.array_equal(targets["a"][0], [7, NAN, 9], equal_nan=True) and targets["b"][0] == [4]
    assert found.report.targets_masked["level"] == 1
    if "flow" in names:
        assert np.array_equal(targets["a"][1], [1, 2, NAN], equal_nan=True)
        assert found.report.targets_masked["flow"] == 1
    assert not found.lines


def test_a_sequence_without_any_is_set_aside(ingest, table, configured) -> None:
    found = ingest(configured(task=BOTH), [table(HEAD + "a,0,1,,\na,1,1,,\nb,0,1,,3\n")])
    assert list(found.by_id) == ["b"] and found.report.quarantined == {"missing_label": 2}
    assert "a label at one step at least" in found.lines[0]["problem"]


def test_filled_steps_have_none_and_resampled_ones_an_aggregate(ingest, table, configured) -> None:
    time = {"column": "t", "kind": "integer", "frequency": "1", "gaps": "fill"}
    dataset = configured(task=ONE, time=time)
    found = ingest(dataset, [table(HEAD + "a,0,1,7,\na,3,2,9,\n")])
    assert np.array_equal(encoded(found, dataset, "level")["a"][0], [7, NAN, NAN, 9], equal_nan=True)
    resample = {"frequency": "2", "aggregate": {"level": "last"}}
    dataset = configured(task=ONE, time={"column": "t", "kind": "integer", "gaps": "fill"}, resample=resample)
    found = ingest(dataset, [table(HEAD + "a,0,1,7,\na,1,2,8,\na,2,2,9,\na,3,2,,\n")])
    assert encoded(found, dataset, "level")["a"][0] == [8, 9]


def test_prediction_needs_none_of_them(table, configured) -> None:
    for task in (ONE, BOTH):
        dataset = configured(task=task)
        without = read_for_prediction([table("id,t,x\na,0,4\na,1,5\n", "without.csv")], dataset)
        beside = read_for_prediction([table(HEAD + "a,0,4,1,\na,1,5,2,\n", "beside.csv")], dataset)
        assert without.examples == beside.examples and without.ids == ["a"]
        assert without.origins is not None and without.origins.step_times is not None


def test_the_schema_has_as_many_as_steps(configured) -> None:
    found = {each.name: each for each in expected_columns(configured(task=BOTH, min_length=2, max_length=9))}
    assert (found["level"].type, found["level"].least, found["level"].most) == ("FLOAT", 2, 9)
    assert found["flow"].masked and not found["flow"].is_feature


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ({**ONE, "label": "x"}, "task.label x is also a feature"),
        ({**BOTH, "targets": ["x", "flow"]}, "task.targets x is also a feature"),
        ({**ONE, "quantiles": [0.1, 0.5, 0.9]}, "quantiles have no form for a number at each step"),
        ({**ONE, "intervals": [0.9]}, "intervals have no form for a number at each step"),
    ],
)
def test_what_has_no_form_is_refused(configured, task: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        configured(task=task)

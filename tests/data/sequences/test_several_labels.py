"""Several labels of a sequence (`task.labels`): true, false or unknown, in any spelling."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from noisy_gru.data.requests.prediction_input import read_for_prediction
from noisy_gru.data.sequences.encoding import Encoder
from noisy_gru.schema.config import ClassificationConfig, DatasetConfig, MultiLabelConfig
from noisy_gru.schema.loading import expected_columns

LABELS = {"kind": "classification", "labels": ["fever", "cough"]}
HEAD = "id,t,x,fever,cough\n"


def encoded(found: Any, dataset: DatasetConfig) -> dict[str, list[float]]:
    """The labels in the tf.Examples, parsed by protobuf."""
    from tensorflow.core.example import example_pb2

    labels = {}
    for sequences in found.parts:
        encode = Encoder(sequences, dataset)
        for place, name in enumerate(sequences.ids):
            features = example_pb2.Example.FromString(encode(place)).features.feature
            labels[name] = [value for each in ("fever", "cough") for value in features[each].float_list.value]
            assert set(features) == {"sequence_id", "steps", "x", "fever", "cough"}
    return labels


def test_labels_are_spelt_as_booleans_are_and_one_may_be_unknown(ingest, table, configured) -> None:
    dataset = configured(task=LABELS, csv={"true": ["ja"], "false": ["nein"]})
    rows = "a,0,1,True,\na,1,2,,no\nb,0,1,0,1\nb,1,1,0.0,1.0\nc,0,1,ja,\nd,0,1,nein,FALSE\n"
    found = ingest(dataset, [table(HEAD + rows)])
    labels = encoded(found, dataset)
    assert labels["a"] == [1, 0] and labels["b"] == [0, 1] and labels["d"] == [0, 0]
    assert labels["c"][0] == 1 and np.isnan(labels["c"][1])
    assert found.report.targets_masked == {"cough": 1}
    assert not found.lines


@pytest.mark.parametrize(
    ("rows", "reason", "message"),
    [
        ("a,0,1,,\na,1,2,,\n", "missing_label", "expected a value of fever, cough in a row of the sequence"),
        ("a,0,1,1,1\na,1,2,no,1\n", "conflicting_label", "expected the same fever, cough in all rows"),
        ("a,0,1,2,1\n", "unparsable_value", "expected true or false, received '2'"),
        ("a,0,1,0.5,1\n", "unparsable_value", "expected true or false, received '0.5'"),
    ],
)
def test_what_is_no_label_is_set_aside(ingest, table, configured, rows: str, reason: str, message: str) -> None:
    policies = {"unparsable_value": "quarantine"}
    found = ingest(configured(task=LABELS, policies=policies), [table(HEAD + rows + "b,0,1,1,0\n")])
    assert list(found.by_id) == ["b"]
    assert found.report.quarantined == {reason: rows.count("\n")}
    assert message in found.lines[0]["problem"]


def test_prediction_needs_none_of_them(table, configured) -> None:
    dataset = configured(task=LABELS)
    without = read_for_prediction([table("id,t,x\na,0,4\na,1,5\n", "without.csv")], dataset)
    beside = read_for_prediction([table(HEAD + "a,0,4,1,\na,1,5,0,\n", "beside.csv")], dataset)
    assert without.examples == beside.examples and without.ids == ["a"]


def test_the_schema_has_one_value_of_each_from_0_to_1(configured) -> None:
    found = {each.name: each for each in expected_columns(configured(task=LABELS))}
    for name in LABELS["labels"]:
        assert (found[name].type, found[name].least, found[name].most, found[name].bounds) == ("FLOAT", 1, 1, (0, 1))
        assert found[name].masked and not found[name].is_feature


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({**LABELS, "label": "y"}, "label is of one class for each sequence or step, and labels are several"),
        ({**LABELS, "per_step": True}, "per_step is of one class"),
        ({**LABELS, "positive": "yes"}, "positive is of one class"),
        ({**LABELS, "labels": ["fever"]}, "at least 2 items"),
        ({**LABELS, "labels": ["fever", "cough", "fever"]}, "labels must be listed once, received fever more than"),
        ({**LABELS, "labels": ["x", "fever"]}, "task.labels x is also a feature"),
        ({**LABELS, "thresholds": {"rash": 0.5}}, r"thresholds are of labels \(fever, cough\), received one of rash"),
        ({**LABELS, "quantiles": [0.5]}, "quantiles"),
    ],
)
def test_labels_that_are_none_are_refused(configured, task: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        configured(task=task)


def test_the_key_decides_which_classification_it_is(configured) -> None:
    assert isinstance(configured(task=LABELS).task, MultiLabelConfig)
    assert isinstance(configured(task={"kind": "classification", "label": "y"}).task, ClassificationConfig)
    task = configured(task={**LABELS, "threshold": {"recall": 0.9}, "thresholds": {"cough": 0.3}})
    assert DatasetConfig.model_validate_json(task.model_dump_json()) == task

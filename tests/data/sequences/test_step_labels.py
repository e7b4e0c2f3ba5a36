"""A label at each step (`task.per_step`): read as it stands, empty where it is missing, however steps are made."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noisy_gru.data.reading.tables import Source
from noisy_gru.data.report.ingestion_report import IngestionReport
from noisy_gru.data.requests.prediction_input import read_for_prediction
from noisy_gru.data.requests.staged_input import stage_input
from noisy_gru.data.sequences.encoding import Encoder
from noisy_gru.data.sequences.shards import encode_shards
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.derivation import derive_schema
from noisy_gru.schema.loading import expected_columns, parse_schema

TAGS = {"kind": "classification", "label": "y", "per_step": True}
HEAD = "id,t,x,y\n"


def encoded(found: Any, dataset: DatasetConfig) -> dict[str, list[str]]:
    """The labels in the tf.Examples, parsed by protobuf."""
    from tensorflow.core.example import example_pb2

    labels = {}
    for sequences in found.parts:
        encode = Encoder(sequences, dataset)
        for place, name in enumerate(sequences.ids):
            features = example_pb2.Example.FromString(encode(place)).features.feature
            assert len(features["y"].bytes_list.value) == features["steps"].int64_list.value[0]
            labels[name] = [value.decode() for value in features["y"].bytes_list.value]
    return labels


def test_each_step_has_its_own(ingest, table, configured) -> None:
    dataset = configured(task=TAGS)
    found = ingest(dataset, [table(HEAD + "a,1,5,up\na,0,4,down\na,2,6,\nb,0,1,up\n")])
    assert encoded(found, dataset) == {"a": ["down", "up", ""], "b": ["up"]}
    counts: Counter[str] = Counter()
    for sequences in found.parts:
        report = IngestionReport()
        list(encode_shards(sequences, Encoder(sequences, dataset), report))
        for of_split in report.labels.values():
            counts.update(of_split)
    assert counts == {"down": 1, "up": 2}
    assert found.report.targets_masked == {"y": 1}
    assert not found.lines


def test_a_sequence_without_any_label_is_set_aside(ingest, table, configured) -> None:
    found = ingest(configured(task=TAGS), [table(HEAD + "a,0,4,\na,1,5,\nb,0,1,up\n")])
    assert list(found.by_id) == ["b"]
    assert found.report.quarantined == {"missing_label": 2}
    assert "a label at one step at least (task.per_step), received 0" in found.lines[0]["problem"]


def test_steps_that_are_filled_have_none(ingest, table, configured) -> None:
    time = {"column": "t", "kind": "integer", "frequency": "1", "gaps": "fill"}
    dataset = configured(task=TAGS, time=time)
    found = ingest(dataset, [table(HEAD + "a,0,4,up\na,3,5,down\n")])
    assert encoded(found, dataset) == {"a": ["up", "", "", "down"]}
    # A cut leaves a part of one step whose label is missing.
    dataset = configured(task=TAGS, time={**time, "gaps": "split"})
    found = ingest(dataset, [table(HEAD + "a,0,4,up\na,3,5,\n")])
    assert encoded(found, dataset) == {"a@0": ["up"]}


def test_truncation_keeps_the_labels_of_the_steps_that_are_kept(ingest, table, configured) -> None:
    dataset = configured(task=TAGS, max_length=2, policies={"too_long": "truncate"})
    found = ingest(dataset, [table(HEAD + "a,0,4,up\na,1,5,down\na,2,6,flat\n")])
    assert encoded(found, dataset) == {"a": ["down", "flat"]}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 11), st.sampled_from(["up", "down", ""])), min_size=1
    ).filter(lambda rows: any(label for *_, label in rows))
)
def test_the_last_label_of_a_step_is_kept_when_resampling(ingest, table, configured, rows) -> None:
    frame = pd.DataFrame(rows, columns=["id", "t", "y"]).drop_duplicates(["id", "t"])
    frame["x"] = np.arange(len(frame), dtype=float)
    dataset = configured(
        task=TAGS,
        time={"column": "t", "kind": "integer", "frequency": "4", "gaps": "fill"},
        resample={"frequency": "4", "aggregate": {"x": "mean"}},
    )
    found = ingest(dataset, [table(HEAD + frame[["id", "t", "x", "y"]].to_csv(index=False, header=False))])
    # By pandas: the last label that is not missing of each bin, in the order of the time.
    expected = {}
    for name, group in frame.sort_values("t").groupby("id"):
        labels = group.assign(y=group.y.replace("", None), bin=group.t // 4).groupby("bin").y.last()
        labels = labels.reindex(range(labels.index.min(), labels.index.max() + 1))
        if labels.notna().any():
            expected[name] = labels.fillna("").tolist()
    assert encoded(found, dataset) == expected


def test_prediction_needs_no_labels(table, configured) -> None:
    dataset = configured(task=TAGS, time={"column": "t", "kind": "integer"})
    found = read_for_prediction([table("id,t,x\na,7,4\na,9,5\nb,2,1\n")], dataset)
    assert found.ids == ["a", "b"]
    assert found.origins is not None and found.origins.step_times is not None
    assert [times.tolist() for times in found.origins.step_times] == [[7, 9], [2]]


def test_the_schema_has_a_list_that_may_miss_some(configured) -> None:
    dataset = configured(task=TAGS, max_length=30)
    (column,) = [each for each in expected_columns(dataset) if each.name == "y"]
    assert (column.type, column.least, column.most, column.is_feature) == ("BYTES", 1, 30, False)
    curated = parse_schema('feature { name: "y" string_domain { value: "up" value: "down" } }', "schema.pbtxt")
    (entry,) = [each for each in derive_schema(curated, dataset).feature if each.name == "y"]
    assert list(entry.string_domain.value) == ["up", "down", ""]
    assert list(entry.not_in_environment) == ["SERVING"]


def test_a_row_for_all_steps_has_no_label_for_each(configured) -> None:
    with pytest.raises(ValueError, match=r"per_step: true needs a label for each step, and a row of .*wide_steps"):
        configured(task=TAGS, layout={"kind": "wide_steps", "value": "x", "steps": "number"})


@pytest.mark.parametrize("buckets", [1, 3])
def test_staged_input_keeps_the_times_of_steps(table, configured, tmp_path, buckets: int) -> None:
    dataset = configured(task=TAGS, time={"column": "t", "kind": "integer"})
    path = table("id,t,x\na,7,4\na,9,5\nb,2,1\nc,3,1\nc,5,1\n")
    (tmp_path / "staged").mkdir()
    staged = stage_input([Source(str(path), path.name, "csv")], dataset, tmp_path / "staged", buckets=buckets)
    again = stage_input([Source(str(path), path.name, "csv")], dataset, tmp_path / "staged", buckets=buckets)
    for found in (staged, again):
        batches = list(found.batches(2))
        assert [batch.ids for batch in batches] == [["a", "b"], ["c"]]
        times = [
            each.tolist() for batch in batches for each in (batch.origins.step_times if batch.origins else None) or []
        ]
        assert times == [[7, 9], [2], [3, 5]]

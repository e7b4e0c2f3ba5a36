"""TFRecords of tf.Example and tf.SequenceExample, sound and damaged."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import pytest

from noisy_gru.data.sequences.shards import frame_record, masked_crc
from noisy_gru.schema.errors import DataError

pytestmark = pytest.mark.slow


def feature(values: list[Any]) -> Any:
    from tensorflow.core.example import feature_pb2

    if any(isinstance(value, str) for value in values):
        return feature_pb2.Feature(bytes_list=feature_pb2.BytesList(value=[value.encode() for value in values]))
    if any(isinstance(value, float) for value in values):
        return feature_pb2.Feature(float_list=feature_pb2.FloatList(value=values))
    return feature_pb2.Feature(int64_list=feature_pb2.Int64List(value=values))


def example(**lists: list[Any]) -> bytes:
    from tensorflow.core.example import example_pb2, feature_pb2

    features = feature_pb2.Features(feature={name: feature(values) for name, values in lists.items()})
    return example_pb2.Example(features=features).SerializeToString(deterministic=True)


def sequence_example(context: dict[str, list[Any]], lists: dict[str, list[Any]]) -> bytes:
    from tensorflow.core.example import example_pb2, feature_pb2

    message = example_pb2.SequenceExample(
        context=feature_pb2.Features(feature={name: feature(values) for name, values in context.items()}),
        feature_lists=feature_pb2.FeatureLists(
            feature_list={
                name: feature_pb2.FeatureList(
                    feature=[feature(value if isinstance(value, list) else [value]) for value in values]
                )
                for name, values in lists.items()
            }
        ),
    )
    return message.SerializeToString(deterministic=True)


def write(path: Path, records: list[bytes], zipped: bool = False) -> Path:
    content = b"".join(frame_record(record) for record in records)
    path.write_bytes(gzip.compress(content) if zipped else content)
    return path


FEATURES = ["x", {"name": "k", "kind": "categorical"}]


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("kind", ["example", "sequence_example"])
def test_both_kinds(ingest, tmp_path, configured, kind, zipped) -> None:
    records = []
    for name, values in (("a", [1.0, 2.0, 3.0]), ("b", [4.0])):
        context, lists = {"id": [name], "y": [7]}, {"x": values, "k": ["u"] * len(values)}
        records.append(example(**context, **lists) if kind == "example" else sequence_example(context, lists))
    dataset = configured(format=kind, time=None, features=FEATURES)
    found = ingest(dataset, [write(tmp_path / "rows.tfrecord", records, zipped)])
    assert {name: (entry["time"], entry["values"]["x"], entry["label"]) for name, entry in found.by_id.items()} == {
        "a": ([0, 1, 2], [1.0, 2.0, 3.0], "7"),
        "b": ([0], [4.0], "7"),
    }
    assert found.by_id["a"]["texts"]["k"] == ["u", "u", "u"]
    assert found.report.rows_kept == 4


@pytest.mark.parametrize("each_step", [False, True])
@pytest.mark.parametrize("kind", ["example", "sequence_example"])
def test_a_static_feature_stands_once_or_at_each_step(ingest, tmp_path, configured, kind, each_step) -> None:
    features = ["x", {"name": "age", "static": True}, {"name": "shop", "kind": "categorical", "static": True}]
    records = []
    for name, values, age in (("a", [1.0, 2.0, 3.0], 30.5), ("b", [4.0], 40.5)):
        times = len(values) if each_step else 1
        static = {"age": [age] * times, "shop": ["mall"] * times}
        context, lists = {"id": [name], "y": [7]}, {"x": values}
        if kind == "example":
            records.append(example(**context, **lists, **static))
        elif each_step:
            records.append(sequence_example(context, {**lists, **static}))
        else:
            records.append(sequence_example({**context, **static}, lists))
    found = ingest(configured(format=kind, time=None, features=features), [write(tmp_path / "rows.tfrecord", records)])
    assert {name: (entry["values"]["x"], entry["values"]["age"]) for name, entry in found.by_id.items()} == {
        "a": ([1.0, 2.0, 3.0], [30.5] * 3),
        "b": ([4.0], [40.5]),
    }
    assert found.by_id["a"]["texts"]["shop"] == ["mall"] * 3


def test_a_record_whose_static_feature_has_another_length_or_values(ingest, tmp_path, configured) -> None:
    features = ["x", {"name": "age", "static": True}]
    records = [
        example(id=["a"], y=[7], x=[1.0, 2.0, 3.0], age=[30.0, 30.0]),
        example(id=["b"], y=[7], x=[1.0, 2.0], age=[30.0, 31.0]),
        example(id=["c"], y=[7], x=[1.0, 2.0]),
        example(id=["d"], y=[7], age=[30.0]),
    ]
    dataset = configured(format="example", time=None, features=features, policies={"max_quarantined_fraction": 1})
    found = ingest(dataset, [write(tmp_path / "rows.tfrecord", records)])
    assert list(found.by_id) == ["c"]
    problems = {(line["row"], line["reason"]): line["problem"] for line in found.lines}
    assert problems == {
        (1, "unparsable_value"): "expected lists of one length, one value per step, received x 3, age 2",
        (2, "conflicting_static"): "expected one value of age, which is static, in all rows of entity b, received "
        "30, 31; if it changes over time, leave static: true out",
        (4, "unparsable_value"): "expected lists of one length, one value per step, received none",
    }


def test_forecasting_from_series_in_records(ingest, tmp_path, configured) -> None:
    task = {"kind": "forecasting", "targets": ["x"], "input_length": 2, "horizons": [1]}
    dataset = configured(format="example", task=task, splits={"by": "entity", "eval": 0, "test": 1e-9})
    record = example(id=[5], t=[30, 10, 20], x=[3, 1, 2])
    found = ingest(dataset, [write(tmp_path / "rows.tfrecord", [record])])
    assert found.by_id["5@20"]["values"]["x"] == [1, 2]
    assert found.by_id["5@20"]["answers"]["target/x"] == [3]


def test_records_that_are_no_sequences_are_quarantined(ingest, tmp_path, configured) -> None:
    dataset = configured(format="example", time=None, features=["x", "z"])
    good = example(id=["a"], y=["c"], x=[1.0, 2.0], z=[1.0, 2.0])
    records = [
        good,
        example(id=["b"], y=["c"], x=[1.0, 2.0], z=[1.0]),  # two rows
        b"\xff\xff\xff",  # one
        example(id=["d"], y=["c"]),  # one
        example(id=["e", "f"], y=["c"], x=[1.0], z=[1.0]),  # one
        example(id=["g"], y=["c"], x=[float("inf")], z=[1.0]),  # one
        example(id=["h"], y=["c"], x=[1.0]),  # z is missing
        good,  # the same again
    ]
    found = ingest(dataset, [write(tmp_path / "rows.tfrecord", records)])
    assert found.by_id.keys() == {"a", "h"}
    assert found.report.quarantined == {"unparsable_value": 5, "infinite_value": 1}
    assert found.report.dropped == {"exact_duplicate": 2}
    assert found.report.imputed == {"missing_value": {"z": 1}}
    printed = {line["row"]: line["problem"] for line in found.lines}
    assert printed[2] == "expected lists of one length, one value per step, received x 2, z 1"
    assert printed[3].startswith("expected a tf.Example")
    assert printed[4].endswith("received none")
    assert printed[5] == "expected one value of id, received several"


def test_two_values_in_a_step(ingest, tmp_path, configured) -> None:
    dataset = configured(format="sequence_example", time=None)
    bad = sequence_example({"id": ["a"], "y": ["c"]}, {"x": [[1.0, 2.0]]})
    found = ingest(dataset, [write(tmp_path / "rows.tfrecord", [bad])])
    assert "expected one value per step of x, received 2" in found.lines[0]["problem"]


@pytest.mark.parametrize("zipped", [False, True])
def test_damaged_files(ingest, tmp_path, configured, zipped) -> None:
    dataset = configured(format="example", time=None)
    path = write(tmp_path / "rows.tfrecord", [example(id=["a"], y=["c"], x=[1.0])] * 100, zipped)
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    with pytest.raises(DataError, match=r"rows\.tfrecord: can't be read as a TFRecord file: "):
        ingest(dataset, [path])
    if not zipped:
        path.write_bytes(whole[:500] + b"\0\0\0\0" + whole[504:])
        with pytest.raises(DataError, match="wrong checksum"):
            ingest(dataset, [path])
        path.write_bytes(b"id,t,x,y\n" * 10)
        with pytest.raises(DataError, match="record 1 has a wrong checksum, so this is no TFRecord file"):
            ingest(dataset, [path])


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("size", [1 << 31, 1 << 40, (1 << 63) - 1, (1 << 64) - 1])
def test_a_record_that_claims_more_bytes_than_there_are(ingest, tmp_path, configured, zipped, size) -> None:
    dataset = configured(format="example", time=None)
    head = struct.pack("<Q", size)
    content = head + struct.pack("<I", masked_crc(head)) + b"few bytes"
    path = tmp_path / "rows.tfrecord"
    path.write_bytes(gzip.compress(content) if zipped else content)
    with pytest.raises(DataError, match=f"record 1 is truncated: it claims {size} bytes"):
        ingest(dataset, [path])


def test_an_example_that_claims_more_numbers_than_there_are(ingest, tmp_path, configured) -> None:
    """21 bytes that claim 4 GiB of floats, which crash TensorFlow's own parser."""
    crash = bytes.fromhex("0a130a110a0178120c120a0affffffff0f00000000")
    records = [example(id=["a"], y=["c"], x=[1.0]), crash]
    found = ingest(configured(format="example", time=None), [write(tmp_path / "rows.tfrecord", records)])
    assert found.by_id.keys() == {"a"}
    assert found.report.quarantined == {"unparsable_value": 1}


def test_features_that_no_record_has(ingest, tmp_path, configured) -> None:
    dataset = configured(format="example", time=None, features=["x", "q"])
    path = write(tmp_path / "rows.tfrecord", [example(id=["a"], y=["c"], x=[1.0])])
    with pytest.raises(DataError, match="no record has the feature q; the features are id, x, y"):
        ingest(dataset, [path])


@pytest.mark.parametrize("form", ["example", "sequence_example"])
def test_a_label_at_each_step_is_a_list(ingest, configured, tmp_path: Path, form: str) -> None:
    lists = {"x": [1.0, 2.0, 3.0], "t": [0, 1, 2], "y": ["up", "", "down"]}
    record = example(id=["a"], **lists) if form == "example" else sequence_example({"id": ["a"]}, lists)
    path = tmp_path / "r.tfrecord"
    path.write_bytes(frame_record(record))
    task = {"kind": "classification", "label": "y", "per_step": True}
    found = ingest(configured(task=task, format=form), [path])
    rows = found.by_id["a"]["rows"]
    codes, texts = rows.label
    assert [texts[code] if code >= 0 else "" for code in codes] == ["up", "", "down"]

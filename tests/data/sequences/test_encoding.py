"""The hand-written wire format is that of protobuf, and the shards are TFRecord files that TensorFlow reads."""

from __future__ import annotations

import gzip
from typing import Any

import numpy as np
import pandas as pd
import pytest

from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.data.sequences.encoding import Encoder, varint
from noisy_gru.data.sequences.shards import encode_shards, frame_record

pytestmark = pytest.mark.slow


def decoded(record: bytes) -> Any:
    from tensorflow.core.example import example_pb2

    message = example_pb2.Example.FromString(record)
    assert message.SerializeToString(deterministic=True) == record
    return message.features.feature


FEATURES = ["x", {"name": "färbe", "kind": "categorical"}]


@pytest.mark.parametrize("steps", [1, 2, 31, 32, 100, 5000])
def test_classification(ingest, table, configured, steps) -> None:
    rows = "".join(f"ä,{step},{step / 4},{['rot', '', 'blaugrün'][step % 3]},kläss\n" for step in range(steps))
    dataset = configured(features=FEATURES, max_length=9999)
    (part,) = ingest(dataset, [table("id,t,x,färbe,y\n" + rows)]).parts
    feature = decoded(Encoder(part, dataset)(0))
    assert set(feature) == {"x", "färbe", "y", "sequence_id", "steps"}
    assert list(feature["x"].float_list.value) == [step / 4 for step in range(steps)]
    assert list(feature["färbe"].bytes_list.value) == [
        ["rot", "", "blaugrün"][step % 3].encode() for step in range(steps)
    ]
    assert list(feature["y"].bytes_list.value) == ["kläss".encode()]
    assert list(feature["sequence_id"].bytes_list.value) == ["ä".encode()]
    assert list(feature["steps"].int64_list.value) == [steps]


def test_regression(ingest, table, configured) -> None:
    dataset = configured(task={"kind": "regression", "label": "y"})
    (part,) = ingest(dataset, [table("id,t,x,y\na,0,,2.5\n")]).parts
    feature = decoded(Encoder(part, dataset)(0))
    assert list(feature["y"].float_list.value) == [2.5]
    assert np.isnan(feature["x"].float_list.value).all()


def test_forecasting(ingest, table, configured) -> None:
    task = {"kind": "forecasting", "targets": ["x", "goal"], "input_length": 2, "horizons": [1, 3], "season_length": 2}
    features = ["x", {"name": "plan", "known_in_advance": True}, "z"]
    features.append({"name": "day", "kind": "categorical", "known_in_advance": True})
    dataset = configured(task=task, features=features)
    rows = "".join(f"a,{t},{t},{10 + t},{20 + t},{30 + t},d{t}\n" for t in range(5))
    (part,) = ingest(dataset, [table("id,t,x,plan,z,goal,day\n" + rows)]).parts
    feature = decoded(Encoder(part, dataset)(0))
    lists = {name: list(value.float_list.value) for name, value in feature.items() if value.HasField("float_list")}
    assert lists == {
        "naive_last/goal": [31.0, 31.0],
        "naive_last/x": [1.0, 1.0],
        "naive_seasonal/goal": [30.0, 30.0],
        "naive_seasonal/x": [0.0, 0.0],
        "plan": [10.0, 11.0, 12.0, 13.0, 14.0],
        "target/goal": [32.0, 34.0],
        "target/x": [2.0, 4.0],
        "x": [0.0, 1.0],
        "z": [20.0, 21.0],
    }
    assert list(feature["day"].bytes_list.value) == [b"d0", b"d1", b"d2", b"d3", b"d4"]
    assert list(feature["steps"].int64_list.value) == [2]


def test_sequences_of_many_lengths_in_any_order(ingest, table, configured) -> None:
    random = np.random.default_rng(0)
    lengths = random.integers(1, 9, 300)
    frame = pd.DataFrame({"id": np.repeat([f"e{number}" for number in range(300)], lengths)})
    frame["t"] = frame.groupby("id").cumcount()
    frame["x"] = random.standard_normal(len(frame)).astype(np.float32)
    frame["färbe"] = random.choice(["rot", "grün", "blaugrün"], len(frame))
    frame["y"] = frame["id"].str[-1]
    dataset = configured(features=FEATURES)
    (part,) = ingest(dataset, [table(frame.to_csv(index=False))], buckets=1).parts
    places = random.permutation(len(part))
    series = dict(list(frame.groupby("id")))
    for place, record in zip(places.tolist(), Encoder(part, dataset).examples(places), strict=True):
        feature, rows = decoded(record), series[part.ids[place]]
        assert feature["sequence_id"].bytes_list.value[0].decode() == part.ids[place]
        assert list(feature["steps"].int64_list.value) == [len(rows)]
        assert np.array_equal(np.array(feature["x"].float_list.value, np.float32), rows["x"])
        assert [text.decode() for text in feature["färbe"].bytes_list.value] == rows["färbe"].tolist()
        assert feature["y"].bytes_list.value[0].decode() == rows["y"].iloc[0]


@pytest.mark.parametrize("values", ["noise", "decimals"])
def test_shards_that_hardly_shrink_are_stored(ingest, tmp_path, configured, values) -> None:
    noise = np.random.default_rng(0).standard_normal(40_000).astype(np.float32)
    frame = pd.DataFrame({"id": np.repeat(["a", "b", "c", "d"], 10_000), "y": "c"})
    frame["x"] = noise if values == "noise" else noise.round(1)
    frame["t"] = frame.groupby("id").cumcount()
    frame.to_parquet(tmp_path / "rows.parquet")
    dataset = configured(max_length=10_000)
    (part,) = ingest(dataset, [tmp_path / "rows.parquet"], buckets=1).parts
    shards = [content for _, _, content in encode_shards(part, Encoder(part, dataset), Quarantine().report)]
    size = sum(len(gzip.decompress(content)) for content in shards)
    ratio = sum(map(len, shards)) / size
    assert size > 160_000
    assert 1 < ratio < 1.01 if values == "noise" else ratio < 0.7


@pytest.mark.parametrize(
    ("value", "written"), [(0, "00"), (127, "7f"), (128, "8001"), (300, "ac02"), (2**35, "808080808001")]
)
def test_varint(value, written) -> None:
    assert varint(value).hex() == written


def test_shards_are_read_by_tensorflow(ingest, table, configured, tmp_path) -> None:
    import tensorflow as tf

    dataset = configured()
    rows = "".join(f"e{number},{step},{number},c\n" for number in range(60) for step in range(3))
    (part,) = ingest(dataset, [table("id,t,x,y\n" + rows)], buckets=1).parts
    quarantine = Quarantine()
    records: dict[str, list[bytes]] = {}
    for split, number, content in encode_shards(part, Encoder(part, dataset), quarantine.report, 2000):
        path = tmp_path / f"{split}-{number}.gz"
        path.write_bytes(content)
        dataset_of_shard: Any = tf.data.TFRecordDataset(str(path), "GZIP")
        records.setdefault(split, []).extend(dataset_of_shard.as_numpy_iterator())
    assert {split: len(found) for split, found in records.items()} == dict(quarantine.report.sequences)
    ids = [decoded(record)["sequence_id"].bytes_list.value[0] for found in records.values() for record in found]
    assert sorted(ids) == sorted(f"e{number}".encode() for number in range(60))
    assert quarantine.report.lengths == {"3": 60}


def test_framing_is_tensorflows(tmp_path) -> None:
    import tensorflow as tf

    path = str(tmp_path / "one.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(b"a record")
    assert (tmp_path / "one.tfrecord").read_bytes() == frame_record(b"a record")

"""The sample is held against pandas over the same rows, and against itself after writing and reading."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

from noisy_gru.data.sequences.value_sample import (
    LENGTH,
    ValueSample,
    read_values,
    sample_values,
    split_sequence_id,
    write_values,
)
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import DataError

DATA = {
    "files": ["x.csv"],
    "entity": "id",
    "time": {"column": "t"},
    "features": ["temp", {"name": "city", "kind": "categorical"}, {"name": "id", "kind": "categorical"}],
}
CLASSES = DatasetConfig.model_validate({"data": DATA, "task": {"kind": "classification", "label": "label"}})
WINDOWS = DatasetConfig.model_validate(
    {
        "data": DATA,
        "task": {"kind": "forecasting", "targets": ["temp"], "input_length": 4, "horizons": [1], "stride": 2},
        "splits": {"by": "time"},
    }
)


def test_names_are_taken_apart():
    assert split_sequence_id("a@b", CLASSES) == ("a@b", (0.0, ""))
    assert split_sequence_id("a@b@12", WINDOWS) == ("a@b", (12.0, ""))
    assert split_sequence_id("a@9", WINDOWS)[1] < split_sequence_id("a@10", WINDOWS)[1]
    assert split_sequence_id("a@2026-01-09T00:00:00Z", WINDOWS) < split_sequence_id("a@2026-01-10T00:00:00Z", WINDOWS)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no file", b"text"])
def test_what_is_no_sample_is_told(content):
    with pytest.raises(DataError, match=r"values\.npz: expected a sample of a model's training data"):
        read_values(content, "values.npz")


def test_another_format_is_told():
    buffer = io.BytesIO()
    np.savez(buffer, format=np.array(9))
    with pytest.raises(DataError, match=r"values\.npz has the format 9; expected 1"):
        read_values(buffer.getvalue(), "values.npz")


@pytest.fixture
def folder(tmp_path):
    """300 sequences of 3 to 40 steps in two shards, and their values as lists."""
    import tensorflow as tf

    random = np.random.default_rng(1)
    sequences = {}
    for number in range(300):
        steps = int(random.integers(3, 41))
        temp = random.normal(0, 1, steps).astype(np.float32)
        temp[random.random(steps) < 0.2] = np.nan
        cities = [str(name) for name in random.choice(["JFK", "LGA", "", "a\nb", "é"], steps)]
        sequences[f"s{number}"] = (temp, cities, "xy"[number % 2])
    split = tmp_path / "Split-train"
    split.mkdir()
    for shard in range(2):
        options = tf.io.TFRecordOptions(compression_type="GZIP")
        with tf.io.TFRecordWriter(str(split / f"data_tfrecord-0000{shard}-of-00002-000.gz"), options) as writer:
            for name in list(sequences)[shard::2]:
                temp, cities, label = sequences[name]
                example = tf.train.Example()
                example.features.feature["temp"].float_list.value.extend(temp)
                example.features.feature["city"].bytes_list.value.extend(city.encode() for city in cities)
                example.features.feature["label"].bytes_list.value.append(label.encode())
                example.features.feature["sequence_id"].bytes_list.value.append(name.encode())
                example.features.feature["steps"].int64_list.value.append(len(temp))
                writer.write(example.SerializeToString(deterministic=True))
    return tmp_path, sequences


@pytest.mark.slow
def test_what_is_kept_of_each_sequence(folder):
    path, sequences = folder
    sample = sample_values(str(path), "train", CLASSES)
    assert (sample.numeric, sample.categorical) == (("temp", LENGTH), ("city", "label"))
    assert len(sample) == len(sequences)
    temps = [temp for temp, _, _ in sequences.values()]
    assert sorted(sample.valid[:, 0]) == sorted(int((~np.isnan(temp)).sum()) for temp in temps)
    assert sample.missing[:, 0].sum() == sum(int(np.isnan(temp).sum()) for temp in temps)
    cities = [city for _, names, _ in sequences.values() for city in names]
    for name in ("JFK", "LGA", "a\nb", "é"):
        assert sum(row[0].get(name, 0) for row in sample.counts) == cities.count(name)
    assert sample.missing[:, 2].sum() == cities.count("")
    assert sum(row[1]["x"] for row in sample.counts if "x" in row[1]) == 150
    # Where the points stand among the edges is where the values stand among all values, to a hundredth.
    every = np.sort(np.concatenate(temps)[~np.isnan(np.concatenate(temps))])
    codes = sample.points[:, 0][sample.points[:, 0] != 255]
    assert codes.mean() / len(sample.edges[0]) == pytest.approx(0.5, abs=0.02)
    assert sample.edges[0][127] == pytest.approx(np.quantile(every, 0.5), abs=0.05)


@pytest.mark.slow
def test_windows_of_a_day_are_taken_of_every_hour_and_none_overlap(tmp_path):
    """Of 40 days of three entities; each window ends an hour later, and its target is the hour of the day."""
    import tensorflow as tf

    split = tmp_path / "Split-train"
    split.mkdir()
    options = tf.io.TFRecordOptions(compression_type="GZIP")
    with tf.io.TFRecordWriter(str(split / "data_tfrecord-00000-of-00001-000.gz"), options) as writer:
        for entity in "abc":
            for hour in range(24, 40 * 24):
                example = tf.train.Example()
                example.features.feature["temp"].float_list.value.extend(range(24))
                example.features.feature["target/temp"].float_list.value.append(hour % 24)
                example.features.feature["sequence_id"].bytes_list.value.append(f"{entity}@{hour}".encode())
                example.features.feature["steps"].int64_list.value.append(24)
                writer.write(example.SerializeToString(deterministic=True))
    task = {"kind": "forecasting", "targets": ["temp"], "input_length": 24, "horizons": [1]}
    hourly = WINDOWS.model_copy(update={"task": type(WINDOWS.task).model_validate(task)})
    sample = sample_values(str(tmp_path), "train", hourly)
    hours = sample.points[:, 1, 0]
    # A window takes 24 hours, and then up to 23 are left out.
    assert [20 <= (sample.entity == entity).sum() <= 39 for entity in range(3)] == [True] * 3
    assert len(np.unique(hours)) >= 20
    assert np.unique(hours, return_counts=True)[1].max() <= len(hours) // 4


@pytest.mark.slow
def test_writing_and_reading_changes_nothing_and_no_name_is_in_the_file(folder):
    path, _ = folder
    sample = sample_values(str(path), "train", CLASSES)
    write_values(str(path), sample)
    content = (path / "values.npz").read_bytes()
    again = read_values(content, "values.npz")
    for name in ValueSample.__dataclass_fields__:
        one, other = getattr(sample, name), getattr(again, name)
        if name == "edges":
            assert all(map(np.array_equal, one, other))
        elif isinstance(one, np.ndarray):
            assert np.array_equal(one, other)
        else:
            assert json.dumps(one) == json.dumps(other), name
    with np.load(io.BytesIO(content)) as file:
        assert all(b"s299" not in file[key].tobytes() for key in file.files)
    assert len(content) < 100_000
    assert sample_values(str(path), "train", CLASSES, like=again).points.tolist() == sample.points.tolist()

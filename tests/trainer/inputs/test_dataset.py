"""Batches of transformed sequences: every one once, in an order that seed and epoch alone decide."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_array_equal

from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import DataError
from noisy_gru.trainer import features as names
from noisy_gru.trainer.features import Layout, model_inputs
from noisy_gru.trainer.inputs.dataset import BatchConfig, SequenceData

COUNT = 103
FEATURES_KEY = "features$ragged_values"


def dataset(task: dict[str, Any]) -> DatasetConfig:
    features = ["a", "b", {"name": "c", "kind": "categorical"}]
    return DatasetConfig.model_validate(
        {"data": {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": features}, "task": task}
    )


LAYOUT = Layout(dataset({"kind": "classification", "label": "y"}))
REGRESSION = Layout(dataset({"kind": "regression", "label": "y"}))
SPEC: dict[str, Any] = {
    names.FEATURES: tf.io.RaggedFeature(tf.float32, value_key=FEATURES_KEY, row_splits_dtype=tf.int64),
    "ids_0": tf.io.RaggedFeature(tf.int64, value_key="ids_0$ragged_values", row_splits_dtype=tf.int64),
    names.LENGTH: tf.io.FixedLenFeature([], tf.int64),
    names.LABEL: tf.io.FixedLenFeature([], tf.int64),
}
TARGET_SPEC = {key: value for key, value in SPEC.items() if key != names.LABEL} | {
    names.TARGETS: tf.io.FixedLenFeature([1], tf.float32)
}


def lengths(count: int) -> list[int]:
    return [1 + (7 * index) % 20 for index in range(count)]


def write(folder: Path, encode: Any, count: int = COUNT, shards: int = 3, **answer: Any) -> list[str]:
    """Sequence i holds the number i in each step's first channel, and the step's number in the second and as id."""
    for shard in range(shards):
        with tf.io.TFRecordWriter(str(folder / f"{shard}.gz"), "GZIP") as writer:
            for index in range(shard * count // shards, (shard + 1) * count // shards):
                steps = lengths(count)[index]
                flat = np.stack([np.full(steps, float(index)), np.arange(steps)], axis=1).ravel()
                row = {FEATURES_KEY: flat.tolist(), "ids_0$ragged_values": list(range(steps)), names.LENGTH: [steps]}
                given = {key: [value(index)] for key, value in answer.items()} or {names.LABEL: [index % 3]}
                writer.write(encode({**row, **given}))
    return [str(folder / "*.gz")]


def order(batches: tf.data.Dataset) -> list[int]:
    """The numbers of the sequences, checked against their steps and answers, in the order they came."""
    numbers = []
    for inputs, labels in batches:
        features, ids, length = (inputs[key].numpy() for key in (names.FEATURES, "ids_0", names.LENGTH))
        for row in range(len(length)):
            steps, number = int(length[row]), int(features[row, 0, 0])
            assert steps == lengths(COUNT)[number] and labels[row] == number % 3
            assert_array_equal(features[row, :steps], np.stack([np.full(steps, number), np.arange(steps)], axis=1))
            assert_array_equal(ids[row, :steps], np.arange(steps))
            assert not features[row, steps:].any() and not ids[row, steps:].any()
            numbers.append(number)
    return numbers


def load(patterns: list[str], **config: Any) -> SequenceData:
    return SequenceData(patterns, SPEC, LAYOUT, BatchConfig(**{"batch_size": 10, **config}), "train")


def epoch(data: SequenceData, number: int) -> list[int]:
    data.epoch.assign(number)
    return order(data.shuffled())


@pytest.mark.slow
@pytest.mark.parametrize("cache_bytes", [4e9, 0], ids=["in memory", "from files"])
@pytest.mark.parametrize("bucket_by_length", [False, True], ids=["any length", "by length"])
def test_an_epoch_is_every_sequence_once_in_an_order_of_its_own(
    tmp_path: Path, encode: Any, cache_bytes: float, bucket_by_length: bool
) -> None:
    patterns = write(tmp_path, encode)
    data = load(patterns, seed=3, cache_bytes=cache_bytes, bucket_by_length=bucket_by_length)
    assert data.in_memory == bool(cache_bytes) and len(data) == COUNT and data.steps == 11 and data.longest == 20
    assert order(data.one_pass()) == list(range(COUNT))
    first, second = epoch(data, 0), epoch(data, 1)
    assert sorted(first) == sorted(second) == list(range(COUNT)) != first != second
    # A training that goes on at epoch 1 in another process sees what it would have seen.
    again = load(patterns, seed=3, cache_bytes=cache_bytes, bucket_by_length=bucket_by_length)
    assert epoch(again, 1) == second
    assert epoch(load(patterns, seed=4, cache_bytes=cache_bytes, bucket_by_length=bucket_by_length), 1) != second


def test_the_order_does_not_depend_on_the_global_seed(tmp_path: Path, encode: Any) -> None:
    patterns = write(tmp_path, encode)
    orders = []
    for seed in (0, 7):
        # What a training does; 0 is the default seed.
        tf.random.set_seed(seed)
        orders.append(epoch(load(patterns, seed=3, cache_bytes=0), 1))
    assert orders[0] == orders[1] != list(range(COUNT))
    assert tf.random.uniform([]) != tf.random.uniform([])


def test_batches_by_length_need_less_padding(tmp_path: Path, encode: Any) -> None:
    patterns = write(tmp_path, encode)

    def padding(data: SequenceData) -> int:
        return sum(int(np.prod(x[names.FEATURES].shape[:2])) - int(sum(x[names.LENGTH])) for x, _ in data.shuffled())

    assert padding(load(patterns, bucket_by_length=True)) < padding(load(patterns)) / 3


@pytest.mark.slow
@pytest.mark.parametrize("cache_bytes", [4e9, 0], ids=["in memory", "from files"])
@pytest.mark.parametrize("bucket_by_length", [False, True], ids=["any length", "by length"])
def test_few_shapes_for_a_compiler(tmp_path: Path, encode: Any, cache_bytes: float, bucket_by_length: bool) -> None:
    data = load(write(tmp_path, encode), cache_bytes=cache_bytes, bucket_by_length=bucket_by_length)
    data.epoch.assign(1)
    plain = [(inputs[names.LENGTH].numpy(), labels.numpy()) for inputs, labels in data.shuffled()]
    data.pad_to((6, 13, 20))
    # What is compiled ahead is called again, as long as the types are the same.
    assert data.one_of_each_shape().element_spec == data.shuffled().element_spec
    batches = list(data.shuffled())
    assert {inputs[names.FEATURES].shape[1] for inputs, *_ in batches} <= {6, 13, 20}
    for (inputs, labels, weight), (expected, expected_labels) in zip(batches, plain, strict=True):
        length, steps = inputs[names.LENGTH].numpy(), inputs[names.FEATURES].shape[1]
        assert length.max() <= steps and (steps == 6 or length.max() > {13: 6, 20: 13}[steps])
        # The rows are those of the plain batch, then its last one again, without weight.
        missing = 10 - len(expected)
        assert_array_equal(length, np.pad(expected, (0, missing), mode="edge"))
        assert_array_equal(labels, np.pad(expected_labels, (0, missing), mode="edge"))
        assert_array_equal(weight, [1.0] * len(expected) + [0.0] * missing)
    assert sum(weight.numpy().sum() for *_, weight in batches) == COUNT
    assert [x[names.FEATURES].shape for x, *_ in data.one_of_each_shape()] == [(10, 6, 2), (10, 13, 2), (10, 20, 2)]


def test_the_longest_of_the_batches_are_foreseen(tmp_path: Path, encode: Any) -> None:
    data = load(write(tmp_path, encode), bucket_by_length=True)

    def longest(batches: tf.data.Dataset) -> list[int]:
        return [int(max(inputs[names.LENGTH])) for inputs, _ in batches]

    assert data.longest_of_batches(shuffled=False).tolist() == longest(data.one_pass())
    # All 103 are one pool, so which batches there are does not depend on the draw; their order does.
    assert sorted(data.longest_of_batches(shuffled=True)) == sorted(longest(data.shuffled()))


def test_batches_are_what_a_server_makes_of_the_sequences(tmp_path: Path, encode: Any) -> None:
    data = load(write(tmp_path, encode))
    (block, *_) = data._files.blocks()
    block.pop("unseen")
    for start, (inputs, labels) in zip(range(0, COUNT, 10), data.one_pass(), strict=True):
        rows = {key: value[start : start + 10] for key, value in block.items()}
        expected = model_inputs(rows, LAYOUT)
        assert set(inputs) == set(expected)
        for key, value in expected.items():
            assert_array_equal(inputs[key], value)
            assert inputs[key].dtype == value.dtype
        assert_array_equal(labels, rows[names.LABEL])


def test_the_last_batch_is_kept_and_the_steps_are_known(tmp_path: Path, encode: Any) -> None:
    data = load(write(tmp_path, encode))
    sizes = [len(labels) for _, labels in data.shuffled()]
    assert sizes == [10] * 10 + [3]
    assert data.shuffled().cardinality() == 11


@pytest.mark.parametrize("cache_bytes", [4e9, 0])
def test_a_class_that_train_never_showed_is_left_out_and_counted(
    tmp_path: Path, encode: Any, cache_bytes: float, caplog: pytest.LogCaptureFixture
) -> None:
    patterns = write(tmp_path, encode, label=lambda index: -1 if index < 5 else index % 3)
    with caplog.at_level(logging.WARNING):
        data = load(patterns, cache_bytes=cache_bytes)
    assert data.unseen_labels == 5 and len(data) == COUNT - 5 and "5 sequences of split train" in caplog.text
    assert order(data.one_pass()) == list(range(5, COUNT))


@pytest.mark.parametrize("cache_bytes", [4e9, 0])
def test_targets_are_shaped_and_must_be_finite(tmp_path: Path, encode: Any, cache_bytes: float) -> None:
    config = BatchConfig(10, cache_bytes=cache_bytes)
    patterns = write(tmp_path, encode, targets=lambda index: float(index))
    ((_, targets), *_) = SequenceData(patterns, TARGET_SPEC, REGRESSION, config, "train").one_pass()
    assert_array_equal(targets, np.arange(10.0)[:, None])
    (tmp_path / "bad").mkdir()
    patterns = write(tmp_path / "bad", encode, targets=lambda index: float("nan") if index == 50 else 1.0)
    with pytest.raises(DataError, match="targets y of split eval hold missing or infinite values"):
        SequenceData(patterns, TARGET_SPEC, REGRESSION, config, "eval")


@pytest.mark.parametrize("cache_bytes", [4e9, 0])
def test_missing_targets_of_windows_have_no_weight(tmp_path: Path, encode: Any, cache_bytes: float) -> None:
    task = {"kind": "forecasting", "targets": ["a"], "input_length": 1, "horizons": [1]}
    layout, config = Layout(dataset(task)), BatchConfig(10, cache_bytes=cache_bytes)
    spec = {**TARGET_SPEC, names.LAST_TARGET: tf.io.FixedLenFeature([1], tf.float32)}
    values = [float("nan") if index % 4 == 1 else float(index) for index in range(COUNT)]

    def written(name: str, of: Any) -> list[str]:
        (tmp_path / name).mkdir()
        return write(tmp_path / name, encode, targets=of, last_target=lambda index: 0.0)

    data = SequenceData(written("some", lambda index: values[index]), spec, layout, config, "train")
    answers = np.concatenate([answer for _, answer in data.one_pass()])
    assert answers.shape == (COUNT, 1, 2)
    assert_array_equal(answers[:, 0, 0], np.nan_to_num(values))
    known = ~np.isnan(values)
    np.testing.assert_allclose(answers[:, 0, 1], known / known.mean(), rtol=1e-6)
    for name, value, message in (("none", np.nan, "known target"), ("infinite", np.inf, "missing or infinite")):
        with pytest.raises(DataError, match=message):
            SequenceData(written(name, lambda index, value=value: float(value)), spec, layout, config, "train")
    strict = dataset(task).model_dump()
    strict["data"]["policies"]["missing_target"] = "drop"
    with pytest.raises(DataError, match="missing or infinite"):
        SequenceData([str(tmp_path / "some/*.gz")], spec, Layout(DatasetConfig.model_validate(strict)), config, "train")


def test_the_digest_tells_data_apart(tmp_path: Path, encode: Any) -> None:
    for name in ("one", "same", "other"):
        (tmp_path / name).mkdir()
    one = load(write(tmp_path / "one", encode)).digest
    assert load(write(tmp_path / "same", encode, shards=5)).digest == one
    assert load(write(tmp_path / "other", encode, label=lambda index: 0)).digest != one


def test_no_files_are_no_sequences() -> None:
    data = load([])
    assert len(data) == 0 and data.steps == 0


def rare(index: int) -> int:
    """Of 103 sequences 90 of the class 0, 10 of 1, and 3 of 2."""
    return 0 if index < 90 else 1 if index < 100 else 2


@pytest.mark.parametrize("bucket_by_length", [False, True], ids=["any length", "by length"])
def test_balanced_sampling_draws_each_class_alike(tmp_path: Path, encode: Any, bucket_by_length: bool) -> None:
    answer: Any = {names.LABEL: rare}
    patterns = write(tmp_path, encode, **answer)

    def drawn(data: SequenceData, number: int) -> list[int]:
        data.epoch.assign(number)
        numbers = []
        for inputs, labels in data.shuffled():
            features, length = inputs[names.FEATURES].numpy(), inputs[names.LENGTH].numpy()
            numbers += [int(each) for each in features[:, 0, 0]]
            assert [rare(each) for each in numbers[-len(length) :]] == labels.numpy().tolist()
            assert [lengths(COUNT)[each] for each in numbers[-len(length) :]] == length.tolist()
        return numbers

    def sampled(seed: int = 3) -> SequenceData:
        return load(patterns, seed=seed, balanced=True, bucket_by_length=bucket_by_length)

    data = sampled()
    assert np.bincount(data.labels).tolist() == [90, 10, 3]
    epochs = [drawn(data, number) for number in range(4)]
    for numbers in epochs:
        assert np.bincount([rare(each) for each in numbers]).tolist() == [35, 34, 34]
        times = np.bincount(numbers, minlength=COUNT)
        # Each as often as the others of its class, or once more; none of the frequent class twice.
        assert set(times[:90]) == {0, 1} and set(times[90:100]) == {3, 4} and set(times[100:]) == {11, 12}
        assert numbers != sorted(numbers)
    assert len(set().union(*epochs)) > 90
    # Other sequences of the frequent class in each epoch, the same ones in another process.
    assert {each for each in epochs[0] if each < 90} != {each for each in epochs[1] if each < 90}
    again = sampled()
    assert [drawn(again, 2), drawn(again, 0)] == [epochs[2], epochs[0]]
    assert drawn(sampled(seed=4), 0) != epochs[0]
    assert [number for inputs, _ in data.one_pass() for number in inputs[names.FEATURES].numpy()[:, 0, 0]] == list(
        range(COUNT)
    )


@pytest.mark.parametrize("drawn", [40, 250])
def test_epochs_of_a_given_number_of_windows_draw_all_alike(tmp_path: Path, encode: Any, drawn: int) -> None:
    patterns = write(tmp_path, encode)

    data = load(patterns, seed=3, drawn=drawn)
    assert len(list(data.shuffled())) == data.steps == -(-drawn // data.config.batch_size)
    epochs = [epoch(data, number) for number in range(6)]
    times = np.zeros(COUNT, int)
    for number, numbers in enumerate(epochs, start=1):
        assert len(numbers) == drawn
        times += np.bincount(numbers, minlength=COUNT)
        # After any epoch each came as often as the others, or once more.
        assert times.sum() == number * drawn and set(times - number * drawn // COUNT) <= {0, 1}
    # A pass goes on where the last epoch ended, in an order of its own.
    endless = [each for numbers in epochs for each in numbers]
    passes = [endless[start : start + COUNT] for start in range(0, len(endless) - COUNT + 1, COUNT)]
    assert all(sorted(each) == list(range(COUNT)) for each in passes) and passes[0] != passes[1]
    again = load(patterns, seed=3, drawn=drawn)
    assert [epoch(again, 4), epoch(again, 0)] == [epochs[4], epochs[0]]
    assert epoch(data.with_seed(4), 0) != epochs[0]
    assert len(order(data.one_pass())) == COUNT
    # Training reads several epochs in one data set.
    assert order(data.epochs(1, 3)) == epochs[1] + epochs[2]

"""Real sequences for the gate: chosen by length from the test split, and as padded tensors for `serving_tensors`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from noisy_gru.data.sequences import example_files
from noisy_gru.saved_model.tensor_names import STATIC_FEATURES, static_tensor_names, tensor_names
from noisy_gru.schema.config import DatasetConfig, ForecastingConfig

CHOSEN = 32
_READ = 2000
# Values of the sequences in one comparison, and the fewest sequences, however long: what bounds the gate's work.
_VALUES, _FEWEST = 1_000_000, 8
_READ_BYTES = 64_000_000
# Steps of a sequence in all batches but the longest's and the one of all lengths: a loop over more costs minutes, and
# what goes wrong by a batch's size or padding does so within them.
LONGEST = 1_000


@dataclass(frozen=True)
class Batch:
    """A batch of sequences in the form of both signatures."""

    name: str
    examples: list[bytes]
    tensors: dict[str, np.ndarray]


def read_examples(split: Path, limit: int = _READ) -> list[bytes]:
    """Return the first serialized tf.Examples of a split's folder.

    At most ``limit`` of them, and of long ones fewer, but not fewer than the largest comparison takes.
    """
    found: list[bytes] = []
    size = 0
    for file in example_files.example_files(split):
        for record in example_files.read_examples(file):
            if len(found) == limit or (size > _READ_BYTES and len(found) >= CHOSEN):
                return found
            found.append(record)
            size += len(record)
    return found


def example_values(example: bytes) -> dict[str, Sequence[Any]]:
    """Return the values of each feature of a serialized tf.Example, where they lie."""
    import tensorflow as tf

    feature = tf.train.Example.FromString(example).features.feature
    result: dict[str, Sequence[Any]] = {}
    for name, value in feature.items():
        kind = value.WhichOneof("kind")
        result[name] = getattr(value, kind).value if kind else ()
    return result


def steps_of(values: Mapping[str, Sequence[Any]], dataset: DatasetConfig) -> int:
    """Return the number of past steps of a sequence: the values of a feature that isn't known in advance."""
    if values.get("steps"):
        return int(values["steps"][0])
    steps = [feature for feature in dataset.data.features if not feature.static]
    past = [feature.name for feature in steps if not feature.known_in_advance]
    if past:
        return len(values.get(past[0], []))
    return max(len(values.get(steps[0].name, [])) - future_steps(dataset), 0)


def by_length(examples: Sequence[bytes], dataset: DatasetConfig) -> list[bytes]:
    """Return the sequences from the shortest to the longest; the earlier one first where two are as long."""
    return sorted(examples, key=lambda example: steps_of(example_values(example), dataset))


def spread(ordered: Sequence[bytes], count: int = CHOSEN) -> list[bytes]:
    """Select at most ``count`` sequences, evenly spread from the first to the last; deterministic."""
    places = np.unique(np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().astype(int))
    return [ordered[place] for place in places]


def affordable(ordered: Sequence[bytes], count: int) -> int:
    """Return how many sequences to compare: ``count``, and fewer where the longest makes them too costly."""
    longest = max(
        (sum(len(values) for values in example_values(example).values()) for example in ordered[-1:]), default=0
    )
    return min(count, max(_FEWEST, _VALUES // max(longest, 1)))


def filled(ordered: Sequence[bytes], size: int) -> list[bytes]:
    """Select exactly ``size`` sequences, evenly spread; some repeat if there are fewer."""
    return list(islice(cycle(spread(ordered, size)), size))


def batches(ordered: Sequence[bytes], dataset: DatasetConfig, batch_size: int) -> list[Batch]:
    """Return batches of several lengths and sizes: one sequence, a few, many, the configured size, and other padding.

    The longest sequence is asked whole, alone and in the batch of all lengths; the other batches have the first
    `LONGEST` steps of longer sequences.

    Args:
        ordered: sequences by their length.
        dataset: names the features and their order.
        batch_size: sequences in the largest batch that is promised to be served.
    """
    chosen = spread(ordered, affordable(ordered, CHOSEN))
    begun = [beginning(example, dataset) for example in chosen]
    parts = {
        "the shortest sequence": begun[:1],
        "the longest sequence": chosen[-1:],
        "a few sequences": begun[:: max(len(chosen) // 7, 1)],
        "sequences of all lengths": chosen,
    }
    if len(parts["a few sequences"]) == len(chosen):
        del parts["a few sequences"]
    if batch_size != len(chosen):
        parts["a batch of the configured size"] = [beginning(each, dataset) for each in filled(ordered, batch_size)]
    result = [Batch(f"{name} ({len(part)})", list(part), tensors(part, dataset)) for name, part in parts.items()]
    # What stands after the end of a sequence must not matter.
    padded = tensors(begun, dataset, extra=3, number=7.0, text=b"after the end")
    return [*result, Batch(f"sequences of all lengths, padded otherwise ({len(begun)})", begun, padded)]


def beginning(example: bytes, dataset: DatasetConfig, steps: int = LONGEST) -> bytes:
    """Return a serialized tf.Example with the first steps of the past, and the future after them if it is known."""
    import tensorflow as tf

    if steps_of(example_values(example), dataset) <= steps:
        return example
    parsed = tf.train.Example.FromString(example)
    features = parsed.features.feature
    for feature in dataset.data.features:
        if feature.static or feature.name not in features:
            continue
        kind = features[feature.name].WhichOneof("kind")
        count = steps + (future_steps(dataset) if feature.known_in_advance else 0)
        if kind:
            del getattr(features[feature.name], kind).value[count:]
    if "steps" in features:
        features["steps"].int64_list.value[0] = steps
    return parsed.SerializeToString(deterministic=True)


def future_steps(dataset: DatasetConfig) -> int:
    """Return the steps of the time axis after the past: the furthest horizon if a feature is known up to it, or 0."""
    known = any(feature.known_in_advance for feature in dataset.data.features)
    return dataset.task.max_horizon if known and isinstance(dataset.task, ForecastingConfig) else 0


def tensors(
    examples: Sequence[bytes], dataset: DatasetConfig, *, extra: int = 0, number: float = 0.0, text: bytes = b""
) -> dict[str, np.ndarray]:
    """Return the inputs of `serving_tensors` for serialized tf.Examples.

    Args:
        examples: B of them.
        dataset: names the features and their order.
        extra: steps that the time axis is longer than it needs to be.
        number: what stands where a sequence has no numeric value.
        text: what stands where it has no string.

    Returns:
        `features` float32 [B, T, F], `lengths` int64 [B], and an object array [B, T] for each categorical feature; of
        static ones `static_features` float32 [B, S] and object arrays [B].
    """
    rows = [example_values(example) for example in examples]
    lengths = np.array([steps_of(row, dataset) for row in rows], np.int64)
    axis = int(lengths.max(initial=0)) + future_steps(dataset) + extra
    features = np.full((len(rows), axis, len(dataset.data.numeric)), number, np.float32)
    result: dict[str, np.ndarray] = {"features": features, "lengths": lengths}
    for channel, feature in enumerate(dataset.data.numeric):
        for index, row in enumerate(rows):
            values = row.get(feature.name, [])
            features[index, : len(values), channel] = values
    tensors = tensor_names(dataset.data)
    for feature in dataset.data.categorical:
        words = np.full((len(rows), axis), text, dtype=object)
        for index, row in enumerate(rows):
            for step, word in enumerate(row.get(feature.name, [])):
                words[index, step] = word
        result[tensors[feature.name]] = words
    if static := dataset.data.static_numeric:
        columns = [[(row.get(feature.name) or [np.nan])[0] for feature in static] for row in rows]
        result[STATIC_FEATURES] = np.array(columns, np.float32).reshape(len(rows), len(static))
    for name, tensor in static_tensor_names(dataset.data).items():
        result[tensor] = np.array([(row.get(name) or [b""])[0] for row in rows], dtype=object)
    return result


def time_axis(tensors: Mapping[str, np.ndarray]) -> int:
    """Return T of the inputs of `serving_tensors` or `serving_step`."""
    return tensors["features"].shape[1]


def static_inputs(dataset: DatasetConfig) -> frozenset[str]:
    """Return the names of the inputs that hold one value for each sequence."""
    return frozenset([STATIC_FEATURES, *static_tensor_names(dataset.data).values()])

"""False-alarm rate and power of the drift test: two tables, seeded.

    python benchmarks/drift_alarms.py [--trained-on 270] [--rate 0.01]

Entities of 20 to 60 steps, whose values resemble each other (a level of their own, and an AR(1) of 0.8 around it), with
a category, a class and missing values. Each cell draws new spans and tests each against one training set.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from noisy_gru.components.retrain_planner.drift import measure_drift
from noisy_gru.data.sequences.value_sample import ValueSample, sample_values
from noisy_gru.schema.config import DatasetConfig

SIZES = (5, 10, 20, 50, 150)
DATASET = DatasetConfig.model_validate(
    {
        "data": {
            "files": ["unused.csv"],
            "entity": "id",
            "time": {"column": "t"},
            "features": ["temp", "wind", {"name": "city", "kind": "categorical"}],
        },
        "task": {"kind": "classification", "label": "label"},
    }
)


@dataclass(frozen=True)
class World:
    """A distribution of sequences."""

    shift: float = 0.0
    scale: float = 1.0
    missing: float = 0.05
    lengths: tuple[int, int] = (20, 60)
    cities: tuple[float, ...] = (0.5, 0.3, 0.2)
    labels: tuple[float, ...] = (0.5, 0.5)


def sequence(world: World, name: str, random: np.random.Generator) -> bytes:
    """Return a serialized tf.Example as ingestion writes it."""
    steps = int(random.integers(*world.lengths))
    # A third of the variance is between the entities.
    around = np.empty(steps)
    value = random.normal()
    for step in range(steps):
        around[step] = value
        value = 0.8 * value + 0.6 * random.normal()
    temp = world.shift + world.scale * ((1 / 3) ** 0.5 * random.normal() + (2 / 3) ** 0.5 * around)
    temp[random.random(steps) < world.missing] = np.nan
    city = random.choice(["JFK", "LGA", "EWR"], p=world.cities)
    cities = [city if random.random() < 0.8 else str(random.choice(["JFK", "LGA", "EWR"])) for _ in range(steps)]
    features: dict[str, Any] = {
        "temp": temp.astype(np.float32),
        "wind": random.exponential(1.0, steps).astype(np.float32),
        "city": [each.encode() for each in cities],
        "label": [f"class{random.choice(len(world.labels), p=world.labels)}".encode()],
        "sequence_id": [name.encode()],
    }
    example = tf.train.Example()
    for key, values in features.items():
        target = example.features.feature[key]
        (target.float_list if isinstance(values, np.ndarray) else target.bytes_list).value.extend(values)
    example.features.feature["steps"].int64_list.value.append(steps)
    return example.SerializeToString()


def sample(world: World, count: int, seed: int, like: ValueSample | None = None) -> ValueSample:
    """Return the sample of so many sequences, through files as ingestion leaves them."""
    random = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        shard = Path(folder) / "Split-train" / "data_tfrecord-00000-of-00001-000.gz"
        shard.parent.mkdir()
        with tf.io.TFRecordWriter(str(shard), tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
            for number in range(count):
                writer.write(sequence(world, f"{seed}-{number}", random))
        return sample_values(folder, "train", DATASET, like)


def alarms(world: Callable[[World], World], spans: int, size: int, trained_on: int, rate: float, seed: int) -> int:
    """Count the spans in which any column counts as drifted, each against training data of its own."""
    found = 0
    for span in range(spans):
        start = 1_000_000 * seed + 10_000 * size + 10 * span
        before = sample(World(), trained_on, start)
        now = sample(world(World()), size, start + 1, before)
        found += any(each.drifted for each in measure_drift(before, now, DATASET, false_alarm_rate=rate).features)
    return found


WORLDS: dict[str, Callable[[World], World]] = {
    "location +1 sigma": lambda world: replace(world, shift=1.0),
    "spread doubled": lambda world: replace(world, scale=2.0),
    "half of the values missing": lambda world: replace(world, missing=0.5),
    "sequences half as long": lambda world: replace(world, lengths=(10, 30)),
    "labels 50:50 to 85:15": lambda world: replace(world, labels=(0.85, 0.15)),
    "categories 50:30:20 to 10:30:60": lambda world: replace(world, cities=(0.1, 0.3, 0.6)),
}


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trained-on", type=int, default=270, help="sequences of the training data")
    parser.add_argument("--rate", type=float, default=0.01, help="false_alarm_rate")
    parser.add_argument("--spans", type=int, default=40, help="spans of the same distribution, each size")
    parser.add_argument("--drifted", type=int, default=20, help="spans of each drift, each size")
    options = parser.parse_args()
    print(f"trained on {options.trained_on} sequences, false_alarm_rate {options.rate}\n")
    print("| of the same distribution | " + " | ".join(f"{size}" for size in SIZES) + " |")
    print("|---|" + "---|" * len(SIZES))
    cells = [alarms(lambda world: world, options.spans, size, options.trained_on, options.rate, 1) for size in SIZES]
    print(f"| alarms in {options.spans} spans | " + " | ".join(map(str, cells)) + " |\n", flush=True)
    print("| drift | " + " | ".join(f"{size}" for size in SIZES) + " |")
    print("|---|" + "---|" * len(SIZES))
    for number, (name, world) in enumerate(WORLDS.items()):
        cells = [alarms(world, options.drifted, size, options.trained_on, options.rate, 2 + number) for size in SIZES]
        print(f"| {name}: alarms in {options.drifted} | " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()

"""Throughput and latency of ``noisy-gru stream`` over a Kafka broker on loopback.

    python -m benchmarks.streaming CONFIG --root ROOT --entities 1000 --events 100000 --rate 500

The configuration's features have to be numeric, its entity one column. Prints a JSON object: events per second of a
backlog, and for events sent at a steady rate the time from sending one to reading its answer (with `--lateness 0` an
answer waits for a later event of its partition, so that is part of it).
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.kafka_broker import KafkaBroker, kafka_broker
from noisy_gru.data.columns import Columns
from noisy_gru.pipeline.config.loading import load_config

PARTITIONS = 3
_START = pd.Timestamp("2026-01-01T00:00:00Z")


class Events:
    """Events a millisecond apart (or one, of times that are numbers), of entities in turn."""

    def __init__(self, config: Path, entities: int) -> None:
        dataset = load_config(config).dataset
        columns = Columns.of(dataset, prediction=True)
        self._entity, self._time = columns.entity[0], columns.time_columns[0]
        self._is_timestamp = columns.time_kind == "timestamp"
        self._numeric, self._entities, self.number = columns.numeric, entities, 0
        self._random = random.Random(1)

    def next(self) -> tuple[str, bytes]:
        """Return the key and the value of the next event."""
        name, when = f"e{self.number % self._entities}", self.number
        self.number += 1
        time_: Any = (_START + pd.Timedelta(when, "ms")).isoformat() if self._is_timestamp else when
        row = {self._entity: name, self._time: time_, **{each: self._random.random() for each in self._numeric}}
        return name, json.dumps(row).encode()

    def number_of(self, answer: dict[str, Any]) -> int:
        """Return the number of the event that an answer belongs to."""
        if self._is_timestamp:
            return round((pd.Timestamp(answer["time"]) - _START) / pd.Timedelta(1, "ms"))
        return int(float(answer["time"]))


def run(config: Path, root: Path, entities: int, events: int, rate: float, seconds: float) -> dict[str, Any]:
    """Measure, and return the numbers."""
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic  # pyright: ignore[reportPrivateImportUsage]

    with kafka_broker() as broker:
        names = ("events", "answers", "answers-dead-letters")
        admin = AdminClient({"bootstrap.servers": broker.address})
        made = admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names])
        for name in names:
            made[name].result(60)
        source, producer = (
            Events(config, entities),
            Producer(
                # Without it, a message that is sent again may come after later ones, and be late.
                {"bootstrap.servers": broker.address, "linger.ms": 1, "enable.idempotence": True}
            ),
        )
        for place in range(events):
            key, value = source.next()
            producer.produce("events", value, key)
            if place % 1000 == 0:
                producer.poll(0)
        producer.flush(120)
        command = [
            *(sys.executable, "-m", "noisy_gru.pipeline", "stream", str(config), "--root", str(root)),
            *("--bootstrap-servers", broker.address, "--input-topic", "events", "--output-topic", "answers"),
        ]
        # The time of an empty run is that of starting: subtracted.
        first, empty = _timed([*command, "--until-end"]), _timed([*command, "--until-end"])
        backlog, cpu = first[0] - empty[0], first[1] - empty[1]
        delays = _delays(broker, command, source, producer, rate, seconds)
    found = {"entities": entities, "events": events, "backlog_events_per_second": round(events / backlog)}
    found["cpu_ms_per_event"] = round(1e3 * cpu / events, 3)
    levels = {f"latency_ms_p{level}": round(1e3 * float(np.percentile(delays, level))) for level in (50, 95, 99)}
    return {**found, "rate": rate, "answers": len(delays), **levels}


def _timed(command: list[str]) -> tuple[float, float]:
    """Return the seconds that a command takes, and its processor seconds, those of the model's process included."""
    begun, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic() - begun, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _delays(
    broker: KafkaBroker, command: list[str], source: Events, producer: Any, rate: float, seconds: float
) -> list[float]:
    """Send events at a rate, and return the seconds from sending each to reading its answer, after a warm-up."""
    from confluent_kafka import OFFSET_END, Consumer, TopicPartition

    reader = Consumer({"bootstrap.servers": broker.address, "group.id": "reader", "isolation.level": "read_committed"})
    reader.assign([TopicPartition("answers", number, OFFSET_END) for number in range(PARTITIONS)])
    process = subprocess.Popen(command)
    sent: dict[int, float] = {}
    delays: list[float] = []
    begun: float | None = None
    try:
        first = time.monotonic()
        until = first + seconds + 120
        while time.monotonic() < until:
            for _ in range(int((time.monotonic() - first) * rate) - len(sent)):
                sent[source.number] = time.monotonic()
                key, value = source.next()
                producer.produce("events", value, key)
            producer.poll(0)
            for message in reader.consume(1000, 0.002):
                if message.error() is None and (value := message.value()):
                    now = time.monotonic()
                    if begun is None:
                        # The first answers are to what came while the process started.
                        begun, until = now, now + seconds
                    number = source.number_of(json.loads(value))
                    if now > begun + seconds / 4 and number in sent:
                        delays.append(now - sent[number])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)
        reader.close()
    return delays


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--entities", type=int, default=1000)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=500)
    parser.add_argument("--seconds", type=float, default=30)
    print(json.dumps(run(**vars(parser.parse_args()))))

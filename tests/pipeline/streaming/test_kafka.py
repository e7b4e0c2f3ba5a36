"""A stream over a real Kafka broker: killed, the broker restarted, the model published anew, answers as of predict.

`make test-kafka` fetches the broker's jars and runs this.
"""

from __future__ import annotations

import importlib.util
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.kafka_broker import KafkaBroker, kafka_broker, missing
from noisy_gru.pipeline.config.loading import load_config
from noisy_gru.pipeline.exit_codes import EXIT_FAILED, EXIT_STALLED

_MISSING = missing() if importlib.util.find_spec("confluent_kafka") else "confluent-kafka is missing: pip install it"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.filterwarnings("default"),
    pytest.mark.skipif(_MISSING is not None, reason=f"no Kafka here: {_MISSING}"),
]
SECONDS = 240
CONFIG = """\
name: small
schema: schema.pbtxt
data: {files: [rows.csv], entity: id, time: {column: t, kind: timestamp}, features: [a, b]}
task: {kind: classification, label: way}
model: {serving_step: true}
"""
FORECAST = """\
name: ahead
schema: schema.pbtxt
data: {files: [rows.csv], entity: id, time: {column: t, kind: timestamp}, features: [a, b]}
task: {kind: forecasting, targets: [a], input_length: 4, horizons: [1, 2]}
"""


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaBroker]:
    with kafka_broker() as running:
        yield running


def topic(broker: KafkaBroker, name: str, partitions: int) -> str:
    """A new topic."""
    from confluent_kafka.admin import AdminClient, NewTopic  # pyright: ignore[reportPrivateImportUsage]

    admin = AdminClient({"bootstrap.servers": broker.address})
    admin.create_topics([NewTopic(name, partitions, 1)])[name].result(60)
    return name


def read_all(broker: KafkaBroker, name: str) -> list[Any]:
    """The committed messages of a topic, by partition and offset."""
    from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

    reader = Consumer(
        {
            "bootstrap.servers": broker.address,
            "group.id": "reader",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    try:
        count = len(reader.list_topics(name, timeout=60).topics[name].partitions)
        reader.assign([TopicPartition(name, number, OFFSET_BEGINNING) for number in range(count)])
        found: list[Any] = []
        ended: set[int] = set()
        while len(ended) < count:
            read: list[Any] = reader.consume(1000, 1.0)
            for each in read:
                if each.error() is None:
                    found.append(each)
                elif each.error().code() == KafkaError._PARTITION_EOF:
                    ended.add(each.partition())
        return sorted(found, key=lambda each: (each.partition(), each.offset()))
    finally:
        reader.close()


class Events:
    """Events of some entities: out of order, late, duplicated and bad ones, with what is to become of them."""

    def __init__(self, entities: int, steps: int) -> None:
        self.random = random.Random(7)
        self.good: dict[str, list[dict[str, Any]]] = {}
        self.sent: list[tuple[str, bytes]] = []
        self.letters: dict[str, int] = {"unparsable_value": 0, "late_event": 0}
        for step in range(steps):
            for number in range(entities):
                # Values as a JSON number has them, so that both ways read the same.
                a, b = (round(self.random.uniform(-2, 2), 3) for _ in "ab")
                event = {"id": f"e{number}", "t": self.time(step * entities + number), "a": a, "b": b}
                self.good.setdefault(event["id"], []).append(event)
        flat = [event for step in zip(*self.good.values(), strict=True) for event in step]
        # Each is at most 40 places, seconds, from its own.
        order = sorted(range(len(flat)), key=lambda place: place + self.random.uniform(0, 40))
        for place in order:
            event = flat[place]
            self.add(event)
            if self.random.random() < 0.03:
                self.add(event)  # twice
            if self.random.random() < 0.02:
                self.sent.append((event["id"], b'{"id": "' + event["id"].encode() + b'", "t": "yesterday"}'))
                self.letters["unparsable_value"] += 1
            if place > 400 and self.random.random() < 0.01:
                self.add({**event, "t": self.time(place - 399), "a": 9.0})
                self.letters["late_event"] += 1

    @staticmethod
    def time(second: int) -> str:
        return pd.Timestamp(1_700_000_000 + second, unit="s", tz="UTC").isoformat()

    def text_of(self, answer: dict[str, Any]) -> str:
        """The time of an answer as its event spelled it."""
        return pd.Timestamp(answer["time"]).isoformat()

    def add(self, event: dict[str, Any]) -> None:
        self.sent.append((event["id"], json.dumps(event).encode()))

    def send(self, broker: KafkaBroker, name: str, events: list[tuple[str, bytes]]) -> None:
        from confluent_kafka import Producer

        # Idempotent: a broker that is killed meanwhile changes neither their order nor their number.
        producer = Producer({"bootstrap.servers": broker.address, "enable.idempotence": True})
        for key, value in events:
            producer.produce(name, value, key)
        assert producer.flush(120) == 0

    def send_last(self, broker: KafkaBroker, name: str, partitions: int) -> None:
        """Let the watermark of each partition pass all events: an entity of its own, a day later."""
        from confluent_kafka import Producer

        producer = Producer({"bootstrap.servers": broker.address})
        for number in range(partitions):
            last = {"id": f"last{number}", "t": self.time(86_400), "a": 0, "b": 0}
            producer.produce(name, json.dumps(last).encode(), last["id"], partition=number)
        assert producer.flush(120) == 0


_started: list[Stream] = []


@pytest.fixture(autouse=True)
def no_stream_is_left() -> Iterator[None]:
    yield
    for stream in _started:
        if stream.process is not None and stream.process.poll() is None:
            stream.process.kill()
            stream.process.wait()
    _started.clear()


@dataclass
class Stream:
    """The command, started again and again."""

    arguments: list[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    codes: list[int] = field(default_factory=list)

    def start(self) -> None:
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "noisy_gru.pipeline", "stream", *self.arguments]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def __post_init__(self) -> None:
        _started.append(self)

    def end(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        self.codes.append(self.process.wait(SECONDS))
        return self.codes[-1]


class Supervised:
    """A stream that is started again when it ends by itself, as systemd and Kubernetes do."""

    def __init__(self, stream: Stream) -> None:
        self.stream, self.codes, self._stopped = stream, [], threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Supervised:
        self.stream.start()
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stopped.wait(0.5):
            assert self.stream.process is not None
            if (code := self.stream.process.poll()) is not None:
                self.codes.append(code)
                self.stream.start()

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()


def wait_for(condition: Callable[[], bool], stream: Stream) -> None:
    until = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < until, stream.log.read_text()[-3000:]
        assert stream.process is None or stream.process.poll() is None, stream.log.read_text()[-3000:]
        time.sleep(0.3)


@pytest.fixture
def published(tmp_path: Path, export_model: Callable[..., Any]) -> tuple[Path, Path, Path]:
    """A configuration, a root with version 1 of its model, and the folder of another version, not published yet."""
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG)
    root = tmp_path / "root"
    export_model(root / "serving" / "small" / "1", step=lambda state: state)
    export_model(tmp_path / "2", seed=1, step=lambda state: state)
    return config, root, tmp_path / "2"


def batch(config: Path, root: Path, version: int, good: dict[str, list[dict[str, Any]]]) -> dict[tuple[str, str], Any]:
    """What ``predict`` answers to the events up to each one: by entity and time."""
    from noisy_gru.pipeline.prediction import predict_data

    rows, names = [], {}
    for name, events in good.items():
        for place in range(len(events)):
            key = f"{name}#{place}"
            names[key] = (name, events[place]["t"])
            rows += [{**event, "id": key} for event in events[: place + 1]]
    found = predict_data(load_config(config), pd.DataFrame(rows), root=root, version=version)
    return {names[answer["sequence_id"].partition("@")[0]]: answer for answer in found}


def test_kills_a_broker_restart_and_a_new_version_lose_and_repeat_nothing(broker, published, tmp_path):
    config, root, second = published
    events = Events(entities=20, steps=60)
    name, out = topic(broker, "events", 3), topic(broker, "answers", 2)
    letters = topic(broker, "answers-dead-letters", 1)
    stream = Stream(
        [
            *(str(config), "--root", str(root), "--bootstrap-servers", broker.address, "--input-topic", name),
            *("--output-topic", out, "--lateness", "60s", "--batch-events", "40", "--batch-seconds", "0.05"),
            *("--replay-steps", "100", "--report-seconds", "2"),
        ],
        tmp_path / "stream.log",
    )
    chance = random.Random(3)
    kills, parts = 12, np.array_split(np.arange(len(events.sent)), 14)
    for number, part in enumerate(parts):
        events.send(broker, name, [events.sent[place] for place in part])
        before = len(read_all(broker, out))
        stream.start()
        if number == 5:
            wait_for(lambda before=before: len(read_all(broker, out)) > before, stream)
            broker.stop(signal.SIGKILL)
            broker.start()
        if number == 8:
            # While the stream runs, so that it takes over between two batches.
            wait_for(lambda before=before: len(read_all(broker, out)) > before, stream)
            shutil.copytree(second, root / "serving" / "small" / "2.partial")
            (root / "serving" / "small" / "2.partial").rename(root / "serving" / "small" / "2")
            wait_for(lambda: "version 2 of the model takes over from 1" in stream.log.read_text(), stream)
        if number < kills:
            # Some are killed while they start, most in the middle of a transaction.
            if chance.random() < 0.8:
                wait_for(lambda before=before: len(read_all(broker, out)) > before, stream)
            time.sleep(chance.uniform(0, 0.4))
            assert stream.end(signal.SIGKILL) == -signal.SIGKILL
        else:
            wait_for(lambda before=before: len(read_all(broker, out)) > before, stream)
            assert stream.end(signal.SIGTERM) == 0
    events.send_last(broker, name, 3)
    stream.start()
    total = sum(map(len, events.good.values()))
    wait_for(lambda: len(read_all(broker, out)) >= total, stream)
    assert stream.end(signal.SIGTERM) == 0
    answers = [json.loads(each.value()) for each in read_all(broker, out)]
    got = [(answer["entity"], events.text_of(answer)) for answer in answers]
    assert len(got) == len(set(got)) == total
    expected = {version: batch(config, root, version, events.good) for version in (1, 2)}
    for place, answer in zip(got, answers, strict=True):
        want = expected[answer["model_version"]][place]
        assert answer["way"] == want["way"]
        for column in ("probability_falls", "probability_rises", "probability_stays"):
            assert answer[column] == pytest.approx(want[column], abs=1e-5)
    assert {answer["model_version"] for answer in answers} == {1, 2}
    reasons = [dict(each.headers())["reason"].decode() for each in read_all(broker, letters)]
    assert {reason: reasons.count(reason) for reason in set(reasons)} == events.letters


def test_a_running_stream_outlives_its_broker_and_answers_each_event_once(broker, published, tmp_path):
    config, root, _ = published
    events = Events(entities=20, steps=60)
    name, out = topic(broker, "live", 3), topic(broker, "live-answers", 2)
    letters = topic(broker, "live-answers-dead-letters", 1)
    stream = Stream(
        [
            *(str(config), "--root", str(root), "--bootstrap-servers", broker.address, "--input-topic", name),
            *("--output-topic", out, "--lateness", "60s", "--batch-events", "10", "--batch-seconds", "0.05"),
            *("--group", "live", "--report-seconds", "2"),
        ],
        tmp_path / "stream.log",
    )
    parts = np.array_split(np.arange(len(events.sent)), 120)
    sent = threading.Event()

    def send() -> None:
        for part in parts:
            events.send(broker, name, [events.sent[place] for place in part])
            time.sleep(0.8)
        sent.set()

    def answered(least: int) -> None:
        until = time.monotonic() + SECONDS
        while len(read_all(broker, out)) < least:
            assert time.monotonic() < until, stream.log.read_text()[-3000:]
            time.sleep(0.5)

    with Supervised(stream) as supervised:
        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        for is_told in (True, False):
            # Events go on, so most batches are in their transaction when the broker is gone.
            answered(len(read_all(broker, out)) + 1)
            running = stream.process
            assert running is not None
            broker.stop(signal.SIGKILL)
            time.sleep(3)
            broker.start()
            if is_told:
                running.send_signal(signal.SIGTERM)
                running.wait(SECONDS)
        assert sent.wait(SECONDS)
        events.send_last(broker, name, 3)
        total = sum(map(len, events.good.values()))
        answered(total)
    assert stream.end(signal.SIGTERM) == 0
    answers = [json.loads(each.value()) for each in read_all(broker, out)]
    got = [(answer["entity"], events.text_of(answer)) for answer in answers]
    assert len(got) == len(set(got)) == total
    expected = batch(config, root, 1, events.good)
    for place, answer in zip(got, answers, strict=True):
        for column in ("probability_falls", "probability_rises", "probability_stays"):
            assert answer[column] == pytest.approx(expected[place][column], abs=1e-5)
    reasons = [dict(each.headers())["reason"].decode() for each in read_all(broker, letters)]
    assert {reason: reasons.count(reason) for reason in set(reasons)} == events.letters
    # 0 at the signal, if no call was stuck; 1: the broker was not there when it was started again.
    assert set(supervised.codes) <= {EXIT_STALLED, 0, EXIT_FAILED}, stream.log.read_text()[-3000:]


def export_forecast(folder: Path) -> None:
    """A SavedModel that forecasts the mean of a in the window, and the last a."""
    import tensorflow as tf

    class Forecast(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def default(self, examples: Any) -> dict[str, Any]:
            spec = {name: tf.io.FixedLenFeature([4], tf.float32) for name in "ab"}
            values: Any = tf.io.parse_example(examples, spec)["a"]
            return {"predictions": tf.stack([tf.reduce_mean(values, 1), values[:, -1]], 1)[:, :, None]}

    module = Forecast()
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.default})


def test_two_processes_share_the_partitions_of_a_forecast(broker, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(FORECAST)
    root = tmp_path / "root"
    export_forecast(root / "serving" / "ahead" / "1")
    events = Events(entities=8, steps=40)
    name, out = topic(broker, "load", 4), topic(broker, "forecasts", 1)
    topic(broker, "forecasts-dead-letters", 1)
    streams = [
        Stream(
            [
                *(str(config), "--root", str(root), "--bootstrap-servers", broker.address, "--input-topic", name),
                *("--output-topic", out, "--lateness", "60s", "--instance", instance, "--report-seconds", "1"),
            ],
            tmp_path / f"{instance}.log",
        )
        for instance in ("one", "two")
    ]
    half = len(events.sent) // 2
    events.send(broker, name, events.sent[:half])
    streams[0].start()
    wait_for(lambda: len(read_all(broker, out)) > 0, streams[0])
    streams[1].start()
    wait_for(lambda: re.search(r"reads the partitions: \d", streams[1].log.read_text()) is not None, streams[1])
    events.send(broker, name, events.sent[half:])
    wait_for(lambda: "answers, rejected" in streams[1].log.read_text(), streams[1])
    assert streams[0].end(signal.SIGKILL) == -signal.SIGKILL
    # Its partitions go to the other one when its session is over.
    events.send_last(broker, name, 4)
    windows = sum(max(len(steps) - 3, 0) for steps in events.good.values())
    wait_for(lambda: len(read_all(broker, out)) >= windows, streams[1])
    assert streams[1].end(signal.SIGTERM) == 0
    answers = [json.loads(each.value()) for each in read_all(broker, out)]
    assert len(answers) == windows
    expected = batch(config, root, 1, events.good)
    for answer in answers:
        want = expected[answer["entity"], events.text_of(answer)]
        assert answer["a@1"] == pytest.approx(want["a@1"], abs=1e-6)
        assert answer["a@2"] == pytest.approx(want["a@2"], abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--bootstrap-servers", "localhost:1"], "can't be reached"),
        (["--input-topic", "nowhere"], "has no topic nowhere (--input-topic)"),
        (["--client-config", "{tmp}/secret.properties"], "NOISY_GRU_TEST_PASSWORD is not set"),
    ],
    ids=["broker", "topic", "variable"],
)
def test_what_is_wrong_is_named(broker, published, tmp_path, arguments, problem):
    config, root, _ = published
    (tmp_path / "secret.properties").write_text("sasl.password=${env:NOISY_GRU_TEST_PASSWORD}\n")
    options = {"--root": str(root), "--bootstrap-servers": broker.address, "--input-topic": "a", "--output-topic": "b"}
    options[arguments[0]] = arguments[1].format(tmp=tmp_path)
    command = [sys.executable, "-m", "noisy_gru.pipeline", "stream", str(config)]
    done = subprocess.run(
        [*command, *(each for option in options.items() for each in option)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (1, 2)
    assert problem in done.stderr
    assert "Traceback" not in done.stderr

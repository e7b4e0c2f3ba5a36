"""A message broker in memory with Kafka's transactions, whose clients may be killed anywhere; and models in Python."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from noisy_gru.data.events.event_reader import EventReader, Message
from noisy_gru.pipeline.streaming.checkpoint import checkpoint_offset
from noisy_gru.pipeline.streaming.event_log import (
    DeadLetter,
    Owner,
    Restored,
    Transaction,
    TransactionAborted,
)
from noisy_gru.pipeline.streaming.metrics import StreamMetrics
from noisy_gru.pipeline.streaming.processor import StreamProcessor, StreamRules
from noisy_gru.pipeline.streaming.streaming import (
    Batching,
    choose_answering,
    parse_lateness,
    run_stream,
    streamed_dataset,
)
from noisy_gru.saved_model.example_validation import parse
from noisy_gru.saved_model.session import Signature, TensorSpec
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.serving.client.errors import Refused
from noisy_gru.serving.client.prediction_columns import Part


class Killed(BaseException):
    """The process is gone: nothing after this line happened."""


class MemoryBroker:
    """Topics, checkpoints and offsets, which outlive their clients."""

    def __init__(self, partitions: int = 1) -> None:
        self.messages: list[list[Message]] = [[] for _ in range(partitions)]
        self.answers: list[dict[str, Any]] = []
        self.dead_letters: list[DeadLetter] = []
        self.checkpoints: list[dict[bytes, bytes]] = [{} for _ in range(partitions)]
        self.offsets: dict[int, int] = {}
        self.transactions = 0

    def send(self, value: Any, *, partition: int = 0, timestamp: int = 0) -> None:
        """Append an event."""
        raw = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
        log = self.messages[partition]
        log.append(Message(partition, len(log), timestamp, None, raw))

    def apply(self, transaction: Transaction) -> None:
        """Make a transaction visible."""
        self.transactions += 1
        self.answers += [json.loads(answer.value) for answer in transaction.answers]
        self.dead_letters += transaction.dead_letters
        for change in transaction.changes:
            entries = self.checkpoints[change.partition]
            if change.value is None:
                entries.pop(change.key, None)
            else:
                entries[change.key] = change.value
        self.offsets |= transaction.offsets


class MemoryLog:
    """A client of the broker; ``fault`` is called with the name of each point, and may raise."""

    def __init__(
        self,
        broker: MemoryBroker,
        owner: Owner,
        started_at: Callable[[int, int], None],
        fault: Callable[[str], None],
        most: Callable[[], int],
    ) -> None:
        self._broker, self._fault, self._most = broker, fault, most
        self._at: dict[int, int] = {}
        fault("open")
        for number, entries in enumerate(broker.checkpoints):
            assert checkpoint_offset(entries) == broker.offsets.get(number)
            offset = owner.assigned(number, Restored(list(entries.items()), broker.offsets.get(number)))
            if offset is None:
                started_at(number, 0)
            self._at[number] = offset or 0

    def poll(self, most: int, seconds: float) -> list[Message]:
        self._fault("poll")
        found = []
        for number, at in self._at.items():
            found += self._broker.messages[number][at : at + self._most()]
            self._at[number] = at + len(found)
            if found:
                self._at[number] = found[-1].offset + 1
                break
        return found

    def commit(self, transaction: Transaction) -> None:
        self._fault("before commit")
        self._broker.apply(transaction)
        self._fault("after commit")

    def lag(self) -> int:
        return sum(len(self._broker.messages[number]) - at for number, at in self._at.items())

    def at_end(self) -> bool:
        return self.lag() == 0

    def close(self) -> None:
        self._fault("close")


class PythonModel:
    """A regression of the mean of x so far, times the version; its state is the sum, the count and the version."""

    def __init__(self, versions: Callable[[], int] = lambda: 1, *, step: bool = True) -> None:
        self._versions, self._step = versions, step
        self.version = versions()
        self.refused: set[str] = set()
        self.calls: list[tuple[str, int]] = []

    @property
    def signatures(self) -> dict[str, Signature]:
        def spec(*shape: int | None) -> TensorSpec:
            return TensorSpec("t:0", "float32", shape, 1)

        stepped = Signature({"features": spec(None, None, 2), "state": spec(None, 3)}, {}, "")
        default = Signature({"examples": spec(None)}, {}, "")
        return {"serving_default": default, **({"serving_step": stepped} if self._step else {})}

    def refresh(self) -> bool:
        before, self.version = self.version, self._versions()
        return self.version != before

    def run(self, signature: str, inputs: Any, ids: list[str]) -> Any:
        self.calls.append((signature, len(ids)))
        refused = [Refused(place, name, "too odd") for place, name in enumerate(ids) if name in self.refused]
        run = self._stepped if signature == "serving_step" else self._default
        outputs = run(inputs)
        parts = []
        for place, name in enumerate(ids):
            if name not in self.refused:
                one = {key: values[place : place + 1] for key, values in outputs.items()}
                parts.append((place, Part([name], one, self.version)))
        return parts, refused

    def _stepped(self, inputs: Any) -> dict[str, np.ndarray]:
        state = inputs["state"].astype(np.float64)
        assert set(state[:, 2].tolist()) <= {0.0, float(self.version)}, "a state of another version"
        for place, length in enumerate(inputs["lengths"].tolist()):
            x = inputs["features"][place, :length, 0]
            state[place] += [np.nansum(x), len(x), 0]
        state[:, 2] = self.version
        mean = state[:, :1] / np.maximum(state[:, 1:2], 1)
        return {"predictions": (mean * self.version).astype(np.float32), "state": state.astype(np.float32)}

    def _default(self, inputs: Any) -> dict[str, np.ndarray]:
        means = []
        for example in inputs["examples"]:
            found = {entry.key: entry.value for entry in parse(example).features.feature}
            means.append(np.nanmean(np.array(found[b"x"].float_list.value)))
        answers = np.array(means, np.float32)[:, None] * self.version
        return {"predictions": answers if self._step else answers[:, :, None]}

    def close(self) -> None:
        pass


def stream(
    broker: MemoryBroker,
    dataset: DatasetConfig,
    model: PythonModel,
    *,
    lateness: str | None = None,
    most_ahead: int | None = None,
    kept_steps: int = 1000,
    fault: Callable[[str], None] = lambda point: None,
    most: Callable[[], int] = lambda: 1000,
    reader: EventReader | None = None,
    reports: list[str] | None = None,
) -> StreamProcessor:
    """Stream until the end of all partitions."""
    dataset = streamed_dataset(dataset)
    reports = [] if reports is None else reports
    processor = StreamProcessor(
        dataset,
        "m",
        reader=reader or EventReader(dataset),
        model=model,
        answering=choose_answering(dataset, model, kept_steps),
        rules=StreamRules(parse_lateness(lateness, dataset), most_ahead, "in", "changelog"),
        report=reports.append,
    )
    run_stream(
        lambda owner, started_at: MemoryLog(broker, owner, started_at, fault, most),
        processor,
        model,
        StreamMetrics("m", folder=None, every=1e9, report=reports.append),
        batching=Batching(),
        stopped=lambda: False,
        until_end=True,
        report=reports.append,
        sleep=lambda seconds: None,
    )
    return processor


def by_entity(answers: Sequence[dict[str, Any]], value: str) -> dict[str, list[tuple[Any, Any]]]:
    """The times and values of the answers to each entity, in the order in which they were committed."""
    found: dict[str, list[tuple[Any, Any]]] = {}
    for answer in answers:
        found.setdefault(answer["entity"], []).append((answer["time"], answer[value]))
    return found


__all__ = ["Killed", "MemoryBroker", "PythonModel", "TransactionAborted", "by_entity", "stream"]

"""Turn the messages of a stream into transactions: events in order, answers, dead letters, the next checkpoint.

The state in memory is that of the last transaction and of those that are not committed yet. When one is not committed,
``reset`` forgets all, and the checkpoint is read again.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from noisy_gru.data.events.event_order import EventOrder, step_of_times
from noisy_gru.data.events.event_reader import Event, EventReader, Message, RejectedEvent, Time
from noisy_gru.pipeline.streaming.answers import Answering, EventStep
from noisy_gru.pipeline.streaming.checkpoint import (
    Checkpoint,
    EntityState,
    entity_changes,
    held_change,
    partition_change,
    read_checkpoint,
    released_change,
    written_for,
)
from noisy_gru.pipeline.streaming.event_log import (
    Answer,
    DeadLetter,
    Restored,
    Transaction,
    TransactionAborted,
)
from noisy_gru.pipeline.streaming.model_source import ModelSource, VersionGone
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import UserError

LATE, FUTURE = "late_event", "future_event"


def _report(text: str) -> None:
    print(text, file=sys.stderr)


@dataclass
class _Partition:
    checkpoint: Checkpoint
    order: EventOrder
    held: set[int]  # offsets of held events that are in the checkpoint
    offset: int | None  # the next one to read
    is_new: bool = True  # no transaction of this process holds it yet


@dataclass
class Counts:
    """What was done so far: events read, answers, and what gave none, by reason."""

    events: int = 0
    answers: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    unanswered: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class StreamRules:
    """The rules of a stream.

    Attributes:
        lateness: how long an event may come after later ones, in the unit of times.
        most_ahead: how far an event's time may be after its message's timestamp, in nanoseconds; None: any.
        topic: that the messages come from, for dead letters.
        checkpoint: where checkpoints come from, for messages.
    """

    lateness: Time
    most_ahead: int | None
    topic: str
    checkpoint: str


class StreamProcessor:
    """Process the messages of a stream.

    Args:
        dataset: the configuration.
        model_name: the model's name.
        reader: of the messages.
        model: asked for newer versions before each batch.
        answering: answers the steps.
        rules: see ``StreamRules``.
        report: takes lines for the user.
    """

    def __init__(
        self,
        dataset: DatasetConfig,
        model_name: str,
        *,
        reader: EventReader,
        model: ModelSource,
        answering: Answering,
        rules: StreamRules,
        report: Callable[[str], None] = _report,
    ) -> None:
        self._reader, self._model, self._answering, self._rules, self._report = reader, model, answering, rules, report
        self._step_of = step_of_times(dataset)
        self._written_for = written_for(dataset, model_name)
        self._partitions: dict[int, _Partition] = {}
        self.counts = Counts()

    @property
    def held(self) -> int:
        """How many events wait for the watermark."""
        return sum(len(partition.order) for partition in self._partitions.values())

    @property
    def entities(self) -> int:
        """How many entities are kept."""
        return sum(len(partition.checkpoint.entities) for partition in self._partitions.values())

    def assigned(self, number: int, restored: Restored) -> int | None:
        """Take over a partition with its checkpoint; return the offset to read from, None if it is new.

        Raises:
            UserError: the checkpoint is of another configuration, or damaged.
        """
        checkpoint = read_checkpoint(number, restored.entries, self._written_for, self._rules.checkpoint)
        order = EventOrder(self._step_of, self._rules.lateness, checkpoint.watermark)
        order.hold(self._reader.read(checkpoint.held).events)
        held = {message.offset for message in checkpoint.held}
        self._partitions[number] = _Partition(checkpoint, order, held, checkpoint.offset)
        return checkpoint.offset

    def started_at(self, number: int, offset: int) -> None:
        """Set where a new partition is read from."""
        self._partitions[number].offset = offset

    def revoked(self, number: int) -> None:
        """Give a partition up."""
        self._partitions.pop(number, None)

    def reset(self) -> None:
        """Forget all partitions: they are assigned anew, with their checkpoints."""
        self._partitions.clear()

    def process(self, messages: Sequence[Message]) -> Transaction:
        """Process messages; the transaction is empty if there is nothing to commit.

        Raises:
            DataError: a policy that says ``error`` has found a case.
            UserError: the model fails, or an entity is in two partitions.
            TransactionAborted: the server's version is gone, and the batch is to be processed by another one.
        """
        before = self._model.version
        if self._model.refresh():
            self._report(f"version {self._model.version} of the model takes over from {before}")
        transaction = Transaction()
        messages = self._own(messages)
        read = self._reader.read(messages)
        self.counts.events += len(messages)
        rejected = list(read.rejected)
        events = [event for event in read.events if not self._is_future(event, rejected)]
        self.counts.unanswered += read.dropped
        steps: list[EventStep] = []
        states: dict[str, EntityState] = {}
        touched: dict[int, set[str]] = {}
        for number, partition in self._partitions.items():
            own = [event for event in events if event.message.partition == number]
            new = self._advance(number, partition, own, transaction, rejected)
            for step in new:
                known = partition.checkpoint.entities
                if step.entity not in known:
                    self._check_partition(step.entity, number)
                states[step.entity] = known.setdefault(step.entity, EntityState())
            touched[number] = {step.entity for step in new}
            steps += new
        try:
            answered = self._answering.answer(steps, states)
        except VersionGone as error:
            raise TransactionAborted(str(error)) from error
        rejected += answered.rejected
        for answer in answered.answers:
            key = answer.step.events[0].message.key
            value = json.dumps(answer.row, ensure_ascii=False).encode()
            transaction.answers.append(Answer(answer.step.entity.encode() if key is None else key, value))
        transaction.dead_letters += [self._letter(each) for each in rejected]
        read_up_to = {message.partition for message in messages}
        for number, partition in self._partitions.items():
            begins = partition.is_new and partition.checkpoint.offset is None
            if partition.offset is None or not (number in read_up_to or touched[number] or begins):
                continue
            partition.is_new = False
            transaction.changes += entity_changes(number, sorted(touched[number]), partition.checkpoint.entities)
            transaction.changes.append(
                partition_change(number, partition.offset, partition.order.watermark, self._written_for)
            )
            transaction.offsets[number] = partition.offset
        self.counts.answers += len(answered.answers)
        self.counts.unanswered += answered.unanswered
        self.counts.rejected += Counter(each.reason for each in rejected)
        return transaction

    def _own(self, messages: Sequence[Message]) -> list[Message]:
        """Return the messages of own partitions that were not processed before, and count them as read."""
        found = []
        for message in messages:
            partition = self._partitions.get(message.partition)
            if partition is None or (partition.offset is not None and message.offset < partition.offset):
                continue
            partition.offset = message.offset + 1
            found.append(message)
        return found

    def _is_future(self, event: Event, rejected: list[RejectedEvent]) -> bool:
        """Whether an event's time is too far ahead, which would make all events after it late."""
        most, stamp = self._rules.most_ahead, event.message.timestamp
        if most is None or event.time <= stamp * 1_000_000 + most:
            return False
        problem = (
            f"expected a time at most {most / 1e9:g} s after the message's own timestamp ({stamp} ms since 1970), "
            f"received one {(event.time - stamp * 1_000_000) / 1e9:.0f} s after it (--max-ahead)"
        )
        rejected.append(RejectedEvent(event.message, FUTURE, problem))
        return True

    def _advance(
        self,
        number: int,
        partition: _Partition,
        events: list[Event],
        transaction: Transaction,
        rejected: list[RejectedEvent],
    ) -> list[EventStep]:
        """Order the events of a partition; return the steps that are complete."""
        order = partition.order
        late = order.add(events)
        for event in late:
            problem = f"expected a time that the watermark has not passed ({order.watermark}), received {event.time}"
            rejected.append(RejectedEvent(event.message, LATE, f"{problem} (--lateness)"))
        released = order.release()
        out = {event.message.offset for _, event in released}
        gone = {event.message.offset for event in late}
        for event in events:
            if event.message.offset not in out and event.message.offset not in gone:
                partition.held.add(event.message.offset)
                transaction.changes.append(held_change(event.message))
        steps: dict[tuple[str, Time], EventStep] = {}
        for step, event in released:
            if event.message.offset in partition.held:
                partition.held.remove(event.message.offset)
                transaction.changes.append(released_change(event.message))
            found = steps.setdefault((event.entity, step), EventStep(event.entity, step, []))
            found.events.append(event)
        return list(steps.values())

    def _check_partition(self, entity: str, number: int) -> None:
        for other, partition in self._partitions.items():
            if other != number and entity in partition.checkpoint.entities:
                raise UserError(
                    f"{self._rules.topic}: entity {entity} has events in the partitions {other} and {number}, and the "
                    "order of events is kept within a partition alone. Produce events with the entity as key (and "
                    "don't change the number of partitions: that needs a new topic, and a new --group)"
                )

    def _letter(self, each: RejectedEvent) -> DeadLetter:
        message = each.message
        headers = {
            "reason": each.reason,
            "problem": each.problem,
            "topic": self._rules.topic,
            "partition": str(message.partition),
            "offset": str(message.offset),
        }
        return DeadLetter(message, headers)

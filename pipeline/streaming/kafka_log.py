"""Kafka as the ``EventLog``: a consumer in a group, and a transactional producer.

Offsets go into the producer's transaction (KIP-98), with the generation of the group (KIP-447): a process that was
thought dead can't commit after another one has taken its partitions over. Its open transaction is aborted by the next
process of the same name at once, or by the broker when its time is over. The checkpoint is a compacted topic with the
partitions of the input, read with `isolation.level: read_committed`, so it holds what was committed and no more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition

from noisy_gru.data.events.event_reader import Message
from noisy_gru.pipeline.streaming.checkpoint import checkpoint_offset
from noisy_gru.pipeline.streaming.event_log import (
    Owner,
    Restored,
    StreamFenced,
    Transaction,
    TransactionAborted,
)
from noisy_gru.pipeline.streaming.kafka_settings import KafkaSettings
from noisy_gru.pipeline.streaming.kafka_topics import kafka_problem
from noisy_gru.schema.errors import UserError

# Seconds for one request, and for a checkpoint to be complete.
_REQUEST_SECONDS = 30.0
_RESTORE_SECONDS = 60.0
_RETRY_SECONDS = 0.2
_REPORT_SECONDS = 30.0
_AWAY = frozenset({KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE, KafkaError._TIMED_OUT})
Result = TypeVar("Result")
_FENCED = frozenset(
    {
        KafkaError._FENCED,
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.FENCED_INSTANCE_ID,
    }
)


class KafkaLog:
    """The topics of a stream; see ``EventLog``.

    ``step`` takes the name of each call that may block, before it, and None before work of our own (``BoundedCalls``).

    Raises:
        UserError: Kafka can't be reached, or refuses.
        StreamFenced: another process has the same name.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        owner: Owner,
        started_at: Callable[[int, int], None],
        report: Callable[[str], None],
        step: Callable[[str | None], None],
    ) -> None:
        self._settings, self._owner, self._started_at = settings, owner, started_at
        self._report, self._step = report, step
        self._reported = float("-inf")
        self._assigned: set[int] = set()
        self._ended: set[int] = set()
        self._has_been_assigned = False
        try:
            self._producer = Producer({**settings.producer(), "error_cb": self._outage})
            self._call("init_transactions", lambda: self._producer.init_transactions(_REQUEST_SECONDS))
            self._consumer = Consumer({**settings.consumer(), "error_cb": self._outage})
            self._consumer.subscribe([settings.topics.input], on_assign=self._assign, on_revoke=self._revoke)
        except KafkaException as error:
            raise self._problem(error) from error

    @staticmethod
    def _is_temporary(error: KafkaError) -> bool:
        """Whether the same call may succeed later."""
        return error.retriable() or error.code() in _AWAY

    def poll(self, most: int, seconds: float) -> list[Message]:
        """See ``EventLog.poll``.

        Raises:
            UserError: the topic is gone, its messages are gone, or Kafka refuses.
        """
        try:
            self._step("consume")
            found: list[Any] = self._consumer.consume(most, seconds)
        except KafkaException as error:
            raise self._problem(error) from error
        messages = []
        for each in found:
            error = each.error()
            if error is None:
                stamp = each.timestamp()[1]
                messages.append(Message(each.partition(), each.offset(), stamp, each.key(), each.value()))
                self._ended.discard(each.partition())
            elif error.code() == KafkaError._PARTITION_EOF:
                self._ended.add(each.partition())
            elif error.fatal() or not self._is_temporary(error):  # else librdkafka goes on trying
                raise self._problem(KafkaException(error))
        return messages

    def commit(self, transaction: Transaction) -> None:
        """See ``EventLog.commit``."""
        producer, topics = self._producer, self._settings.topics
        try:
            self._call("begin_transaction", producer.begin_transaction)
            self._step("produce")
            for answer in transaction.answers:
                self._produce(topics.output, answer.key, answer.value)
            for letter in transaction.dead_letters:
                headers = [(name, value.encode()) for name, value in letter.headers.items()]
                self._produce(topics.dead_letters, letter.message.key, letter.message.value, headers=headers)
            for change in transaction.changes:
                self._produce(topics.checkpoint, change.key, change.value, partition=change.partition)
            offsets = [TopicPartition(topics.input, number, at) for number, at in transaction.offsets.items()]
            group = self._consumer.consumer_group_metadata()
            self._call(
                "send_offsets_to_transaction",
                lambda: producer.send_offsets_to_transaction(offsets, group, _REQUEST_SECONDS),
            )
            self._call("commit_transaction", lambda: producer.commit_transaction(_REQUEST_SECONDS))
        except KafkaException as error:
            self._abort(error)

    def _produce(self, topic: str, key: bytes | None, value: bytes | None, **options: Any) -> None:
        while True:
            try:
                self._producer.produce(topic, value, key, **options)
                break
            except BufferError:  # the queue is full until the broker has some of it
                self._producer.poll(0.1)
        self._producer.poll(0)

    def _abort(self, error: KafkaException) -> None:
        """Abort the transaction; raise what became of it."""
        problem: KafkaError = error.args[0]
        if problem.code() in _FENCED:
            raise self._problem(error) from error
        if problem.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            raise UserError(
                f"a message of {error} is larger than the broker takes. Raise max.message.bytes of the topics, and "
                "message.max.bytes in --client-config; or keep fewer steps (--replay-steps)"
            ) from error
        if not problem.fatal():
            # A new producer of the same name aborts it, too.
            with suppress(KafkaException):
                self._call("abort_transaction", lambda: self._producer.abort_transaction(_REQUEST_SECONDS))
        raise TransactionAborted(kafka_problem(error)) from error

    def _call(self, name: str, call: Callable[[], Result]) -> Result:
        """Return what the call returns; call again while the error says so."""
        until = time.monotonic() + 2 * _REQUEST_SECONDS
        while True:
            self._step(name)
            try:
                return call()
            except KafkaException as error:
                if not self._is_temporary(error.args[0]) or time.monotonic() > until:
                    raise
                time.sleep(_RETRY_SECONDS)

    def _outage(self, error: KafkaError) -> None:
        """Report that brokers are away, now and then; the client goes on trying by itself."""
        if time.monotonic() > self._reported + _REPORT_SECONDS:
            self._reported = time.monotonic()
            self._report(f"Kafka: {error.str()}; trying again until it is there")

    def _assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        topic = self._settings.topics.input
        self._has_been_assigned = True
        found = []
        for partition in partitions:
            number = partition.partition
            offset = self._owner.assigned(number, self._restore(consumer, number))
            if offset is None:
                self._step("get_watermark_offsets")
                low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), _REQUEST_SECONDS)
                offset = high if self._settings.start == "latest" else low
                self._started_at(number, offset)
            found.append(TopicPartition(topic, number, offset))
            self._assigned.add(number)
            self._ended.discard(number)
        self._step("assign")
        consumer.assign(found)
        numbers = ", ".join(str(partition.partition) for partition in partitions) or "none"
        self._report(f"this process reads the partitions: {numbers}")

    def _revoke(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        for partition in partitions:
            self._owner.revoked(partition.partition)
            self._assigned.discard(partition.partition)
            self._ended.discard(partition.partition)

    def _restore(self, consumer: Consumer, number: int) -> Restored:
        """Read the checkpoint of a partition, as soon as it is that of the committed offset.

        The offset is stable only when the transaction before has ended; its marker may reach the checkpoint later.
        """
        topics = self._settings.topics
        until = time.monotonic() + _RESTORE_SECONDS
        while True:
            (committed,) = self._call(
                "committed", lambda: consumer.committed([TopicPartition(topics.input, number)], _REQUEST_SECONDS)
            )
            offset = committed.offset if committed.offset >= 0 else None
            entries = self._entries(number, until)
            known = checkpoint_offset(entries)
            # Kafka forgets the offsets of a group that was idle for a week; the checkpoint stays.
            if known == offset or offset is None:
                return Restored(list(entries.items()), known)
            if (known or 0) > offset or time.monotonic() > until:
                raise UserError(
                    f"group {self._settings.group}: the offset of {topics.input}, partition {number} is {offset}, and "
                    f"the checkpoint in {topics.checkpoint} is that of {known}. Were offsets moved by hand, or the "
                    "topic deleted? Give a new --group, which begins anew"
                )
            time.sleep(_RETRY_SECONDS)

    def _entries(self, number: int, until: float) -> dict[bytes, bytes]:
        entries: dict[bytes, bytes] = {}
        reader = Consumer(self._settings.checkpoint_reader())
        try:
            reader.assign([TopicPartition(self._settings.topics.checkpoint, number, OFFSET_BEGINNING)])
            while time.monotonic() < until + _REQUEST_SECONDS:
                self._step("consume (of the changelog)")
                found: list[Any] = reader.consume(1000, 1.0)
                for each in found:
                    error = each.error()
                    if error is None:
                        if each.value() is None:
                            entries.pop(each.key(), None)
                        else:
                            entries[each.key()] = each.value()
                    elif error.code() == KafkaError._PARTITION_EOF:
                        return entries
                    elif not self._is_temporary(error):
                        raise KafkaException(error)
        finally:
            self._step("close (of the changelog's reader)")
            reader.close()
            self._step(None)
        raise UserError(
            f"{self._settings.topics.checkpoint}: partition {number} could not be read to its end in time. Is the "
            "broker overloaded, or does a transaction hang?"
        )

    def lag(self) -> int | None:
        """See ``EventLog.lag``."""
        total = 0
        try:
            for place in self._consumer.position(
                [TopicPartition(self._settings.topics.input, number) for number in sorted(self._assigned)]
            ):
                _, high = self._consumer.get_watermark_offsets(place, cached=True)
                if high < 0 or place.offset < 0:
                    return None
                total += max(high - place.offset, 0)
        except KafkaException:
            return None
        return total

    def at_end(self) -> bool:
        """See ``EventLog.at_end``."""
        return self._has_been_assigned and self._ended >= self._assigned

    def close(self) -> None:
        """See ``EventLog.close``."""
        # Closed already, or the broker is away: the group finds out by itself.
        with suppress(KafkaException, RuntimeError):
            self._step("close")
            self._consumer.close()
        # Destroyed here, where the time for it is bounded.
        del self._producer, self._consumer

    def _problem(self, error: KafkaException) -> UserError | TransactionAborted:
        if error.args[0].code() in _FENCED:
            return StreamFenced(
                f"another process of the group {self._settings.group} runs under the name {self._settings.instance}, "
                "and has taken over. Give each process its own --instance"
            )
        if self._is_temporary(error.args[0]):
            return TransactionAborted(kafka_problem(error))  # all is read anew, as soon as the brokers are back
        return UserError(f"Kafka: {kafka_problem(error)}")

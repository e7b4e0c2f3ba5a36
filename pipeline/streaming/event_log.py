"""What a stream needs of a message broker: partitions of messages, and transactions that move all at once.

A transaction holds answers, dead letters, the changes of the checkpoint and the offsets up to which messages were read.
Readers see all of it or nothing of it. So whenever the process is killed, what is committed is consistent: the
checkpoint is the one after exactly those messages whose answers are visible.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from noisy_gru.data.events.event_reader import Message
from noisy_gru.schema.errors import UserError

Headers = Mapping[str, str]


class TransactionAborted(Exception):
    """A transaction was not committed: what is in memory is to be read anew from the checkpoint."""


class StreamFenced(UserError):
    """Another process has taken over the work of this one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A message of the output topic."""

    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that could not be used, as it came, with headers that say why."""

    message: Message
    headers: Headers


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a partition's checkpoint: the value of a key; None removes it."""

    partition: int
    key: bytes
    value: bytes | None


@dataclass
class Transaction:
    """What is to be committed together; ``offsets`` are the next ones to read, by partition."""

    answers: list[Answer] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    offsets: dict[int, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.answers or self.dead_letters or self.changes or self.offsets)


@dataclass(frozen=True)
class Restored:
    """The checkpoint of a partition: its keys, and the offset that was committed (None: none so far)."""

    entries: Sequence[tuple[bytes, bytes]]
    offset: int | None


@dataclass(frozen=True)
class Owner:
    """What the broker calls within ``EventLog.poll``.

    Attributes:
        assigned: takes a partition and its checkpoint; returns the offset to read from, None for where a new reader
            begins.
        revoked: takes a partition that belongs to another process from now on.
    """

    assigned: Callable[[int, Restored], int | None]
    revoked: Callable[[int], None]


class EventLog(Protocol):
    """A reader of some partitions of a topic, and a transactional writer."""

    def poll(self, most: int, seconds: float) -> list[Message]:
        """Return up to ``most`` messages, in the order of offsets within a partition; waits ``seconds`` at most."""
        ...

    def commit(self, transaction: Transaction) -> None:
        """Commit a transaction.

        Raises:
            TransactionAborted: nothing of it is visible, or it isn't known whether all is.
            StreamFenced: another process has taken over.
        """
        ...

    def lag(self) -> int | None:
        """Return how many messages of the partitions are still to be read; None if unknown."""
        ...

    def at_end(self) -> bool:
        """Whether all messages were read that the partitions had when this reader got them."""
        ...

    def close(self) -> None:
        """Leave the partitions to others."""
        ...


LogFactory = Callable[[Owner], EventLog]
Entries = Iterator[tuple[bytes, bytes]]

"""The settings of a stream's Kafka clients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from noisy_gru.pipeline.streaming.kafka_topics import Topics

# The client's own log has a line for each attempt to connect; errors come to a callback as well.
_QUIET = {"log_level": 2}


@dataclass(frozen=True)
class KafkaSettings:
    """How to reach Kafka, and who this reader is.

    Attributes:
        topics: of the stream.
        group: consumer group; the checkpoint is its own.
        instance: name of this process within the group.
        start: where a new group begins: `earliest` or `latest`.
        client: settings of all clients (librdkafka's names), such as those of security.
    """

    topics: Topics
    group: str
    instance: str
    start: str = "earliest"
    client: Mapping[str, Any] = field(default_factory=dict)

    @property
    def member(self) -> str:
        """The name of this process in the whole cluster."""
        return f"{self.group}-{self.instance}"

    def consumer(self) -> dict[str, Any]:
        """Return the settings of the consumer of the input."""
        return {
            **_QUIET,
            "session.timeout.ms": 30_000,
            **self.client,
            "group.id": self.group,
            # A process that is started again gets its partitions back at once.
            "group.instance.id": self.member,
            "partition.assignment.strategy": "range",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
        }

    def producer(self) -> dict[str, Any]:
        """Return the settings of the producer."""
        return {
            **_QUIET,
            "compression.type": "lz4",
            "linger.ms": 5,
            "transaction.timeout.ms": 60_000,
            **self.client,
            "transactional.id": self.member,
        }

    def checkpoint_reader(self) -> dict[str, Any]:
        """Return the settings of the consumer that reads a checkpoint."""
        return {
            **_QUIET,
            **self.client,
            "group.id": self.group,
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
        }

"""The topics of a stream: checked before it begins, and the settings to reach Kafka with."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic  # pyright: ignore[reportPrivateImportUsage]

from noisy_gru.schema.errors import ConfigError, UserError

_SECONDS = 15.0
# What exactly-once depends on, or what has an option of its own.
_OWN = frozenset(
    {
        *("group.id", "group.instance.id", "transactional.id", "enable.idempotence", "enable.auto.commit"),
        *("isolation.level", "auto.offset.reset", "partition.assignment.strategy", "enable.partition.eof"),
        "enable.auto.offset.store",
    }
)
_VARIABLE = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True)
class Topics:
    """The names of a stream's topics."""

    input: str
    output: str
    dead_letters: str
    checkpoint: str


def read_client_settings(path: Path | None, bootstrap_servers: str | None) -> dict[str, str]:
    """Read a file of `name=value` lines, settings of librdkafka; `${env:NAME}` is an environment variable's value.

    Args:
        path: the file; None: no further settings.
        bootstrap_servers: HOST:PORT of brokers, separated by commas; takes the place of the file's.

    Raises:
        ConfigError: a line is no setting, a variable is not set, or a setting is this command's own.
    """
    found: dict[str, str] = {}
    if path is not None:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--client-config {path}: can't be read: {error}") from error
        for number, line in enumerate(lines, start=1):
            if not line.strip() or line.lstrip().startswith(("#", "!")):
                continue
            name, equals, value = line.partition("=")
            if not equals:
                raise ConfigError(f"--client-config {path}: line {number}: expected name=value")
            if name.strip() in _OWN:
                raise ConfigError(
                    f"--client-config {path}: line {number}: {name.strip()} is set by this command, which depends on "
                    "it: remove the line"
                )
            found[name.strip()] = _VARIABLE.sub(
                lambda match, at=(path, number): _variable(match[1], *at), value.strip()
            )
    if bootstrap_servers:
        found["bootstrap.servers"] = bootstrap_servers
    if not found.get("bootstrap.servers"):
        raise ConfigError("expected --bootstrap-servers HOST:PORT, or bootstrap.servers in --client-config")
    return found


def _variable(name: str, path: Path, number: int) -> str:
    if name not in os.environ:
        raise ConfigError(f"--client-config {path}: line {number}: the environment variable {name} is not set")
    return os.environ[name]


def prepare_topics(topics: Topics, client: Mapping[str, Any]) -> int:
    """Check the topics, and make the one of the checkpoint if there is none; return the partitions of the input.

    Raises:
        UserError: Kafka can't be reached, a topic is missing, or the checkpoint's is not as it should be.
    """
    try:
        admin = AdminClient({"log_level": 2, **client})
        found = admin.list_topics(timeout=_SECONDS).topics
    except KafkaException as error:
        raise UserError(
            f"Kafka at {client['bootstrap.servers']} can't be reached: {kafka_problem(error)}. Is the broker running, "
            "are address and security settings (--client-config) right?"
        ) from error
    wanted = {
        "--input-topic": topics.input,
        "--output-topic": topics.output,
        "--dead-letter-topic": topics.dead_letters,
    }
    missing = [f"{name} ({option})" for option, name in wanted.items() if name not in found or found[name].error]
    if missing:
        raise UserError(
            f"Kafka at {client['bootstrap.servers']} has no topic {', '.join(missing)}. Create it (kafka-topics.sh "
            "--create --topic NAME --partitions N), or correct the name"
        )
    partitions = len(found[topics.input].partitions)
    try:
        if topics.checkpoint not in found:
            _create(admin, topics.checkpoint, partitions)
            return partitions
        resource = ConfigResource(ConfigResource.Type.TOPIC, topics.checkpoint)
        policy = admin.describe_configs([resource])[resource].result(_SECONDS)["cleanup.policy"].value
    except KafkaException as error:
        raise UserError(f"{topics.checkpoint}: {kafka_problem(error)}") from error
    have = len(found[topics.checkpoint].partitions)
    if have != partitions:
        raise UserError(
            f"{topics.checkpoint} has {have} partitions, {topics.input} has {partitions}. The order of events is kept "
            "within a partition, so their number can't change: give a new --group, which begins anew"
        )
    if policy != "compact":
        raise UserError(
            f"{topics.checkpoint}: expected cleanup.policy compact, received {policy}: entries would be lost"
        )
    return partitions


def _create(admin: AdminClient, name: str, partitions: int) -> None:
    topic = NewTopic(name, partitions, config={"cleanup.policy": "compact"})
    try:
        admin.create_topics([topic])[name].result(_SECONDS)
    except KafkaException as error:
        # Another process of the group was faster.
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise


def kafka_problem(error: KafkaException) -> str:
    """Return what Kafka says, without the name of its C function."""
    problem = error.args[0]
    return problem.str() if isinstance(problem, KafkaError) else str(problem)

"""The checkpoint of a partition: its state in memory, and the changes of it that are committed.

Keys in the changelog: `partition` (offset, watermark, what the checkpoint was written for), `held:<offset>` (an event
that waits for the watermark), `entity:<name>`, and `step:<slot>:<name>` for the kept steps of an entity: a slot is the
step's number modulo how many are kept, so each is written once. Of each key the last value counts (compaction).
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np

from noisy_gru.data.events.event_reader import Message, Time
from noisy_gru.pipeline.streaming.event_log import Change
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import UserError

FORMAT = 1
_PARTITION, _HELD, _ENTITY, _STEP = b"partition", b"held:", b"entity:", b"step:"
Step = tuple[Time, list[dict[str, Any]]]  # the time of a step, and its rows


@dataclass
class EntityState:
    """What is kept of an entity.

    Attributes:
        steps: its last steps with the rows as they came, the earliest first.
        count: how many steps there were so far; the last one has this number.
        fresh: how many of the last steps are in no change so far.
        slots: most steps that are kept.
        time: of its last step, in the unit of times.
        static: the values of its static features.
        version: of the model whose state ``vector`` is, float32 [S]; None without one.
    """

    steps: list[Step] = field(default_factory=list)
    count: int = 0
    fresh: int = 0
    slots: int = 1
    time: Time | None = None
    static: dict[str, float | str | None] = field(default_factory=dict)
    version: int | None = None
    vector: np.ndarray | None = None

    def keep(self, step: Step, most: int) -> None:
        """Add a step; at most so many are kept."""
        self.count += 1
        if not most:
            self.steps = []
            return
        self.steps.append(step)
        if len(self.steps) > most:
            del self.steps[: len(self.steps) - most]
        self.slots, self.fresh = most, min(self.fresh + 1, most)

    def to_json(self) -> bytes:
        """Serialize the state without its steps."""
        found: dict[str, Any] = {"count": self.count, "time": self.time, "static": self.static}
        if self.vector is not None:
            raw = self.vector.astype("<f4").tobytes()
            found |= {"version": self.version, "vector": _base64(raw), "crc32": zlib.crc32(raw)}
        return _json(found)

    @classmethod
    def from_json(cls, text: bytes) -> EntityState:
        """Read ``to_json``'s result.

        Raises:
            ValueError: the vector's numbers have changed.
        """
        found = json.loads(text)
        state = cls(count=found["count"], time=found["time"], static=found["static"])
        if "vector" in found:
            raw = base64.b64decode(found["vector"])
            if zlib.crc32(raw) != found["crc32"]:
                raise ValueError("the checksum of the vector is another one")
            state.version, state.vector = found["version"], np.frombuffer(raw, "<f4").astype(np.float32)
        return state


@dataclass
class Checkpoint:
    """The checkpoint of a partition, as it was committed last.

    Attributes:
        offset: the next one to read; None: the partition is new.
        watermark: see ``EventOrder``.
        held: the messages that wait for it.
        entities: by name.
    """

    offset: int | None = None
    watermark: Time | None = None
    held: list[Message] = field(default_factory=list)
    entities: dict[str, EntityState] = field(default_factory=dict)


def written_for(dataset: DatasetConfig, model_name: str) -> str:
    """Return a hash of all in a configuration that a checkpoint depends on."""
    excluded = {"files", "format", "sql", "policies", "min_length"}
    parts = {
        "data": dataset.data.model_dump(mode="json", exclude=excluded),
        "task": dataset.task.model_dump(mode="json"),
    }
    return blake2b(_json({"model": model_name, **parts}), digest_size=8).hexdigest()


def read_checkpoint(partition: int, entries: Iterable[tuple[bytes, bytes]], expected: str, topic: str) -> Checkpoint:
    """Return the checkpoint of a partition from the last values of its keys.

    Args:
        partition: its number.
        entries: keys and values.
        expected: ``written_for`` of the configuration.
        topic: where they come from, for messages.

    Raises:
        UserError: the checkpoint is damaged, or was written for another configuration.
    """
    found = Checkpoint()
    steps: dict[str, dict[int, Step]] = {}
    for key, value in entries:
        try:
            if key == _PARTITION:
                _read_partition(found, json.loads(value), expected, topic)
            elif key.startswith(_HELD):
                found.held.append(_held_message(partition, int(key.removeprefix(_HELD)), json.loads(value)))
            elif key.startswith(_ENTITY):
                found.entities[key.removeprefix(_ENTITY).decode()] = EntityState.from_json(value)
            elif key.startswith(_STEP):
                number, step, rows = json.loads(value)
                steps.setdefault(key.split(b":", 2)[2].decode(), {})[number] = (step, rows)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{topic}, partition {partition}: the entry {key!r} is no part of a checkpoint of noisy-gru: {error}. "
                "Delete the topic and give a new --group, which begins anew"
            ) from error
    found.held.sort(key=lambda message: message.offset)
    for name, state in found.entities.items():
        known, number = steps.get(name, {}), state.count
        # Back to a gap: with another number of slots than before, a step may have taken another one's.
        while number in known:
            state.steps.insert(0, known[number])
            number -= 1
    return found


def _read_partition(found: Checkpoint, entry: dict[str, Any], expected: str, topic: str) -> None:
    if entry["format"] != FORMAT or entry["written_for"] != expected:
        raise UserError(
            f"{topic}: the checkpoint was written for another configuration (data, task or name differ), or by another "
            "release. Give a new --group, which begins anew, or the configuration of before"
        )
    found.offset, found.watermark = entry["offset"], entry["watermark"]


def checkpoint_offset(entries: Mapping[bytes, bytes]) -> int | None:
    """Return the next offset to read by a checkpoint; None if it is of no one.

    Raises:
        UserError: the entry can't be read.
    """
    if _PARTITION not in entries:
        return None
    try:
        return int(json.loads(entries[_PARTITION])["offset"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"the entry {_PARTITION!r} is no part of a checkpoint of noisy-gru: {error}") from error


def partition_change(partition: int, offset: int, watermark: Time | None, written_for: str) -> Change:
    """Return the change of how far a partition was read."""
    entry = {"format": FORMAT, "offset": offset, "watermark": watermark, "written_for": written_for}
    return Change(partition, _PARTITION, _json(entry))


def held_change(message: Message) -> Change:
    """Return the change for an event that is held from now on."""
    value = None if message.value is None else _base64(message.value)
    key = None if message.key is None else _base64(message.key)
    return Change(
        message.partition, _held_key(message), _json({"timestamp": message.timestamp, "key": key, "value": value})
    )


def released_change(message: Message) -> Change:
    """Return the change for an event that was held and isn't any more."""
    return Change(message.partition, _held_key(message), None)


def entity_changes(partition: int, names: Iterable[str], entities: dict[str, EntityState]) -> Iterator[Change]:
    """Yield the changes for entities whose state is another one."""
    for name in names:
        state = entities[name]
        for back in range(state.fresh, 0, -1):
            number = state.count - back + 1
            key = b"%s%d:%s" % (_STEP, number % state.slots, name.encode())
            yield Change(partition, key, _json([number, *state.steps[-back]]))
        state.fresh = 0
        yield Change(partition, _ENTITY + name.encode(), state.to_json())


def _held_key(message: Message) -> bytes:
    return _HELD + str(message.offset).encode()


def _held_message(partition: int, offset: int, entry: dict[str, Any]) -> Message:
    key, value = (None if entry[name] is None else base64.b64decode(entry[name]) for name in ("key", "value"))
    return Message(partition, offset, entry["timestamp"], key, value)


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()

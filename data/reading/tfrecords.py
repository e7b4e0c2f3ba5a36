"""Read TFRecords of tf.Example with list features, or of tf.SequenceExample, one record per sequence.

A record becomes one row per step, so that all later steps are the same as for tables. All rows of a record have its
number as row number.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
from google.protobuf.message import DecodeError

from noisy_gru.data.arrow import pa
from noisy_gru.data.columns import Columns
from noisy_gru.data.reading.csv_records import Malformed
from noisy_gru.data.reading.tables import STEP, Block, Opener, Source, unreadable_error
from noisy_gru.data.sequences.shards import masked_crc
from noisy_gru.saved_model.message_classes import Fields, message_classes
from noisy_gru.schema.errors import DataError
from noisy_gru.storage.object_stores import open_file

BLOCK_RECORDS = 2048
_PART = 1 << 24  # bytes of a record that are read at once
Lists = dict[str, Any]
# tensorflow/core/example/{example,feature}.proto.
_MESSAGES: dict[str, Fields] = {
    "Example": {"features": (1, "Features", False)},
    "SequenceExample": {"context": (1, "Features", False), "feature_lists": (2, "FeatureLists", False)},
    "Features": {"feature": (1, "map:Feature", True)},
    "FeatureLists": {"feature_list": (1, "map:FeatureList", True)},
    "FeatureList": {"feature": (1, "Feature", True)},
    "Feature": {
        "bytes_list": (1, "BytesList", False),
        "float_list": (2, "FloatList", False),
        "int64_list": (3, "Int64List", False),
    },
    "BytesList": {"value": (1, "bytes", True)},
    "FloatList": {"value": (1, "float", True)},
    "Int64List": {"value": (1, "int64", True)},
}
_CLASSES = message_classes("noisy_gru.tfrecords", _MESSAGES, oneofs=("Feature",))


def read_frames(source: Source, opener: Opener = open_file) -> Iterator[bytes]:
    """Yield the records of a TFRecord file, gzipped or not (by its first bytes).

    Raises:
        DataError: the file is truncated, or a checksum doesn't match.
    """
    try:
        with opener(source.path) as plain:
            magic = plain.read(2)
            plain.seek(0)
            stream: Any = gzip.GzipFile(fileobj=plain) if magic == b"\x1f\x8b" else plain
            number = 1
            while head := stream.read(12):
                yield _record(stream, head, number)
                number += 1
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise unreadable_error(source, "a TFRecord file", error) from error


def _record(stream: BinaryIO, head: bytes, number: int) -> bytes:
    if len(head) < 12:
        raise EOFError(f"record {number} is truncated in its length")
    size, check = struct.unpack("<QI", head)
    if masked_crc(head[:8]) != check:
        raise EOFError(f"record {number} has a wrong checksum, so this is no TFRecord file, or a damaged one")
    body = _read(stream, size + 4)
    if len(body) < size + 4:
        raise EOFError(f"record {number} is truncated: it claims {size} bytes")
    if masked_crc(body[:size]) != struct.unpack("<I", body[size:])[0]:
        raise EOFError(f"record {number} has a wrong checksum")
    return body[:size]


def _read(stream: BinaryIO, size: int) -> bytes:
    """Read up to ``size`` bytes, without allocating more than the file holds, whatever size a record claims."""
    parts = []
    while size > 0 and (part := stream.read(min(size, _PART))):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _values(feature: Any) -> list[Any] | None:
    kind = feature.WhichOneof("kind")
    return list(getattr(feature, kind).value) if kind else None


def example_lists(record: bytes) -> Lists:
    """Parse a tf.Example to lists by feature name."""
    features = _CLASSES["Example"].FromString(record).features.feature
    return {name: values for name, feature in features.items() if (values := _values(feature)) is not None}


def sequence_example_lists(record: bytes) -> Lists:
    """Parse a tf.SequenceExample to lists by feature name: its context, and one value per step of its feature lists.

    Raises:
        ValueError: a step of a feature list holds more than one value.
    """
    message = _CLASSES["SequenceExample"].FromString(record)
    lists = {name: _values(feature) or [] for name, feature in message.context.feature.items()}
    for name, steps in message.feature_lists.feature_list.items():
        values = [_values(step) or [None] for step in steps.feature]
        if any(len(step) != 1 for step in values):
            raise ValueError(f"expected one value per step of {name}, received {max(map(len, values))} in a step")
        lists[name] = [step[0] for step in values]
    return lists


class _Collector:
    """Collect the records of a block as columns of one row per step."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        label, of_steps = (None, [columns.label]) if columns.label_per_step else (columns.label, [])
        self._scalars = [name for name in (*columns.entity, label, columns.split) if name is not None]
        given = [*columns.numeric, *columns.categorical, *columns.time_columns, *of_steps]
        steps = [name for name in given if name is not None]
        # One value for each record, or one for each step, of which a later step checks that they agree.
        self._static = (*columns.static, *columns.answers)
        self._lists = [name for name in dict.fromkeys(steps) if name not in self._scalars]
        self.values: dict[str, list[Any]] = {name: [] for name in [*self._scalars, *self._lists]}
        self.steps: list[int] = []
        self.rows: list[int] = []
        self.malformed: list[Malformed] = []
        self.seen: set[str] = set()

    def add(self, number: int, lists: Lists) -> None:
        """Add a record, or record why it is malformed."""
        self.seen.update(lists)
        lengths = {name: len(lists[name]) for name in self._lists if lists.get(name)}
        once = [name for name in self._static if lengths.get(name) == 1]
        steps = max((length for name, length in lengths.items() if name not in self._static), default=0)
        for name in once:
            lists[name] = lists[name] * steps
            lengths[name] = steps
        # A record with static values alone has no steps.
        lengths = {name: length for name, length in lengths.items() if length}
        if len(set(lengths.values())) != 1:
            received = ", ".join(f"{name} {length}" for name, length in lengths.items()) or "none"
            problem = f"expected lists of one length, one value per step, received {received}"
            self.malformed += [Malformed(number, problem)] * max(lengths.values(), default=1)
            return
        (length,) = set(lengths.values())
        many = [name for name in self._scalars if name not in self._lists and len(lists.get(name) or []) > 1]
        many = [name for name in many if len(set(lists[name])) > 1]
        if many:
            self.malformed += [Malformed(number, f"expected one value of {', '.join(many)}, received several")] * length
            return
        for name in self._scalars:
            self.values[name] += [(lists.get(name) or [None])[0]] * length
        for name in self._lists:
            self.values[name] += lists.get(name) or [None] * length
        self.steps += range(length)
        self.rows += [number] * length

    def block(self) -> Block:
        """Return the collected rows."""
        columns = {name: _array(values) for name, values in self.values.items()}
        table = {name: array for name, (array, _) in columns.items()}
        table[STEP] = pa.array(self.steps, pa.int64())
        native = {name: mask for name, (_, mask) in columns.items() if mask is not None}
        return Block(pa.table(table), np.array(self.rows, np.int64), self.malformed, native=native)


def _array(values: list[Any]) -> tuple[Any, np.ndarray | None]:
    """Convert bytes to binary, numbers to int64 or float32, as they are stored; mixed types to text with `native`."""
    kinds = {type(value) for value in values} - {type(None)}
    if len(kinds) > 1:
        values = [np.float32(value) if isinstance(value, float) else value for value in values]
        native = np.array([not isinstance(each, bytes) for each in values], bool)
        return pa.array([None if each is None else _as_text(each) for each in values], pa.binary()), native
    return pa.array(values, pa.int64() if kinds == {int} else pa.binary() if kinds == {bytes} else pa.float32()), None


def _as_text(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def read_records(
    source: Source,
    columns: Columns,
    required: Sequence[str],
    opener: Opener = open_file,
    block_records: int = BLOCK_RECORDS,
) -> Iterator[Block]:
    """Yield the blocks of a TFRecord file.

    Raises:
        DataError: the file can't be read, or none of its records has a required feature.
    """
    parse: Callable[[bytes], Lists] = example_lists if source.format == "example" else sequence_example_lists
    seen: set[str] = set()
    collector, number = _Collector(columns), 0
    for number, record in enumerate(read_frames(source, opener), start=1):
        try:
            collector.add(number, parse(record))
        except (DecodeError, ValueError) as error:
            collector.malformed.append(Malformed(number, f"expected a tf.{_KIND[source.format]}: {error}"))
        if number % block_records == 0:
            seen |= collector.seen
            yield collector.block()
            collector = _Collector(columns)
    seen |= collector.seen
    missing = [name for name in required if name not in seen]
    if missing and seen:
        raise DataError(
            f"{source.name}: no record has the feature{'s' if len(missing) > 1 else ''} {', '.join(missing)}; the "
            f"features are {', '.join(sorted(seen))}. Correct the names in the configuration, or data.format"
        )
    if number % block_records:
        yield collector.block()


_KIND = {"example": "Example", "sequence_example": "SequenceExample"}

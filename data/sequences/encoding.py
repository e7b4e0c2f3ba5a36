"""Encode sequences as serialized tf.Examples, in protobuf's wire format straight from NumPy buffers.

Building the messages with protobuf's Python objects would take most of a run's time. Sequences of as many steps are
encoded together: their numbers have the same places in every message, which are filled column by column. The bytes
equal those of ``tf.train.Example.SerializeToString(deterministic=True)``, which the tests compare them to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np

from noisy_gru.data.columns import SEQUENCE_ID, STEPS, Columns
from noisy_gru.data.sequences.elapsed_features import source_rows
from noisy_gru.data.sequences.sequences import Sequences
from noisy_gru.schema.config import DatasetConfig, ForecastingConfig

_BYTES, _FLOAT, _INT64 = b"\x0a", b"\x12", b"\x1a"  # fields of tf.train.Feature
_BLOCK_SEQUENCES, _BLOCK_BYTES = 4096, 4 << 20


def varint(value: int) -> bytes:
    """Encode a number as protobuf's varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def delimited(payload: bytes) -> bytes:
    """Encode field 1, length-delimited: a map entry, a list's packed values, a string of a list."""
    return b"\x0a" + varint(len(payload)) + payload


class _Key:
    """Encode the map entries of a feature; the bytes before the values depend on their length alone."""

    def __init__(self, name: str, kind: bytes) -> None:
        self._name, self._kind = delimited(name.encode()), kind
        self._heads: dict[int, bytes] = {}

    def entry(self, values: bytes) -> bytes:
        """Return the map entry of a list whose message body is ``values``."""
        size = len(values)
        head = self._heads.get(size)
        if head is None:
            feature = self._kind + varint(size)
            inner = self._name + b"\x12" + varint(len(feature) + size) + feature
            head = self._heads[size] = b"\x0a" + varint(len(inner) + size) + inner
        return head + values

    def packed(self, raw: bytes) -> bytes:
        """Return the map entry of packed values."""
        return self.entry(delimited(raw))


@dataclass(frozen=True)
class _Group:
    """Sequences of ``steps`` steps each: their places among all, and their first rows; int64 [G]."""

    steps: int
    places: np.ndarray
    start: np.ndarray

    def rows(self, ahead: int) -> np.ndarray:
        """Return the rows of each sequence and of some after it, int64 [G, steps + ahead]."""
        return self.start[:, np.newaxis] + np.arange(self.steps + ahead)


# Numbers of a group's sequences: from the group and its rows by ``ahead``, float32 [G, as many for each].
Numbers = Callable[[_Group, Callable[[int], np.ndarray]], np.ndarray]
# Map entries of a group's sequences.
Entries = Callable[[_Group], Iterator[bytes]]


class Encoder:
    """Encode the sequences of a bucket in blocks, so that only one block is held besides the columns."""

    def __init__(self, sequences: Sequences, dataset: DatasetConfig, *, prediction: bool = False) -> None:
        """With ``prediction`` without labels.

        Lists of columns known in advance are longer by the furthest horizon; those of static columns have one value.
        """
        columns = Columns.of(dataset, prediction=prediction)
        horizon = dataset.task.max_horizon if isinstance(dataset.task, ForecastingConfig) else 0
        self._start, self._stop = sequences.start, sequences.stop
        rows = sequences.rows
        self._numbers: dict[str, Numbers] = {}
        self._entries: dict[str, Entries] = {SEQUENCE_ID: _ids(sequences.ids), STEPS: _steps}
        for name in (*columns.numeric_features, *columns.calendar):
            ahead = horizon if name in columns.known_in_advance else 0
            values = rows.numeric[name]
            self._numbers[name] = _first(values) if name in columns.static else _series(values, ahead)
        for feature in dataset.data.numeric:
            if feature.elapsed is not None:
                self._numbers[feature.name] = _elapsed(rows.numeric[feature.name], source_rows(rows, feature))
        for name in (*columns.categorical, *columns.calendar_categories):
            ahead = horizon if name in columns.known_in_advance else 0
            codes, texts = rows.categorical[name]
            is_static = name in columns.static
            self._entries[name] = _first_text(name, codes, texts) if is_static else _texts(name, codes, texts, ahead)
        for name, values in ({} if prediction else sequences.horizon_values).items():
            self._numbers[name] = _of_sequence(values)
        for name in () if prediction else columns.step_targets:
            self._numbers[name] = _series(rows.numeric[name], 0)
        if (name := columns.label) is not None:
            if not isinstance(rows.label, tuple):
                self._numbers[name] = _first(rows.label)
            else:
                codes, texts = rows.label
                of_label = _texts(name, codes, texts, 0) if rows.label_per_step else _first_text(name, codes, texts)
                self._entries[name] = of_label
        self._keys = {name: _Key(name, _FLOAT) for name in self._numbers}
        # Protobuf's deterministic order of map entries.
        self._order = sorted((*self._numbers, *self._entries), key=str.encode)
        self._row_bytes = 4 * len(self._numbers) + 8 * len(self._entries)

    def __call__(self, place: int) -> bytes:
        """Return the serialized tf.Example of a sequence."""
        return next(self.examples([place]))

    def examples(self, places: Sequence[int] | np.ndarray | None = None) -> Iterator[bytes]:
        """Yield the serialized tf.Examples of sequences, by default of all, in the order of ``places``."""
        chosen = np.arange(len(self._start)) if places is None else np.asarray(places, np.int64)
        lengths = self._stop[chosen] - self._start[chosen]
        ends = np.cumsum(lengths * self._row_bytes)
        begin = 0
        while begin < len(chosen):
            before = ends[begin - 1] if begin else 0
            end = int(np.searchsorted(ends, before + _BLOCK_BYTES, side="right"))
            end = min(max(end, begin + 1), begin + _BLOCK_SEQUENCES)
            yield from self._block(chosen[begin:end], lengths[begin:end])
            begin = end

    def _block(self, places: np.ndarray, lengths: np.ndarray) -> list[bytes]:
        found = [b""] * len(places)
        order = np.argsort(lengths, kind="stable")
        for which in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1):
            group = _Group(int(lengths[which[0]]), places[which], self._start[places[which]])
            for place, example in zip(which.tolist(), self._group(group), strict=True):
                found[place] = example
        return found

    def _group(self, group: _Group) -> Iterator[bytes]:
        rows: dict[int, np.ndarray] = {}

        def rows_of(ahead: int) -> np.ndarray:
            if ahead not in rows:
                rows[ahead] = group.rows(ahead)
            return rows[ahead]

        parts: list[Iterator[bytes]] = []
        run: list[tuple[str, np.ndarray]] = []
        for name in self._order:
            if name in self._numbers:
                run.append((name, self._numbers[name](group, rows_of)))
                continue
            if run:
                parts.append(self._numbers_of(run))
                run = []
            parts.append(self._entries[name](group))
        if run:
            parts.append(self._numbers_of(run))
        heads: dict[int, bytes] = {}
        for pieces in zip(*parts, strict=True):
            features = b"".join(pieces)
            size = len(features)
            if size not in heads:
                heads[size] = b"\x0a" + varint(size)
            yield heads[size] + features

    def _numbers_of(self, run: list[tuple[str, np.ndarray]]) -> Iterator[bytes]:
        """Yield the map entries of features that follow each other, together, of each sequence of a group."""
        entries = [self._keys[name].packed(bytes(4 * values.shape[1])) for name, values in run]
        table = np.empty((len(run[0][1]), sum(map(len, entries))), np.uint8)
        table[:] = np.frombuffer(b"".join(entries), np.uint8)
        end = 0
        for (_, values), entry in zip(run, entries, strict=True):
            end += len(entry)
            size = 4 * values.shape[1]
            table[:, end - size : end] = np.ascontiguousarray(values, "<f4").view(np.uint8)
        return map(bytes, table)


def _ids(ids: list[str]) -> Entries:
    key = _Key(SEQUENCE_ID, _BYTES)
    return lambda group: (key.entry(delimited(ids[place].encode())) for place in group.places.tolist())


def _steps(group: _Group) -> Iterator[bytes]:
    return repeat(_Key(STEPS, _INT64).packed(varint(group.steps)), len(group.places))


def _series(values: np.ndarray, ahead: int) -> Numbers:
    return lambda group, rows_of: values.take(rows_of(ahead))


def _elapsed(values: np.ndarray, source: np.ndarray) -> Numbers:
    def numbers(group: _Group, rows_of: Callable[[int], np.ndarray]) -> np.ndarray:
        rows = rows_of(0)
        # What is before the sequence begins is unknown to a request that holds the sequence alone.
        return np.where(source.take(rows) < group.start[:, np.newaxis], np.float32(np.nan), values.take(rows))

    return numbers


def _first(values: np.ndarray) -> Numbers:
    """Static numbers and labels: the value of the first row stands for all."""
    return lambda group, rows_of: values.take(group.start)[:, np.newaxis]


def _of_sequence(values: np.ndarray) -> Numbers:
    return lambda group, rows_of: values[group.places]


def _texts(name: str, codes: np.ndarray, texts: list[str], ahead: int) -> Entries:
    key, items = _Key(name, _BYTES), _items(texts)

    def entries(group: _Group) -> Iterator[bytes]:
        for of_sequence in codes.take(group.rows(ahead)).tolist():
            yield key.entry(b"".join([items[code] for code in of_sequence]))

    return entries


def _first_text(name: str, codes: np.ndarray, texts: list[str]) -> Entries:
    key = _Key(name, _BYTES)
    known = [key.entry(item) for item in _items(texts)]
    return lambda group: (known[code] for code in codes.take(group.start).tolist())


def _items(texts: list[str]) -> list[bytes]:
    return [*(delimited(text.encode()) for text in texts), delimited(b"")]  # code -1: missing

"""Encode sequences as serialized tf.Examples, in protobuf's wire format straight from NumPy buffers.

Building the messages with protobuf's Python objects would take most of a run's time. The bytes equal those of
``tf.train.Example.SerializeToString(deterministic=True)``, which the tests compare them to.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from noisy_gru.data.columns import SEQUENCE_ID, STEPS, Columns
from noisy_gru.data.sequences.elapsed_features import source_rows
from noisy_gru.data.sequences.sequences import Sequences
from noisy_gru.schema.config import DatasetConfig, ForecastingConfig

_BYTES, _FLOAT, _INT64 = b"\x0a", b"\x12", b"\x1a"  # fields of tf.train.Feature


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
        size = len(raw)
        head = self._heads.get(size)
        if head is None:
            values = b"\x0a" + varint(size)
            feature = self._kind + varint(len(values) + size) + values
            inner = self._name + b"\x12" + varint(len(feature) + size) + feature
            head = self._heads[size] = b"\x0a" + varint(len(inner) + size) + inner
        return head + raw


Writer = Callable[[int], bytes]


class Encoder:
    """Encode the sequences of a bucket one by one, so that only one is held besides the columns."""

    def __init__(self, sequences: Sequences, dataset: DatasetConfig, *, prediction: bool = False) -> None:
        """With ``prediction`` without labels.

        Lists of columns known in advance are longer by the furthest horizon; those of static columns have one value.
        """
        columns = Columns.of(dataset, prediction=prediction)
        horizon = dataset.task.max_horizon if isinstance(dataset.task, ForecastingConfig) else 0
        self._sequences = sequences
        self._start, self._stop = sequences.start.tolist(), sequences.stop.tolist()
        rows = sequences.rows
        writers: dict[str, Writer] = {SEQUENCE_ID: self._id_writer(), STEPS: self._steps_writer()}
        for name in (*columns.numeric_features, *columns.calendar):
            if name in columns.static:
                writers[name] = self._static_number_writer(name, rows.numeric[name])
                continue
            ahead = horizon if name in columns.known_in_advance else 0
            writers[name] = self._numeric_writer(name, rows.numeric[name], ahead)
        for feature in dataset.data.numeric:
            if feature.elapsed is not None:
                writers[feature.name] = self._elapsed_writer(
                    feature.name, rows.numeric[feature.name], source_rows(rows, feature)
                )
        for name in (*columns.categorical, *columns.calendar_categories):
            if name in columns.static:
                writers[name] = self._static_text_writer(name, *rows.categorical[name])
                continue
            ahead = horizon if name in columns.known_in_advance else 0
            writers[name] = self._categorical_writer(name, *rows.categorical[name], ahead)
        for name, values in ({} if prediction else sequences.horizon_values).items():
            writers[name] = self._horizon_writer(name, values)
        for name in () if prediction else columns.step_targets:
            writers[name] = self._numeric_writer(name, rows.numeric[name], 0)
        if columns.label is not None:
            writers[columns.label] = self._label_writer(columns.label)
        # Protobuf's deterministic order of map entries.
        self._writers = [writers[name] for name in sorted(writers, key=str.encode)]

    def __call__(self, place: int) -> bytes:
        """Return the serialized tf.Example of a sequence."""
        return delimited(b"".join([write(place) for write in self._writers]))

    def _id_writer(self) -> Writer:
        key, ids = _Key(SEQUENCE_ID, _BYTES), self._sequences.ids
        return lambda place: key.entry(delimited(ids[place].encode()))

    def _steps_writer(self) -> Writer:
        # Without self, of which the writers would be a cycle: a bucket's columns are freed with their encoder.
        key, start, stop = _Key(STEPS, _INT64), self._start, self._stop
        return lambda place: key.packed(varint(stop[place] - start[place]))

    def _numeric_writer(self, name: str, values: np.ndarray, ahead: int) -> Writer:
        key, start, stop = _Key(name, _FLOAT), self._start, self._stop
        raw = values.astype("<f4").tobytes()
        return lambda place: key.packed(raw[4 * start[place] : 4 * (stop[place] + ahead)])

    def _elapsed_writer(self, name: str, values: np.ndarray, source: np.ndarray) -> Writer:
        key, start, stop = _Key(name, _FLOAT), self._start, self._stop
        values = values.astype("<f4")

        def write(place: int) -> bytes:
            part = slice(start[place], stop[place])
            # What is before the sequence begins is unknown to a request that holds the sequence alone.
            return key.packed(np.where(source[part] < start[place], np.float32(np.nan), values[part]).tobytes())

        return write

    def _categorical_writer(self, name: str, codes: np.ndarray, texts: list[str], ahead: int) -> Writer:
        key, start, stop = _Key(name, _BYTES), self._start, self._stop
        items = [delimited(text.encode()) for text in texts]
        items.append(delimited(b""))  # code -1: missing
        entries = [items[code] for code in codes.tolist()]
        return lambda place: key.entry(b"".join(entries[start[place] : stop[place] + ahead]))

    def _static_number_writer(self, name: str, values: np.ndarray) -> Writer:
        key, start = _Key(name, _FLOAT), self._start
        raw = values.astype("<f4").tobytes()
        return lambda place: key.packed(raw[4 * start[place] : 4 * start[place] + 4])

    def _static_text_writer(self, name: str, codes: np.ndarray, texts: list[str]) -> Writer:
        key, start = _Key(name, _BYTES), self._start
        items = [*(delimited(text.encode()) for text in texts), delimited(b"")]  # code -1: missing
        return lambda place: key.entry(items[codes[start[place]]])

    def _horizon_writer(self, name: str, values: np.ndarray) -> Writer:
        key, width = _Key(name, _FLOAT), 4 * values.shape[1]
        raw = values.astype("<f4").tobytes()
        return lambda place: key.packed(raw[width * place : width * (place + 1)])

    def _label_writer(self, name: str) -> Writer:
        label, start = self._sequences.rows.label, self._start
        if isinstance(label, tuple):
            codes, texts = label
            if self._sequences.rows.label_per_step:
                return self._categorical_writer(name, codes, texts, 0)
            key, items = _Key(name, _BYTES), [delimited(text.encode()) for text in texts]
            return lambda place: key.entry(items[codes[start[place]]])
        key, raw = _Key(name, _FLOAT), label.astype("<f4").tobytes()
        return lambda place: key.packed(raw[4 * start[place] : 4 * start[place] + 4])

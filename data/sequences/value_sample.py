"""A bounded sample of a data set's values per sequence, the reference for drift tests; holds no rows and no ids.

>>> sample = sample_values("artifacts/examples/12", "train", dataset)  # doctest: +SKIP
>>> write_values("artifacts/report/12", sample)  # doctest: +SKIP

Of each sequence it keeps, by numeric column, the numbers of valid and missing values, and at most ``POINTS`` of their
quantiles as ranks among ``EDGES`` quantiles of all values; by categorical column, the counts of the commonest values.
"""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from typing import Any

import numpy as np

from noisy_gru.data.columns import SEQUENCE_ID, STEPS, TARGET, Columns
from noisy_gru.data.sequences.example_files import FILES, read_examples, read_ids
from noisy_gru.data.sequences.sequence_ids import split_sequence_id
from noisy_gru.schema.config import DatasetConfig, ForecastingConfig
from noisy_gru.schema.errors import DataError
from noisy_gru.schema.file_patterns import escape

VALUES_FILE = "values.npz"
LENGTH = "sequence length"
POINTS = 16
EDGES = 254
# Sequences kept, fewer where there are so many columns that the file would have more than MOST_BYTES.
MOST_SEQUENCES, FEWEST_SEQUENCES, MOST_BYTES = 2000, 64, 4 << 20
# Ids read to choose from.
_LOOKED_AT = 100_000
_COMMON = 32
_OTHER = "\x00other"
_NO_POINT = 255
_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class ValueSample:
    """A sample of S sequences, those of an entity adjacent and in the order of time.

    Attributes:
        numeric: names of the F numeric columns, the sequences' lengths the last of them.
        categorical: names of the C categorical columns.
        edges: by numeric column, rising values that divide all values; at most ``EDGES``.
        points: uint8 [S, F, POINTS], the number of edges at or below each quantile; 255 where there is none.
        valid: int32 [S, F], numbers of valid values.
        missing: int32 [S, F + C], numbers of missing values, of the numeric columns and then of the categorical ones.
        counts: by sequence and categorical column, the count of each value.
        entity: int32 [S], a number for each entity.
    """

    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    edges: tuple[np.ndarray, ...]
    points: np.ndarray
    valid: np.ndarray
    missing: np.ndarray
    counts: tuple[tuple[dict[str, int], ...], ...]
    entity: np.ndarray

    def __len__(self) -> int:
        return len(self.entity)


def sample_values(folder: str, splits: str, dataset: DatasetConfig, like: ValueSample | None = None) -> ValueSample:
    """Sample the tf.Examples below a folder; deterministic for the same data.

    Args:
        folder: the ``examples`` artifact's, on any file system of TFX.
        splits: pattern of the splits' names, such as ``train`` or ``*``.
        dataset: their configuration.
        like: a sample whose edges are used in place of this one's own.
    """
    columns = Columns.of(dataset)
    # Calendar features and the entity are expected to differ.
    prefix = TARGET if isinstance(dataset.task, ForecastingConfig) else ""
    numeric = [*columns.numeric_features, *(prefix + target for target in columns.targets)]
    categorical = [name for name in columns.categorical if name not in columns.entity]
    if columns.label is not None:
        (categorical if columns.label_is_class else numeric).append(columns.label)
    width = (len(numeric) + 1) * POINTS + 8 * len(categorical)
    most = int(np.clip(MOST_BYTES // width, FEWEST_SEQUENCES, MOST_SEQUENCES))
    files = _files(folder, splits)
    names = list(islice((name for file in files for name in read_ids(file)), _LOOKED_AT))
    chosen = _chosen(names, most, dataset)
    found: dict[str, _Values] = {}
    for name, features in _examples(files, chosen):
        if name not in found:
            found[name] = _values(features, numeric, categorical)
            if len(found) == len(chosen):
                break
    return _packed([(chosen[name], found[name]) for name in chosen if name in found], numeric, categorical, like)


def write_values(folder: str, sample: ValueSample) -> None:
    """Write ``VALUES_FILE`` into a folder, on any file system of TFX."""
    from tfx.dsl.io import fileio

    texts: dict[str, int] = {_OTHER: 0}
    cells: list[tuple[int, int, int, int]] = []
    for place, row in enumerate(sample.counts):
        for column, counts in enumerate(row):
            cells += [(place, column, texts.setdefault(text, len(texts)), count) for text, count in counts.items()]
    buffer = io.BytesIO()
    # Names as UTF-8 bytes: NumPy's text arrays would lose trailing zeros.
    packed = {
        "format": np.array(_FORMAT),
        "numeric": _encode_texts(sample.numeric),
        "categorical": _encode_texts(sample.categorical),
        "texts": _encode_texts(texts),
        "edges": np.concatenate([*sample.edges, np.empty(0)]),
        "edge_counts": np.array([len(each) for each in sample.edges], np.int32),
        "points": sample.points,
        "valid": sample.valid,
        "missing": sample.missing,
        "cells": np.array(cells, np.int32).reshape(-1, 4),
        "entity": sample.entity,
    }
    np.savez_compressed(buffer, **packed)
    with fileio.open(f"{folder}/{VALUES_FILE}", "wb") as stream:
        stream.write(buffer.getvalue())


def read_values(content: bytes, name: str) -> ValueSample:
    """Parse a sample file; ``name`` is the file's, for messages.

    Raises:
        DataError: the content is no sample.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            if int(file["format"]) != _FORMAT:
                raise DataError(f"{name} has the format {int(file['format'])}; expected {_FORMAT}. Update noisy-gru.")
            numeric, categorical = _decode_texts(file["numeric"]), _decode_texts(file["categorical"])
            texts, entity = _decode_texts(file["texts"]), file["entity"]
            counts: list[list[dict[str, int]]] = [[{} for _ in categorical] for _ in entity]
            for place, column, text, count in file["cells"].tolist():
                counts[place][column][texts[text]] = count
            ends = np.cumsum(file["edge_counts"])
            return ValueSample(
                numeric=tuple(numeric),
                categorical=tuple(categorical),
                edges=tuple(np.split(file["edges"], ends)[: len(ends)]),
                points=file["points"],
                valid=file["valid"],
                missing=file["missing"],
                counts=tuple(map(tuple, counts)),
                entity=entity,
            )
    except (KeyError, ValueError, IndexError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{name}: expected a sample of a model's training data, and it can't be read: {error}"
        ) from error


def _encode_texts(texts: Iterable[str]) -> np.ndarray:
    """Encode texts as one array of bytes, each preceded by its length."""
    encoded = [text.encode() for text in texts]
    return np.frombuffer(b"".join(b"%d:%s" % (len(each), each) for each in encoded), np.uint8)


def _decode_texts(array: np.ndarray) -> list[str]:
    content, place, texts = array.tobytes(), 0, []
    while place < len(content):
        colon = content.index(b":", place)
        end = colon + 1 + int(content[place:colon])
        texts.append(content[colon + 1 : end].decode())
        place = end
    return texts


@dataclass(frozen=True)
class _Values:
    points: list[np.ndarray]
    valid: list[int]
    missing: list[int]
    counts: tuple[dict[str, int], ...]


def _files(folder: str, splits: str) -> list[str]:
    from tfx.dsl.io import fileio

    return sorted(str(path) for path in fileio.glob(f"{escape(folder)}/Split-{splits}/{FILES}"))


def _examples(files: Sequence[str], names: Container[str]) -> Iterator[tuple[str, Any]]:
    """Yield id and features of the sequences of these ids."""
    import tensorflow as tf

    for file in files:
        for record in read_examples(file, names):
            features = tf.train.Example.FromString(record).features.feature
            yield features[SEQUENCE_ID].bytes_list.value[0].decode(), features


def _chosen(names: Sequence[str], most: int, dataset: DatasetConfig) -> dict[str, int]:
    """Choose whole entities by hash, and windows that don't overlap; return the entity's number by sequence id."""
    task = dataset.task
    of_entity: dict[str, list[tuple[tuple[float, str], str]]] = {}
    for name in names:
        entity, moment = split_sequence_id(name, dataset)
        of_entity.setdefault(entity, []).append((moment, name))
    spacing = -(-task.input_length // task.stride) if isinstance(task, ForecastingConfig) else 1
    chosen: dict[str, int] = {}
    for number, entity in enumerate(sorted(of_entity, key=_hash)):
        for name in _spaced([name for _, name in sorted(of_entity[entity])], spacing):
            chosen[name] = number
            if len(chosen) == most:
                return chosen
    return chosen


def _spaced(names: Sequence[str], least: int) -> Iterator[str]:
    """Windows of an entity, in the order of time, of which the next is at least so many further on.

    How many is chance, by the name. With equal gaps windows of a day would all begin at the same hour, and data that
    begins at another hour would look like another distribution.
    """
    place = _number(names[0]) % min(least, len(names))
    while place < len(names):
        yield names[place]
        place += least + _number(names[place]) % least


def _hash(entity: str) -> bytes:
    return blake2b(entity.encode(), digest_size=8, person=b"sample").digest()


def _number(name: str) -> int:
    return int.from_bytes(_hash(name), "big")


def _values(features: Any, numeric: Sequence[str], categorical: Sequence[str]) -> _Values:
    points, valid, missing = [], [], []
    for name in numeric:
        values = np.array(features[name].float_list.value, np.float32) if name in features else np.empty(0, np.float32)
        there = np.sort(values[~np.isnan(values)])
        points.append(_quantiles(there))
        valid.append(len(there))
        missing.append(len(values) - len(there))
    points.append(np.array(features[STEPS].int64_list.value[:1], np.float32))
    valid.append(1)
    missing.append(0)
    counts = []
    for name in categorical:
        texts = Counter(value.decode("utf-8", "replace") for value in features[name].bytes_list.value)
        missing.append(texts.pop("", 0))
        common = dict(texts.most_common(_COMMON))
        if rest := texts.total() - sum(common.values()):
            common[_OTHER] = rest
        counts.append(common)
    return _Values(points, valid, missing, tuple(counts))


def _quantiles(values: np.ndarray) -> np.ndarray:
    """Return at most ``POINTS`` of sorted values, evenly spaced by rank."""
    if len(values) <= POINTS:
        return values
    return values[((np.arange(POINTS) + 0.5) * len(values) / POINTS).astype(int)]


def _packed(
    found: Sequence[tuple[int, _Values]], numeric: Sequence[str], categorical: Sequence[str], like: ValueSample | None
) -> ValueSample:
    names = (*numeric, LENGTH)
    known = dict(zip(like.numeric, like.edges, strict=True)) if like else {}
    points = np.full((len(found), len(names), POINTS), _NO_POINT, np.uint8)
    edges = []
    for place, name in enumerate(names):
        here = [values.points[place] for _, values in found]
        edges.append(known[name] if name in known else _edges(np.concatenate([*here, np.empty(0, np.float32)])))
        for row, values in enumerate(here):
            points[row, place, : len(values)] = np.searchsorted(edges[-1], values, side="right")
    width = len(names) + len(categorical)
    return ValueSample(
        numeric=names,
        categorical=tuple(categorical),
        edges=tuple(edges),
        points=points,
        valid=np.array([values.valid for _, values in found], np.int32).reshape(len(found), len(names)),
        missing=np.array([values.missing for _, values in found], np.int32).reshape(len(found), width),
        counts=tuple(values.counts for _, values in found),
        entity=np.array([entity for entity, _ in found], np.int32),
    )


def _edges(values: np.ndarray) -> np.ndarray:
    if not len(values):
        return np.empty(0)
    found = np.unique(values)
    if len(found) > EDGES:
        found = np.unique(np.quantile(values, np.linspace(0, 1, EDGES), method="inverted_cdf"))
    return found.astype(np.float64)

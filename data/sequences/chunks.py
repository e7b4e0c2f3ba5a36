"""Columnar chunks, the unit that Beam shuffles: one per entity bucket and input block, as Arrow IPC bytes.

A chunk holds canonical columns: ``entity`` (text), ``time`` (int64 or float64), ``row`` (int64), ``n:<name>`` (float32,
NaN where missing), ``c:<name>`` (text, empty where missing), ``label`` (text or float64) and ``split`` (int8, an index
of SPLITS) where they apply; with `data.time.ambiguous: infer` also ``repeat`` (int64, see `Rows`). Chunks are grouped
by buckets of entities instead of single entities, since a chunk of many short sequences costs as much as a chunk of
one; all rows of an entity are in one bucket.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Any

import numpy as np

from noisy_gru.data.arrow import pa, pc
from noisy_gru.data.sequences.rows import Rows

NUMERIC = "n:"
CATEGORICAL = "c:"
_FILE = b"file"
BUCKET_BYTES = 32 << 20
MOST_BUCKETS = 1024
# Bytes of a chunk per byte of a file, roughly.
_EXPANSION = {"csv": 0.6, "csv.gz": 2.0, "parquet": 1.5, "example": 1.5, "sequence_example": 1.5}
_EXPANSION |= {"jsonl": 0.4, "jsonl.gz": 4.0, "arrow": 1.0, "ts": 3.0, "ts.gz": 9.0, "xlsx": 5.0}


def bucket_count(sizes: Iterable[tuple[str, int]]) -> int:
    """Return the number of buckets for files (format, bytes): by size alone, so that it is reproducible."""
    total = sum(size * _EXPANSION[kind] for kind, size in sizes)
    return int(min(MOST_BUCKETS, total // BUCKET_BYTES + 1))


def bucket_of(entity: str, buckets: int) -> int:
    """Return the bucket of an entity, by hash."""
    return int.from_bytes(blake2b(entity.encode(), digest_size=8, person=b"bucket").digest(), "little") % buckets


def pack(table: Any, file: str, buckets: int) -> Iterator[tuple[int, bytes]]:
    """Cut a canonical table into one chunk per bucket; ``file`` is the name of its file."""
    if not table.num_rows:
        return
    table = table.combine_chunks().replace_schema_metadata({_FILE: file.encode()})
    if buckets == 1:
        yield 0, _to_bytes(table)
        return
    entity = table["entity"].combine_chunks().dictionary_encode()
    of_code = np.array([bucket_of(name, buckets) for name in entity.dictionary.to_pylist()])
    of_row = of_code[entity.indices.to_numpy()]
    order = np.argsort(of_row, kind="stable")
    table = table.take(pa.array(order))
    found, starts = np.unique(of_row[order], return_index=True)
    for bucket, start, stop in zip(found, starts, [*starts[1:], len(order)], strict=True):
        yield int(bucket), _to_bytes(table.slice(start, stop - start))


def _to_bytes(table: Any) -> bytes:
    names = [field.name for field in table.schema if pa.types.is_string(field.type)]
    for name in names:
        table = table.set_column(
            table.schema.get_field_index(name), name, pc.dictionary_encode(table[name].combine_chunks())
        )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def unpack(chunks: Iterable[bytes]) -> Rows:
    """Combine the chunks of a bucket to rows, ordered by file name and row number, whatever the chunks' order."""
    tables = [pa.ipc.open_stream(chunk).read_all() for chunk in chunks]
    tables.sort(key=lambda table: (table.schema.metadata[_FILE], table["row"][0].as_py()))
    names = sorted({table.schema.metadata[_FILE].decode() for table in tables})
    places = {name: place for place, name in enumerate(names)}
    file = np.concatenate(
        [np.full(len(table), places[table.schema.metadata[_FILE].decode()], np.int32) for table in tables]
    )
    whole = pa.concat_tables([table.replace_schema_metadata(None) for table in tables])
    whole = whole.unify_dictionaries().combine_chunks()
    columns = {name: to_numpy(whole[name]) for name in whole.column_names}
    codes, entities = columns["entity"]
    order = sorted(range(len(entities)), key=entities.__getitem__)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return Rows(
        entities=[entities[place] for place in order],
        entity=rank[codes],
        time=columns["time"],
        file_names=names,
        file=file,
        row=columns["row"],
        numeric={name[2:]: column for name, column in columns.items() if name.startswith(NUMERIC)},
        categorical={name[2:]: column for name, column in columns.items() if name.startswith(CATEGORICAL)},
        label=columns.get("label"),
        split=columns.get("split"),
        repeat=columns.get("repeat"),
    )


def to_numpy(column: Any) -> Any:
    """Return a column of a table as an array; of texts the codes, -1 where one is missing, and the texts."""
    array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if pa.types.is_dictionary(array.type):
        codes = pc.fill_null(array.indices, -1).to_numpy(zero_copy_only=False).astype(np.int32)
        return codes, array.dictionary.to_pylist()
    return array.to_numpy(zero_copy_only=False)

"""Read Arrow IPC files and streams (Feather V2 is the former), record batch by record batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from noisy_gru.data.arrow import pa
from noisy_gru.data.columns import Columns
from noisy_gru.data.reading.tables import (
    PARQUET_BLOCK_ROWS,
    Block,
    Choose,
    Opener,
    Source,
    chosen_columns,
    unreadable_error,
)
from noisy_gru.schema.errors import DataError
from noisy_gru.storage.object_stores import open_file

_MAGIC = b"ARROW1"
_FEATHER_V1 = b"FEA1"


@contextmanager
def _opened(source: Source, opener: Opener) -> Iterator[tuple[Any, Iterator[Any]]]:
    """Open a file as its schema and its record batches; failures of the file itself become a DataError."""
    try:
        with opener(source.path) as stream:
            head = stream.read(len(_MAGIC))
            stream.seek(0)
            if head.startswith(_FEATHER_V1):
                raise DataError(
                    f"{source.name}: expected an Arrow IPC file (Feather V2), received Feather V1. Write it again with "
                    "version=2, or as Parquet"
                )
            if head == _MAGIC:
                file = pa.ipc.open_file(stream)
                yield file.schema, (file.get_batch(place) for place in range(file.num_record_batches))
            else:
                reader = pa.ipc.open_stream(stream)
                yield reader.schema, iter(reader)
    except (OSError, EOFError, pa.ArrowException) as error:
        raise unreadable_error(source, "an Arrow IPC file", error) from error


def arrow_columns(source: Source, opener: Opener = open_file) -> list[str]:
    """Return the column names of a file.

    Raises:
        DataError: the file can't be read.
    """
    with _opened(source, opener) as (schema, _):
        return list(schema.names)


def read_arrow(
    source: Source,
    columns: Columns,
    required: Sequence[str],
    opener: Opener = open_file,
    block_rows: int = PARQUET_BLOCK_ROWS,
    choose: Choose | None = None,
) -> Iterator[Block]:
    """Yield the blocks of a file.

    Raises:
        DataError: a column is missing, or the file can't be read.
    """
    first = 1
    with _opened(source, opener) as (schema, batches):
        names = chosen_columns(schema.names, columns, required, source, choose)
        for batch in batches:
            for start in range(0, batch.num_rows, block_rows):
                part = batch.slice(start, block_rows)
                rows = np.arange(first, first + part.num_rows, dtype=np.int64)
                first += part.num_rows
                yield Block(pa.Table.from_batches([part]).select(names), rows)


def first_arrow_rows(source: Source, rows: int) -> Any:
    """Return the first rows (pa.Table) of a file: of its first record batch that has any.

    Raises:
        DataError: the file can't be read.
    """
    with _opened(source, open_file) as (schema, batches):
        batch = next((each for each in batches if each.num_rows), None)
        return schema.empty_table() if batch is None else pa.Table.from_batches([batch.slice(0, rows)])

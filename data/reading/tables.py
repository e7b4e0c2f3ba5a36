"""Sources of rows, blocks of rows, and the Parquet reader.

Row numbers count from 1 at the first row after the header, in every format.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any, BinaryIO

import numpy as np

from noisy_gru.data.arrow import pa, pa_parquet
from noisy_gru.data.columns import Columns
from noisy_gru.data.reading.csv_records import Malformed
from noisy_gru.schema.errors import DataError
from noisy_gru.storage.object_stores import open_file

Opener = Callable[[str], BinaryIO]

PARQUET_BLOCK_ROWS = 1 << 18
STEP = "_step"  # column with the position of a step in its sequence, where there is no time


@dataclass(frozen=True)
class Source:
    """A file, or a row group of a Parquet file: a unit of reading.

    ``name`` is the file's name in messages and reports, ``split`` its split by ``data.files``, if any. Rows in memory
    have the format ``table`` and are in ``table`` (pa.Table); ``native`` as in `Block`. ``title`` is the file's name in
    the ids of sequences that no column names; None: ``name``.
    """

    path: str
    name: str
    format: str
    split: str | None = None
    row_group: int | None = None
    first_row: int = 1
    table: Any = None
    native: Mapping[str, np.ndarray] = field(default_factory=dict)
    title: str | None = None


@dataclass
class Block:
    """Raw rows of a file.

    ``table`` holds the wanted columns under the user's names, ``rows`` int64 [N] the row numbers, ``malformed`` the
    rows that couldn't be parsed. ``lines`` int64 [N] are the physical lines on which the rows of a CSV file begin.
    ``native`` has, for columns of mixed types that became text, a mask [N] of the cells that were no text before.
    Of a wide table, ``file_columns`` has the file's column of each value, texts [N], and ``skipped`` counts the empty
    cells that are no rows.
    """

    table: Any  # pa.Table
    rows: np.ndarray
    malformed: list[Malformed] = field(default_factory=list)
    lines: np.ndarray | None = None
    native: Mapping[str, np.ndarray] = field(default_factory=dict)
    file_columns: Mapping[str, Any] = field(default_factory=dict)
    skipped: int = 0


# The columns to read of those that a file has, in order; it raises DataError where others are needed.
Choose = Callable[[Sequence[str], Source], list[str]]


def case_name(source: Source, number: int) -> str:
    """Return the id of a sequence that no column names: the name of its file without the ending, and its number."""
    title = source.name if source.title is None else source.title
    folder, slash, name = title.removesuffix(".gz").rpartition("/")
    return f"{folder}{slash}{PurePosixPath(name).with_suffix('')}-{number}"


def check_columns(names: Sequence[str], required: Sequence[str], source: Source) -> None:
    """Raise DataError if a file lacks required columns, or has one of them twice."""
    missing = [name for name in required if name not in names]
    what = "file" if source.table is None else "data"
    if missing:
        raise DataError(
            f"{source.name}: expected the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; the {what} has "
            f"{', '.join(map(_visible, names)) or 'none'}. Correct the names in the configuration, or the {what}"
        )
    twice = sorted({name for name in required if list(names).count(name) > 1})
    if twice:
        raise DataError(f"{source.name}: the header has the column {', '.join(twice)} more than once; keep one")


def chosen_columns(
    names: Sequence[str], columns: Columns, required: Sequence[str], source: Source, choose: Choose | None
) -> list[str]:
    """Return the columns of a file to read: those that ``choose`` gives, else all that are wanted and there.

    Raises:
        DataError: without ``choose``, a required column is missing or there twice.
    """
    if choose is not None:
        return choose(names, source)
    check_columns(names, required, source)
    return [name for name in columns.wanted() if name in names]


def _visible(name: str) -> str:
    """Return a column's name, quoted if it has invisible characters: surrounding blanks, marks, control characters."""
    return name if name and name.isprintable() and name == name.strip() else repr(name)


def unreadable_error(
    source: Source, what: str, error: Exception, remedy: str = "Write or copy the file again"
) -> DataError:
    """Return the error for a file that is truncated or not of its format."""
    if isinstance(error, IsADirectoryError):
        inside = f"{source.name}/*{PurePosixPath(source.name).suffix}"
        return DataError(
            f"{source.name}: can't be read as {what}: it is a folder. Name the files in it, for example {inside}"
        )
    detail = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return DataError(f"{source.name}: can't be read as {what}: {detail}. {remedy}, or leave it out")


def parquet_sources(
    source: Source, required: Sequence[str], opener: Opener = open_file, choose: Choose | None = None
) -> list[Source]:
    """Return the row groups of a Parquet file as sources.

    Raises:
        DataError: a column is missing, or the file can't be read.
    """
    try:
        with opener(source.path) as stream:
            file = pa_parquet.ParquetFile(stream)
            if choose is None:
                check_columns(file.schema_arrow.names, required, source)
            else:
                choose(file.schema_arrow.names, source)
            lengths = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
    except (OSError, pa.ArrowException) as error:
        raise unreadable_error(source, "a Parquet file", error) from error
    starts = np.cumsum([1, *lengths]).tolist()
    return [replace(source, row_group=group, first_row=start) for group, start in enumerate(starts[:-1])]


def read_parquet(
    source: Source,
    columns: Columns,
    opener: Opener = open_file,
    block_rows: int = PARQUET_BLOCK_ROWS,
    choose: Choose | None = None,
) -> Iterator[Block]:
    """Yield the blocks of a row group.

    Raises:
        DataError: the file can't be read.
    """
    first = source.first_row
    try:
        with opener(source.path) as stream:
            file = pa_parquet.ParquetFile(stream)
            found = file.schema_arrow.names
            names = choose(found, source) if choose else [name for name in columns.wanted() if name in found]
            groups = None if source.row_group is None else [source.row_group]
            for batch in file.iter_batches(block_rows, row_groups=groups, columns=names):
                rows = np.arange(first, first + batch.num_rows, dtype=np.int64)
                first += batch.num_rows
                yield Block(pa.Table.from_batches([batch]), rows)
    except (OSError, pa.ArrowException) as error:
        raise unreadable_error(source, "a Parquet file", error) from error

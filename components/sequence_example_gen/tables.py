"""Reads CSV and Parquet files block by block, with the row number of every row.

Row numbers count from 1 at the first row after the header, in Parquet as in CSV.
"""

from __future__ import annotations

import bisect
import csv
import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from noisy_gru.components.sequence_example_gen.arrow import pa, pa_csv, pa_parquet
from noisy_gru.components.sequence_example_gen.columns import Columns
from noisy_gru.components.sequence_example_gen.errors import DataError

Opener = Callable[[str], BinaryIO]

CSV_BLOCK_BYTES = 16 << 20
PARQUET_BLOCK_ROWS = 1 << 18
MOST_CELL_CHARACTERS = 200


@dataclass(frozen=True)
class Source:
    """A file, or some row groups of a Parquet file: a unit of reading.

    ``name`` is how messages and accounts call the file, ``split`` the split that ``data.files`` gives it, if any. For
    rows that are in memory, the format is ``table`` and ``table`` holds them (pa.Table).
    """

    path: str
    name: str
    format: str
    split: str | None = None
    row_group: int | None = None
    first_row: int = 1
    table: Any = None


@dataclass
class Block:
    """Some rows of a file as they were read.

    ``table`` holds the wanted columns under the user's names, ``rows`` int64 [N] the row numbers, ``malformed`` rows
    that are no rows of the table at all: row number and what is wrong.
    """

    table: Any  # pa.Table
    rows: np.ndarray
    malformed: list[tuple[int, str]] = field(default_factory=list)


def local_open(path: str) -> BinaryIO:
    """Open a local file for reading."""
    return Path(path).open("rb")


def check_columns(names: Sequence[str], required: Sequence[str], source: Source) -> None:
    """Raise DataError when a file misses required columns, or holds one of them twice."""
    missing = [name for name in required if name not in names]
    if missing:
        raise DataError(
            f"{source.name}: expected the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; the "
            f"{'file' if source.table is None else 'data'} has {', '.join(names) or 'none'}. Correct the names in the "
            f"configuration, or the {'file' if source.table is None else 'data'}"
        )
    twice = sorted({name for name in required if list(names).count(name) > 1})
    if twice:
        raise DataError(f"{source.name}: the column {', '.join(twice)} stands in the header more than once; keep one")


def unreadable(source: Source, what: str, error: Exception) -> DataError:
    """The error for a file that breaks off or is not what its name says."""
    detail = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return DataError(
        f"{source.name}: can't be read as {what}: {detail}. Write or copy the file again, or take it out of data.files"
    )


def open_text(source: Source, opener: Opener = local_open) -> Any:
    """The uncompressed bytes of a CSV file."""
    stream = opener(source.path)
    return pa.CompressedInputStream(stream, "gzip") if source.name.endswith(".gz") else stream


def csv_header(source: Source, opener: Opener = local_open) -> list[str]:
    """The column names of a CSV file.

    Raises:
        DataError: the file is empty, is not UTF-8, or breaks off.
    """
    try:
        with open_text(source, opener) as stream:
            head = stream.read(1 << 20)
        header = next(csv.reader(io.StringIO(_whole_lines(head).decode("utf-8-sig"), newline="")), None)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise unreadable(source, "a CSV file in UTF-8", error) from error
    if not header:
        raise DataError(f"{source.name}: is empty; expected a header with the column names. Take it out of data.files")
    return header


def _whole_lines(head: bytes) -> bytes:
    return head if len(head) < 1 << 20 else head[: head.rfind(b"\n") + 1]


def read_csv(
    source: Source,
    columns: Columns,
    required: Sequence[str],
    opener: Opener = local_open,
    block_bytes: int = CSV_BLOCK_BYTES,
) -> Iterator[Block]:
    """The blocks of a CSV file (``.gz`` too), all cells as text: what becomes of one hangs on no other.

    Raises:
        DataError: a column is missing, or the file can't be read.
    """
    header = csv_header(source, opener)
    check_columns(header, required, source)
    wanted = [name for name in columns.wanted() if name in header]
    try:
        yield from _CsvReader(source, opener, wanted, block_bytes).blocks()
    except pa.ArrowInvalid as error:
        raise unreadable(source, "a CSV file in UTF-8", error) from error
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        raise unreadable(source, "a CSV file", error) from error


class _CsvReader:
    """One pass over a CSV file, which keeps the row numbers right around rows with too few or too many cells."""

    def __init__(self, source: Source, opener: Opener, names: Sequence[str], block_bytes: int) -> None:
        self._source, self._opener, self._block_bytes = source, opener, block_bytes
        self._convert = pa_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), include_columns=list(names), strings_can_be_null=False
        )
        self._malformed: list[tuple[int, str]] = []

    def _note(self, row: Any) -> str:
        text = row.text if len(row.text) <= MOST_CELL_CHARACTERS else row.text[:MOST_CELL_CHARACTERS] + "…"
        found = f"expected {row.expected_columns} cells, received {row.actual_columns}: {text!r}"
        self._malformed.append((row.number - 1, found))  # Arrow counts the header as row 1
        return "skip"

    def blocks(self) -> Iterator[Block]:
        """The blocks of the file."""
        following = 1
        with open_text(self._source, self._opener) as stream:
            reader = pa_csv.open_csv(
                stream,
                read_options=pa_csv.ReadOptions(use_threads=False, block_size=self._block_bytes),
                parse_options=pa_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=self._note),
                convert_options=self._convert,
            )
            for batch in reader:
                rows, malformed = self._numbered(batch.num_rows, following)
                following += batch.num_rows + len(malformed)
                if len(rows) or malformed:
                    yield Block(pa.Table.from_batches([batch]), rows, malformed)
        rest = [found for found in self._malformed if found[0] >= following]
        if rest:
            yield Block(reader.schema.empty_table(), np.empty(0, np.int64), rest)

    def _numbered(self, count: int, first: int) -> tuple[np.ndarray, list[tuple[int, str]]]:
        start = bisect.bisect_left(self._malformed, (first, ""))
        end = first + count
        within = []
        for number, found in self._malformed[start:]:
            if number >= end:
                break
            within.append((number, found))
            end += 1
        rows = np.arange(first, end, dtype=np.int64)
        return np.setdiff1d(rows, [number for number, _ in within], assume_unique=True), within


def parquet_sources(source: Source, required: Sequence[str], opener: Opener = local_open) -> list[Source]:
    """The row groups of a Parquet file, each a source of its own.

    Raises:
        DataError: a column is missing, or the file can't be read.
    """
    try:
        with opener(source.path) as stream:
            file = pa_parquet.ParquetFile(stream)
            check_columns(file.schema_arrow.names, required, source)
            lengths = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
    except (OSError, pa.ArrowException) as error:
        raise unreadable(source, "a Parquet file", error) from error
    starts = np.cumsum([1, *lengths]).tolist()
    return [
        Source(source.path, source.name, source.format, source.split, group, start)
        for group, start in enumerate(starts[:-1])
    ]


def read_parquet(
    source: Source, columns: Columns, opener: Opener = local_open, block_rows: int = PARQUET_BLOCK_ROWS
) -> Iterator[Block]:
    """The blocks of one row group.

    Raises:
        DataError: the file can't be read.
    """
    first = source.first_row
    try:
        with opener(source.path) as stream:
            file = pa_parquet.ParquetFile(stream)
            names = [name for name in columns.wanted() if name in file.schema_arrow.names]
            groups = None if source.row_group is None else [source.row_group]
            for batch in file.iter_batches(block_rows, row_groups=groups, columns=names):
                rows = np.arange(first, first + batch.num_rows, dtype=np.int64)
                first += batch.num_rows
                yield Block(pa.Table.from_batches([batch]), rows)
    except (OSError, pa.ArrowException) as error:
        raise unreadable(source, "a Parquet file", error) from error

"""Read CSV files (``.gz`` too) into Arrow tables, with the row and line number of every row."""

from __future__ import annotations

import csv
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from noisy_gru.data.arrow import pa, pa_csv, pc
from noisy_gru.data.columns import Columns
from noisy_gru.data.reading.csv_dialect import COMMAS, Dialect, utf8_stream
from noisy_gru.data.reading.csv_lines import shown
from noisy_gru.data.reading.csv_records import BLOCK_BYTES, Chunk, Malformed, RecordReader
from noisy_gru.data.reading.tables import (
    Block,
    Choose,
    Opener,
    Source,
    chosen_columns,
    unreadable_error,
)
from noisy_gru.data.values.cells import CellReader
from noisy_gru.schema.csv_config import CsvConfig
from noisy_gru.schema.errors import DataError
from noisy_gru.storage.object_stores import open_file

HEADER_BYTES = 1 << 20
GZIP_MAGIC = b"\x1f\x8b"
ENCODING_REMEDY = "Name its encoding in data.csv.encoding (cp1252, utf-16, …), write the file again"


@contextmanager
def _records(source: Source, opener: Opener, block_bytes: int, dialect: Dialect) -> Iterator[RecordReader]:
    """Open a file's records; failures of the file itself become a DataError."""
    try:
        stream: Any = opener(source.path)
        with pa.CompressedInputStream(stream, "gzip") if source.format == "csv.gz" else stream as text:
            yield RecordReader(utf8_stream(text, dialect), source.name, block_bytes, dialect)
    except (UnicodeError, csv.Error) as error:
        raise unreadable_error(source, f"a CSV file in {_encoding(dialect)}", error, ENCODING_REMEDY) from error
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        if "zlib" in str(error):
            _check_gzip(source, opener)
        raise unreadable_error(source, "a CSV file", error) from error


def _check_gzip(source: Source, opener: Opener) -> None:
    """Raise DataError for a file that is not gzip."""
    with opener(source.path) as stream:
        first = stream.read(8)
    if not first.startswith(GZIP_MAGIC):
        raise DataError(
            f"{source.name}: expected gzip, received a file that begins with {first!r}. Pack it with gzip, or name it "
            ".csv if it is plain text"
        )


def csv_header(source: Source, opener: Opener = open_file, csv_config: CsvConfig | None = None) -> list[str]:
    """Return the column names of a CSV file.

    Raises:
        DataError: the file is empty, not UTF-8, or truncated.
    """
    with _records(source, opener, HEADER_BYTES, _dialect(csv_config)) as reader:
        return reader.header()


def ends_with_line_end(source: Source, opener: Opener = open_file) -> bool:
    """Whether the last line of an uncompressed file is complete; otherwise the file may be truncated."""
    with opener(source.path) as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) in b"\r\n"


def read_csv(
    source: Source,
    columns: Columns,
    required: Sequence[str],
    opener: Opener = open_file,
    block_bytes: int = BLOCK_BYTES,
    csv_config: CsvConfig | None = None,
    choose: Choose | None = None,
) -> Iterator[Block]:
    """Yield the blocks of a CSV file, all cells as text, so that each is parsed independently of the others.

    Raises:
        DataError: a column is missing, or the file can't be read.
    """
    dialect = _dialect(csv_config)
    with _records(source, opener, block_bytes, dialect) as reader:
        header = reader.header()
        wanted = chosen_columns(header, columns, required, source, choose)
        read_times = CellReader(dialect.config).times

        def is_row(cells: list[str]) -> bool:
            if not set(columns.time_columns) <= set(header) or len(cells) != len(header):
                return False
            time = [pa.array([cells[header.index(name)]]) for name in columns.time_columns]
            _, bad = read_times(time, columns.time_kind, columns.times)
            return not bad[0]

        marks = [name for name in (*columns.entity, *columns.time_columns) if name in header]
        for chunk in reader.chunks(marks, is_row):
            yield _block(chunk, header, wanted, source, dialect)


def read_first_rows(
    source: Source,
    block_bytes: int = HEADER_BYTES,
    csv_config: CsvConfig | None = None,
    *,
    as_text: bool = False,
) -> Any:
    """Return the rows of the first non-empty block of a CSV file, as texts or as a table whose types Arrow infers.

    Raises:
        DataError: the file is empty or can't be read.
    """
    dialect = _dialect(csv_config)
    with _records(source, open_file, block_bytes, dialect) as reader:
        header = reader.header()
        for chunk in reader.chunks():
            if len(chunk.rows):
                options = pa_csv.ConvertOptions(**({} if as_text else _inferring(dialect.config)))
                if as_text:
                    options.column_types = {str(place): pa.string() for place in range(len(header))}
                table, _ = _parsed(chunk, len(header), options, dialect)
                return _drop_empty_rows(table).rename_columns(header)
        return pa.table([pa.nulls(0)] * len(header), names=header)


def _block(chunk: Chunk, header: list[str], names: list[str], source: Source, dialect: Dialect) -> Block:
    places = [str(header.index(name)) for name in names]
    options = pa_csv.ConvertOptions(
        column_types=dict.fromkeys(places, pa.string()), include_columns=places, strings_can_be_null=False
    )
    if not len(chunk.rows):
        none = pa.table({name: pa.nulls(0, pa.string()) for name in names})
        return Block(none, chunk.rows, chunk.malformed, chunk.lines)
    try:
        table, ragged = _parsed(chunk, len(header), options, dialect)
    except pa.ArrowInvalid:
        _check_encoding(chunk, source)
        raise
    sound = np.ones(len(chunk.rows), bool)
    sound[[place for place, _ in ragged]] = False
    malformed = [
        Malformed(int(chunk.rows[place]), problem, int(chunk.lines[place])) for place, problem in ragged
    ] + chunk.malformed
    malformed.sort(key=lambda each: each.row)
    return Block(table.rename_columns(names), chunk.rows[sound], malformed, chunk.lines[sound])


def _parsed(chunk: Chunk, cells: int, options: Any, dialect: Dialect) -> tuple[Any, list[tuple[int, str]]]:
    """Return the records with as many cells as the header, and the position and problem of each other one."""
    ragged: list[tuple[int, str]] = []

    def note(row: Any) -> str:
        problem = f"expected {row.expected_columns} cells, received {row.actual_columns}: {shown(row.text)}"
        ragged.append((row.number - 1, problem))
        return "skip"

    table = pa_csv.read_csv(
        pa.BufferReader(chunk.content),
        # By number, since the header may hold a name twice.
        read_options=pa_csv.ReadOptions(
            use_threads=False, block_size=len(chunk.content) + 1, column_names=[str(place) for place in range(cells)]
        ),
        parse_options=pa_csv.ParseOptions(
            delimiter=dialect.config.delimiter,
            quote_char=dialect.config.quote or False,
            newlines_in_values=dialect.config.quote is not None,
            invalid_row_handler=note,
        ),
        convert_options=options,
    )
    if table.num_rows + len(ragged) != len(chunk.rows):
        raise RuntimeError(
            f"{len(chunk.rows)} records from line {chunk.lines[0]} on became {table.num_rows} rows and {len(ragged)} "
            "malformed ones: this is a bug in ingestion, please report it"
        )
    return table, ragged


def _dialect(config: CsvConfig | None) -> Dialect:
    return COMMAS if config is None or config == COMMAS.config else Dialect(config)


def _encoding(dialect: Dialect) -> str:
    return "UTF-8" if dialect.config.is_utf8 else dialect.config.encoding


def _inferring(config: CsvConfig) -> dict[str, Any]:
    """Return options with which Arrow infers the types of cells in this spelling."""
    if config == COMMAS.config:
        return {}
    return {
        "decimal_point": config.decimal,
        "null_values": [*pa_csv.ConvertOptions().null_values, *config.missing],
        "strings_can_be_null": bool(config.missing),
    }


def _drop_empty_rows(table: Any) -> Any:
    """Drop the rows without any value: lines of commas would blur the inferred types."""
    some = np.zeros(table.num_rows, bool)
    for column in table.columns:
        filled = pc.is_valid(column).to_numpy()
        if pa.types.is_string(column.type):
            filled &= pc.fill_null(pc.not_equal(column, ""), False).to_numpy()
        some |= filled
    return table.filter(pa.array(some))


def _check_encoding(chunk: Chunk, source: Source) -> None:
    """Raise DataError that names the line that isn't UTF-8, if there is one."""
    try:
        chunk.content.decode()
    except UnicodeDecodeError as error:
        place = int(np.searchsorted(chunk.starts, error.start, side="right")) - 1
        what = f"a CSV file in UTF-8 (row {chunk.rows[place]}, line {chunk.lines[place]})"
        raise unreadable_error(source, what, error, ENCODING_REMEDY) from error

"""The formats of files by name: read their blocks, their column names, and their first rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from noisy_gru.data.arrow import pa, pa_parquet
from noisy_gru.data.columns import Columns
from noisy_gru.data.reading.arrow_files import arrow_columns, first_arrow_rows, read_arrow
from noisy_gru.data.reading.csv_tables import HEADER_BYTES, csv_header, read_csv, read_first_rows
from noisy_gru.data.reading.in_memory_tables import TABLE, read_table
from noisy_gru.data.reading.json_lines import first_json_rows, json_columns, read_json_lines
from noisy_gru.data.reading.tables import Block, Choose, Opener, Source, read_parquet, unreadable_error
from noisy_gru.data.reading.ts_files import first_ts_rows, read_ts, ts_columns
from noisy_gru.data.reading.workbooks import first_workbook_rows, read_workbook, workbook_columns
from noisy_gru.schema.config import CsvConfig, DataConfig, ExcelConfig
from noisy_gru.storage.object_stores import open_file

_ROW_BYTES = 100  # of CSV, for the first rows


def read_blocks(
    source: Source,
    columns: Columns,
    required: Sequence[str],
    opener: Opener,
    data: DataConfig,
    choose: Choose | None = None,
) -> Iterator[Block]:
    """Yield the blocks of a source of any format, with the columns that ``choose`` returns, or those wanted.

    Raises:
        DataError: it can't be read, or lacks a column.
    """
    kind = source.format.removesuffix(".gz")
    if kind == "csv":
        return read_csv(source, columns, required, opener, csv_config=data.csv, choose=choose)
    if kind == "parquet":
        return read_parquet(source, columns, opener, choose=choose)
    if kind == TABLE:
        return read_table(source, columns, required, choose=choose)
    if kind == "jsonl":
        return read_json_lines(source, columns, required, opener, choose=choose)
    if kind == "arrow":
        return read_arrow(source, columns, required, opener, choose=choose)
    if kind == "ts":
        return read_ts(source, columns, required, opener, choose=choose)
    if kind == "xlsx":
        return read_workbook(source, columns, required, opener, choose=choose, config=data.excel)
    from noisy_gru.data.reading.tfrecords import read_records  # imports TensorFlow

    return read_records(source, columns, required, opener)


def column_names(source: Source, data: DataConfig, opener: Opener = open_file) -> list[str] | None:
    """Return the columns of a file (of JSON lines: of the first ones), None for TFRecords.

    Raises:
        DataError: it can't be read.
    """
    kind = source.format.removesuffix(".gz")
    if kind == "csv":
        return csv_header(source, opener, csv_config=data.csv)
    if kind == "parquet":
        with _parquet_file(source, opener) as file:
            return list(file.schema_arrow.names)
    if kind == "jsonl":
        return json_columns(source, opener)
    if kind == "arrow":
        return arrow_columns(source, opener)
    if kind == "xlsx":
        return workbook_columns(source, data.excel, opener)
    return ts_columns(source, opener) if kind == "ts" else None


def first_block(rows: int) -> int:
    """Return how many bytes of a CSV file are read for its first ``rows`` rows, or as many as these bytes hold."""
    return max(HEADER_BYTES, rows * _ROW_BYTES)


def first_rows(
    source: Source,
    rows: int,
    csv_config: CsvConfig | None = None,
    *,
    as_text: bool = False,
    excel: ExcelConfig | None = None,
) -> Any:
    """Return the first rows (pa.Table) of a file that holds a table.

    The types of CSV are inferred, or with ``as_text`` all text.

    Raises:
        DataError: it can't be read.
    """
    kind = source.format.removesuffix(".gz")
    if kind == "csv":
        return read_first_rows(source, first_block(rows), csv_config=csv_config, as_text=as_text).slice(0, rows)
    if kind == "jsonl":
        return first_json_rows(source, rows)
    if kind == "arrow":
        return first_arrow_rows(source, rows)
    if kind == "ts":
        return first_ts_rows(source, rows)
    if kind == "xlsx":
        return first_workbook_rows(source, rows, excel or ExcelConfig())
    try:
        with _parquet_file(source, open_file) as file:
            batch = next(file.iter_batches(rows), None)
            return file.schema_arrow.empty_table() if batch is None else pa.Table.from_batches([batch])
    except (OSError, pa.ArrowException) as error:
        raise unreadable_error(source, "a Parquet file", error) from error


@contextmanager
def _parquet_file(source: Source, opener: Opener) -> Iterator[Any]:
    try:
        with opener(source.path) as stream:
            yield pa_parquet.ParquetFile(stream)
    except (OSError, pa.ArrowException) as error:
        raise unreadable_error(source, "a Parquet file", error) from error

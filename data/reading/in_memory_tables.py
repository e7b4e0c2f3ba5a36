"""Tables in memory as sources of rows: a pandas DataFrame, a PyArrow Table, or mappings of column to value.

>>> source = rows_source([{"id": "a", "t": 0, "x": 1.5}, {"id": "a", "t": 1}], ["id", "t", "x"])
>>> source.name, source.table["x"].to_pylist()
('<rows>', [1.5, None])

They stand for files: row numbers count from 1 at the first row, and only the wanted columns are looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from noisy_gru.data.arrow import pa
from noisy_gru.data.columns import Columns
from noisy_gru.data.reading.tables import PARQUET_BLOCK_ROWS, Block, Source, check_columns
from noisy_gru.data.values.text_normalization import format_value
from noisy_gru.schema.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

TABLE = "table"
STEP = "_step"  # the place in order, as in records.py
# Kinds of which each value is written out as text.
_WRITTEN = (date, Decimal, np.datetime64)
FRAME, ARROW, ROWS = "<DataFrame>", "<Table>", "<rows>"


def arrow_source(table: Any, wanted: Sequence[str]) -> Source:
    """A ``pa.Table`` or ``pa.RecordBatch``."""
    # Twice the same name is left to the check of the columns.
    names = [name for name in table.column_names if name in wanted]
    if len(set(names)) < len(names):
        return Source(ARROW, ARROW, TABLE, table=_headers(table.column_names))
    table = pa.table({name: table[name] for name in names}) if names else _headers(table.column_names)
    return Source(ARROW, ARROW, TABLE, table=table)


def frame_source(frame: pd.DataFrame, wanted: Sequence[str]) -> Source:
    """A DataFrame; a level of its index counts as a column where no column has its name."""
    levels = [name for name in frame.index.names if name in wanted and name not in frame.columns]
    if levels:
        frame = frame.reset_index(levels)  # pyright: ignore[reportArgumentType]
    names = [str(name) for name in frame.columns]
    chosen = [place for place, name in enumerate(names) if name in wanted]
    if len({names[place] for place in chosen}) < len(chosen) or not chosen:
        return Source(FRAME, FRAME, TABLE, table=_headers(names))
    columns = {names[place]: _array(frame.iloc[:, place].array) for place in chosen}
    return Source(FRAME, FRAME, TABLE, table=pa.table(columns))


def rows_source(rows: Iterable[Mapping[str, Any]], wanted: Sequence[str]) -> Source:
    """One mapping of column to value for each row; a column that a row lacks is missing there.

    Raises:
        DataError: something that is no mapping.
    """
    found: dict[str, list[Any]] = {name: [] for name in wanted}
    seen: set[str] = set()
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise DataError(
                f"{ROWS}, row {number}: expected a mapping of column name to value, received {type(row).__name__}"
            )
        seen.update(row)
        for name, values in found.items():
            values.append(row.get(name))
    if not seen:  # no rows at all lack no column
        return Source(ROWS, ROWS, TABLE, table=pa.table({name: pa.nulls(0) for name in wanted}))
    columns = {name: _array(values) for name, values in found.items() if name in seen}
    return Source(ROWS, ROWS, TABLE, table=pa.table(columns) if columns else _headers(sorted(map(str, seen))))


def _headers(names: Sequence[str]) -> Any:
    """No rows, just names: what is left to say of a table without a usable column."""
    return pa.Table.from_arrays([pa.nulls(0) for _ in names], names=[str(name) for name in names])


def _array(values: Any) -> Any:
    """Values of one plain kind in that kind; all others as text, each as it would stand in a CSV file.

    PyArrow would make one kind of several, so that what becomes of a value hung on the others: a day and a time become
    days, decimals get the digits of the longest, times the zone of the first.
    """
    plain = not isinstance(values, list) and values.dtype.kind != "O"
    kinds = {type(value) for value in values if value is not None and not _is_nan(value)} if not plain else set()
    if plain or (len(kinds) <= 1 and not any(issubclass(kind, _WRITTEN) for kind in kinds)):
        try:
            return pa.array(values, from_pandas=True)
        except (pa.ArrowException, OverflowError, TypeError, UnicodeEncodeError):
            pass  # written below: whole numbers beyond int64, or a kind that Arrow doesn't know
    written = [format_value(value) for value in values]
    if any(isinstance(text, bytes) for text in written):
        return pa.array([text.encode() if isinstance(text, str) else text for text in written], pa.binary())
    return pa.array(written, pa.string())


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and value != value


def read_table(
    source: Source, columns: Columns, required: Sequence[str], block_rows: int = PARQUET_BLOCK_ROWS
) -> Iterator[Block]:
    """The blocks of a source that is in memory.

    Raises:
        DataError: a column is missing.
    """
    table = source.table
    check_columns(table.column_names, required, source)
    table = table.select([name for name in columns.wanted() if name in table.column_names])
    if columns.time is None:
        table = table.append_column(STEP, pa.array(np.arange(table.num_rows)))
    for start in range(0, table.num_rows, block_rows):
        block = table.slice(start, block_rows)
        yield Block(block, np.arange(start + 1, start + 1 + block.num_rows, dtype=np.int64))

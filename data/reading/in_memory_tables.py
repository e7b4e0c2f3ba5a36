"""Tables in memory as sources of rows: a pandas DataFrame, a PyArrow Table, or mappings of column to value.

>>> source = rows_source([{"id": "a", "t": 0, "x": 1.5}, {"id": "a", "t": 1}], ["id", "t", "x"])
>>> source.name, source.table["x"].to_pylist()
('<rows>', [1.5, None])

They are read like files: row numbers count from 1, and only the wanted columns are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from noisy_gru.data.arrow import pa
from noisy_gru.data.columns import Columns
from noisy_gru.data.reading.tables import PARQUET_BLOCK_ROWS, STEP, Block, Choose, Source, chosen_columns
from noisy_gru.data.values.text_normalization import format_value
from noisy_gru.schema.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

TABLE = "table"
# Types whose values are each formatted as text.
_AS_TEXT = (date, Decimal, np.datetime64)
FRAME, ARROW, ROWS = "<DataFrame>", "<Table>", "<rows>"


def arrow_source(table: Any, wanted: Sequence[str] | None) -> Source:
    """Return a ``pa.Table`` or ``pa.RecordBatch`` as a source, with the wanted columns; None: all."""
    wanted = table.column_names if wanted is None else wanted
    # `check_columns` reports repeated names.
    names = [name for name in table.column_names if name in wanted]
    if len(set(names)) < len(names):
        return Source(ARROW, ARROW, TABLE, table=_headers(table.column_names))
    table = pa.table({name: table[name] for name in names}) if names else _headers(table.column_names)
    return Source(ARROW, ARROW, TABLE, table=table)


def frame_source(frame: pd.DataFrame, wanted: Sequence[str] | None) -> Source:
    """Return a DataFrame as a source; index levels count as columns unless a column has the same name."""
    if wanted is None:
        wanted = [str(name) for name in (*frame.index.names, *frame.columns) if name is not None]
    levels = [name for name in frame.index.names if name in wanted and name not in frame.columns]
    if levels:
        frame = frame.reset_index(levels)  # pyright: ignore[reportArgumentType]
    names = [str(name) for name in frame.columns]
    chosen = [place for place, name in enumerate(names) if name in wanted]
    if len({names[place] for place in chosen}) < len(chosen) or not chosen:
        return Source(FRAME, FRAME, TABLE, table=_headers(names))
    return _source(FRAME, {names[place]: to_arrow(frame.iloc[:, place].array) for place in chosen})


def rows_source(rows: Iterable[Mapping[str, Any]], wanted: Sequence[str] | None) -> Source:
    """Return mappings of column to value, one per row, as a source; absent columns are missing values.

    Raises:
        DataError: a row is not a mapping.
    """
    if wanted is None:
        rows = list(rows)
        wanted = list(dict.fromkeys(name for row in rows if isinstance(row, Mapping) for name in row))
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
    if not seen:  # without rows no column is missing
        return Source(ROWS, ROWS, TABLE, table=pa.table({name: pa.nulls(0) for name in wanted}))
    columns = {name: to_arrow(values) for name, values in found.items() if name in seen}
    if not columns:
        return Source(ROWS, ROWS, TABLE, table=_headers(sorted(map(str, seen))))
    return _source(ROWS, columns)


def _source(name: str, columns: Mapping[str, tuple[Any, np.ndarray | None]]) -> Source:
    native = {key: mask for key, (_, mask) in columns.items() if mask is not None}
    return Source(name, name, TABLE, table=pa.table({key: array for key, (array, _) in columns.items()}), native=native)


def _headers(names: Sequence[str]) -> Any:
    """Return a table without rows, for the check of its column names."""
    return pa.Table.from_arrays([pa.nulls(0) for _ in names], names=[str(name) for name in names])


def to_arrow(values: Any) -> tuple[Any, np.ndarray | None]:
    """Convert values of one plain type to Arrow; all others to text, each as in a CSV file, with `Block.native`.

    PyArrow would unify mixed types, so that a value's meaning depended on the others: a day and a time become days,
    decimals get the digits of the longest, times the zone of the first.
    """
    plain = not isinstance(values, list) and values.dtype.kind != "O"
    kinds = set(map(type, values)) - {type(None)} if not plain else set()
    if len(kinds) > 1 and any(issubclass(kind, float) for kind in kinds):  # NaN is no value
        kinds = {type(value) for value in values if value is not None and not _is_nan(value)}
    if plain or (len(kinds) <= 1 and not any(issubclass(kind, _AS_TEXT) for kind in kinds)):
        try:
            return pa.array(values, from_pandas=True), None
        except (pa.ArrowException, OverflowError, TypeError, UnicodeEncodeError):
            pass  # as text below: integers beyond int64, or a type that Arrow doesn't know
    texts = [format_value(value) for value in values]
    native = np.array([not isinstance(value, str | bytes) for value in values], bool)
    if any(isinstance(text, bytes) for text in texts):
        return pa.array([text.encode() if isinstance(text, str) else text for text in texts], pa.binary()), native
    return pa.array(texts, pa.string()), native


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and value != value


def read_table(
    source: Source,
    columns: Columns,
    required: Sequence[str],
    block_rows: int = PARQUET_BLOCK_ROWS,
    choose: Choose | None = None,
) -> Iterator[Block]:
    """Yield the blocks of an in-memory source.

    Raises:
        DataError: a column is missing.
    """
    table = source.table
    table = table.select(chosen_columns(table.column_names, columns, required, source, choose))
    if not columns.time_columns:
        table = table.append_column(STEP, pa.array(np.arange(table.num_rows)))
    for start in range(0, table.num_rows, block_rows):
        block = table.slice(start, block_rows)
        native = {name: mask[start : start + block_rows] for name, mask in source.native.items()}
        yield Block(block, np.arange(start + 1, start + 1 + block.num_rows, dtype=np.int64), native=native)

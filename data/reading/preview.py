"""Preview of files before there is a configuration: column names, types and some rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd

from noisy_gru.data.arrow import pa, pc
from noisy_gru.data.reading.files import ENDINGS, format_by_ending
from noisy_gru.data.reading.formats import first_rows
from noisy_gru.data.reading.tables import Source
from noisy_gru.schema.config import CsvConfig, ExcelConfig
from noisy_gru.schema.errors import DataError

_EPOCH = date(1970, 1, 1).toordinal()
_LAST = date.max.toordinal() - _EPOCH


@dataclass(frozen=True)
class Preview:
    """Arrow type by column (of the first file that has it), and the first rows of all files, concatenated."""

    types: dict[str, Any]
    sample: pd.DataFrame


def preview_files(
    paths: Sequence[Path | str],
    rows: int = 10_000,
    csv_config: CsvConfig | None = None,
    *,
    as_text: bool = False,
    excel: ExcelConfig | None = None,
) -> Preview:
    """Preview the first ``rows`` rows (of the first block, for CSV) of each file.

    The types of CSV are inferred, or with ``as_text`` all text. Decimals become float64, as ingestion reads them;
    columns of lists or objects, which it refuses, have no values.

    Raises:
        DataError: a file is empty or can't be read, or holds no table by its ending.
    """
    types: dict[str, Any] = {}
    frames = []
    for path in paths:
        table = _first_rows(path, rows, csv_config, as_text=as_text, excel=excel)
        for field in table.schema:
            types.setdefault(field.name, field.type)
        frames.append(_for_pandas(table).to_pandas())
    if not frames:
        raise DataError("expected files to preview, received none")
    return Preview(types, pd.concat(frames, ignore_index=True))


def _for_pandas(table: Any) -> Any:
    """Limit times to Python's: days beyond its years are missing, nanoseconds truncated, zones converted to UTC.

    Decimals become float64; nested values are missing.
    """
    for place, field in enumerate(table.schema):
        column, kind = table[place], field.type
        if pa.types.is_dictionary(kind):
            column, kind = column.cast(kind.value_type), kind.value_type
        if pa.types.is_date(kind):
            days = column.cast(pa.date32()).cast(pa.int32())
            inside = pc.and_(pc.greater_equal(days, date.min.toordinal() - _EPOCH), pc.less_equal(days, _LAST))
            column = pc.if_else(inside, column, None)
        elif pa.types.is_timestamp(kind) and kind.tz is not None:
            column = column.cast(pa.timestamp(kind.unit, "UTC"))  # pandas may not know the zone
        elif kind == pa.time64("ns"):
            column = column.cast(pa.time64("us"), safe=False)
        elif pa.types.is_decimal(kind):
            column = column.cast(pa.float64())
        elif is_nested(kind):
            column = pa.nulls(len(table))
        table = table.set_column(place, field.name, column)
    return table


def is_nested(kind: Any) -> bool:
    """Return whether values of an Arrow type are lists or objects, also those of a dictionary."""
    return bool(pa.types.is_nested(kind))


def _first_rows(
    path: Path | str, rows: int, csv_config: CsvConfig | None, *, as_text: bool, excel: ExcelConfig | None
) -> Any:
    name = str(path).rsplit("/", 1)[-1]
    kind = format_by_ending(name)
    if kind is None:
        raise DataError(f"{path}: expected a file that ends in {', '.join(ENDINGS)}")
    return first_rows(Source(str(path), name, kind), rows, csv_config, as_text=as_text, excel=excel)

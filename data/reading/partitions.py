"""Columns in the names of folders, as Hive and Spark write them: ``sales/region=EU/day=2026-01-01/part-0.parquet``.

>>> partition_values("sales/region=EU%20West/day=__HIVE_DEFAULT_PARTITION__/part-0.parquet")
{'region': 'EU West', 'day': None}
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from noisy_gru.data.arrow import pa
from noisy_gru.data.reading.tables import Block
from noisy_gru.schema.errors import DataError

MISSING_PARTITION = "__HIVE_DEFAULT_PARTITION__"
_FOLDER = re.compile(r"([^=]+)=(.*)")


def partition_values(path: str) -> dict[str, str | None]:
    """Return the values in the names of a file's folders, by column; None for a missing one.

    Raises:
        DataError: two folders have different values of a column.
    """
    found: dict[str, str | None] = {}
    for folder in path.split("/")[:-1]:
        if match := _FOLDER.fullmatch(folder):
            name, text = unquote(match[1]), unquote(match[2])
            value = None if text in (MISSING_PARTITION, "") else text
            if found.setdefault(name, value) != value:
                raise DataError(f"{path}: expected one value of {name} in the folders' names, received two. Rename one")
    return found


def with_partitions(block: Block, values: dict[str, str | None]) -> Block:
    """Add the values to each row, as text, where the file has no such column itself."""
    for name, value in values.items():
        names = block.table.column_names
        if name in names and not pa.types.is_null(block.table.schema.field(name).type):
            continue
        constant = pa.DictionaryArray.from_arrays(
            pa.array([None if value is None else 0] * len(block.rows), pa.int32()), pa.array([value or ""])
        )
        table = block.table.drop_columns([name]) if name in names else block.table  # JSON lines without the key
        block.table = table.append_column(name, constant)
    return block

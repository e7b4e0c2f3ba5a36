"""Read JSON lines (``.gz`` too): one object on each line, one row each.

    {"id": "a", "t": 0, "sensor": {"x": 1.5}}     # the columns id, t and sensor.x

A value is what the same value in a client's row is. An absent key is a missing value.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from noisy_gru.data.arrow import pa
from noisy_gru.data.columns import Columns
from noisy_gru.data.reading.csv_dialect import BYTE_ORDER_MARK
from noisy_gru.data.reading.csv_lines import shown
from noisy_gru.data.reading.csv_records import MOST_LINE_BYTES, Malformed, other_kind
from noisy_gru.data.reading.in_memory_tables import to_arrow
from noisy_gru.data.reading.tables import (
    Block,
    Choose,
    Opener,
    Source,
    check_columns,
    unreadable_error,
)
from noisy_gru.schema.errors import DataError
from noisy_gru.storage.object_stores import open_file

BLOCK_LINES = 1 << 16
# A key in the text of an object, or what looks like one within a string.
_KEYS = re.compile(r'"\s*:')
Row = dict[str, Any]


def physical_lines(source: Source, what: str, opener: Opener = open_file) -> Iterator[tuple[int, bytes]]:
    """Yield the number, from 1, and the text of each line of a text file, packed by gzip if its format says so.

    Raises:
        DataError: the file can't be read, is of another kind, or a line is longer than `MOST_LINE_BYTES`.
    """
    try:
        with opener(source.path) as plain:
            stream: Any = gzip.GzipFile(fileobj=plain) if source.format.endswith(".gz") else plain
            number = 1
            while line := stream.readline(MOST_LINE_BYTES + 1):
                if len(line) > MOST_LINE_BYTES:
                    raise DataError(
                        f"{source.name}: line {number}: is longer than {MOST_LINE_BYTES >> 20} MiB; expected {what}"
                    )
                if number == 1:
                    if kind := other_kind(line):
                        raise DataError(
                            f"{source.name}: expected {what} in UTF-8, received {kind} (by its first bytes). Correct "
                            "the file's name, or data.format"
                        )
                    line = line.removeprefix(BYTE_ORDER_MARK)
                yield number, line.rstrip(b"\r\n")
                number += 1
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable_error(source, f"{what}", error) from error


def _unique(pairs: list[tuple[str, Any]]) -> Row:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"expected each key once, received {next(n for n in names if names.count(n) > 1)!r} twice")
    return found


def _parsed(line: bytes) -> Row:
    """Parse a line to one flat row.

    Raises:
        ValueError: it is no JSON object, or names a column twice.
    """
    try:
        text = line.decode()
        value = json.loads(text)
        if isinstance(value, dict) and len(_KEYS.findall(text)) != len(value):  # nested, or a key is there twice
            value = json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise ValueError(f"expected a JSON object: {error.msg} (character {error.pos + 1}): {shown(line)}") from error
    except RecursionError as error:
        raise ValueError(f"expected a JSON object, received one that is nested too deeply: {shown(line)}") from error
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, received {_kind(value)}: {shown(line)}")
    if text.count("{") == 1:
        return value
    flat: Row = {}
    for name, each in value.items():
        for path, leaf in _leaves(name, each):
            if path in flat:
                raise ValueError(f"expected each column once, received {path!r} as a key and as a nested value")
            flat[path] = leaf
    return flat


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict) or not value:
        yield name, value
        return
    for key, each in value.items():
        yield from _leaves(f"{name}.{key}", each)


def _kind(value: Any) -> str:
    kinds = {dict: "an empty object", list: "a list", bool: "a Boolean", str: "a text", type(None): "null"}
    return kinds.get(type(value), "a number")


class RowCollector:
    """Collect the rows of a block; ``names`` are the columns to keep, None: all.

    ``keeps_nested``: a row is kept whatever it nests; a list or an object in it is a missing value.
    """

    def __init__(self, names: Sequence[str] | None, *, keeps_nested: bool = False) -> None:
        self.names = names
        self.keeps_nested = keeps_nested
        self.rows: list[Row] = []
        self.numbers: list[int] = []
        self.lines: list[int] = []
        self.malformed: list[Malformed] = []
        self.seen: dict[str, None] = {}

    def add(self, number: int, line: int, text: bytes) -> None:
        """Add a line, or record why it is malformed."""
        try:
            row = _parsed(text)
            if row.keys() - self.seen.keys():  # of a malformed row, too
                self.seen.update(dict.fromkeys(row))
            if text.count(b"{") > 1 or b"[" in text:
                if self.keeps_nested:
                    row = {name: None if isinstance(value, dict | list) else value for name, value in row.items()}
                else:
                    self._check(row)
        except ValueError as error:  # UnicodeDecodeError is one
            self.malformed.append(Malformed(number, str(error), line))
            return
        self.add_row(number, line, row)

    def add_row(self, number: int, line: int, row: Row) -> None:
        """Add a row that is parsed already."""
        if row.keys() - self.seen.keys():
            self.seen.update(dict.fromkeys(row))
        self.rows.append(row)
        self.numbers.append(number)
        self.lines.append(line)

    def _check(self, row: Row) -> None:
        for name in row if self.names is None else self.names:
            value = row.get(name)
            if isinstance(value, dict | list):
                raise ValueError(f"expected one value of {name}, received {_kind(value)}: a line is one step")
            if value is None and name not in row:
                if nested := [path for path in row if path.startswith(f"{name}.")]:
                    raise ValueError(f"expected one value of {name}, received an object with {', '.join(nested)}")

    def block(self) -> Block:
        """Return the rows, with null where a key is absent."""
        names = list(self.seen) if self.names is None else self.names
        columns = {name: to_arrow([row.get(name) for row in self.rows]) for name in names}
        table = {name: array for name, (array, _) in columns.items()}
        native = {name: mask for name, (_, mask) in columns.items() if mask is not None}
        return Block(
            pa.table(table),
            np.array(self.numbers, np.int64),
            self.malformed,
            np.array(self.lines, np.int64),
            native,
        )


def read_json_lines(
    source: Source,
    columns: Columns,
    required: Sequence[str],
    opener: Opener = open_file,
    block_lines: int = BLOCK_LINES,
    choose: Choose | None = None,
) -> Iterator[Block]:
    """Yield the blocks of a file of JSON lines.

    Raises:
        DataError: the file can't be read, or no line has a required column.
    """
    wanted = columns.wanted() if choose is None else None
    seen: dict[str, None] = {}
    for collector in _collected(source, wanted, opener, block_lines):
        seen.update(collector.seen)
        block = collector.block()
        if choose is not None:
            block.table = block.table.select(choose(block.table.column_names, source))
        yield block
    if seen and choose is None:
        check_columns(list(seen), required, source)


def _collected(
    source: Source, names: Sequence[str] | None, opener: Opener, block_lines: int, *, keeps_nested: bool = False
) -> Iterator[RowCollector]:
    collector, row = RowCollector(names, keeps_nested=keeps_nested), 0
    for line, text in physical_lines(source, "JSON lines", opener):
        if not text.strip():
            continue
        row += 1
        if row == 1 and text.lstrip().startswith(b"["):
            raise DataError(
                f"{source.name}: expected JSON lines, one object on each line, received a JSON list. Write each of its "
                "objects on a line of its own (pandas: to_json(…, orient='records', lines=True))"
            )
        collector.add(row, line, text)
        if row % block_lines == 0:
            yield collector
            collector = RowCollector(names, keeps_nested=keeps_nested)
    yield collector


def json_columns(source: Source, opener: Opener = open_file) -> list[str]:
    """Return the columns of the first lines of a file.

    Raises:
        DataError: the file can't be read.
    """
    return list(next(_collected(source, None, opener, 1000)).seen)


def first_json_rows(source: Source, rows: int) -> Any:
    """Return the first rows (pa.Table) of a file, with the types that their values have; lists are missing values.

    A run reads only the columns of its configuration, so a list beside them makes no row unusable.

    Raises:
        DataError: the file can't be read.
    """
    return next(_collected(source, None, open_file, rows, keeps_nested=True)).block().table

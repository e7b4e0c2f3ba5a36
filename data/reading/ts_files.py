"""Read ``.ts`` files of the UEA & UCR archive: a header of tags, then one case on each line.

    @univariate false
    @classLabel true walking running
    @data
    1.5,2,?:0.1,0.2,0.3:walking

A case becomes one row for each step, with the columns ``case`` (the file and the case's number), ``step`` (from 0),
``dim_0``, ``dim_1``, … and ``class`` (`@classLabel`) or ``target`` (`@targetLabel`). All rows of a case have its number
as row number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from noisy_gru.data.arrow import pa, pc
from noisy_gru.data.columns import Columns
from noisy_gru.data.reading.csv_lines import shown
from noisy_gru.data.reading.csv_records import Malformed
from noisy_gru.data.reading.json_lines import physical_lines
from noisy_gru.data.reading.tables import Block, Choose, Opener, Source, case_name, chosen_columns
from noisy_gru.schema.errors import DataError
from noisy_gru.storage.object_stores import open_file

CASE, STEP_COLUMN, CLASS, TARGET_LABEL = "case", "step", "class", "target"
MISSING = "?"
BLOCK_CELLS = 1 << 20
_WHAT = "a .ts file"


@dataclass
class _Header:
    """The tags of a file: the name of its label's column, if it has one, and the class values if it names them."""

    label: str | None = CLASS
    classes: frozenset[str] = field(default_factory=frozenset)
    dimensions: int | None = None


def _flag(source: Source, number: int, tag: str, values: list[str]) -> bool:
    if not values or values[0].lower() not in ("true", "false"):
        raise DataError(
            f"{source.name}: line {number}: expected @{tag} true or false, received {' '.join(values)!r}. Correct the "
            "tag"
        )
    return values[0].lower() == "true"


def _header(source: Source, lines: Iterator[tuple[int, bytes]]) -> _Header:
    """Read the tags, up to ``@data``.

    Raises:
        DataError: a tag is wrong or asks for what can't be read, or ``@data`` is missing.
    """
    found = _Header()
    univariate = False
    for number, text in lines:
        tag, *values = text.decode("utf-8", "replace").split() or [""]
        tag = tag.lower()
        if tag == "@data":
            if univariate:
                found.dimensions = 1
            return found
        if tag == "@timestamps" and _flag(source, number, "timeStamps", values):
            raise DataError(
                f"{source.name}: line {number}: @timeStamps true can't be read: values with a time of their own. Write "
                "a table with a row for each step (entity, time, values, label), as CSV or Parquet"
            )
        if tag == "@univariate":
            univariate = _flag(source, number, "univariate", values)
        elif tag in ("@dimension", "@dimensions") and values and values[0].isdigit():
            found.dimensions = int(values[0])
        elif tag == "@classlabel":
            found.label = CLASS if _flag(source, number, "classLabel", values) else None
            found.classes = frozenset(values[1:])
        elif tag == "@targetlabel" and _flag(source, number, "targetLabel", values):
            found.label = TARGET_LABEL
    raise DataError(
        f"{source.name}: expected a .ts file of the UEA & UCR archive, with tags such as @classLabel and the line "
        "@data before the first case; found no @data. Correct the file, or name its format with data.format"
    )


class _Collector:
    """Collect the cases of a block as columns of one row for each step."""

    def __init__(self, source: Source, header: _Header, dimensions: int) -> None:
        self._source, self._header = source, header
        self.dimensions: list[list[str]] = [[] for _ in range(dimensions)]
        self.lengths: list[int] = []
        self.labels: list[str] = []
        self.numbers: list[int] = []
        self.lines: list[int] = []
        self.malformed: list[Malformed] = []
        self.cells = 0

    def add(self, number: int, line: int, text: str) -> None:
        """Add a case, or record why it is malformed."""
        parts = [part.strip() for part in text.split(":")]
        label = parts.pop() if self._header.label is not None else ""
        series = [part.split(",") for part in parts]
        steps = max((len(each) for each in series), default=0)
        self.cells += steps * max(len(series), 1)
        problem = self._problem(series, label, text)
        if problem:
            self.malformed += [Malformed(number, problem, line)] * max(steps, 1)
            return
        for cells, values in zip(self.dimensions, series, strict=True):
            cells += values
        self.lengths.append(steps)
        self.labels.append(label)
        self.numbers.append(number)
        self.lines.append(line)

    def _problem(self, series: list[list[str]], label: str, text: str) -> str:
        expected = len(self.dimensions)
        if len(series) != expected:
            what = f"{expected} dimension{'s' if expected > 1 else ''} between colons"
            what += f", and the {self._header.label} after the last" if self._header.label is not None else ""
            return f"expected {what}, received {len(series)}: {shown(text)}"
        if not any(cell.strip() for cells in series for cell in cells):
            return f"expected values, received none: {shown(text)}"
        if len({len(each) for each in series}) > 1:
            lengths = ", ".join(f"{self._name(place)} {len(each)}" for place, each in enumerate(series))
            return f"expected dimensions of one length, received {lengths}"
        if self._header.classes and label not in self._header.classes and label != MISSING:
            known = ", ".join(sorted(self._header.classes))
            return f"expected one of the classes that @classLabel names ({known}), received {label!r}"
        return ""

    @staticmethod
    def _name(place: int) -> str:
        return f"dim_{place}"

    def block(self) -> Block:
        """Return the collected rows."""
        lengths = np.array(self.lengths, np.int64)
        ends = np.cumsum(lengths)
        steps = np.arange(int(lengths.sum())) - np.repeat(ends - lengths, lengths)
        case = pa.array(np.repeat(np.arange(len(lengths)), lengths), pa.int32())
        names = pa.array([case_name(self._source, number) for number in self.numbers], pa.string())
        table = {
            CASE: pa.DictionaryArray.from_arrays(case, names),
            STEP_COLUMN: pa.array(steps),
            **{self._name(place): _cells(cells) for place, cells in enumerate(self.dimensions)},
        }
        if self._header.label is not None:
            table[self._header.label] = _cells(self.labels).take(case)
        lines = np.repeat(np.array(self.lines, np.int64), lengths)
        return Block(pa.table(table), np.repeat(np.array(self.numbers, np.int64), lengths), self.malformed, lines)


def _cells(texts: list[str]) -> Any:
    """Return texts with null where a value is missing."""
    array = pc.utf8_trim_whitespace(pa.array(texts, pa.string()))
    return pc.if_else(pc.equal(array, MISSING), None, array)


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _blocks(source: Source, opener: Opener, block_cells: int) -> Iterator[Block]:
    lines = physical_lines(source, _WHAT, opener)
    header = _header(source, lines)
    collector: _Collector | None = None
    dimensions = header.dimensions
    row = 0
    for line, raw in lines:
        text = raw.decode("utf-8", "replace").strip()
        if not text or text.startswith(("#", "%")):
            continue
        row += 1
        if dimensions is None:  # as many as the first case has
            dimensions = max(len(text.split(":")) - (header.label is not None), 1)
        if collector is None:
            collector = _Collector(source, header, dimensions)
        if _is_utf8(raw):
            collector.add(row, line, text)
        else:
            collector.malformed.append(Malformed(row, f"expected UTF-8, received {shown(raw)}", line))
        if collector.cells >= block_cells:
            yield collector.block()
            collector = None
    yield (collector or _Collector(source, header, dimensions or 1)).block()


def read_ts(
    source: Source,
    columns: Columns,
    required: Sequence[str],
    opener: Opener = open_file,
    block_cells: int = BLOCK_CELLS,
    choose: Choose | None = None,
) -> Iterator[Block]:
    """Yield the blocks of a .ts file.

    Raises:
        DataError: the file can't be read, its header is wrong or has time stamps, or a column is missing.
    """
    for block in _blocks(source, opener, block_cells):
        names = block.table.column_names
        block.table = block.table.select(chosen_columns(names, columns, required, source, choose))
        yield block


def ts_columns(source: Source, opener: Opener = open_file) -> list[str]:
    """Return the columns of a .ts file.

    Raises:
        DataError: the file can't be read, or its header is wrong.
    """
    return next(_blocks(source, opener, 1)).table.column_names


def first_ts_rows(source: Source, rows: int) -> Any:
    """Return the rows (pa.Table) of the first cases of a file, with numbers where all values of a dimension are.

    Raises:
        DataError: the file can't be read.
    """
    table = next(_blocks(source, open_file, rows)).table
    for place, name in enumerate(table.column_names):
        if name.startswith("dim_") or name == TARGET_LABEL:
            try:
                table = table.set_column(place, name, pc.cast(table[name], pa.float64()))
            except pa.ArrowInvalid:
                continue  # a value that isn't a number: ingestion quarantines its row
    return table.set_column(0, CASE, table[CASE].cast(pa.string()))

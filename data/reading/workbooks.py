"""Read a sheet of an Excel workbook (``.xlsx``): a header, then a row of the data on each row of the sheet.

Numbers, Booleans and dates are what the cells hold; formulas are the values that they had when the file was saved.
Empty rows are no rows. Needs the extra [excel].
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, time
from typing import Any
from xml.etree import ElementTree

import numpy as np

from noisy_gru.data.arrow import pa
from noisy_gru.data.columns import Columns
from noisy_gru.data.reading.csv_records import Malformed
from noisy_gru.data.reading.in_memory_tables import to_arrow
from noisy_gru.data.reading.tables import (
    Block,
    Choose,
    Opener,
    Source,
    chosen_columns,
    unreadable_error,
)
from noisy_gru.data.values.text_normalization import format_value
from noisy_gru.schema.config import ExcelConfig
from noisy_gru.schema.errors import DataError
from noisy_gru.storage.object_stores import open_file

BLOCK_ROWS = 1 << 15
_MOST_NAMES, _LEAST_BELOW = 3, 5
MISSING_ERROR = "#N/A"  # what a spreadsheet has for a missing value
_MIDNIGHT = time()
_FORMULA = re.compile(
    rb'<c r="([A-Z]+[0-9]+)"(?![^>]*t="str")[^>]*>\s*<f(?:[^>]*/>|[^>]*>[^<]*</f>)\s*(?:<v\s*/>|<v></v>)?\s*</c>'
)

_RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
Cells = list[Any]


def _loader(source: Source) -> Any:
    try:
        from openpyxl import load_workbook
    except ModuleNotFoundError as error:
        raise DataError(
            f"{source.name}: reading workbooks needs openpyxl, which is not installed: pip install "
            "'noisy-gru-tfx[excel]'"
        ) from error
    return load_workbook


@contextmanager
def _sheet(source: Source, config: ExcelConfig, opener: Opener) -> Iterator[Iterator[tuple[int, Cells]]]:
    """Open the numbered rows of a sheet, those without a value left out; failures of the file become a DataError."""
    load_workbook = _loader(source)
    try:
        with opener(source.path) as stream:
            workbook = load_workbook(stream, read_only=True, data_only=True, keep_links=False)
            try:
                name = _chosen(workbook.sheetnames, config, source)
                _check_formulas(stream, name, source)
                sheet: Any = workbook[name]
                sheet.reset_dimensions()  # some programs write wrong ones
                yield _rows(sheet)
            finally:
                workbook.close()
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, ElementTree.ParseError) as error:
        raise unreadable_error(source, "a workbook (.xlsx)", error) from error


def _chosen(names: Sequence[str], config: ExcelConfig, source: Source) -> str:
    if config.sheet is None and len(names) == 1:
        return names[0]
    if config.sheet is None or config.sheet not in names:
        what = f"the sheet {config.sheet}" if config.sheet is not None else "one sheet"
        raise DataError(
            f"{source.name}: expected {what}, received the sheets {', '.join(names)}. Name one in data.excel.sheet"
        )
    return config.sheet


def _rows(sheet: Any) -> Iterator[tuple[int, Cells]]:
    for number, row in enumerate(sheet.iter_rows(), start=1):
        cells = [_Error(cell.value) if cell.data_type == "e" else cell.value for cell in row]
        if any(value is not None and value != "" for value in cells):
            yield number, cells


class _Error(str):
    """The text of an error in a cell, such as #DIV/0!."""

    __slots__ = ()


def _check_formulas(stream: Any, name: str, source: Source) -> None:
    """Raise DataError for formulas that were never calculated: their cells would look empty."""
    with zipfile.ZipFile(stream) as archive:
        book = ElementTree.fromstring(archive.read("xl/workbook.xml"))
        ids = {each.get("name"): each.get(_RELATION) for each in book.iter() if each.tag.endswith("}sheet")}
        relations = ElementTree.fromstring(archive.read("xl/_rels/workbook.xml.rels"))
        targets = {each.get("Id"): each.get("Target") or "" for each in relations}
        path = targets[ids[name]].lstrip("/")
        content = archive.read(path if path.startswith("xl/") else f"xl/{path}")
    if found := _FORMULA.search(content):
        raise DataError(
            f"{source.name}: sheet {name}, cell {found[1].decode()}: expected a value, received a formula that was "
            "never calculated. Open the file in a spreadsheet program and save it"
        )


def _text(value: Any) -> str:
    found = format_value(_day(value))
    return found.decode("utf-8", "replace") if isinstance(found, bytes) else found or ""


def _day(value: Any) -> Any:
    """Return a date for a date: cells have no type for it alone."""
    return value.date() if isinstance(value, datetime) and value.time() == _MIDNIGHT else value


def _header(rows: Iterator[tuple[int, Cells]], config: ExcelConfig, source: Source) -> list[str]:
    for number, cells in rows:
        if config.header_row is None or number == config.header_row:
            return _joined([cells, *(more for _, more in _first(rows, config.header_rows - 1))])
        if number > config.header_row:
            break
    wanted = "a header" if config.header_row is None else f"a header in row {config.header_row} (data.excel.header_row)"
    raise DataError(f"{source.name}: expected {wanted}, received none. Correct data.excel, or leave the file out")


def _joined(header: Sequence[Cells]) -> list[str]:
    """Return the names of columns that have one in several rows; one of an upper row goes on to the right."""
    width = max(map(len, header))
    texts = [[_text(value) for value in [*cells, *[None] * (width - len(cells))]] for cells in header]
    for upper in texts[:-1]:
        for place in range(1, width):
            # Not into columns without a name of their own.
            if not upper[place] and texts[-1][place]:
                upper[place] = upper[place - 1]
    names = [" ".join(filter(None, parts)) for parts in zip(*texts, strict=True)]
    while names and not names[-1]:
        names.pop()
    return names


def read_workbook(
    source: Source,
    columns: Columns,
    required: Sequence[str],
    opener: Opener = open_file,
    block_rows: int = BLOCK_ROWS,
    choose: Choose | None = None,
    config: ExcelConfig | None = None,
) -> Iterator[Block]:
    """Yield the blocks of a sheet.

    Raises:
        DataError: openpyxl is not installed, the file can't be read, the sheet is not clear, a column is missing, or a
            formula has no value.
    """
    config = config or ExcelConfig()
    with _sheet(source, config, opener) as rows:
        header = _header(rows, config, source)
        names = chosen_columns(header, columns, required, source, choose)
        yield from _blocks(rows, header, names, block_rows)


def _blocks(rows: Iterator[tuple[int, Cells]], header: list[str], names: list[str], block_rows: int) -> Iterator[Block]:
    places = [header.index(name) for name in names]
    found: list[Cells] = []
    numbers: list[int] = []
    lines: list[int] = []
    malformed: list[Malformed] = []
    for row, (line, cells) in enumerate(rows, start=1):
        if problem := _problem(cells, header, places):
            malformed.append(Malformed(row, problem, line))
        else:
            found.append([cells[place] if place < len(cells) else None for place in places])
            numbers.append(row)
            lines.append(line)
        if row % block_rows == 0:
            yield _block(found, names, numbers, lines, malformed)
            found, numbers, lines, malformed = [], [], [], []
    yield _block(found, names, numbers, lines, malformed)


def _problem(cells: Cells, header: list[str], places: Sequence[int]) -> str:
    for place in places:
        value = cells[place] if place < len(cells) else None
        if isinstance(value, _Error) and value != MISSING_ERROR:
            return f"expected a value of {header[place]}, received the error {value}"
    more = [value for value in cells[len(header) :] if value is not None and value != ""]
    return f"expected {len(header)} cells, received more: {_text(more[0])!r}" if more else ""


def _block(
    found: list[Cells], names: list[str], numbers: list[int], lines: list[int], malformed: list[Malformed]
) -> Block:
    columns = {name: to_arrow([_value(row[place]) for row in found]) for place, name in enumerate(names)}
    native = {name: mask for name, (_, mask) in columns.items() if mask is not None}
    table = pa.table({name: array for name, (array, _) in columns.items()})
    return Block(table, np.array(numbers, np.int64), malformed, np.array(lines, np.int64), native)


def _value(value: Any) -> Any:
    return None if isinstance(value, _Error) else _day(value)


def workbook_columns(source: Source, config: ExcelConfig, opener: Opener = open_file) -> list[str]:
    """Return the column names of a sheet.

    Raises:
        DataError: as in ``read_workbook``.
    """
    with _sheet(source, config, opener) as rows:
        return _header(rows, config, source)


def first_workbook_rows(source: Source, rows: int, config: ExcelConfig) -> Any:
    """Return the first rows (pa.Table) of a sheet, with the types that their values have.

    Raises:
        DataError: as in ``read_workbook``.
    """
    with _sheet(source, config, open_file) as found:
        header = _header(found, config, source)
        names = [name for name in dict.fromkeys(header) if name]
        return next(_blocks(found, header, names, rows)).table


def detect_sheet(source: Source) -> ExcelConfig:
    """Return the sheet with most cells among the first rows, and its header: the first row as wide as those below it.

    Raises:
        DataError: the file can't be read.
    """
    load_workbook = _loader(source)
    try:
        workbook = load_workbook(source.path, read_only=True, data_only=True, keep_links=False)
        sheets = {name: dict(_first(_rows(workbook[name]), 50)) for name in workbook.sheetnames}
        workbook.close()
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise unreadable_error(source, "a workbook (.xlsx)", error) from error
    widths = {
        name: {number: sum(each is not None for each in cells) for number, cells in rows.items()}
        for name, rows in sheets.items()
    }
    name = max(widths, key=lambda each: sum(widths[each].values()))
    filled = widths[name]
    usual = int(np.median(list(filled.values()))) if filled else 0
    header = next((number for number, width in filled.items() if width >= usual), None)
    first = next(iter(filled), None)
    several = _rows_of_names(sheets[name], filled)
    if several:
        header = several[0]
    return ExcelConfig(
        sheet=name if len(widths) > 1 else None,
        header_row=None if header == first else header,
        header_rows=max(len(several), 1),
    )


def _rows_of_names(rows: dict[int, Cells], filled: dict[int, int]) -> list[int]:
    """Return the rows of text that stand together right above the first numbers or dates, titles left out."""
    above: list[int] = []
    for number, cells in rows.items():
        if any(value is not None and not isinstance(value, str) for value in cells):
            below = [row for key, row in rows.items() if key >= number]
            is_table = all(any(not isinstance(value, str | None) for value in row) for row in below)
            return above if is_table and len(above) <= _MOST_NAMES and len(below) >= _LEAST_BELOW else []
        if above and (above[-1] != number - 1 or _is_title(rows[above[-1]], cells, filled[number])):
            above = []
        above = [*above, number] if filled[number] > 1 else []
    return []


def _is_title(upper: Cells, names: Cells, width: int) -> bool:
    """Return whether a row is a title, not a group of names: it is short, and both rows name the first column."""
    short = 2 * sum(value is not None for value in upper) < width
    return short and bool(upper and names and upper[0] is not None and names[0] is not None)


def _first(rows: Iterator[tuple[int, Cells]], count: int) -> Iterator[tuple[int, Cells]]:
    for _, row in zip(range(count), rows, strict=False):
        yield row

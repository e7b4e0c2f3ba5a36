"""Detect the dialect of a CSV file from its first bytes: encoding, comment, delimiter, quote, header.

>>> found = detect_dialect(b"id;t;x\\na;0;1,5\\nb;1;2,5\\n")
>>> found.options, found.columns
({'delimiter': ';'}, {'id': ['a', 'b'], 't': ['0', '1'], 'x': ['1,5', '2,5']})
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from noisy_gru.data.values.cell_detection import Finding
from noisy_gru.schema.csv_config import BLANK_RUNS

MOST_LINES = 2000
_DELIMITERS = (",", ";", "\t", "|", ":", " ")
_COMMENTS = ("#", "%", "//")
_LEAST_ALIKE = 0.9
_CLOSE = 0.1
_MOST_SHOWN = 5
_TYPED = re.compile(r"\s*(?:[+-]?[0-9][0-9.,'eE+-]*|[0-9]{1,4}[-./][0-9A-Za-z]{1,3}[-./][0-9]{1,4}(?:[ T].*)?|)\s*")
_NUMBER = re.compile(r"\s*[+-]?[0-9][0-9.,' ]*(?:[eE][+-]?[0-9]+)?\s*")


@dataclass
class DetectedDialect:
    """The ``options`` of `data.csv` that aren't the default, the findings, and the cells of sound lines by column."""

    options: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    columns: dict[str, list[str]] = field(default_factory=dict)


def detect_dialect(head: bytes) -> DetectedDialect:
    """Return the dialect of the file that begins with ``head``; without any sound reading the default."""
    found = DetectedDialect()
    text = _decoded(head, found)
    if len(text) > MOST_LINES * 10 and not text.endswith(("\n", "\r")):
        text = text[: max(text.rfind("\n"), text.rfind("\r")) + 1] or text
    text = text.replace("\0", "")
    _comment(text, found)
    mark = found.options.get("comment")
    lines = [line for line in _lines(text) if line.strip() and not (mark and line.startswith(mark))][:MOST_LINES]
    if not lines:
        return found
    rows, width = _blank_runs(lines, found) or _delimiter(lines, found)
    sound = [row for row in rows if len(row) == width]
    if not sound:
        return found
    names = _names(sound, found)
    body = sound if "header" in found.options else sound[1:]
    if len(set(names)) == len(names):
        found.columns = {name: [row[place] for row in body] for place, name in enumerate(names)}
    return found


def _decoded(head: bytes, found: DetectedDialect) -> str:
    for mark, name in (
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if head.startswith(mark):
            return _in(head, name, "its byte order mark", found)
    some = head[:4096]
    for place, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        if len(some) > 8 and some[place::2].count(0) > 0.7 * len(some[place::2]) and not some[1 - place :: 2].count(0):
            return _in(head, name, "every other byte is 0", found)
    try:
        return codecs.getincrementaldecoder("utf-8-sig")("strict").decode(head)
    except UnicodeDecodeError:
        pass
    try:
        text = head.decode("cp1252")
    except UnicodeDecodeError:
        return _in(head, "latin-1", "bytes that neither UTF-8 nor cp1252 has", found, sure=False)
    words = sorted({word for word in re.findall(r"\w*[^\x00-\x7f]\w*", text) if word})[:3]
    return _in(head, "cp1252", f"not UTF-8; it reads {', '.join(words)}", found, sure=False)


def _in(head: bytes, name: str, why: str, found: DetectedDialect, *, sure: bool = True) -> str:
    found.options["encoding"] = name
    found.findings.append(Finding(f"csv.encoding {name}", why, sure))
    return codecs.getincrementaldecoder(name)("replace").decode(head)


def _lines(text: str) -> list[str]:
    return re.split(r"\r\n|\n|\r", text)


def _comment(text: str, found: DetectedDialect) -> None:
    lines = [line for line in _lines(text) if line.strip()]
    for mark in _COMMENTS:
        marked = sum(line.startswith(mark) for line in lines)
        if not marked or marked > 0.5 * len(lines):
            continue
        if marked == 1 and lines[0].startswith(mark) and len(lines) > 1:
            # A header may begin with a mark: it has as many cells as the rows.
            counts = [(lines[0].count(each), lines[1].count(each)) for each in _DELIMITERS[:4]]
            if any(first == second and first for first, second in counts):
                continue
        found.options["comment"] = mark
        found.findings.append(Finding(f"csv.comment {mark}", f"{marked} lines begin with it"))
        return


def _blank_runs(lines: list[str], found: DetectedDialect) -> tuple[list[list[str]], int] | None:
    """Return the rows of lines whose cells have any number of blanks between them, and their number of cells."""
    runs = sum(re.search(r"^[ \t]|[ \t]{2}", line) is not None for line in lines)
    if runs < _LEAST_ALIKE * len(lines) or any(mark in line for line in lines[:50] for mark in ",;|"):
        return None
    rows = [line.split() for line in lines]
    width = Counter(map(len, rows)).most_common(1)[0][0]
    cells = [cell for row in rows for cell in row]
    typed = sum(_TYPED.fullmatch(cell) is not None for cell in cells) / max(len(cells), 1)
    if width < 2 or sum(len(row) == width for row in rows) < _LEAST_ALIKE * len(rows) or typed < 0.5:
        return None
    found.options["delimiter"] = BLANK_RUNS
    found.findings.append(Finding("csv.delimiter blanks", f"{width} cells with any number of blanks between them"))
    return rows, width


def _delimiter(lines: list[str], found: DetectedDialect) -> tuple[list[list[str]], int]:
    """Choose delimiter and quote; return the rows, and the number of cells of most of them."""
    readings = []
    for delimiter in _DELIMITERS:
        for quote in ('"', "'"):
            # A quote is one if it stands around cells.
            around = re.compile(rf"(?:^|{re.escape(delimiter)}){quote}[^{quote}]*{quote}(?:$|{re.escape(delimiter)})")
            if quote == "'" and not sum(around.search(line) is not None for line in lines) > 0.2 * len(lines):
                continue
            readings.append((_score(lines, delimiter, quote), delimiter, quote))
    best = max(readings, key=lambda each: each[0][0])
    (score, rows, width), delimiter, quote = best
    if width < 2:
        (_, rows, width), delimiter, quote = readings[0]
        return rows, width
    others = [each for each in readings if each[1] != delimiter and each[0][2] > 1 and each[0][0] > score - _CLOSE]
    shown = repr(delimiter) if delimiter in "\t " else delimiter
    if delimiter != "," or others:
        why = f"{width} cells in {sum(len(row) == width for row in rows) / len(rows):.0%} of the lines"
        why += "".join(f"; {other!r} would give {reading[2]}" for reading, other, _ in others)
        found.findings.append(Finding(f"csv.delimiter {shown}", why, not others))
    if delimiter != ",":
        found.options["delimiter"] = delimiter
    if quote != '"':
        found.options["quote"] = quote
        found.findings.append(Finding(f"csv.quote {quote}", "it stands around cells"))
    return rows, width


def _score(lines: list[str], delimiter: str, quote: str) -> tuple[float, list[list[str]], int]:
    """Rate a reading by how many lines have the header's number of cells, and how many cells are of a type."""
    reader = csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter, quotechar=quote)
    try:
        rows = [row for row in reader if row]
    except csv.Error:  # a stray quote took more than a cell may hold
        return -1.0, [], 0
    if not rows:
        return -1.0, [], 0
    width = Counter(map(len, rows)).most_common(1)[0][0]
    alike = sum(len(row) == width for row in rows) / len(rows)
    if width < 2 or alike < _LEAST_ALIKE or len(rows[0]) != width:
        return -1.0, rows, width
    cells = [cell for row in rows[1:] or rows if len(row) == width for cell in row]
    typed = sum(_TYPED.fullmatch(cell) is not None for cell in cells) / max(len(cells), 1)
    usual = {",": 0.05, ";": 0.05, "\t": 0.05, "|": 0.05, ":": -0.3, " ": -0.2}[delimiter]
    return alike + typed + usual, rows, width


def _some(cells: list[str]) -> str:
    """Return the first cells of a line, as a list in words."""
    return ", ".join(cells[:_MOST_SHOWN]) + (f", … ({len(cells)} cells)" if len(cells) > _MOST_SHOWN else "")


def _is_of_numbers(cell: str) -> bool:
    return not cell.strip() or _NUMBER.fullmatch(cell) is not None


def _names(rows: list[list[str]], found: DetectedDialect) -> list[str]:
    first, rest = rows[0], rows[1:]
    numeric = [
        place
        for place in range(len(first))
        if rest and sum(_NUMBER.fullmatch(row[place]) is not None for row in rest) > _LEAST_ALIKE * len(rest)
    ]
    numbers = [first[place] for place in numeric if _NUMBER.fullmatch(first[place])]
    if not numeric or len(numbers) < len(numeric):
        return first
    if len(numbers) > 2 and all(each.strip().isdigit() for each in numbers):
        steps = {int(after) - int(before) for before, after in pairwise(numbers)}
        years = all(1700 <= int(each) <= 2100 for each in numbers) and any(not _is_of_numbers(cell) for cell in first)
        # A wide table: a column for each year or step; years of which few values are known are no numbers here.
        if steps == {1} or (years and min(steps) > 0):
            found.findings.append(
                Finding("csv.header true", "the first line counts: column names, or a row", sure=False)
            )
            return first
    found.options["header"] = False
    found.findings.append(
        Finding("csv.header false", f"the first line is a row like the others: {_some(first)}; name the columns", False)
    )
    return [f"column_{place}" for place in range(1, len(first) + 1)]

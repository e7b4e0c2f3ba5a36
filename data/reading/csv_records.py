"""Split the bytes of a CSV file into records, so that every physical line is counted.

    reader = RecordReader(stream, "rows.csv")
    reader.header()                       # ["id", "t", "x", "y"]
    for chunk in reader.chunks():
        chunk.content                     # whole records, as in the file
        chunk.malformed                   # lines that are no record: line number and problem

`csv_lines` decides which lines are records.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np

from noisy_gru.data.reading.csv_dialect import BYTE_ORDER_MARK, COMMAS, Dialect
from noisy_gru.data.reading.csv_lines import Lines, shown
from noisy_gru.schema.errors import DataError

BLOCK_BYTES = 16 << 20
MOST_LINE_BYTES = 64 << 20
OTHER_DELIMITERS = ",;\t|"
REPEATED_HEADER = "repeated_header"
_UNPACK = "unpack it, or pack it with gzip and name it .csv.gz"
_OTHER_KINDS = {
    b"\xff\xfe\0\0": ("UTF-32", "set data.csv.encoding: utf-32, or save it as UTF-8"),
    b"\xff\xfe": ("UTF-16", "set data.csv.encoding: utf-16, or save it as UTF-8"),
    b"\xfe\xff": ("UTF-16", "set data.csv.encoding: utf-16, or save it as UTF-8"),
    b"\x1f\x8b": ("gzip", "name it .csv.gz"),
    b"PAR1\x15": ("Parquet", "name it .parquet, or set data.format: parquet"),
    b"PK\x03\x04": ("a ZIP archive or a workbook", "name a workbook .xlsx, or export it as CSV"),
    b"\x28\xb5\x2f\xfd": ("zstd", _UNPACK),
    b"\xfd7zXZ\0": ("xz", _UNPACK),
    b"BZh91AY&SY": ("bzip2", _UNPACK),
    b"ARROW1\0\0": ("an Arrow file", "name it .arrow or .feather, or set data.format: arrow"),
}
_LONGEST_MAGIC = max(map(len, _OTHER_KINDS))


def other_kind(head: bytes) -> str | None:
    """Return the format that a file begins like, if it is none of plain text in UTF-8."""
    return next((kind for mark, (kind, _) in _OTHER_KINDS.items() if head.startswith(mark)), None)


def _loosely(name: str) -> str:
    """Return a column's name as other writers may spell it: without blanks around it, in lower case."""
    return name.strip().lower()


def is_of_another_kind(head: bytes) -> bool:
    """Whether a file begins like one of another format than CSV in some encoding."""
    return any(head.startswith(mark) for mark, (kind, _) in _OTHER_KINDS.items() if not kind.startswith("UTF"))


@dataclass(frozen=True)
class Malformed:
    """A line of a CSV file, or a row of another format, that can't be parsed as a row.

    ``line`` counts the physical lines of a CSV file from 1. ``reason`` is None where the policy
    ``unparsable_value`` decides about the row.
    """

    row: int
    problem: str
    line: int | None = None
    reason: str | None = None


@dataclass
class Chunk:
    """Records of a CSV file.

    ``content`` holds their bytes; ``rows`` int64 [N] are their row numbers, which count malformed lines too; ``lines``
    int64 [N] the physical lines on which they begin, and ``starts`` int64 [N] where they begin in ``content``. Blank
    lines are no rows.
    """

    content: bytes
    rows: np.ndarray
    lines: np.ndarray
    starts: np.ndarray
    malformed: list[Malformed] = field(default_factory=list)


class RecordReader:
    """Read the header and then the records of one CSV file.

    Args:
        stream: the uncompressed bytes.
        name: the file's, for messages.
        block_bytes: bytes that are read at once.
        dialect: of the file.
    """

    def __init__(self, stream: BinaryIO, name: str, block_bytes: int = BLOCK_BYTES, dialect: Dialect = COMMAS) -> None:
        self._stream, self._name, self._block_bytes = stream, name, block_bytes
        self._dialect = dialect
        self._data = b""  # read and not yielded yet
        self._line, self._row = 1, 1
        self._ended = False
        self._header: list[str] = []

    def header(self) -> list[str]:
        """Return the column names: those configured, or the first line's that is neither blank nor a comment.

        Raises:
            DataError: the file has no header, or it can't be read.
            UnicodeDecodeError: it isn't UTF-8.
        """
        while len(self._data) < _LONGEST_MAGIC and not self._ended:
            self._more()
        for magic, (kind, advice) in _OTHER_KINDS.items():
            if self._data.startswith(magic):
                raise DataError(f"{self._name}: expected CSV in UTF-8, received {kind} (by its first bytes): {advice}")
        while self._data.startswith(BYTE_ORDER_MARK):  # several, if one was added to a text that had one
            self._data = self._data.removeprefix(BYTE_ORDER_MARK)
        while True:
            lines = Lines(self._data, ended=self._ended, dialect=self._dialect)
            comments = lines.comments()
            for place in range(len(lines)):
                if lines.is_blank(place) or comments[place]:
                    continue
                verdict = lines.judge(place, None)
                if verdict.problem:
                    raise DataError(f"{self._name}: line {self._line + place}: the header: {verdict.problem}")
                if verdict.lines:
                    return self._take_header(lines, place, verdict.lines)
                break
            if self._ended:
                raise DataError(f"{self._name}: is empty; expected a header with the column names. Leave it out")
            self._more()

    def _take_header(self, lines: Lines, place: int, count: int) -> list[str]:
        record = self._data[lines.starts[place] : lines.stops[place + count - 1]]
        if b"\0" in record:
            raise DataError(
                f"{self._name}: line {self._line + place}: the header holds NUL bytes; expected UTF-8 (UTF-16 has "
                "them). Save the file as UTF-8, or set data.csv.encoding: utf-16-le (or utf-16-be)"
            )
        cells = self._cells_of(record.decode())
        if self._dialect.config.header is not True:
            self._header = self._names(cells)
            return self._header
        self._data = self._data[lines.ends[place + count - 1] :]
        self._line += place + count
        self._header = cells
        if len(self._header) == 1 and (
            other := next((mark for mark in OTHER_DELIMITERS if mark in self._header[0]), None)
        ):
            raise DataError(
                f"{self._name}: line {self._line - 1}: expected {_between(self._dialect)} between the cells; the "
                f"header has {other!r}: {shown(record)}. Set data.csv.delimiter: {json.dumps(other)}, and "
                "data.csv.decimal if numbers have a decimal comma"
            )
        return self._header

    def chunks(
        self, marks: Sequence[str] = (), is_row: Callable[[list[str]], bool] = lambda cells: False
    ) -> Iterator[Chunk]:
        """Yield the records after the header.

        Args:
            marks: column names; a line with all of them as cells, in any case, is a repeated header. Default: all.
            is_row: whether the cells of a line are certainly a row's. Then a line with the column names is one (a
                category may have the name of a column), and a line in a quoted cell shows that the quote is stray.

        Raises:
            DataError: another header with other columns, or a line longer than `MOST_LINE_BYTES`.
        """
        names = list(marks or self._header)
        while True:
            lines = Lines(self._data, ended=self._ended, dialect=self._dialect)
            if len(lines):
                chunk, taken = self._chunk(lines, names, is_row)
                if taken:
                    self._data = self._data[lines.ends[taken - 1] :]
                    self._line += taken
                    yield chunk
            if self._ended:
                return
            self._more()

    def _more(self) -> None:
        if len(self._data) > MOST_LINE_BYTES + self._block_bytes:
            raise DataError(
                f"{self._name}: line {self._line}: is longer than {MOST_LINE_BYTES >> 20} MiB; expected lines of rows. "
                "Write the file again"
            )
        block = self._stream.read(self._block_bytes)
        self._ended = not block
        self._data = self._data + block if self._data else block

    def _chunk(self, lines: Lines, names: list[str], is_row: Callable[[list[str]], bool]) -> tuple[Chunk, int]:
        """Return the records of complete lines, and their number of lines; a record without its end is left."""
        count = len(lines)
        headers = {place: cells for place, cells in self._headers(lines, names).items() if not is_row(cells)}
        comments = lines.comments()
        begins = (lines.lengths > 0) & ~comments  # a record or a malformed line begins
        inside = np.zeros(count, bool)  # a record of several lines continues
        problems: dict[int, str] = {}
        following = 0
        for place in sorted({*headers, *lines.suspicious()}):
            if place < following or comments[place]:
                continue
            verdict = lines.judge(place, len(self._header), is_row)
            if place in headers:
                problems[place] = self._check_header(headers[place], self._line + place)
            elif verdict.problem:
                problems[place] = verdict.problem
            elif verdict.lines:
                following = place + verdict.lines
                begins[place + 1 : following] = False
                inside[place + 1 : following] = True
            else:
                count = place
                break
        begins, inside = begins[:count], inside[:count]
        places = np.flatnonzero(begins)
        numbers = self._row + np.arange(len(places))
        malformed = [
            Malformed(
                int(self._row + np.searchsorted(places, place)),
                problem,
                self._line + place,
                REPEATED_HEADER if place in headers else None,
            )
            for place, problem in problems.items()
        ]
        kept = begins.copy()
        kept[list(problems)] = False
        sound = kept[places]
        self._row += len(places)
        content, starts = lines.content(kept | inside)
        return Chunk(content, numbers[sound], self._line + places[sound], starts[places[sound]], malformed), count

    def _headers(self, lines: Lines, names: list[str]) -> dict[int, list[str]]:
        """Return the cells of each line that has all of these column names as cells."""
        if self._dialect.config.header is not True:
            return {}
        found: dict[int, list[str]] = {}
        wanted = set(map(_loosely, names))
        for place in lines.with_cell(max(names, key=len).encode()):
            if lines.lengths[place] > csv.field_size_limit():
                continue
            text = self._data[lines.starts[place] : lines.stops[place]].removeprefix(BYTE_ORDER_MARK)
            cells = self._cells_of(text.decode("utf-8", "replace"))
            if wanted <= set(map(_loosely, cells)):
                found[place] = cells
        return found

    def _check_header(self, cells: list[str], line: int) -> str:
        if [*map(_loosely, cells)] == [*map(_loosely, self._header)]:
            return "the header again"
        raise DataError(
            f"{self._name}: line {line}: another header, {', '.join(cells)}, while the file begins with "
            f"{', '.join(self._header)}: the rows below it would be read into the wrong columns. Make two files of it"
        )

    def _cells_of(self, record: str) -> list[str]:
        return next(csv.reader(io.StringIO(record, newline=""), **self._dialect.reader_options), [])

    def _names(self, cells: list[str]) -> list[str]:
        """Return the names of the columns of a file without a header, given the cells of its first record."""
        names = self._dialect.config.header
        if not isinstance(names, list):
            return [f"column_{place}" for place in range(1, len(cells) + 1)]
        if len(names) != len(cells):
            raise DataError(
                f"{self._name}: line {self._line}: expected {len(names)} cells, one for each name of data.csv.header, "
                f"received {len(cells)}. Name all columns, or correct data.csv.delimiter "
                f"({self._dialect.mark.decode()!r})"
            )
        return list(names)


def _between(dialect: Dialect) -> str:
    return "commas" if dialect.config.delimiter == "," else repr(dialect.config.delimiter)

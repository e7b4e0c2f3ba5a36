"""Split the bytes of a CSV file into records, and account for every physical line.

    reader = RecordReader(stream, "rows.csv")
    reader.header()                       # ["id", "t", "x", "y"]
    for chunk in reader.chunks():
        chunk.content                     # whole records, as they stand in the file
        chunk.malformed                   # lines that are no record: line number, and what is wrong

A parser that follows quotes alone takes everything between two stray quotes for one cell. Here a quote at the beginning
of a cell opens it, and has to close it right before a comma or the end of a line. Where it doesn't, its line, and no
other, is malformed, and reading goes on at the next line. So it does where a cell of several lines was not meant: it
takes more than `MOST_CELL_LINES`, the record has another number of cells than the header, or most of its lines would
each be a row by itself. A quote inside a cell that began without one is a character as any other.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np

from noisy_gru.components.sequence_example_gen.errors import DataError

BLOCK_BYTES = 16 << 20
MOST_CELL_LINES = 100
MOST_LINE_BYTES = 64 << 20
MOST_SHOWN_CHARACTERS = 200
REPEATED_HEADER = "repeated_header"
_LF, _CR, _QUOTE, _COMMA = b'\n\r",'
_BEFORE_CELL = _AFTER_CELL = np.array([_COMMA, _LF, _CR], np.uint8)
_BOM = b"\xef\xbb\xbf"
_AROUND_NAMES = b',"\r\n' + _BOM[-1:]
_UNPACK = "unpack it, or pack it with gzip and name it .csv.gz"
_OTHER_KINDS = {
    b"\xff\xfe": ("UTF-16", "save it as UTF-8"),
    b"\xfe\xff": ("UTF-16", "save it as UTF-8"),
    b"\x1f\x8b": ("gzip", "name it .csv.gz"),
    b"PAR1\x15": ("Parquet", "name it .parquet, or set data.format: parquet"),
    b"PK\x03\x04": ("a ZIP archive or a workbook", "export it as CSV"),
    b"\x28\xb5\x2f\xfd": ("zstd", _UNPACK),
    b"\xfd7zXZ\0": ("xz", _UNPACK),
    b"BZh91AY&SY": ("bzip2", _UNPACK),
    b"ARROW1\0\0": ("an Arrow file", "write it as Parquet"),
}
LONGEST_MAGIC = max(map(len, _OTHER_KINDS))

_QUOTED = rb'"(?:[^"]++|"")*+"'
_PLAIN = rb'(?:[^",\r\n][^,\r\n]*+)?+'
_CELL = re.compile(rb"(?:" + _QUOTED + rb"[ \t]*+|" + _PLAIN + rb")(?=[,\r\n]|\Z)")
_CLOSED = re.compile(_QUOTED)
_CELL_IN_LINE = rb'(?:"(?:[^"\r\n]++|"")*+"[ \t]*+|' + _PLAIN + rb")"
_RECORD_IN_LINE = re.compile(_CELL_IN_LINE + rb"(?:," + _CELL_IN_LINE + rb")*+(?=[\r\n]|\Z)")
_QUOTED_ALONE = re.compile(rb'(^|,)"(?:[^"]++|"")*+"[ \t]*+(?=,|$)')


@dataclass(frozen=True)
class Malformed:
    """A line of a CSV file, or a row of another format, that is no row of the table.

    ``line`` counts the physical lines of a CSV file from 1. ``reason`` is None where the policy of unparsable values
    decides what becomes of the row.
    """

    row: int
    problem: str
    line: int | None = None
    reason: str | None = None


@dataclass
class Chunk:
    """Some records of a CSV file.

    ``content`` holds them as they stand in the file; ``rows`` int64 [N] are their row numbers, which count malformed
    lines, too; ``lines`` int64 [N] the physical lines on which they begin, and ``starts`` int64 [N] where in
    ``content`` they do. Blank lines are no rows.
    """

    content: bytes
    rows: np.ndarray
    lines: np.ndarray
    starts: np.ndarray
    malformed: list[Malformed] = field(default_factory=list)


@dataclass(frozen=True)
class _Judged:
    """How many lines a record takes; or what is wrong with its first line; or neither, if the rest isn't read yet."""

    lines: int = 0
    problem: str = ""


def shown(text: bytes | str) -> str:
    """A line as messages show it, cut where it is long."""
    told = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return repr(told if len(told) <= MOST_SHOWN_CHARACTERS else told[:MOST_SHOWN_CHARACTERS] + "…")


def cells_alone(line: bytes) -> int:
    """How many cells a physical line has by itself; a quote that doesn't close on it is a character as any other."""
    return _QUOTED_ALONE.sub(rb"\1", line).count(b",") + 1


class RecordReader:
    """Reads the header and then the records of one CSV file.

    Args:
        stream: the uncompressed bytes.
        name: of the file, for messages.
        block_bytes: how much is read at once.
    """

    def __init__(self, stream: BinaryIO, name: str, block_bytes: int = BLOCK_BYTES) -> None:
        self._stream, self._name, self._block_bytes = stream, name, block_bytes
        self._data = b""  # what is read and not given yet
        self._line, self._row = 1, 1
        self._ended = False
        self._header: list[str] = []

    def header(self) -> list[str]:
        """The column names: the first line that isn't blank.

        Raises:
            DataError: there is none, or it can't be read.
            UnicodeDecodeError: it isn't UTF-8.
        """
        while len(self._data) < LONGEST_MAGIC and not self._ended:
            self._more()
        for magic, (kind, advice) in _OTHER_KINDS.items():
            if self._data.startswith(magic):
                raise DataError(f"{self._name}: expected CSV in UTF-8, received {kind} (by its first bytes): {advice}")
        self._data = self._data.removeprefix(_BOM)
        while True:
            lines = _Lines(self._data, ended=self._ended)
            for place in range(len(lines)):
                if lines.is_blank(place):
                    continue
                judged = lines.judge(place, None)
                if judged.problem:
                    raise DataError(f"{self._name}: line {self._line + place}: the header: {judged.problem}")
                if judged.lines:
                    return self._take_header(lines, place, judged.lines)
                break
            if self._ended:
                raise DataError(
                    f"{self._name}: is empty; expected a header with the column names. Take it out of data.files"
                )
            self._more()

    def _take_header(self, lines: _Lines, place: int, count: int) -> list[str]:
        record = self._data[lines.starts[place] : lines.stops[place + count - 1]]
        if b"\0" in record:
            raise DataError(
                f"{self._name}: line {self._line + place}: the header holds NUL bytes; expected UTF-8 (UTF-16 has "
                "them). Save the file as UTF-8"
            )
        self._data = self._data[lines.ends[place + count - 1] :]
        self._line += place + count
        self._header = _cells_of(record.decode())
        if len(self._header) == 1 and (other := next((mark for mark in ";\t|" if mark in self._header[0]), None)):
            raise DataError(
                f"{self._name}: line {self._line - 1}: expected commas between the cells; the header has {other!r}: "
                f"{shown(record)}. Write the file with commas, and with a point in decimal numbers"
            )
        return self._header

    def chunks(self, marks: Sequence[str] = ()) -> Iterator[Chunk]:
        """The records after the header.

        Args:
            marks: column names; a line that holds all of them as cells is another header. None: all names.

        Raises:
            DataError: another header with other columns, or a line longer than `MOST_LINE_BYTES`.
        """
        names = list(marks or self._header)
        while True:
            lines = _Lines(self._data, ended=self._ended)
            if len(lines):
                chunk, taken = self._chunk(lines, names)
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

    def _chunk(self, lines: _Lines, names: list[str]) -> tuple[Chunk, int]:
        """The records of complete lines, and how many lines they take; a record that goes on behind them is left."""
        count = len(lines)
        headers = self._headers(lines, names)
        begins = lines.lengths > 0  # a record or a malformed line begins here
        inside = np.zeros(count, bool)  # a record of several lines goes on here
        problems: dict[int, str] = {}
        following = 0
        for place in sorted({*headers, *lines.uncommon()}):
            if place < following:
                continue
            judged = lines.judge(place, len(self._header))
            if place in headers:
                problems[place] = self._check_header(headers[place], self._line + place)
            elif judged.problem:
                problems[place] = judged.problem
            elif judged.lines:
                following = place + judged.lines
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

    def _headers(self, lines: _Lines, names: list[str]) -> dict[int, list[str]]:
        """The cells of each line that holds all of some column names."""
        found: dict[int, list[str]] = {}
        for place in lines.holding(max(names, key=len).encode()):
            if lines.lengths[place] > csv.field_size_limit():
                continue
            text = self._data[lines.starts[place] : lines.stops[place]].removeprefix(_BOM)
            cells = _cells_of(text.decode("utf-8", "replace"))
            if set(names) <= set(cells):
                found[place] = cells
        return found

    def _check_header(self, cells: list[str], line: int) -> str:
        if cells == self._header:
            return "the header again"
        raise DataError(
            f"{self._name}: line {line}: another header, {', '.join(cells)}, while the file begins with "
            f"{', '.join(self._header)}: the rows below it would be read into the wrong columns. Make two files of it"
        )


def _cells_of(record: str) -> list[str]:
    return next(csv.reader(io.StringIO(record, newline="")), [])


class _Lines:
    """The complete physical lines of some bytes; at the end of a file the rest is a line, too.

    Attributes:
        starts, stops, ends: int64 [N], where each line begins, where its text ends, and where the next one begins.
        lengths: int64 [N], of the texts.
    """

    def __init__(self, data: bytes, *, ended: bool) -> None:
        self.data, self._ended = data, ended
        codes = np.frombuffer(data, np.uint8)
        feeds = np.flatnonzero(codes == _LF) + 1
        if b"\r" in data:
            returns = np.flatnonzero(codes == _CR) + 1
            if len(returns) and returns[-1] == len(data) and not ended:  # a line feed may follow
                returns = returns[:-1]
            inner = returns[returns < len(data)]
            alone = np.concatenate([inner[codes[inner] != _LF], returns[returns == len(data)]])
            ends = np.sort(np.concatenate([feeds, alone]))
        else:
            ends = feeds
        if ended and len(data) and (not len(ends) or ends[-1] < len(data)):
            ends = np.append(ends, len(data))
        self.ends = ends
        self.starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)[: len(ends)]
        stops = ends.copy()
        for mark in (_LF, _CR):
            last = np.maximum(stops - 1, 0)
            stops = np.where((stops > self.starts) & (codes[last] == mark), stops - 1, stops) if len(stops) else stops
        self.stops, self.lengths, self._codes = stops, stops - self.starts, codes

    def __len__(self) -> int:
        return len(self.ends)

    def is_blank(self, place: int) -> bool:
        """Whether a line holds nothing."""
        return not self.lengths[place]

    def uncommon(self) -> list[int]:
        """Lines that hold a NUL byte, or quotes other than pairs around whole cells: these have to be judged."""
        found = []
        if b"\0" in self.data:
            found.append(self._of(np.flatnonzero(self._codes == 0)))
        if b'"' in self.data:
            quotes = np.flatnonzero(self._codes == _QUOTE)
            edges = np.searchsorted(quotes, np.concatenate([self.starts, self.ends[-1:]]))
            counts, quotes = np.diff(edges), quotes[: edges[-1]]
            opens = (np.arange(len(quotes)) - np.repeat(edges[:-1], counts)) % 2 == 0
            fine = np.empty(len(quotes), bool)
            opening, closing = quotes[opens], quotes[~opens] + 1
            fine[opens] = np.isin(self._codes[np.maximum(opening - 1, 0)], _BEFORE_CELL) | (opening == 0)
            fine[~opens] = np.isin(self._codes[np.minimum(closing, len(self._codes) - 1)], _AFTER_CELL)
            fine[~opens] |= closing == len(self._codes)
            wrong = np.searchsorted(self.ends, quotes[~fine], side="right")
            found += [wrong, np.flatnonzero(counts % 2)]
        if not found:
            return []
        places = np.unique(np.concatenate(found))
        return places[places < len(self)].tolist()

    def holding(self, name: bytes) -> list[int]:
        """Lines with this as the text of a cell."""
        positions = []
        at = self.data.find(name)
        while at >= 0:
            after = at + len(name)
            if (at == 0 or self.data[at - 1] in _AROUND_NAMES) and (
                after == len(self.data) or self.data[after] in _AROUND_NAMES
            ):
                positions.append(at)
            at = self.data.find(name, after)
        places = np.unique(self._of(np.array(positions, np.int64)))
        return places[places < len(self)].tolist()

    def _of(self, positions: np.ndarray) -> np.ndarray:
        """The line of each position."""
        return np.searchsorted(self.ends, positions, side="right")

    def judge(self, place: int, cells: int | None) -> _Judged:
        """What begins on a line that isn't blank; ``cells`` is how many a row has, None for the header."""
        start, stop = int(self.starts[place]), int(self.stops[place])
        text = self.data[start:stop]
        if cells is not None and b"\0" in text:
            return _Judged(problem=f"a NUL byte in the line: {shown(text)}")
        if _RECORD_IN_LINE.match(self.data, start, stop):
            return _Judged(lines=1)
        last = min(place + MOST_CELL_LINES, len(self)) - 1
        limit = int(self.stops[last])
        complete = last == place + MOST_CELL_LINES - 1 or self._ended
        position, count = start, 0
        while True:
            match = _CELL.match(self.data, position, limit)
            if match is None:
                return self._not_closed(position, limit, text, complete=complete)
            count += 1
            position = match.end()
            if position >= limit or self.data[position] != _COMMA:
                break
            position += 1
        end = int(self._of(np.array([position]))[0]) if position < len(self.data) else last
        taken = max(end, place) - place + 1
        if cells is not None and taken > 1:
            if b"\0" in self.data[start:position]:
                return _Judged(problem=f"a quoted cell that goes on over lines with NUL bytes: {shown(text)}")
            if count != cells:
                return _Judged(
                    problem=f'a quote (") opens a cell that ends {taken - 1} lines further down, in a row of {count} '
                    f"cells instead of {cells}: {shown(text)}"
                )
            alike = sum(
                cells_alone(self.data[self.starts[each] : self.stops[each]]) == cells
                for each in range(place, place + taken)
            )
            if alike * 2 > taken and cells > 1:
                return _Judged(
                    problem=f'a quote (") opens a cell that ends {taken - 1} lines further down, while {alike} of the '
                    f"{taken} lines are rows by themselves: {shown(text)}"
                )
        return _Judged(lines=taken)

    def _not_closed(self, position: int, limit: int, text: bytes, *, complete: bool) -> _Judged:
        if _CLOSED.match(self.data, position, limit):
            return _Judged(problem=f'a quote (") opens a cell, and the next one does not end it: {shown(text)}')
        if not complete:
            return _Judged()
        where = f"within {MOST_CELL_LINES} lines" if limit < len(self.data.rstrip(b"\r\n")) else "before the file does"
        return _Judged(problem=f'a quote (") opens a cell that does not end {where}: {shown(text)}')

    def content(self, kept: np.ndarray) -> tuple[bytes, np.ndarray]:
        """The bytes of some of the first lines, one after another; and where in them each line begins."""
        sizes = np.where(kept, self.ends[: len(kept)] - self.starts[: len(kept)], 0)
        starts = np.cumsum(sizes) - sizes
        if kept.all():
            return self.data[: int(sizes.sum())], starts
        edges = np.flatnonzero(np.diff(np.concatenate([[False], kept, [False]]).astype(np.int8)))
        view = memoryview(self.data)
        runs = zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
        return b"".join(view[self.starts[first] : self.ends[end - 1]] for first, end in runs), starts

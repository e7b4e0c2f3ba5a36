"""Split bytes of a CSV file into physical lines, and decide which lines begin a record.

A parser that only follows quotes takes everything between two stray quotes for one cell. Here a quote at the beginning
of a cell opens it, and must be closed right before a delimiter or the end of a line; otherwise that line alone is
malformed. So is a line whose quote opens a cell of several lines by mistake: the cell takes more than
`MOST_CELL_LINES`, the record has another number of cells than the header, most of its lines would be rows by
themselves, or one of them inside of the cell would be a row with a time. A quote inside an unquoted cell is an ordinary
character.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from noisy_gru.data.reading.csv_dialect import BYTE_ORDER_MARK, COMMAS, Dialect

MOST_CELL_LINES = 100
MOST_SHOWN_CHARACTERS = 200
_LF, _CR = b"\n\r"


@dataclass(frozen=True)
class Verdict:
    """The number of lines of a record, or the problem of its first line, or neither if its end isn't read yet."""

    lines: int = 0
    problem: str = ""


def shown(text: bytes | str) -> str:
    """Return a line for messages, shortened if it is long."""
    quoted = repr(text[:MOST_SHOWN_CHARACTERS].decode("utf-8", "replace") if isinstance(text, bytes) else text)
    cut = len(text) > MOST_SHOWN_CHARACTERS or len(quoted) > MOST_SHOWN_CHARACTERS
    return f"{quoted[:MOST_SHOWN_CHARACTERS]}…{quoted[-1]}" if cut else quoted


class Lines:
    """The complete physical lines of some bytes; at the end of a file the rest is a line too.

    Attributes:
        starts, stops, ends: int64 [N], where each line begins, where its text ends, and where the next line begins.
        lengths: int64 [N], lengths of the texts.
    """

    def __init__(self, data: bytes, *, ended: bool, dialect: Dialect = COMMAS) -> None:
        self.data, self._ended, self._dialect = data, ended, dialect
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
        """Whether a line is empty."""
        return not self.lengths[place]

    def comments(self) -> np.ndarray:
        """Mask [N] of the lines that begin like a comment; within a quoted cell they are none."""
        found, mark = np.zeros(len(self), bool), self._dialect.comment
        if mark and mark in self.data:
            padded = np.append(self._codes, np.zeros(len(mark), np.uint8))
            found[:] = self.lengths >= len(mark)
            for place, code in enumerate(mark):
                found &= padded[self.starts + place] == code
        return found

    def suspicious(self) -> list[int]:
        """Return the lines to ``judge``: with a NUL byte, an unclosed quote, or a byte order mark."""
        found = []
        if b"\0" in self.data:
            found.append(self._of(np.flatnonzero(self._codes == 0)))
        if self._dialect.quote_mark and self._dialect.quote_mark in self.data:
            quotes = np.flatnonzero(self._codes == self._dialect.quote)
            edges = np.searchsorted(quotes, np.concatenate([self.starts, self.ends[-1:]]))
            counts, quotes = np.diff(edges), quotes[: edges[-1]]
            opens = (np.arange(len(quotes)) - np.repeat(edges[:-1], counts)) % 2 == 0
            fine = np.empty(len(quotes), bool)
            opening, closing = quotes[opens], quotes[~opens] + 1
            fine[opens] = np.isin(self._codes[np.maximum(opening - 1, 0)], self._dialect.beside_cell) | (opening == 0)
            fine[~opens] = np.isin(self._codes[np.minimum(closing, len(self._codes) - 1)], self._dialect.beside_cell)
            fine[~opens] |= closing == len(self._codes)
            wrong = np.searchsorted(self.ends, quotes[~fine], side="right")
            found += [wrong, np.flatnonzero(counts % 2)]
        if not found:
            return self._marked()
        places = np.unique(np.concatenate(found))
        places = places[places < len(self)]
        whole, bounds = self._dialect.record_in_line.match, (self.starts[places].tolist(), self.stops[places].tolist())
        judged = [place for place, *bound in zip(places.tolist(), *bounds, strict=True) if not whole(self.data, *bound)]
        return judged + self._marked()

    def _marked(self) -> list[int]:
        """Return the lines that begin with a byte order mark."""
        found, at = [], self.data.find(BYTE_ORDER_MARK)
        while at >= 0:
            place = int(np.searchsorted(self.starts, at))
            if place < len(self) and self.starts[place] == at:
                found.append(place)
            at = self.data.find(BYTE_ORDER_MARK, at + 1)
        return found

    def with_cell(self, name: bytes) -> list[int]:
        """Return the lines with a cell of this text, in any case and with blanks around it or not; none of no text."""
        if not name:
            return []
        positions = []
        lower, name, blanks = self.data.lower(), name.lower(), self._dialect.blanks
        at = lower.find(name)
        while at >= 0:
            after = at + len(name)
            first, last = at, after
            while first and lower[first - 1] in blanks:
                first -= 1
            while last < len(lower) and lower[last] in blanks:
                last += 1
            if (first == 0 or lower[first - 1] in self._dialect.around_names) and (
                last == len(lower) or lower[last] in self._dialect.around_names
            ):
                positions.append(at)
            at = lower.find(name, after)
        places = np.unique(self._of(np.array(positions, np.int64)))
        return places[places < len(self)].tolist()

    def _of(self, positions: np.ndarray) -> np.ndarray:
        """Return the line of each position."""
        return np.searchsorted(self.ends, positions, side="right")

    def judge(
        self, place: int, cells: int | None, is_row: Callable[[list[str]], bool] = lambda cells: False
    ) -> Verdict:
        """Decide what begins on a line that isn't blank.

        Args:
            place: of the line.
            cells: how many cells a row has; the header any number (None).
            is_row: whether the cells of a line are certainly a row's.
        """
        start, stop = int(self.starts[place]), int(self.stops[place])
        text, quote = self.data[start:stop], self._dialect.config.quote
        if cells is not None and text.startswith(BYTE_ORDER_MARK):
            return Verdict(problem=f"a byte order mark, which belongs at the beginning of a file: {shown(text)}")
        if cells is not None and b"\0" in text:
            return Verdict(problem=f"a NUL byte in the line: {shown(text)}")
        if self._dialect.record_in_line.match(self.data, start, stop):
            return Verdict(lines=1)
        last = min(place + MOST_CELL_LINES, len(self)) - 1
        limit = int(self.stops[last])
        complete = last == place + MOST_CELL_LINES - 1 or self._ended
        position, found = start, []
        while True:
            match = self._dialect.cell.match(self.data, position, limit)
            if match is None:
                if self._dialect.closed.match(self.data, position, limit):
                    return Verdict(
                        problem=f"a quote ({quote}) opens a cell, and the next does not close it: {shown(text)}"
                    )
                if not complete:
                    return Verdict()
                where = "before the file does" if last == len(self) - 1 else f"within {MOST_CELL_LINES} lines"
                return Verdict(problem=f"a quote ({quote}) opens a cell that does not end {where}: {shown(text)}")
            found.append((position, match.end()))
            position = match.end()
            if position >= limit or self.data[position] != self._dialect.delimiter:
                break
            position += 1
        end = int(np.searchsorted(self.ends, position, side="right")) if position < len(self.data) else last
        taken, count = max(end, place) - place + 1, len(found)
        if cells is not None and taken > 1:
            if b"\0" in self.data[start:position]:
                return Verdict(problem=f"a quoted cell that goes on over lines with NUL bytes: {shown(text)}")
            if count != cells:
                return Verdict(
                    problem=f"a quote ({quote}) opens a cell that ends {taken - 1} lines further down, in a row of "
                    f"{count} cells instead of {cells}: {shown(text)}"
                )
            inside = [
                self._dialect.cells_by_itself(self.data[self.starts[each] : self.stops[each]])
                for each in range(place, place + taken)
            ]
            alike = sum(len(line) == cells for line in inside)
            rows = (line for line in self._inside_of_cells(found, inside, place) if len(line) == cells)
            if cells > 1 and (alike * 2 > taken or any(map(is_row, rows))):
                return Verdict(
                    problem=f"a quote ({quote}) opens a cell that ends {taken - 1} lines further down, while {alike} "
                    f"of the {taken} lines are rows by themselves: {shown(text)}"
                )
        return Verdict(lines=taken)

    def _inside_of_cells(self, found: list[tuple[int, int]], lines: list[list[str]], place: int) -> Iterator[list[str]]:
        """Yield the cells, by themselves, of each of a record's lines on which a cell of several lines goes on.

        Args:
            found: where the record's cells begin and end.
            lines: cells of each line by itself.
            place: of the first line.
        """
        for number, (start, end) in enumerate(found):
            first, last = (min(int(each), len(lines) - 1) for each in self._of(np.array([start, end])) - place)
            yield from lines[first + 1 : last]
            if last > first:  # what stands after the cell's end belongs to the row that was meant
                yield [cell if column < number else "" for column, cell in enumerate(lines[last])]

    def content(self, kept: np.ndarray) -> tuple[bytes, np.ndarray]:
        """Return the bytes of the ``kept`` lines, concatenated, and where in them each line begins."""
        sizes = np.where(kept, self.ends[: len(kept)] - self.starts[: len(kept)], 0)
        starts = np.cumsum(sizes) - sizes
        if kept.all():
            return self.data[: int(sizes.sum())], starts
        edges = np.flatnonzero(np.diff(np.concatenate([[False], kept, [False]]).astype(np.int8)))
        view = memoryview(self.data)
        runs = zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
        return b"".join(view[self.starts[first] : self.ends[end - 1]] for first, end in runs), starts

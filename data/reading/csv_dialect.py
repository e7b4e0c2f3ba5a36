"""The dialect of a CSV file as bytes and patterns: what is between cells, around them, and before a comment.

Files in other encodings than UTF-8 are decoded first (``utf8_stream``), so that a dialect is about ASCII bytes.
"""

from __future__ import annotations

import codecs
import io
import re
from functools import cached_property
from typing import Any, BinaryIO

import numpy as np

from noisy_gru.schema.csv_config import BLANK_RUNS, CsvConfig

_LF, _CR = b"\n\r"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
DECODED_BYTES = 1 << 20


class Dialect:
    """Bytes and patterns of a dialect.

    Attributes:
        delimiter, quote: codes of the bytes; ``quote`` is -1 where cells have none.
        cell, closed: match a cell, which may go on over lines, up to a delimiter or line end; a quoted cell alone.
        record_in_line: matches a record that ends on its line.
        comment: what a comment line begins with, or nothing.
        blanks: bytes that are ignored around a name.
    """

    def __init__(self, config: CsvConfig) -> None:
        self.blank_runs = config.delimiter == BLANK_RUNS
        if self.blank_runs:  # `utf8_stream` makes tabs of them; quoted cells would lose their blanks
            config = config.model_copy(update={"delimiter": "\t", "quote": None})
        self.config = config
        self.mark, self.comment = config.delimiter.encode(), (config.comment or "").encode()
        self.delimiter, self.quote = self.mark[0], ord(config.quote) if config.quote else -1
        self.beside_cell = np.array([self.delimiter, _LF, _CR], np.uint8)
        self.quote_mark = (config.quote or "").encode()
        self.around_names = self.mark + self.quote_mark + b"\r\n" + BYTE_ORDER_MARK[-1:]
        mark, quote = re.escape(self.mark), re.escape(self.quote_mark)
        self.blanks = b" \t".replace(self.mark, b"")
        blanks = b"[" + self.blanks + b"]*+"
        if config.quote:
            quoted = quote + rb"(?:[^" + quote + rb"]++|" + quote * 2 + rb")*+" + quote
            in_line = quote + rb"(?:[^" + quote + rb"\r\n\0]++|" + quote * 2 + rb")*+" + quote + blanks
        else:
            quoted = in_line = rb"(?!)"
        first, rest = quote + mark + rb"\r\n", mark + rb"\r\n"
        plain = rb"(?:[^" + first + rb"][^" + rest + rb"]*+)?+"
        plain_in_line = rb"(?:[^" + first + rb"\0][^" + rest + rb"\0]*+)?+"
        self.cell = re.compile(rb"(?:" + quoted + blanks + rb"|" + plain + rb")(?=[" + rest + rb"]|\Z)")
        self.closed = re.compile(quoted)
        in_line = rb"(?:" + in_line + rb"|" + plain_in_line + rb")"
        self.record_in_line = re.compile(in_line + rb"(?:" + mark + in_line + rb")*+(?=[\r\n]|\Z)")
        self._quoted_alone = re.compile(rb"(^|" + mark + rb")" + quoted + blanks + rb"(?=" + mark + rb"|$)")

    @cached_property
    def reader_options(self) -> dict[str, Any]:
        """Options of Python's csv reader."""
        if self.config.quote is None:
            return {"delimiter": self.config.delimiter, "quoting": 3}  # csv.QUOTE_NONE
        return {"delimiter": self.config.delimiter, "quotechar": self.config.quote}

    def cells_by_itself(self, line: bytes) -> list[str]:
        """Return the cells of a physical line by itself; a quote that isn't closed on it is an ordinary character."""
        quote = self.quote_mark.decode()
        masked = self._quoted_alone.sub(
            lambda cell: cell[0][: len(cell[1])] + cell[0][len(cell[1]) :].replace(self.mark, b"\n"), line
        )
        cells = masked.decode("utf-8", "replace").split(self.config.delimiter)
        return [cell.replace("\n", self.config.delimiter).strip().strip(quote or None) for cell in cells]


COMMAS = Dialect(CsvConfig())


class _Decoded(io.RawIOBase):
    """The UTF-8 bytes of a stream in another encoding."""

    def __init__(self, stream: Any, encoding: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)("strict")
        self._rest, self._ended = b"", False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest and not self._ended:
            block = self._stream.read(DECODED_BYTES)
            self._ended = not block
            self._rest = self._decoder.decode(block, self._ended).encode()
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


class _Tabbed(io.RawIOBase):
    """The bytes of a stream of UTF-8 with a tab for each run of blanks and tabs, and none at the ends of lines."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._rest, self._line, self._ended = stream, b"", b"", False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest and not self._ended:
            block = self._stream.read(DECODED_BYTES)
            self._ended = not block
            text = self._line + block
            end = len(text) if self._ended else max(text.rfind(b"\n"), text.rfind(b"\r")) + 1
            self._line, text = text[end:], text[:end]
            self._rest = re.sub(rb"\A\t|(?<=[\r\n])\t|\t(?=[\r\n])|\t\Z", b"", re.sub(rb"[ \t]+", b"\t", text))
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def utf8_stream(stream: Any, dialect: Dialect) -> BinaryIO:
    """Return a stream of UTF-8; reading it raises UnicodeDecodeError where bytes aren't of the encoding."""
    config = dialect.config
    found: Any = stream if config.is_utf8 else io.BufferedReader(_Decoded(stream, config.encoding), DECODED_BYTES)
    return io.BufferedReader(_Tabbed(found), DECODED_BYTES) if dialect.blank_runs else found  # type: ignore[return-value]

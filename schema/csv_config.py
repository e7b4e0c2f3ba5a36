"""The `data.csv` section: the dialect of CSV files, and how text cells spell numbers, Booleans and missing values."""

from __future__ import annotations

import codecs
from contextlib import suppress
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from noisy_gru.schema.section import Section

TRUE_TEXTS = ("true", "t", "yes", "y", "on", "1")
FALSE_TEXTS = ("false", "f", "no", "n", "off", "0")
BLANK_RUNS = "blanks"  # a delimiter: runs of blanks and tabs
BLANKS = " \u00a0\u2009\u202f"  # between groups of digits, in French for example


def _as_texts(value: Any) -> Any:
    """Take numbers and Booleans in a list of markers as text: YAML reads -999 and yes as such."""
    if not isinstance(value, list):
        return value
    return [str(item).lower() if isinstance(item, bool) else str(item) if item is not None else "" for item in value]


Markers = Annotated[list[str], BeforeValidator(_as_texts)]


class CsvConfig(Section):
    """The dialect of CSV files; the spellings of cells count for text columns of every file format."""

    delimiter: str = Field(
        default=",",
        min_length=1,
        description='Between cells: `","`, `";"`, `"\\t"`, `"|"`, `" "`, …; `blanks`: any number of blanks and tabs, '
        "and those at a line's ends are none.",
    )
    decimal: Literal[".", ","] = Field(default=".", description="Decimal mark of numbers in text cells.")
    thousands: Literal[",", ".", " ", "'", "_"] | None = Field(
        default=None,
        description="Mark between groups of three digits in text cells; a blank also stands for the no-break ones. A "
        "number is grouped fully or not at all: `1,50` is unparsable where `,` is the mark.",
    )
    quote: str | None = Field(
        default='"', min_length=1, max_length=1, description="Around cells, and doubled within them; null: none."
    )
    encoding: str = Field(
        default="utf-8",
        description="As Python names it: `utf-8`, `utf-16`, `cp1252`, `latin-1`, …; a byte order mark is read.",
    )
    comment: str | None = Field(
        default=None, min_length=1, description="Lines that begin with this text are skipped, like blank ones."
    )
    header: bool | list[str] = Field(
        default=True,
        description="Whether the first line names the columns. A list names the columns of files without a header; "
        "with `false` they are `column_1`, `column_2`, …",
    )
    missing: Markers = Field(
        default_factory=list,
        description="Further spellings of a missing value, for all text columns. One that is a number, such as -999, "
        "also marks it in numeric columns of any type.",
    )
    true: Markers = Field(
        default_factory=list,
        description="Further spellings of true in `kind: boolean`, in any case, beside true, t, yes, y, on and 1.",
    )
    false: Markers = Field(
        default_factory=list, description="Further spellings of false, beside false, f, no, n, off and 0."
    )

    @model_validator(mode="before")
    @classmethod
    def _boolean_keys(cls, values: Any) -> Any:
        """Take the keys `true` and `false`, which YAML reads as Booleans, as names."""
        if not isinstance(values, dict):
            return values
        return {str(key).lower() if isinstance(key, bool) else key: value for key, value in values.items()}

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, encoding: str) -> str:
        try:
            with suppress(UnicodeError):
                b"text".decode(encoding)
            return codecs.lookup(encoding).name
        except LookupError as error:
            raise ValueError(
                f"expected a text encoding that Python knows, such as utf-8, cp1252 or utf-16; received {encoding!r}"
            ) from error

    @model_validator(mode="after")
    def _distinct_marks(self) -> CsvConfig:
        if len(self.delimiter) > 1 and self.delimiter != BLANK_RUNS:
            raise ValueError(f"delimiter: expected one character, or {BLANK_RUNS}; received {self.delimiter!r}")
        for name, mark in (("delimiter", self.delimiter), ("quote", self.quote)):
            if mark is not None and (not mark.isascii() or mark in "\r\n\0"):
                raise ValueError(f"{name}: expected one ASCII character that ends no line, received {mark!r}")
        if self.delimiter == self.quote:
            raise ValueError(f"delimiter and quote are both {self.delimiter!r}; expected different characters")
        if (self.delimiter.isalnum() and self.delimiter != BLANK_RUNS) or (self.quote or '"').isalnum():
            raise ValueError("delimiter and quote: expected a character that is neither a letter nor a digit")
        if self.decimal == self.thousands:
            raise ValueError(f"decimal and thousands are both {self.decimal!r}; expected different marks")
        if self.comment is not None and (
            self.comment[0] in (self.delimiter, self.quote) or not self.comment.isprintable()
        ):
            raise ValueError(f"comment: expected text that begins with neither delimiter nor quote: {self.comment!r}")
        if isinstance(self.header, list):
            if not self.header or not all(self.header):
                raise ValueError("header: expected the name of each column, received a list without, or an empty name")
            if twice := sorted({name for name in self.header if self.header.count(name) > 1}):
                raise ValueError(f"header: expected each column once; listed more than once: {', '.join(twice)}")
        spelled = {
            name: {text.strip().lower() for text in getattr(self, name)} for name in ("true", "false", "missing")
        }
        for name, other in (("true", "false"), ("true", "missing"), ("false", "missing")):
            if both := spelled[name] & spelled[other]:
                raise ValueError(f"{name} and {other} both have {', '.join(map(repr, sorted(both)))}")
        return self

    @property
    def is_utf8(self) -> bool:
        """Whether files need no decoding; a byte order mark is no part of the first name."""
        return self.encoding in ("utf-8", "utf-8-sig", "ascii")

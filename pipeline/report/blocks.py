"""What a page is made of: sections of facts, tables, charts and sentences. The template shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Link:
    """A text that leads to another page of the same server."""

    text: str
    href: str


@dataclass(frozen=True)
class Mark:
    """The status of a run, with the colour that the page gives it."""

    status: str


Cell = str | int | float | bool | Link | Mark | None


@dataclass(frozen=True)
class Facts:
    """Names and values."""

    items: Sequence[tuple[str, Cell]]
    kind: Literal["facts"] = "facts"


@dataclass(frozen=True)
class Table:
    """A table; ``folded`` hides it until it is asked for, ``grey`` are the places of rows that can't be read."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    folded: bool = False
    grey: Sequence[int] = ()
    kind: Literal["table"] = "table"


@dataclass(frozen=True)
class Chart:
    """A chart as SVG, what it shows in words, and its numbers as a table."""

    title: str
    caption: str
    svg: str
    numbers: Table | None = None
    kind: Literal["chart"] = "chart"


@dataclass(frozen=True)
class Sentences:
    """Sentences, one below the other."""

    lines: Sequence[str]
    title: str = ""
    tone: Literal["plain", "warning", "grey"] = "plain"
    kind: Literal["sentences"] = "sentences"


@dataclass(frozen=True)
class Lines:
    """Lines of a file or a command, as they are; ``folded`` hides them until they are asked for."""

    title: str
    text: str
    folded: bool = False
    kind: Literal["lines"] = "lines"


Block = Facts | Table | Chart | Sentences | Lines


@dataclass(frozen=True)
class Section:
    """A section of the page; ``note`` says, in grey, why it is empty."""

    key: str
    title: str
    blocks: Sequence[Block] = field(default_factory=list)
    note: str = ""


def columns_table(title: str, columns: Mapping[str, Sequence[Any]]) -> Table:
    """Return a folded table of columns of one length, which is what is behind a chart."""
    return Table(title, list(columns), list(zip(*columns.values(), strict=True)), folded=True)

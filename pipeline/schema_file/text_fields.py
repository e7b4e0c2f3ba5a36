"""Fields of a message in protobuf's text format, by their place in the text, so that edits keep comments and layout.

    >>> [field.name for field in fields_of('feature { name: "a" }  # one\\ndefault_environment: "X"')]
    ['feature', 'default_environment']

It reads text that protobuf's own parser has accepted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"(?P<comment>#[^\n]*)|(?P<string>\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*')"
    r"|(?P<open>[{<\[])|(?P<close>[}>\]])|(?P<mark>[:;,])|(?P<word>[^\s{}<>\[\]:;,#\"']+)"
)


@dataclass(frozen=True)
class Field:
    """A field: its name, the place of all of it, and of what is between its braces (empty for a scalar)."""

    name: str
    start: int
    stop: int
    inner: tuple[int, int]


def fields_of(text: str, start: int = 0, stop: int | None = None) -> Iterator[Field]:
    """Yield the fields of the message whose text is between two places."""
    stop = len(text) if stop is None else stop
    tokens = [token for token in _TOKEN.finditer(text, start, stop) if token.lastgroup != "comment"]
    at = 0
    while at < len(tokens):
        first = tokens[at]
        if first.lastgroup == "mark":
            at += 1
            continue
        # [an.extension] has its name in brackets.
        at = _closing(tokens, at) + 1 if first.lastgroup == "open" else at + 1
        name = text[first.start() : tokens[at - 1].end()]
        if at < len(tokens) and tokens[at].group() == ":":
            at += 1
        if tokens[at].lastgroup == "open":
            last = _closing(tokens, at)
            inner = (tokens[at].end(), tokens[last].start())
        else:
            last = _last_of_scalar(tokens, at)
            inner = (tokens[at].start(), tokens[at].start())
        if last + 1 < len(tokens) and tokens[last + 1].group() in (";", ","):
            last += 1
        yield Field(name, first.start(), tokens[last].end(), inner)
        at = last + 1


def _closing(tokens: list[re.Match[str]], at: int) -> int:
    depth = 0
    for place in range(at, len(tokens)):
        depth += {"open": 1, "close": -1}.get(tokens[place].lastgroup or "", 0)
        if depth == 0:
            return place
    raise ValueError(f"expected the end of what {tokens[at].group()!r} begins at character {tokens[at].start()}")


def _last_of_scalar(tokens: list[re.Match[str]], at: int) -> int:
    if tokens[at].group() == "-":
        return at + 1
    # Strings side by side are one.
    while tokens[at].lastgroup == "string" and at + 1 < len(tokens) and tokens[at + 1].lastgroup == "string":
        at += 1
    return at


def with_comments(text: str, field: Field) -> tuple[int, int]:
    """Return the place of a field with its own comments, in whole lines.

    Its own are those in the lines right above it, and at the end of its last line. Where another field shares its
    lines, it is the place of the field alone.
    """
    begin = text.rfind("\n", 0, field.start) + 1
    end = text.find("\n", field.stop)
    end = len(text) if end < 0 else end + 1
    if text[begin : field.start].strip() or text[field.stop : end].partition("#")[0].strip():
        return field.start, field.stop
    while begin and (above := text[text.rfind("\n", 0, begin - 1) + 1 : begin]).lstrip().startswith("#"):
        begin -= len(above)
    return begin, end


def removed(text: str, start: int, stop: int) -> str:
    """Return a text without a part, and without the empty line that it would leave beside another."""
    before, after = text[:start], text[stop:]
    if (not before or before.endswith("\n\n")) and after.startswith("\n"):
        after = after[1:]
    return before + after

"""File patterns with a span: ``day-{SPAN}/*.csv``, ``{SPAN:3}/v{VERSION}/*.csv`` or ``{YYYY}-{MM}-{DD}.csv``.

As in TFX, a span is a whole number; that of a date is the number of days since 1970-01-01.

    >>> SpanPattern("day-{SPAN:2}/*.csv").fill(7, None)
    'day-07/*.csv'
    >>> SpanPattern("{YYYY}-{MM}-{DD}/*.csv").match("1970-01-03/a.csv")
    FoundSpan(span=2, version=None, spelled='1970-01-03/*.csv')
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from noisy_gru.schema.file_patterns import unescape

SPAN, VERSION = "SPAN", "VERSION"
_DATE = {"YYYY": 4, "MM": 2, "DD": 2}
_PLACE = re.compile(r"\{(?P<name>SPAN|VERSION|YYYY|MM|DD)(?::(?P<width>[^}]*))?\}")
# A wildcard, or one other character; what a bracket holds may be negated with "!" as in the shell.
_TOKEN = re.compile(rf"{_PLACE.pattern}|(?P<star>\*\*/|\*+)|\[(?P<set>!?\]?[^\]/]*)\]|(?P<other>.)", re.DOTALL)
_LARGEST = 2**63 - 1  # that ML Metadata can hold
_FIRST_DAY = datetime.date(1970, 1, 1)


def day_number(day: datetime.date) -> int:
    """Return the span of a date: days since 1970-01-01."""
    return (day - _FIRST_DAY).days


def parse_day(text: str) -> int:
    """Return the span of a date as text, ``2026-07-31``.

    Raises:
        ValueError: the text is no date.
    """
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        raise ValueError(f"expected a date like 2026-07-31, received {text!r}")
    return day_number(datetime.date.fromisoformat(text))


def format_spans(numbers: Sequence[int]) -> str:
    """Format rising span numbers with their runs joined: ``3,5-9``."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    return ",".join("-".join(map(str, part)) for part in parts)


def holds_spans(patterns: Sequence[str]) -> bool:
    """Whether the patterns have placeholders for spans."""
    return any(_PLACE.search(pattern) for pattern in patterns)


def pattern_problems(patterns: Sequence[str]) -> list[str]:
    """Return the problems of the span placeholders in a data set's patterns, one sentence each."""
    problems = [problem for pattern in patterns for problem in _problems(pattern)]
    kinds = {pattern: SpanPattern(pattern).kind for pattern in patterns}
    if not problems and len(set(kinds.values())) > 1:
        listed = "; ".join(f"{pattern} has {kind}" for pattern, kind in kinds.items())
        problems.append(f"expected the same span placeholders in all patterns, or none at all; received: {listed}")
    return problems


def _problems(pattern: str) -> list[str]:
    places = [(match["name"], match["width"]) for match in _PLACE.finditer(pattern)]
    names = [name for name, _ in places]
    dates = sorted(set(names) & set(_DATE))
    problems = [
        f"{pattern}: holds {{{name}}} {names.count(name)} times; keep one"
        for name in sorted(set(names))
        if names.count(name) > 1
    ]
    problems += [
        f"{pattern}: expected a number of digits of at least 1, as in {{{name}:3}}; received {{{name}:{width}}}"
        for name, width in places
        if width is not None and (name in _DATE or not (width.isascii() and width.isdigit()) or int(width) < 1)
    ]
    if dates and len(dates) < len(_DATE):
        problems.append(f"{pattern}: a date needs {{YYYY}}, {{MM}} and {{DD}}")
    if dates and SPAN in names:
        problems.append(f"{pattern}: holds both {{SPAN}} and a date; keep one of them")
    if re.search(r"\{SPAN\}\{VERSION|\{VERSION\}\{SPAN", pattern):
        problems.append(f"{pattern}: put something between {{SPAN}} and {{VERSION}}, or give the first a width")
    if VERSION in names and not dates and SPAN not in names:
        problems.append(f"{pattern}: {{VERSION}} needs {{SPAN}} or a date, since it is the version of a span")
    return problems


class SpanMatch(NamedTuple):
    """The span and version in a file's path, and the pattern with them filled in as the path spells them."""

    span: int
    version: int | None
    spelled: str


@dataclass(frozen=True)
class SpanPattern:
    """A file pattern that may have placeholders for a span."""

    text: str

    @property
    def kind(self) -> str:
        """Its placeholders, for messages."""
        names = {match["name"] for match in _PLACE.finditer(self.text)}
        span = "{SPAN}" if SPAN in names else "a date" if names & set(_DATE) else "none"
        return f"{span} and {{VERSION}}" if VERSION in names else span

    @property
    def dated(self) -> bool:
        """Whether the span is a date."""
        return "{YYYY}" in self.text

    @property
    def glob(self) -> str:
        """A pattern that matches the files of all spans and versions, and possibly others."""
        return re.sub(f"(?:{_PLACE.pattern})+", "*", self.text)

    def fill(self, span: int, version: int | None) -> str:
        """Fill in a span, and a version (``*`` for None), for messages.

        Raises:
            OverflowError: the span is beyond the calendar.
        """
        day = _FIRST_DAY + datetime.timedelta(span if self.dated else 0)
        dates = {"YYYY": day.year, "MM": day.month, "DD": day.day}

        def value(match: re.Match[str]) -> str:
            if match["name"] in _DATE:
                return f"{dates[match['name']]:0{_DATE[match['name']]}d}"
            if match["name"] == VERSION and version is None:
                return "*"
            return str(span if match["name"] == SPAN else version).zfill(int(match["width"] or 0))

        return unescape(_PLACE.sub(value, self.text))

    def span_name(self, span: int) -> str:
        """Return the name of a span in messages: ``span 7``, with its date if it has one."""
        return f"span {span} ({_FIRST_DAY + datetime.timedelta(span)})" if self.dated else f"span {span}"

    def match(self, path: str) -> SpanMatch | None:
        """Parse span and version from a path that ``glob`` matched; None if their place holds no whole number.

        Month and day may lack their leading zero (``month=9``) where no other digit can be adjacent.

        Raises:
            ValueError: a placeholder matches another number of digits than expected, or no date since 1970.
        """
        match = self._regex().fullmatch(path)
        if match is None:
            loose = self._regex(any_width=True).fullmatch(path)
            if loose is None:
                return None
            received = ", ".join(f"{digits} for {{{name}}}" for name, digits in loose.groupdict().items())
            raise ValueError(f"expected another number of digits, received {received}")
        groups = match.groupdict()
        spelled = unescape(_PLACE.sub(lambda place: groups[place["name"]], self.text))
        for name in (SPAN, VERSION):
            if int(groups.get(name, 0)) > _LARGEST:
                raise ValueError(f"expected at most {_LARGEST} for {{{name}}}, received {groups[name]}")
        version = int(groups[VERSION]) if VERSION in groups else None
        if not self.dated:
            return SpanMatch(int(groups[SPAN]), version, spelled)
        span = day_number(datetime.date(*(int(groups[name]) for name in _DATE)))
        if span < 0:
            raise ValueError("spans begin at 1970-01-01")
        return SpanMatch(span, version, spelled)

    @cache  # noqa: B019 - of a few patterns
    def _regex(self, *, any_width: bool = False) -> re.Pattern[str]:
        tokens = list(_TOKEN.finditer(self.text))
        around = zip([None, *tokens[:-1]], tokens, [*tokens[1:], None], strict=True)
        return re.compile("".join(_part(*each, any_width=any_width) for each in around), re.DOTALL)


def _part(before: re.Match[str] | None, match: re.Match[str], after: re.Match[str] | None, *, any_width: bool) -> str:
    """Return a token as a regular expression; its neighbours decide how many digits a placeholder takes."""
    if name := match["name"]:
        width = _DATE.get(name) or match["width"]
        if any_width or not width:
            digits = "[0-9]+"
        elif name in ("MM", "DD") and not _may_be_digit(before) and not _may_be_digit(after):
            digits = "[0-9]{1,2}"
        else:
            digits = f"[0-9]{{{width}}}"
        # An adjacent wildcard takes no digits: in *{SPAN}, day12 is span 12 and not 2.
        first = "(?<![0-9])" if _is_star(before) else ""
        last = "(?![0-9])" if _is_star(after) else ""
        return f"{first}(?P<{name}>{digits}){last}"
    if match["star"]:
        return {"*": "[^/]*", "**/": "(?:.*/)?"}.get(match["star"], ".*")
    if match["set"]:
        characters = re.sub(r"([\\\[\]^])", r"\\\1", match["set"].removeprefix("!"))
        return f"[{'^' if match['set'].startswith('!') else ''}{characters}]"
    return "[^/]" if match["other"] == "?" else re.escape(match["other"])


def _is_star(token: re.Match[str] | None) -> bool:
    return token is not None and bool(token["star"]) and token["star"] != "**/"


def _may_be_digit(token: re.Match[str] | None) -> bool:
    if token is None or token["star"] == "**/":
        return False
    return bool(token["name"] or token["star"] or token["set"]) or token["other"] == "?" or token["other"].isdigit()

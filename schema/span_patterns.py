"""File patterns that hold a span: ``day-{SPAN}/*.csv``, ``{SPAN:3}/v{VERSION}/*.csv`` or ``{YYYY}-{MM}-{DD}.csv``.

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
    """The span of a date: days since 1970-01-01."""
    return (day - _FIRST_DAY).days


def parse_day(text: str) -> int:
    """The span of a date as text, ``2026-07-31``.

    Raises:
        ValueError: it is none.
    """
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        raise ValueError(f"expected a date like 2026-07-31, received {text!r}")
    return day_number(datetime.date.fromisoformat(text))


def format_spans(numbers: Sequence[int]) -> str:
    """Rising numbers, the runs among them joined: ``3,5-9``."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    return ",".join("-".join(map(str, part)) for part in parts)


def holds_spans(patterns: Sequence[str]) -> bool:
    """Whether the patterns hold places for spans."""
    return any(_PLACE.search(pattern) for pattern in patterns)


def pattern_problems(patterns: Sequence[str]) -> list[str]:
    """What is wrong with the places for spans in the patterns of a data set, in words."""
    problems = [problem for pattern in patterns for problem in _problems(pattern)]
    kinds = {pattern: SpanPattern(pattern).kind for pattern in patterns}
    if not problems and len(set(kinds.values())) > 1:
        told = "; ".join(f"{pattern} has {kind}" for pattern, kind in kinds.items())
        problems.append(f"expected the same places for spans in all patterns, or none in any: {told}")
    return problems


def _problems(pattern: str) -> list[str]:
    places = [(match["name"], match["width"]) for match in _PLACE.finditer(pattern)]
    names = [name for name, _ in places]
    dates = sorted(set(names) & set(_DATE))
    problems = [
        f"{pattern}: {{{name}}} stands in it {names.count(name)} times; keep one of them"
        for name in sorted(set(names))
        if names.count(name) > 1
    ]
    problems += [
        f"{pattern}: expected a number of digits of at least 1, as in {{{name}:3}}; found {{{name}:{width}}}"
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
    """What a file's path says: span, version, and the pattern as the path spells it."""

    span: int
    version: int | None
    spelled: str


@dataclass(frozen=True)
class SpanPattern:
    """A pattern, which may hold places for a span."""

    text: str

    @property
    def kind(self) -> str:
        """Which places it has, in words."""
        names = {match["name"] for match in _PLACE.finditer(self.text)}
        span = "{SPAN}" if SPAN in names else "a date" if names & set(_DATE) else "none"
        return f"{span} and {{VERSION}}" if VERSION in names else span

    @property
    def dated(self) -> bool:
        """Whether the span is a date."""
        return "{YYYY}" in self.text

    @property
    def glob(self) -> str:
        """A pattern that matches the files of all spans and versions, and may match others."""
        return re.sub(f"(?:{_PLACE.pattern})+", "*", self.text)

    def fill(self, span: int, version: int | None) -> str:
        """The pattern of one span as messages show it; of one version, or of all for None.

        Raises:
            OverflowError: the span is no date of the calendar.
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
        """A span as messages call it."""
        return f"span {span} ({_FIRST_DAY + datetime.timedelta(span)})" if self.dated else f"span {span}"

    def match(self, path: str) -> SpanMatch | None:
        """Span and version of a file that ``glob`` matched; None where no whole number is in their place.

        Month and day may lack their zero (``month=9``) where no other digit can stand beside them.

        Raises:
            ValueError: a place holds digits, but not as many as it should, or they are no date since 1970.
        """
        match = self._regex().fullmatch(path)
        if match is None:
            loose = self._regex(any_width=True).fullmatch(path)
            if loose is None:
                return None
            told = ", ".join(f"{digits} for {{{name}}}" for name, digits in loose.groupdict().items())
            raise ValueError(f"another number of digits is expected, found {told}")
        groups = match.groupdict()
        spelled = unescape(_PLACE.sub(lambda place: groups[place["name"]], self.text))
        for name in (SPAN, VERSION):
            if int(groups.get(name, 0)) > _LARGEST:
                raise ValueError(f"expected at most {_LARGEST} for {{{name}}}, found {groups[name]}")
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
    """A token of a pattern as a regular expression; what stands beside it says how many digits a place takes."""
    if name := match["name"]:
        width = _DATE.get(name) or match["width"]
        if any_width or not width:
            digits = "[0-9]+"
        elif name in ("MM", "DD") and not _may_be_digit(before) and not _may_be_digit(after):
            digits = "[0-9]{1,2}"
        else:
            digits = f"[0-9]{{{width}}}"
        # A wildcard beside a place takes none of its digits: in *{SPAN}, day12 is span 12 and not 2.
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

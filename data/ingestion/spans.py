"""Spans of a data set, and the selection of a window of them.

    found = find_spans(base, data, glob)                    # [Span(3, …), Span(4, …), Span(7, …)]
    window = choose_spans(found, data, "latest", base)      # the newest data.spans.count of them

Imports neither TFX nor TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from noisy_gru.data.reading.files import named_patterns, normalize_base, pattern_below
from noisy_gru.schema.config import DataConfig
from noisy_gru.schema.errors import ConfigError, DataError
from noisy_gru.schema.file_patterns import unescape
from noisy_gru.schema.span_patterns import SpanMatch, SpanPattern, format_spans, parse_day

LATEST = "latest"
_MOST_NAMED = 12


@dataclass(frozen=True)
class Span:
    """The files that arrived together, in their newest version.

    Attributes:
        number: of the span; of a date, the days since 1970-01-01.
        version: the newest one; None if the patterns hold no version.
        named: pattern name (``named_patterns``) and path of each file.
        missing: filled-in patterns that match no file: the span is incomplete.
    """

    number: int
    version: int | None
    named: tuple[tuple[str, str], ...]
    missing: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of its files, each once."""
        return tuple(sorted({path for _, path in self.named}))


def parse_span(wanted: str) -> int | None:
    """Parse a requested span; None means the latest.

    Args:
        wanted: ``latest``, a number, or a date ``YYYY-MM-DD``.

    Raises:
        ConfigError: the text is none of them.
    """
    if wanted == LATEST:
        return None
    if wanted.isascii() and wanted.isdigit():
        return int(wanted)
    try:
        number = parse_day(wanted)
    except ValueError:
        number = -1
    if number < 0:
        raise ConfigError(
            f"span: expected {LATEST}, a whole number of at least 0, or a date since 1970-01-01 like 2026-07-31; "
            f"received {wanted!r}"
        )
    return number


def find_spans(base: str, data: DataConfig, glob: Callable[[str], Sequence[str]]) -> list[Span]:
    """Find all spans, by number, each in its newest version; incomplete ones list the ``missing`` patterns.

    A path without a whole number in the span's place (``day-x.csv``) is ignored.

    Args:
        base: folder or URI that patterns are relative to.
        data: the data set's files.
        glob: the paths that a pattern matches.

    Raises:
        DataError: a file belongs to two spans, a span has two names (``day-7``, ``day-07``), or a path has no date or
            another number of digits than the pattern.
    """
    patterns = {
        name: SpanPattern(pattern_below(normalize_base(base), pattern)) for name, pattern in named_patterns(data)
    }
    hits: dict[tuple[int, int | None], list[tuple[str, str]]] = {}
    of_path: dict[str, int] = {}
    spellings: dict[tuple[str, int, int | None], str] = {}
    for name, pattern in patterns.items():
        for path in sorted(str(path) for path in glob(pattern.glob)):
            found = _found(pattern, path)
            if found is None:
                continue
            if of_path.setdefault(path, found.span) != found.span:
                raise DataError(
                    f"data.files: {path} belongs to span {of_path[path]} and to span {found.span}; a file goes to one"
                )
            spelled = spellings.setdefault((name, found.span, found.version), found.spelled)
            if spelled != found.spelled:
                raise DataError(
                    f"data.files: {spelled} and {found.spelled} are both {pattern.span_name(found.span)}; keep one"
                )
            hits.setdefault((found.span, found.version), []).append((name, path))
    newest: dict[int, int | None] = {}
    for number, version in hits:
        newest[number] = version if version is None else max(version, newest.get(number) or 0)
    spans = []
    for number, version in sorted(newest.items()):
        named = hits[number, version]
        there = {name for name, _ in named}
        missing = [pattern.fill(number, version) for name, pattern in patterns.items() if name not in there]
        spans.append(Span(number, version, tuple(named), tuple(missing)))
    return spans


def files_without_span(base: str, data: DataConfig, glob: Callable[[str], Sequence[str]]) -> list[str]:
    """Return files that are not read, since they have no whole number in the span's place.

    Raises:
        DataError: see `find_spans`.
    """
    patterns = [SpanPattern(pattern_below(normalize_base(base), pattern)) for pattern in data.patterns]
    return sorted({path for pattern in patterns for path in glob(pattern.glob) if _found(pattern, path) is None})


def _found(pattern: SpanPattern, path: str) -> SpanMatch | None:
    try:
        return pattern.match(path)
    except ValueError as error:
        raise DataError(
            f"data.files: {path} does not match {unescape(pattern.text)}: {error}. Rename it, or correct the pattern"
        ) from error


def select_spans(found: Sequence[Span], data: DataConfig, wanted: str = LATEST, base: str = "") -> list[Span]:
    """Select the spans of the window of ``data.spans``, by number.

    Args:
        found: the result of ``find_spans``.
        data: the data set's files and window.
        wanted: the newest span of the window: ``latest``, a number, or a date.
        base: folder or URI that patterns are relative to, for messages.

    Raises:
        ConfigError: ``wanted`` is no span, or not in a static window.
        DataError: a span of the window is missing or incomplete.
    """
    patterns = [SpanPattern(pattern_below(base, pattern)) for pattern in data.patterns]
    last, window = parse_span(wanted), data.spans
    if last is not None and window.first is not None:
        if last < window.first or (window.last is not None and last > window.last):
            raise ConfigError(
                f"span: {wanted} is not in the window of data.spans (first: {window.first}, last: {window.last})"
            )
    if last is None:
        last = window.last
    if not found:
        places = " nor ".join(unescape(pattern.text) for pattern in patterns)
        raise DataError(
            f"data.files: no span found: {places} matches no file with a "
            f"{'date' if patterns[0].dated else 'whole number'} in its place"
        )
    numbers = [span.number for span in found]
    last = numbers[-1] if last is None else last
    if last not in numbers:
        raise _missing(last, patterns, numbers)
    chosen = [span for span in found if span.number <= last]
    if window.window == "rolling":
        chosen = chosen[-window.count :]
    elif window.first is not None:
        chosen = [span for span in chosen if span.number >= window.first]
        gaps = span_gaps([window.first - 1, *(span.number for span in chosen)])
        if not chosen:
            raise _missing(window.first, patterns, numbers)
        if gaps:
            raise _missing(gaps[0][0], patterns, numbers, gaps)
    for span in chosen:
        if span.missing:
            raise DataError(
                f"data.files: {patterns[0].span_name(span.number)} is incomplete: {' and '.join(span.missing)} "
                f"{'matches' if len(span.missing) == 1 else 'match'} no file, while {span.files[0]} exists. Add the "
                "missing files, or remove the span"
            )
    return chosen


def span_gaps(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Return the first and last number of each gap between rising numbers."""
    return [(low + 1, high - 1) for low, high in pairwise(numbers) if high > low + 1]


def format_gaps(gaps: Sequence[tuple[int, int]]) -> str:
    """Format gaps like ``format_spans``: ``4,10-12``."""
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in gaps)


def _missing(
    number: int, patterns: Sequence[SpanPattern], there: Sequence[int], gaps: Sequence[tuple[int, int]] = ()
) -> DataError:
    try:
        texts = [pattern.fill(number, None) for pattern in patterns]
    except OverflowError:
        return DataError(f"data.files: span {number} is beyond the calendar")
    window = f" The window of data.spans lacks {format_gaps(gaps)}." if gaps else ""
    known = format_spans(there[-_MOST_NAMED:])
    more = f", and {len(there) - _MOST_NAMED} older" if len(there) > _MOST_NAMED else ""
    newest = f"; the newest is {patterns[0].span_name(there[-1])}" if patterns[0].dated else ""
    return DataError(
        f"data.files: {patterns[0].span_name(number)} is missing: {' nor '.join(texts)} matches no file.{window} "
        f"Existing spans: {known}{more}{newest}"
    )

"""The input files of an ingestion: those of all spans of the window, resolved by the driver, read by the executor.

    resolved = resolve("data", dataset.data, "latest", glob)
    resolved.numbers                       # [3, 4, 5]
    Resolved.from_json(resolved.to_json(), "data", dataset.data) == resolved

Imports neither TFX nor TensorFlow.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from noisy_gru.data.ingestion.spans import LATEST, Span, find_spans, select_spans
from noisy_gru.data.reading.files import ALL, FILES, find_sources, join_path, named_patterns, normalize_base, to_sources
from noisy_gru.data.reading.sql_query import query_result
from noisy_gru.data.reading.tables import Source
from noisy_gru.schema.config import DataConfig
from noisy_gru.schema.errors import ConfigError


@dataclass(frozen=True)
class ResolvedInput:
    """The spans to read, by number (none if the patterns hold no span), and all files, by name."""

    spans: tuple[Span, ...]
    sources: tuple[Source, ...]

    @property
    def numbers(self) -> list[int]:
        """Numbers of the spans."""
        return [span.number for span in self.spans]

    def names_of(self, span: Span) -> list[str]:
        """Return the names of a span's files."""
        paths = set(span.files)
        return [source.name for source in self.sources if source.path in paths]

    def to_json(self) -> str:
        """Return canonical JSON, independent of the data's location: equal inputs give equal text."""
        names = {source.path: source.name for source in self.sources}
        spans = [
            {
                "span": span.number,
                "version": span.version,
                "files": [[pattern, names[path]] for pattern, path in span.named],
            }
            for span in self.spans
        ]
        loose = [] if spans else [[f"{source.split or 'data'}-0", source.name] for source in self.sources]
        return json.dumps({"spans": spans, "files": loose}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str, base: str, data: DataConfig) -> ResolvedInput:
        """Parse the result of ``to_json``, with files below ``base``."""
        content = json.loads(text)

        def located(named: list[list[str]]) -> tuple[tuple[str, str], ...]:
            return tuple((pattern, join_path(normalize_base(base), name)) for pattern, name in named)

        spans = tuple(Span(each["span"], each["version"], located(each["files"])) for each in content["spans"])
        named = [*located(content["files"]), *(pair for span in spans for pair in span.named)]
        return cls(spans, tuple(to_sources(base, named, data)))

    def fingerprint(self, contents: Mapping[str, tuple[int, str]]) -> str:
        """Return a hash that changes with the set of files or their contents (bytes and SHA-256 by name)."""
        digest = hashlib.blake2b(digest_size=16)
        for source in self.sources:
            digest.update(f"{source.split}\0{source.name}\0{contents[source.name][1]}\n".encode())
        total = sum(contents[source.name][0] for source in self.sources)
        return f"num_files:{len(self.sources)},total_bytes:{total},files:{digest.hexdigest()}"


def resolve_input(
    base: str, data: DataConfig, wanted: str, glob: Callable[[str], Sequence[str]], key: str = FILES
) -> ResolvedInput:
    """Resolve the input files of a run.

    Args:
        base: folder or URI that patterns are relative to.
        data: the data set's files and window.
        wanted: the newest span to read: ``latest``, a number, or a date.
        glob: the paths that a pattern matches.
        key: of the configuration that holds the patterns, for messages.

    Raises:
        ConfigError: ``wanted`` is no span, or the data set has no spans.
        DataError: files are missing, or belong to two splits or spans.
    """
    if data.sql is not None:
        if wanted != LATEST:
            raise ConfigError(f"span: {wanted} is requested, but data.sql has no spans")
        path = query_result(data.sql, base or data.sql.results)
        return ResolvedInput((), tuple(to_sources(str(path.parent), [(f"{ALL}-0", str(path))], data)))
    if not data.has_spans:
        if wanted != LATEST:
            raise ConfigError(f"span: {wanted} is requested, but {key} hold neither {{SPAN}} nor a date")
        return ResolvedInput((), tuple(find_sources(base, named_patterns(data), data, glob, key)))
    chosen = select_spans(find_spans(base, data, glob), data, wanted, normalize_base(base))
    named: list[Any] = [pair for span in chosen for pair in span.named]
    return ResolvedInput(tuple(chosen), tuple(to_sources(base, named, data)))

"""What one ingestion reads: the files of all spans of the window, found by the driver and read by the executor.

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
from noisy_gru.data.reading.files import FILES, find_sources, join_path, named_patterns, normalize_base, to_sources
from noisy_gru.data.reading.tables import Source
from noisy_gru.schema.config import DataConfig
from noisy_gru.schema.errors import ConfigError


@dataclass(frozen=True)
class ResolvedInput:
    """Spans by number (none where patterns hold no place for them), and all files by name."""

    spans: tuple[Span, ...]
    sources: tuple[Source, ...]

    @property
    def numbers(self) -> list[int]:
        """Of the spans."""
        return [span.number for span in self.spans]

    def names_of(self, span: Span) -> list[str]:
        """Names of a span's files."""
        paths = set(span.files)
        return [source.name for source in self.sources if source.path in paths]

    def to_json(self) -> str:
        """As text without the place of the data; equal inputs give equal text."""
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
        """What ``to_json`` wrote, with its files below ``base``."""
        told = json.loads(text)

        def located(named: list[list[str]]) -> tuple[tuple[str, str], ...]:
            return tuple((pattern, join_path(normalize_base(base), name)) for pattern, name in named)

        spans = tuple(Span(each["span"], each["version"], located(each["files"])) for each in told["spans"])
        named = [*located(told["files"]), *(pair for span in spans for pair in span.named)]
        return cls(spans, tuple(to_sources(base, named, data)))

    def fingerprint(self, contents: Mapping[str, tuple[int, str]]) -> str:
        """Another one when a file comes, goes, or has another content; of bytes and SHA-256 of each file by name."""
        digest = hashlib.blake2b(digest_size=16)
        for source in self.sources:
            digest.update(f"{source.split}\0{source.name}\0{contents[source.name][1]}\n".encode())
        total = sum(contents[source.name][0] for source in self.sources)
        return f"num_files:{len(self.sources)},total_bytes:{total},files:{digest.hexdigest()}"


def resolve_input(
    base: str, data: DataConfig, wanted: str, glob: Callable[[str], Sequence[str]], key: str = FILES
) -> ResolvedInput:
    """What a run reads.

    Args:
        base: folder or URI that patterns are relative to.
        data: the data set's files and window.
        wanted: the newest span to read: ``latest``, a number, or a date.
        glob: the paths that a pattern matches.
        key: of the configuration that holds the patterns, for messages.

    Raises:
        ConfigError: ``wanted`` is no span, or there are none in this data set.
        DataError: files are not there, or go to two splits or spans.
    """
    if not data.has_spans:
        if wanted != LATEST:
            raise ConfigError(f"span: {wanted} is asked for, but {key} hold neither {{SPAN}} nor a date")
        return ResolvedInput((), tuple(find_sources(base, named_patterns(data), data, glob, key)))
    chosen = select_spans(find_spans(base, data, glob), data, wanted, normalize_base(base))
    named: list[Any] = [pair for span in chosen for pair in span.named]
    return ResolvedInput(tuple(chosen), tuple(to_sources(base, named, data)))

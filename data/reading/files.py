"""Find the files of a data set's patterns, as sources to read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from noisy_gru.data.reading.tables import Source
from noisy_gru.schema.config import FORMATS, DataConfig
from noisy_gru.schema.errors import DataError
from noisy_gru.schema.file_patterns import escape, unescape

ALL = "data"
FILES = "data.files"
_LONGEST_NAME = 150
# Format by the ending of a file's name.
ENDINGS = {
    ".csv": "csv",
    ".csv.gz": "csv.gz",
    ".tsv": "csv",
    ".tsv.gz": "csv.gz",
    ".txt": "csv",
    ".txt.gz": "csv.gz",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".jsonl.gz": "jsonl.gz",
    ".ndjson": "jsonl",
    ".ndjson.gz": "jsonl.gz",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ts": "ts",
    ".ts.gz": "ts.gz",
    ".xlsx": "xlsx",
    ".xlsm": "xlsx",
}
# Formats of text, which may be packed by gzip.
TEXTS = ("csv", "jsonl", "ts")


def named_patterns(data: DataConfig) -> list[tuple[str, str]]:
    """Return the patterns with names: ``<split>-<number>``, or ``data-<number>`` if ``data.files`` has no splits."""
    files = data.files if isinstance(data.files, dict) else {ALL: data.files}
    return [
        (f"{split}-{number}", pattern) for split, patterns in files.items() for number, pattern in enumerate(patterns)
    ]


def format_of(name: str, data: DataConfig) -> str:
    """Return the format of a file: as configured, or by its ending.

    Raises:
        DataError: the ending is unknown.
    """
    if data.format in TEXTS:
        return f"{data.format}.gz" if name.lower().endswith(".gz") else data.format
    if data.format != "auto":
        return data.format
    if found := format_by_ending(name):
        return found
    raise DataError(
        f"{name}: expected a file that ends in {', '.join(ENDINGS)}. Name the format with data.format: "
        f"{', '.join(FORMATS)}"
    )


def format_by_ending(name: str) -> str | None:
    """Return the format that a file's name stands for; None if it stands for none."""
    return next((kind for ending, kind in ENDINGS.items() if name.lower().endswith(ending)), None)


def find_sources(
    base: str,
    patterns: Iterable[tuple[str, str]],
    data: DataConfig,
    glob: Callable[[str], Sequence[str]],
    key: str = FILES,
) -> list[Source]:
    """Find the files that named patterns match below ``base``; each once, sorted by name.

    Args:
        base: folder or URI that patterns are relative to.
        patterns: each with a name, as ``named_patterns`` gives them.
        data: the data set's format.
        glob: the paths that a pattern matches.
        key: of the configuration that holds the patterns, for messages.

    Raises:
        DataError: a pattern matches nothing, or a file belongs to two splits.
    """
    base = normalize_base(base)
    named: list[tuple[str, str]] = []
    for name, pattern in patterns:
        matches = sorted(str(path) for path in glob(pattern_below(base, pattern)))
        if "**" in pattern:
            matches = [path for path in matches if not is_folder(path)]
        if not matches:
            raise DataError(
                f"{key}: {unescape(pattern)} matches no file in {base or '.'}. Patterns are relative to the "
                "folder of the configuration file"
            )
        named += [(name, path) for path in matches]
    return to_sources(base, named, data)


def to_sources(base: str, named: Iterable[tuple[str, str]], data: DataConfig) -> list[Source]:
    """Convert pairs of pattern name and path to sources; each file once, sorted by name.

    Raises:
        DataError: a file belongs to two splits, or has an unknown format.
    """
    base = normalize_base(base)
    found: dict[str, Source] = {}
    for name, path in named:
        split = name.rsplit("-", 1)[0]
        shown = path[len(base) :].lstrip("/") if base and path.startswith(base.rstrip("/") + "/") else path
        source = Source(path, shown, format_of(path, data), None if split == ALL else split)
        if path in found and found[path].split != source.split:
            raise DataError(
                f"data.files: {shown} belongs to {found[path].split} and to {source.split}; a file goes to one split"
            )
        found[path] = source
    return sorted(found.values(), key=lambda source: source.name)


def sources_to_predict(paths: Sequence[str], data: DataConfig) -> list[Source]:
    """Convert the files of a request to sources, whose titles are below the deepest folder that all share.

    So a sequence that no column names has the id that it has in training, however the path to its file is written.

    Raises:
        DataError: a file has an unknown format.
    """
    parts = [path.split("/") for path in paths]
    shared = 0
    while parts and all(len(each) > shared + 1 for each in parts) and len({each[shared] for each in parts}) == 1:
        shared += 1
    return [
        Source(path, path, format_of(path, data), title="/".join(each[shared:]))
        for path, each in zip(paths, parts, strict=True)
    ]


def quarantine_file(source: Source) -> str:
    """Return a unique file name for the quarantined rows of a source, without pattern characters."""
    name = quote(source.name, safe=" ")
    if len(name) > _LONGEST_NAME:
        name = f"{name[:_LONGEST_NAME]}+{hashlib.sha256(source.name.encode()).hexdigest()[:16]}"
    part = f"+{source.row_group:05d}" if source.row_group is not None else ""
    return f"read-{name}{part}.jsonl"


def normalize_base(base: str) -> str:
    """Normalize a folder so that the paths below it begin with it; a URI stays as it is."""
    return base if "://" in base or not base else str(PurePosixPath(base))


def join_path(base: str, name: str) -> str:
    """Join a path to a folder or URI; an absolute path stays as it is."""
    return str(PurePosixPath(base) / name) if base and "://" not in base else "/".join(filter(None, [base, name]))


def pattern_below(base: str, pattern: str) -> str:
    """Join a pattern to a folder or URI, which is taken literally; an absolute pattern stays as it is."""
    return join_path(base if "://" in base else escape(base), pattern)


def is_folder(path: str) -> bool:
    """Whether a path is a local folder."""
    return "://" not in path and Path(path).is_dir()

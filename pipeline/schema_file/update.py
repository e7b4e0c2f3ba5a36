"""Bring a curated schema.pbtxt up to date with its configuration, and keep what a person wrote.

    >>> change = update_schema(config)  # doctest: +SKIP
    >>> change.added, change.removed  # doctest: +SKIP
    (['humidity'], ['day_of_week_sin'])

Columns without an entry get one with bounds inferred from the data; entries of columns that are gone are removed, and
fields that the configuration contradicts. All other text stays as it is, comments included.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from noisy_gru.data.sequences.splits import without_splits
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.schema_file.data_profile import Measures, measure
from noisy_gru.pipeline.schema_file.entries import entry, inferred_domain
from noisy_gru.pipeline.schema_file.text_fields import Field, fields_of, removed, with_comments
from noisy_gru.schema.config import DatasetConfig, SpansConfig
from noisy_gru.schema.derivation import Derivation, curated_columns, derive, schema_error
from noisy_gru.schema.errors import ConfigError
from noisy_gru.schema.file_patterns import absolute_pattern, escape_existing
from noisy_gru.schema.loading import Column, expected_columns, load_schema, parse_schema
from noisy_gru.storage.atomic_files import write_atomically
from noisy_gru.storage.object_stores import is_remote, location_problem

_NEW = "# What values may be; all else follows from the configuration. Every run validates the sequences against it.\n"


@dataclass(frozen=True)
class SchemaChange:
    """The texts of a schema before and after an update.

    Attributes:
        path: the file.
        before: its text; empty if there is no file yet.
        after: its text, brought up to date.
        added: columns that get an entry.
        removed: entries of columns that are gone.
        corrected: entries that lose fields that the configuration contradicts.
    """

    path: Path
    before: str
    after: str
    added: list[str]
    removed: list[str]
    corrected: list[str]

    @property
    def diff(self) -> str:
        """The change as a unified diff; empty if there is none."""
        lines = difflib.unified_diff(
            self.before.splitlines(keepends=True), self.after.splitlines(keepends=True), str(self.path), str(self.path)
        )
        return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)

    def write(self) -> None:
        """Write the file; raise ``ConfigError`` if it can't be written."""
        try:
            write_atomically(self.path, self.after)
        except OSError as error:
            raise ConfigError(f"{self.path}: can't be written: {error.strerror}") from error


def update_schema(config: PipelineConfig, data: Sequence[str] = ()) -> SchemaChange:
    """Bring the schema of a configuration up to date; writes nothing.

    Args:
        config: configuration from ``load_config``.
        data: files or patterns to infer bounds from, relative to the current folder; none: the configuration's.

    Raises:
        ConfigError: the schema or the data isn't on this machine, is no schema, or has a name that seems misspelt.
        DataError: a data file can't be read.
    """
    if "://" in config.schema_path:
        raise ConfigError(
            f"schema: {config.schema_path} is not on this machine: update a copy, then upload it "
            "(--set schema=schema.pbtxt)"
        )
    path = Path(config.schema_path)
    exists = path.exists()
    curated = load_schema(path) if exists else parse_schema("", path)
    before = path.read_bytes().decode() if exists else ""
    derivation = derive(curated, config.dataset)
    if derivation.problems:
        raise schema_error(path, derivation.problems)
    columns = {column.name: column for column in curated_columns(config.dataset)}
    added = [columns[name] for name in derivation.unbounded]
    corrected = list(dict.fromkeys(each.name for each in derivation.overruled))
    # Bounds of another kind of column say nothing of this one.
    renewed = [
        columns[each.name]
        for each in derivation.overruled
        if each.name in columns and each.fields[0].endswith("domain") and each.name not in derivation.unbounded
    ]
    measures = measure(_profiled(config, data)) if added or renewed else Measures()
    after = _edited(before or _NEW, derivation, added, renewed, columns, config.dataset, measures)
    change = SchemaChange(path, before, after, [each.name for each in added], derivation.gone, corrected)
    _check(change, derivation, config.dataset)
    return change


def _profiled(config: PipelineConfig, data: Sequence[str]) -> DatasetConfig:
    """Return the data set to infer bounds from: all spans, without splits."""
    given = [each if is_remote(each) else absolute_pattern(escape_existing(each), str(Path.cwd())) for each in data]
    patterns = given or config.data.patterns
    if problems := [problem for each in patterns if is_remote(each) and (problem := location_problem(each))]:
        raise ConfigError(f"data.files: {problems[0]}")
    dataset = without_splits(config.dataset)
    sql = None if given else dataset.data.sql
    files = dataset.data.model_copy(update={"files": patterns, "spans": SpansConfig(), "sql": sql})
    if files.has_spans:
        files = files.model_copy(update={"spans": SpansConfig(window="all")})
    return dataset.model_copy(update={"data": files})


def _edited(
    text: str,
    derivation: Derivation,
    added: Sequence[Column],
    renewed: Sequence[Column],
    columns: dict[str, Column],
    dataset: DatasetConfig,
    measures: Measures,
) -> str:
    there, length = _entries(text), len(text)
    for name in derivation.gone:
        # In the order of the text, so that each moved up by what is gone before it.
        moved = len(text) - length
        field = replace(there[name], start=there[name].start + moved, stop=there[name].stop + moved)
        text = removed(text, *with_comments(text, field))
    unwanted: dict[str, set[str]] = {}
    for each in derivation.overruled:
        unwanted.setdefault(each.name, set()).update(each.fields)
    there = _entries(text)
    # From the last place to the first, so that the places before it stay.
    for name in sorted(unwanted, key=lambda name: there[name].start, reverse=True):
        text = _without(text, there[name], unwanted[name])
    for column in renewed:
        _, domain = inferred_domain(column, dataset, measures)
        if domain:
            text = _with_field(text, column.name, domain)
    return _with_entries(text, {column.name: entry(column, dataset, measures) for column in added}, list(columns))


def _with_entries(text: str, added: dict[str, list[str]], order: Sequence[str]) -> str:
    """Return the text with entries added, each after that of the column before it in ``order``, or else at the end."""
    there = _entries(text)
    first: list[str] = []
    after: dict[str, list[str]] = {}
    entries = first
    for name in order:
        if name in there:
            entries = after.setdefault(name, [])
        elif name in added:
            entries.append("\n".join(added[name]) + "\n")
    if first:
        text = "\n\n".join([text.rstrip(), "\n".join(first)]) if text.strip() else "\n".join(first)
    # From the last place to the first, as above.
    for name in sorted(filter(after.get, after), key=lambda name: there[name].start, reverse=True):
        _, stop = with_comments(text, there[name])
        rest = text[stop:]
        head = text[:stop] if text[:stop].endswith("\n") else f"{text[:stop]}\n"
        gap = "\n" if rest.strip() and not rest.startswith("\n") else ""
        text = head + "\n" + "\n".join(after[name]) + gap + rest
    return text


def _entries(text: str) -> dict[str, Field]:
    """Return the entries of a schema by the name of their column."""
    return {_name_of(text, field): field for field in fields_of(text) if field.name == "feature"}


def _name_of(text: str, field: Field) -> str:
    names = [each.name for each in parse_schema(text[field.start : field.stop].rstrip(",;"), "schema").feature]
    if len(names) != 1:
        raise ConfigError(
            f"the schema lists {', '.join(names)} in one `feature: [...]`: write `feature {{...}}` for each, so that "
            "they can be edited"
        )
    return names[0]


def _without(text: str, entry_: Field, unwanted: Collection[str]) -> str:
    """Return the text with fields of an entry removed, and the comments at their line's end."""
    nested = [each.partition(".") for each in unwanted if "." in each]
    # From the last place to the first, so that the places before it stay.
    for field in reversed(list(fields_of(text, *entry_.inner))):
        if within := {rest for name, _, rest in nested if name == field.name}:
            length = len(text)
            text = _without(text, field, within)
            entry_ = replace(entry_, inner=(entry_.inner[0], entry_.inner[1] + len(text) - length))
    begin, end = entry_.inner
    while True:
        place = next((each for each in fields_of(text, begin, end) if _is_unwanted(text, each, unwanted)), None)
        if place is None:
            return text
        start, stop = with_comments(text, place)
        # Comments above it may be of the whole entry.
        start = max(start, text.rfind("\n", 0, place.start) + 1) if start != place.start else start
        if start == place.start:
            # One line has several fields.
            while text[stop : stop + 1] == " ":
                stop += 1
        text = text[:start] + text[stop:]
        end -= stop - start


def _is_unwanted(text: str, field: Field, unwanted: Collection[str]) -> bool:
    if field.name not in unwanted:
        return False
    return field.name != "not_in_environment" or "SERVING" in text[field.start : field.stop]


def _with_field(text: str, name: str, field: str) -> str:
    """Return the text with a field added at the end of an entry."""
    entry_ = _entries(text)[name]
    last = list(fields_of(text, *entry_.inner))[-1]
    line = text[text.rfind("\n", 0, last.start) + 1 : last.start]
    if line.strip():
        return f"{text[: last.stop]} {field}{text[last.stop :]}"
    _, stop = with_comments(text, last)
    if stop == last.stop:
        return f"{text[:stop]} {field}{text[stop:]}"
    return f"{text[:stop]}{line}{field}\n{text[stop:]}"


def _check(change: SchemaChange, before: Derivation, dataset: DatasetConfig) -> None:
    """Raise if the edited text isn't what was meant: it has to say the same of all values that were curated."""
    schema = parse_schema(change.after, change.path)
    after = derive(schema, dataset)
    touched = {*change.added, *change.corrected}
    then, now = (_by_name(each.schema, touched, dataset) for each in (before, after))
    if after.gone or after.unbounded or after.overruled or then != now:
        raise ConfigError(
            f"{change.path}: can't be brought up to date without losing something: "
            f"{'; '.join(after.notes) or 'its entries are written in an unusual form'}. Edit it by hand, or move it "
            "away: noisy-gru schema update CONFIG then writes a new one"
        )


def _by_name(schema: Any, touched: set[str], dataset: DatasetConfig) -> dict[str, str]:
    """Return the entries of a derived schema as text, without those that an update may change."""
    # A target without an entry of its own follows its column.
    untouched = {
        column.name for column in expected_columns(dataset) if touched.isdisjoint((column.name, column.source))
    }
    return {
        feature.name: text_format.MessageToString(feature) for feature in schema.feature if feature.name in untouched
    }

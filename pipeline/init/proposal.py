"""Propose a configuration and a schema for data files.

>>> proposal = propose(["sensors/*.parquet"], out=Path("my-model"))  # doctest: +SKIP
>>> proposal.write(Path("my-model"))  # doctest: +SKIP
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from noisy_gru.data.reading.files import is_folder
from noisy_gru.data.reading.ts_files import CASE, CLASS, STEP_COLUMN, TARGET_LABEL
from noisy_gru.data.values.cell_detection import Finding
from noisy_gru.pipeline.config.pipeline_config import NAME
from noisy_gru.pipeline.init.config_template import config_text
from noisy_gru.pipeline.init.draft import Draft
from noisy_gru.pipeline.init.interpretation import ONE_SERIES, Given, Interpretation, interpret
from noisy_gru.pipeline.init.joined_columns import MARK, Joins, joined
from noisy_gru.pipeline.init.preview import Preview, preview_of
from noisy_gru.pipeline.init.roles import Guess, Roles, Table
from noisy_gru.pipeline.init.sampling import MANY_ROWS, STEP, Sample, record_entity
from noisy_gru.pipeline.init.sampling import sample as sample_rows
from noisy_gru.pipeline.init.split_inference import published_splits
from noisy_gru.pipeline.init.wide_layout import Wide
from noisy_gru.pipeline.init.zones import zone_of_clock
from noisy_gru.pipeline.schema_file.data_profile import measure
from noisy_gru.pipeline.schema_file.entries import proposed_schema
from noisy_gru.schema.config import DatasetConfig, SqlConfig
from noisy_gru.schema.errors import ConfigError
from noisy_gru.schema.file_patterns import absolute_pattern, escape, escape_existing, local_glob, unescape
from noisy_gru.schema.span_patterns import SpanPattern, holds_spans, pattern_problems
from noisy_gru.storage.atomic_files import write_atomically
from noisy_gru.storage.object_stores import glob_files, is_remote, location_problem

_FEW_SEQUENCES = 20
_MOST_NAMED = 4


@dataclass(frozen=True)
class Proposal:
    """The pipeline's name, the texts of both files, the inferred settings, and a preview of the data."""

    name: str
    config: str
    schema: str
    inferred: list[Guess]
    preview: Preview

    @property
    def guesses(self) -> list[str]:
        """The inferred settings, one line each."""
        return list(map(str, self.inferred))

    def write(self, folder: Path, *, force: bool = False) -> None:
        """Write config.yaml and schema.pbtxt.

        Raises:
            ConfigError: one of them exists and ``force`` is false; or the folder can't be written.
        """
        files = {folder / "config.yaml": self.config, folder / "schema.pbtxt": self.schema}
        existing = [str(path) for path in files if path.exists()]
        if existing and not force:
            raise ConfigError(
                f"{' and '.join(existing)}: already exists. Choose another --out, or overwrite with --force"
            )
        try:
            for path, text in files.items():
                write_atomically(path, text)
        except OSError as error:
            raise ConfigError(f"--out {folder}: can't be written: {error.strerror}") from error


def propose(
    data: Sequence[str],
    *,
    out: Path,
    task: str | None = None,
    entity: str | None = None,
    time: str | None = None,
    targets: Sequence[str] = (),
    name: str | None = None,
    layout: str | None = None,
    query: SqlConfig | None = None,
    ask: Callable[[Guess], str] | None = None,
) -> Proposal:
    """Infer a configuration from the first rows of files, and a schema from all rows.

    Args:
        data: files or patterns, relative to the current folder.
        out: folder of the configuration, which its paths are relative to.
        task: task of the model, if known; likewise ``entity`` (`ONE_SERIES`: all rows are one series), ``time`` and
            ``targets`` (label, or columns to forecast).
        name: name of the pipeline; None: that of the folder.
        layout: ``none``, ``wide_series`` or ``wide_steps``, if it is known.
        query: that ``data`` is the result of; the configuration has it in place of files.
        ask: decides on a reading that is not sure, returns one of its values; None takes the likeliest.

    Raises:
        ConfigError: files or columns are missing, the name is invalid, or no configuration can be inferred.
    """
    if name is not None and re.fullmatch(NAME, name) is None:
        raise ConfigError(f"--name: expected lower case, digits and hyphens, received {name!r}")
    data = [given if is_remote(given) else escape_existing(given) for given in data]
    paths = _matching(data)
    spanned = holds_spans(data)
    published = (
        None
        if spanned
        else published_splits([path if is_remote(path) else str(Path(path).absolute()) for path in paths])
    )
    rows = sample_rows(paths, published, layout)
    by_options = Given(task, entity, time, tuple(targets))
    table, joins, given = _joined(rows, by_options)
    first = _first_look(table, given)
    if rows.table.is_cut and (first is None or _holds_few(first)):
        rows = sample_rows(paths, published, layout, MANY_ROWS)
        table, joins, given = _joined(rows, by_options)
        first = _first_look(table, given)
    parts = first.roles.labelled_parts if first is not None and not joins.entity else ()
    if parts and by_options.entity is None and by_options.task is None and not by_options.targets:
        table, joins, given = _joined(rows, replace(by_options, entity=MARK.join(parts)))
    reading = interpret(table, given, ask)
    if parts and joins.entity:
        _explain_entity(reading.roles, parts)
    if rows.cases and not entity:
        why = {f"entity {CASE}": "the file and the number of a case", f"time {STEP_COLUMN}": "the number of a step"}
        for guess in reading.roles.guesses:
            guess.why = why.get(guess.what, guess.why)
    patterns = list(data)
    if published is not None:
        patterns, published = _patterns_of_splits(paths, published)
    draft = Draft(reading, patterns, published, out)
    draft.left_out |= {
        name: "lists or objects: a row has one value of a column" for name in rows.nested if name in draft.left_out
    }
    rows.spelling.write(draft.data)
    joins.write(draft.data)
    draft.mark_missing(rows.codes)
    found = [*rows.spelling.findings, *rows.spelling.about_time(reading.roles.time)]
    if options := rows.excel.model_dump(exclude_defaults=True):
        draft.data["excel"] = options
        found.append(
            Finding(f"excel {options}", "the sheet with most cells, from its header on", "sheet" not in options)
        )
    zone = rows.zones.get(reading.roles.time)
    if zone is not None and reading.roles.time_kind == "timestamp":
        draft.data["time"]["timezone"] = zone.name
        found.append(Finding(f"timezone {zone.name}, of calendars", zone.why, zone.sure))
    elif reading.roles.time_kind == "timestamp" and (clock := zone_of_clock(table, reading.roles)):
        draft.data["time"] |= {"timezone": clock.name, "without_zone": "timezone", "ambiguous": "infer"}
        found.append(Finding(f"timezone {clock.name}, of the times; ambiguous infer", clock.why, clock.sure))
    if rows.wide is not None:
        draft.data["layout"] = rows.wide.options
        found.append(rows.wide.finding)
    reading.roles.guesses[:0] = [Guess(each.what, each.why, each.sure) for each in found]
    if spanned:
        draft.data["spans"] = {"window": "all"}
        reading.roles.guesses.append(
            Guess("spans all", "a rolling window would read only the newest spans", sure=False)
        )
    if rows.is_records:
        if reading.is_forecast:
            raise ConfigError("--data: forecasting expects tables with a time column, received TFRecords")
        draft.data |= {"format": rows.format, "time": None}
    measures = measure(_absolute(draft.dataset(), out))
    draft.fit(measures)
    if query is not None:
        del draft.data["files"]
        draft.data["sql"] = query.model_dump(exclude_defaults=True)
    dataset, roles = draft.dataset(), reading.roles
    guesses = [*roles.guesses, *(Guess(f"left out {column}", why) for column, why in draft.left_out.items())]
    if measures.quarantined:
        counts = ", ".join(f"{count} {reason}" for reason, count in measures.quarantined.items())
        guesses.append(
            Guess("rows that can't be used", f"{counts}; a run quarantines them, and fails above 5 %", False)
        )
        here = f"{Path.cwd()}/" if query is None else f"{Path(data[0]).parent}/"
        guesses += [Guess("for example", each.removeprefix(here)) for each in measures.examples]
    count = "1 series" if roles.entity is None else f"{len(measures.steps):,} sequences"
    guesses.insert(0, Guess("read", f"{measures.rows:,} rows of {count}"))
    if name is None:
        name = re.sub(r"[^a-z0-9]+", "-", out.resolve().name.lower()).strip("-") or "my-model"
    return Proposal(
        name,
        config_text(name, dataset, guesses, draft.left_out, draft.training, draft.min_tested),
        proposed_schema(dataset, measures),
        guesses,
        preview_of(table, roles, reading.answers, reading.structure, measures),
    )


def _patterns_of_splits(paths: Sequence[str], published: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return patterns of the files of each split: one of a folder that holds many, else the files; and their splits."""
    patterns, splits = [], []
    for split in dict.fromkeys(published):
        mine = [path for path, name in zip(paths, published, strict=True) if name == split]
        found = [escape(path) for path in mine]
        if len(mine) > _MOST_NAMED and not any(map(is_remote, mine)):
            ending = Path(mine[0]).name.partition(".")[2]
            folder = os.path.commonpath([str(Path(path).parent) for path in mine])
            every = escape(folder or ".") + f"/**/*.{ending}"
            if ending and set(map(os.path.normpath, local_glob(every))) == set(map(os.path.normpath, mine)):
                found = [every]
        patterns += found
        splits += [split] * len(found)
    return patterns, splits


def _completed(given: Given, rows: Sample) -> Given:
    """Complete what is given by what the files say of themselves."""
    if rows.is_records:
        return replace(given, entity=given.entity or record_entity(rows.table.frame), time=STEP)
    if rows.cases:
        return _given_of_cases(given, list(map(str, rows.table.frame.columns)))
    return given if rows.wide is None else _given_of_layout(given, rows.wide)


def _joined(rows: Sample, by_options: Given) -> tuple[Table, Joins, Given]:
    """Join columns that are one together, and complete what is given by what the files say of themselves."""
    given = _completed(by_options, rows)
    if rows.is_records or rows.cases or rows.wide is not None:
        return rows.table, Joins(), given
    table, joins = joined(rows.table, given.entity if given.entity != ONE_SERIES else "", given.time)
    given = replace(
        given,
        entity=MARK.join(joins.entity) if given.entity and joins.entity else given.entity,
        time=MARK.join(joins.time.values()) if given.time and joins.time else given.time,
    )
    return table, joins, given


def _first_look(table: Table, given: Given) -> Interpretation | None:
    """Interpret a sample before anything is asked; None if that fails."""
    try:
        return interpret(table, given, None)
    except ConfigError:
        return None


def _holds_few(reading: Interpretation) -> bool:
    """Return whether a sample holds too few sequences to tell a label from other columns."""
    entity = reading.roles.entity
    return entity is None or reading.table.frame[entity].nunique() < _FEW_SEQUENCES


def _explain_entity(roles: Roles, parts: Sequence[str]) -> None:
    entity, part = parts
    for guess in roles.guesses:
        if guess.what == f"entity {MARK.join(parts)}":
            guess.why = f"a label changes within a {entity}, not within a {part} of it"
            guess.sure, guess.others = False, (entity,)


def _given_of_cases(given: Given, names: Sequence[str]) -> Given:
    """Complete what is given by what a .ts file says of itself."""
    label = next((name for name in (CLASS, TARGET_LABEL) if name in names), None)
    task = given.task or {CLASS: "classification", TARGET_LABEL: "regression"}.get(label or "")
    targets = given.targets or ((label,) if label is not None and task != "forecasting" else ())
    return replace(given, task=task, entity=given.entity or CASE, time=given.time or STEP_COLUMN, targets=targets)


def _given_of_layout(given: Given, wide: Wide) -> Given:
    """Complete what is given by the columns that a layout makes."""
    given = replace(given, entity=given.entity or wide.entity, time=given.time or wide.time)
    if wide.label is not None and given.task in (None, "classification") and not given.targets:
        return replace(given, task="classification", targets=(wide.label,))
    if wide.options["kind"] == "wide_series" and given.task in (None, "forecasting") and not given.targets:
        return replace(given, task="forecasting", targets=(wide.options["value"],))
    return given


def _matching(data: Sequence[str]) -> list[str]:
    """Return the files of all patterns and all spans, each once."""
    if problems := pattern_problems(data):
        raise ConfigError("\n".join(f"--data {problem}" for problem in problems))
    paths: list[str] = []
    for given in data:
        if is_remote(given) and (problem := location_problem(given)) is not None:
            raise ConfigError(f"--data {problem}")
        pattern = SpanPattern(given)
        found = glob_files(pattern.glob)
        if holds_spans(data):
            found = [path for path in found if _is_of_span(pattern, path)]
        if not found:
            raise ConfigError(f"--data {unescape(given)}: matches no file")
        if "**" in given:
            found = [path for path in found if not is_folder(path)]
        if folder := next(filter(is_folder, found), None):
            raise ConfigError(f"--data {unescape(given)}: {folder} is a folder. Give the files in it: {folder}/*.csv")
        paths += found
    return list(dict.fromkeys(paths))


def _is_of_span(pattern: SpanPattern, path: str) -> bool:
    try:
        return pattern.match(path) is not None
    except ValueError as error:
        raise ConfigError(f"--data {unescape(pattern.text)}: {path} is not a span: {error}. Rename it") from error


def _absolute(dataset: DatasetConfig, out: Path) -> DatasetConfig:
    files = dataset.data.files
    groups = files if isinstance(files, dict) else {"": files}
    there = str(out.absolute())
    absolute = {
        split: [each if is_remote(each) else absolute_pattern(each, there) for each in group]
        for split, group in groups.items()
    }
    data = dataset.data.model_copy(update={"files": absolute if isinstance(files, dict) else absolute[""]})
    return dataset.model_copy(update={"data": data})

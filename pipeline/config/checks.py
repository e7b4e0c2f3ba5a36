"""Check a configuration without running it: files, columns, schema, model, metrics, slices, Beam.

    >>> notes = check_config(config)  # doctest: +SKIP

Imports neither TensorFlow nor TFX.
"""

from __future__ import annotations

import difflib

from noisy_gru.components.derived_schema_gen.curated_file import read_curated
from noisy_gru.components.evaluation.config import REFERENCE_FILES
from noisy_gru.components.evaluation.metric_catalogue import check_evaluation, is_known, named_metrics
from noisy_gru.data.columns import Columns
from noisy_gru.data.ingestion.resolved_input import resolve_input
from noisy_gru.data.ingestion.spans import LATEST, files_without_span
from noisy_gru.data.reading.csv_tables import ends_with_line_end
from noisy_gru.data.reading.files import find_sources, named_patterns
from noisy_gru.data.reading.formats import column_names
from noisy_gru.data.reading.reader import Reader
from noisy_gru.data.reading.sql_query import KEY, newest_result, query_columns
from noisy_gru.data.reading.tables import Source
from noisy_gru.data.sequences.splits import without_splits
from noisy_gru.pipeline.config.beam_options import option_problems
from noisy_gru.pipeline.config.label_checks import label_problems
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.config.step_checks import step_findings
from noisy_gru.schema.config import SpansConfig, SqlConfig
from noisy_gru.schema.derivation import check_curated
from noisy_gru.schema.errors import ConfigError, UserError
from noisy_gru.schema.span_patterns import format_spans
from noisy_gru.schema.task_config import is_per_step
from noisy_gru.storage.object_stores import glob_files, is_remote, location_problem
from noisy_gru.trainer.model_checks import model_problems

MOST_FILES = 50
MOST_NAMED = 5


def input_files(config: PipelineConfig, span: str = LATEST) -> list[str]:
    """Return the files that a run would read.

    Of a query it is the newest result that is there already.

    Raises:
        UserError: files or a span are missing, or their store can't be reached.
    """
    if config.data.sql is not None:
        # For its size; the run makes the query itself.
        newest = newest_result(config.data.sql)
        return [] if newest is None else [str(newest)]
    return [source.path for source in resolve_input("", config.data, span, glob_files).sources]


def check_config(config: PipelineConfig, *, files: bool = True, span: str = LATEST) -> list[str]:
    """Check a configuration and the files it names.

    Args:
        config: configuration from ``load_config``.
        files: whether to check the data files; a pipeline that runs elsewhere has none here.
        span: newest span that a run would read; only the files of its window are checked.

    Returns:
        Notes, one line each.

    Raises:
        ConfigError: with all problems.
    """
    problems: list[str] = []
    notes: list[str] = []
    _check_locations(config, problems)
    if files and not problems:
        _check_files(config, span, problems, notes)
        _check_reference(config, span, problems, notes)
    for part in (_check_schema, _check_steps, _check_model, _check_metrics, _check_slices, _check_beam):
        part(config, problems, notes)
    if problems:
        raise ConfigError("\n".join(problems))
    return notes


def _check_locations(config: PipelineConfig, problems: list[str]) -> None:
    reference = config.evaluation.reference
    for key, paths in (
        ("data.files", config.data.patterns),
        (REFERENCE_FILES, reference.files if reference else []),
        ("schema", [config.schema_path.removeprefix("file://")]),
    ):
        found = (location_problem(path) for path in paths if is_remote(path))
        problems += [f"{key}: {problem}" for problem in found if problem is not None]


def _check_files(config: PipelineConfig, span: str, problems: list[str], notes: list[str]) -> None:
    if config.data.sql is not None:
        _check_query(config, config.data.sql, problems, notes)
        return
    found = _sources(config, span, problems, notes)
    if not found:
        return
    notes.append(f"data.files: {len(found)} file{'s' if len(found) > 1 else ''}")
    try:
        required, reader = Columns.of(config.dataset).required(), Reader(config.dataset)
    except UserError:  # _check_steps reports it
        return
    for source in found[:MOST_FILES]:
        try:
            names = column_names(source, config.data)
            if names is None:
                notes.append(f"{source.name}: the columns of TFRecords are checked by the run")
            elif source.format.startswith("jsonl") and not config.data.layout and set(required) - set(names):
                absent = ", ".join(name for name in required if name not in names)
                notes.append(f"{source.name}: the first lines lack {absent}; the run checks the others")
            else:
                reader.check_names(names, source)
            if source.format == "csv" and config.data.csv.is_utf8 and not ends_with_line_end(source):
                notes.append(f"{source.name}: its last line has no line end; check that the file is complete")
        except (UserError, ValueError) as error:
            problems.append(str(error))
    if len(found) > MOST_FILES:
        which = "newest" if config.data.has_spans else "first"
        notes.append(f"data.files: only the headers of the {which} {MOST_FILES} were checked")


def _check_query(config: PipelineConfig, sql: SqlConfig, problems: list[str], notes: list[str]) -> None:
    try:
        names = query_columns(sql)
        Reader(config.dataset).check_names(names, Source(KEY, f"{KEY}.query", "parquet"))
        notes.append(f"{KEY}: a query of {len(names)} columns, {sql.connection}")
    except UserError as error:
        problems.append(str(error))


def _check_reference(config: PipelineConfig, span: str, problems: list[str], notes: list[str]) -> None:
    reference = config.evaluation.reference
    if reference is None:
        return
    data = config.data.model_copy(update={"files": reference.files, "spans": SpansConfig(), "sql": None})
    reader = Reader(without_splits(config.dataset))
    found: list[Source] = []
    for name, pattern in named_patterns(data):
        try:
            found += find_sources("", [(name, pattern)], data, glob_files, REFERENCE_FILES)
        except (UserError, ValueError) as error:
            problems.append(str(error))
    trained_on = {source.path for source in _sources(config, span, [], [])}
    for source in found:
        if source.path in trained_on:
            problems.append(
                f"{REFERENCE_FILES}: {source.name} is one of data.files, too. A reference set must never be "
                "trained on: keep it apart from them"
            )
        try:
            names = column_names(source, config.data)
            if names is not None and not source.format.startswith("jsonl"):
                reader.check_names(names, source)
        except (UserError, ValueError) as error:
            problems.append(f"{REFERENCE_FILES}: {error}")
    if found:
        notes.append(f"{REFERENCE_FILES}: {len(found)} file{'s' if len(found) > 1 else ''}")


def _sources(config: PipelineConfig, span: str, problems: list[str], notes: list[str]) -> list[Source]:
    """Return the files that a run would read, those of the newest span first."""
    found: list[Source] = []
    if config.data.sql is not None:
        return found
    if config.data.has_spans or span != LATEST:
        try:
            resolved = resolve_input("", config.data, span, glob_files)
        except (UserError, ValueError) as error:
            problems.append(str(error))
            return []
        if others := files_without_span("", config.data, glob_files):
            named = ", ".join(others[:MOST_NAMED]) + (", …" if len(others) > MOST_NAMED else "")
            notes.append(
                f"data.files: not read, because the place of the span holds no number ({len(others)}): {named}"
            )
        notes.append(f"data.spans: span{'s' if len(resolved.spans) > 1 else ''} {format_spans(resolved.numbers)}")
        newest = {path: each.number for each in resolved.spans for path in each.files}
        return sorted(resolved.sources, key=lambda source: (-newest[source.path], source.name))
    for name, pattern in named_patterns(config.data):
        try:
            found += find_sources("", [(name, pattern)], config.data, glob_files)
        except (UserError, ValueError) as error:
            problems.append(str(error))
    return found


def _check_schema(config: PipelineConfig, problems: list[str], notes: list[str]) -> None:
    try:
        derivation = check_curated(read_curated(config.schema_path), config.schema_path, config.dataset)
    except ConfigError as error:
        problems.append(str(error))
    else:
        schema = derivation.schema
        problems += label_problems(config, schema)
        notes.append(f"schema: {len(schema.feature)} columns, derived from the configuration and {config.schema_path}")
        notes += [f"schema: {note}" for note in derivation.notes]
        if bounded := [feature.name for feature in schema.feature if feature.HasField("drift_comparator")]:
            notes.append(
                f"schema: drift_comparator of {', '.join(bounded)} is ignored: drift is configured by "
                "retraining.rules.drift (false_alarm_rate, min_distance)"
            )


def _check_steps(config: PipelineConfig, problems: list[str], notes: list[str]) -> None:
    found, noted = step_findings(config)
    # A reserved name of a column may be reported with the files already.
    problems += [problem for problem in found if problem not in problems]
    notes += noted


def _check_model(config: PipelineConfig, problems: list[str], notes: list[str]) -> None:
    problems += model_problems(config.model, config.dataset)


def _check_metrics(config: PipelineConfig, problems: list[str], notes: list[str]) -> None:
    known = named_metrics(config.dataset)
    named = {f"evaluation.thresholds.{name}": name for name in config.evaluation.thresholds}
    compare = config.evaluation.compare
    if compare is not None and compare.metric != "auto":
        named["evaluation.compare.metric"] = compare.metric
    for key, name in named.items():
        if not is_known(name, config.dataset):
            close = difflib.get_close_matches(name, known, n=1)
            guess = f" (did you mean {close[0]}?)" if close else ""
            problems.append(f"{key}: expected a metric of {config.task.kind}, found {name}{guess}. {', '.join(known)}")
    if all(is_known(name, config.dataset) for name in named.values()):
        try:
            check_evaluation(config.dataset, config.evaluation)
        except ConfigError as error:
            problems.append(str(error))


def _check_slices(config: PipelineConfig, problems: list[str], notes: list[str]) -> None:
    known = [feature.name for feature in config.data.features]
    if label := "" if is_per_step(config.task) else getattr(config.task, "label", ""):
        known.append(label)
    for columns in config.evaluation.slices:
        for name in columns:
            if name not in known:
                problems.append(
                    f"evaluation.slices: expected a feature or the label ({', '.join(known)}), found {name}; "
                    "a column to slice by has to be a feature"
                    + (", and a label of each step divides no sequences" if is_per_step(config.task) else "")
                )


def _check_beam(config: PipelineConfig, problems: list[str], notes: list[str]) -> None:
    problems += option_problems(config.beam)

"""What can be said of a configuration without running it: its files, their columns, the schema, the metrics it names.

    >>> notes = check_config(config)  # doctest: +SKIP

Imports neither TensorFlow nor TFX.
"""

from __future__ import annotations

import difflib
import glob
from collections.abc import Iterable

from noisy_gru.components.evaluation.catalogue import known_metrics
from noisy_gru.components.sequence_example_gen.columns import Columns
from noisy_gru.components.sequence_example_gen.files import named_patterns, sources
from noisy_gru.components.sequence_example_gen.tables import Source, check_columns, csv_header, parquet_sources
from noisy_gru.pipeline.beam_options import option_problems
from noisy_gru.pipeline.config import PipelineConfig
from noisy_gru.schema.config import ForecastingConfig
from noisy_gru.schema.errors import ConfigError, UserError
from noisy_gru.schema.loading import check_schema
from noisy_gru.trainer.config import model_problems

MOST_FILES = 50


def matching_files(patterns: Iterable[str]) -> list[str]:
    """The local files that patterns match, sorted."""
    return sorted({path for pattern in patterns for path in glob.glob(pattern, recursive=True)})  # noqa: PTH207


def input_patterns(config: PipelineConfig) -> list[str]:
    """All file patterns of a configuration."""
    return [pattern for _, pattern in named_patterns(config.data)]


def check_config(config: PipelineConfig, *, files: bool = True) -> list[str]:
    """Checks a configuration against the files it names.

    Args:
        config: as ``load_config`` gives it.
        files: whether the data files are looked at; where the pipeline runs elsewhere, they aren't here.

    Returns:
        What is good to know, one line each.

    Raises:
        ConfigError: with all that is wrong.
    """
    problems: list[str] = []
    notes: list[str] = []
    parts = (_check_schema, _check_model, _check_metrics, _check_slices, _check_beam)
    for part in (_check_files, *parts) if files else parts:
        part(config, problems, notes)
    if problems:
        raise ConfigError("\n".join(problems))
    return notes


def _check_files(config: PipelineConfig, problems: list[str], notes: list[str]) -> None:
    found: list[Source] = []
    for name, pattern in named_patterns(config.data):
        if "://" in pattern:
            notes.append(f"data.files: {pattern} is not on this machine; it is first looked at by a run")
            continue
        try:
            found += sources("", [(name, pattern)], config.data, lambda each: matching_files([each]))
        except (UserError, ValueError) as error:
            problems.append(str(error))
    if not found:
        return
    notes.append(f"data.files: {len(found)} file{'s' if len(found) > 1 else ''}")
    required = Columns.of(config.dataset).required()
    for source in found[:MOST_FILES]:
        try:
            if source.format.startswith("csv"):
                check_columns(csv_header(source), required, source)
            elif source.format == "parquet":
                parquet_sources(source, required)
            else:
                notes.append(f"{source.name}: the columns of TFRecords are first looked at by a run")
        except (UserError, ValueError) as error:
            problems.append(str(error))
    if len(found) > MOST_FILES:
        notes.append(f"data.files: only the headers of the first {MOST_FILES} were looked at")


def _check_schema(config: PipelineConfig, problems: list[str], notes: list[str]) -> None:
    if "://" in config.schema_path:
        notes.append(f"schema: {config.schema_path} is not on this machine; it is first looked at by a run")
        return
    try:
        schema = check_schema(config.schema_path, config.dataset)
    except ConfigError as error:
        problems.append(str(error))
    else:
        notes.append(f"schema: {len(schema.feature)} columns, as the configuration says")


def _check_model(config: PipelineConfig, problems: list[str], notes: list[str]) -> None:
    problems += model_problems(config.model, config.dataset)


def _check_metrics(config: PipelineConfig, problems: list[str], notes: list[str]) -> None:
    known = list(known_metrics(config.dataset))
    named = {f"evaluation.thresholds.{name}": name for name in config.evaluation.thresholds}
    comparison = config.evaluation.comparison
    if comparison is not None and comparison.metric != "auto":
        named["evaluation.comparison.metric"] = comparison.metric
    for key, name in named.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            guess = f" (did you mean {close[0]}?)" if close else ""
            problems.append(f"{key}: expected a metric of {config.task.kind}, found {name}{guess}. {', '.join(known)}")


def _check_slices(config: PipelineConfig, problems: list[str], notes: list[str]) -> None:
    known = [feature.name for feature in config.data.features]
    if not isinstance(config.task, ForecastingConfig):
        known.append(config.task.label)
    for columns in config.evaluation.slices:
        for name in columns:
            if name not in known:
                problems.append(
                    f"evaluation.slices: expected a feature or the label ({', '.join(known)}), found {name}; "
                    "a column that is only to slice by has to be a feature"
                )


def _check_beam(config: PipelineConfig, problems: list[str], notes: list[str]) -> None:
    problems += option_problems(config.beam)

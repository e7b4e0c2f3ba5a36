"""Load a curated schema.pbtxt and check it against the configuration, before data is read. Imports no TensorFlow.

>>> from noisy_gru.schema.loading import load_schema
>>> load_schema("schema.pbtxt")  # doctest: +SKIP
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from noisy_gru.schema.config import ClassificationConfig, DatasetConfig, ForecastingConfig
from noisy_gru.schema.errors import ConfigError

TRAINING = "TRAINING"
SERVING = "SERVING"

# Generated code without types.
_pb2: Any = schema_pb2


@dataclass(frozen=True)
class Column:
    """A key of a sequence's tf.Example; ``type`` is FLOAT, BYTES or INT. Prediction requests hold features only."""

    name: str
    type: str
    meaning: str
    is_feature: bool = False


def expected_columns(dataset: DatasetConfig) -> list[Column]:
    """Return the keys of a sequence's tf.Example, as listed in docs/architecture.md."""
    columns = [
        Column(
            feature.name,
            "FLOAT" if feature.kind == "numeric" else "BYTES",
            f"{feature.kind} feature",
            is_feature=True,
        )
        for feature in dataset.data.features
    ]
    columns += [Column("sequence_id", "BYTES", "name of the sequence"), Column("steps", "INT", "input steps")]
    task = dataset.task
    if isinstance(task, ForecastingConfig):
        for target in task.targets:
            columns.append(Column(f"target/{target}", "FLOAT", "target"))
            columns.append(Column(f"naive_last/{target}", "FLOAT", "baseline: the last value"))
            if task.season_length is not None:
                columns.append(Column(f"naive_seasonal/{target}", "FLOAT", "baseline: a season before"))
    else:
        columns.append(Column(task.label, "BYTES" if isinstance(task, ClassificationConfig) else "FLOAT", "label"))
    return columns


def load_schema(path: str | Path) -> Any:
    """Load a ``schema_pb2.Schema`` from a text file.

    Raises:
        ConfigError: the file can't be read, or is no TensorFlow Metadata schema in text form; names the line.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"{path}: the schema can't be read: {reason}. "
            "Correct `schema`, or let `noisy-gru init` write one from your data"
        ) from error
    try:
        return text_format.Parse(text, _pb2.Schema())
    except text_format.ParseError as error:
        line = f"line {error.GetLine()}: " if error.GetLine() else ""
        raise ConfigError(f"{path}: {line}not a TensorFlow Metadata schema in text form: {error}") from error


def schema_problems(schema: Any, dataset: DatasetConfig) -> list[str]:
    """Return the contradictions between a schema and the configuration, one sentence each."""
    expected = {column.name: column for column in expected_columns(dataset)}
    found = {feature.name: feature for feature in schema.feature if feature.lifecycle_stage not in _UNUSED}
    problems = []
    for name, column in expected.items():
        if name not in found:
            close = difflib.get_close_matches(name, [each for each in found if each not in expected], n=1)
            guess = f"; did you mean {close[0]}?" if close else ""
            problems.append(f"{name}: not in the schema ({column.meaning}, expected type: {column.type}){guess}")
            continue
        feature = found[name]
        kind = _pb2.FeatureType.Name(feature.type)
        if kind != column.type:
            problems.append(f"{name}: expected type: {column.type} ({column.meaning}), received type: {kind}")
        if column.is_feature and SERVING in feature.not_in_environment:
            problems.append(f"{name}: is a feature, so a request must have it; remove not_in_environment: {SERVING!r}")
    for name, feature in found.items():
        if name not in expected and feature.presence.min_count + feature.presence.min_fraction > 0:
            close = difflib.get_close_matches(name, list(expected), n=1)
            guess = f" (did you mean {close[0]}?)" if close else ""
            problems.append(
                f"{name}: required by the schema, but no key of a sequence as the configuration describes it{guess}; "
                "remove it, or add the column to data.features"
            )
    return problems


_UNUSED = (_pb2.PLANNED, _pb2.ALPHA, _pb2.DEPRECATED, _pb2.DISABLED, _pb2.DEBUG_ONLY)


def check_schema(path: str | Path, dataset: DatasetConfig) -> Any:
    """Load a schema that agrees with the configuration; raise ``ConfigError`` with every contradiction."""
    schema = load_schema(path)
    problems = schema_problems(schema, dataset)
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise ConfigError(f"{path}: {count} in the schema\n" + "\n".join(f"  - {problem}" for problem in problems))
    return schema

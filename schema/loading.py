"""Load a curated schema.pbtxt, and list the keys of a sequence's tf.Example. Imports no TensorFlow.

>>> from noisy_gru.schema.loading import load_schema
>>> load_schema("schema.pbtxt")  # doctest: +SKIP

`derivation` makes of both the schema that the data is validated against.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from noisy_gru.schema.calendars import CALENDAR_FLAGS, calendar_texts
from noisy_gru.schema.config import (
    ClassificationConfig,
    DatasetConfig,
    FeatureConfig,
    ForecastingConfig,
    RegressionConfig,
)
from noisy_gru.schema.errors import ConfigError
from noisy_gru.schema.task_config import (
    has_several_targets,
    has_step_labels,
    has_step_targets,
    is_multi_label,
    targets_of,
)

# Generated code without types.
_pb2: Any = schema_pb2


@dataclass(frozen=True)
class Column:
    """A key of a sequence's tf.Example. Prediction requests hold features only.

    Attributes:
        name: the key.
        type: FLOAT, BYTES or INT.
        meaning: for messages and comments.
        least: fewest values in a sequence.
        most: most values in a sequence.
        is_feature: whether the model reads it.
        values_of: the column of the data that its values come from, if that is not its name.
        bounds: smallest and largest value, where the configuration alone sets them; NaN is no value then.
        masked: whether NaN (of text: an empty one) stands for a value that is not known: a target by
            ``data.policies.missing_target: mask``, what passed since before the sequence, or a label of a step.
        texts: all values of a text column, where the configuration alone sets them.
    """

    name: str
    type: str
    meaning: str
    least: int
    most: int
    is_feature: bool = False
    values_of: str | None = None
    bounds: tuple[float, float] | None = None
    masked: bool = False
    texts: tuple[str, ...] | None = None

    @property
    def source(self) -> str:
        """The column of the data that its values come from."""
        return self.values_of or self.name


def expected_columns(dataset: DatasetConfig) -> list[Column]:
    """Return the keys of a sequence's tf.Example, as listed in docs/architecture.md."""
    task = dataset.task
    forecasting = isinstance(task, ForecastingConfig)
    # A window of a forecast always is of one length; data.min_length and max_length are for whole sequences.
    least, most = (task.input_length,) * 2 if forecasting else (dataset.data.min_length, dataset.data.max_length)
    columns = []
    for feature in dataset.data.features:
        ahead = task.max_horizon if forecasting and feature.known_in_advance else 0
        columns.append(
            Column(
                feature.name,
                "BYTES" if feature.kind == "categorical" else "FLOAT",
                f"static {feature.kind} feature" if feature.static else f"{feature.kind} feature",
                1 if feature.static else least + ahead,
                1 if feature.static else most + ahead,
                is_feature=True,
                bounds=(0.0, math.inf) if feature.elapsed is not None else _calendar_bounds(feature),
                masked=feature.elapsed is not None,
                texts=_calendar_texts(feature),
            )
        )
    columns.append(Column("sequence_id", "BYTES", "name of the sequence", 1, 1))
    columns.append(Column("steps", "INT", "input steps", 1, 1, bounds=(least, most)))
    if has_step_targets(task):
        return [
            *columns,
            *(Column(name, "FLOAT", "target of each step", least, most, masked=True) for name in targets_of(task)),
        ]
    if has_step_labels(task):
        return [*columns, Column(task.label, "BYTES", "label of each step", least, most, masked=True)]
    if is_multi_label(task):
        return [
            *columns,
            *(Column(name, "FLOAT", "label", 1, 1, masked=True, bounds=(0.0, 1.0)) for name in task.labels),
        ]
    if has_several_targets(task):
        return [*columns, *(Column(name, "FLOAT", "target", 1, 1, masked=True) for name in task.targets)]
    if isinstance(task, ClassificationConfig | RegressionConfig):
        kind = "BYTES" if isinstance(task, ClassificationConfig) else "FLOAT"
        return [*columns, Column(task.label, kind, "label", 1, 1)]
    naive = {"naive_last/": "baseline: the last value"}
    if task.season_length is not None:
        naive["naive_seasonal/"] = "baseline: a season before"
    horizons, masked = len(task.horizons), dataset.data.policies.missing_target == "mask"
    for target in task.targets:
        for prefix, meaning in {"target/": "target", **naive}.items():
            columns.append(
                Column(
                    prefix + target,
                    "FLOAT",
                    meaning,
                    horizons,
                    horizons,
                    values_of=target,
                    masked=masked and prefix == "target/",
                )
            )
    return columns


def _calendar_bounds(feature: FeatureConfig) -> tuple[float, float] | None:
    if feature.calendar is None or feature.kind != "numeric":
        return None
    return (0.0, 1.0) if feature.calendar in CALENDAR_FLAGS else (-1.0, 1.0)


def _calendar_texts(feature: FeatureConfig) -> tuple[str, ...] | None:
    if feature.calendar is None or feature.kind != "categorical":
        return None
    return tuple(calendar_texts(feature.calendar))


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
    return parse_schema(text, path)


def parse_schema(text: str, source: str | Path) -> Any:
    """Parse the text of a ``schema_pb2.Schema``; raise ``ConfigError`` with the source and the line if it is none."""
    try:
        return text_format.Parse(text, _pb2.Schema())
    except text_format.ParseError as error:
        line = f"line {error.GetLine()}: " if error.GetLine() else ""
        raise ConfigError(f"{source}: {line}not a TensorFlow Metadata schema in text form: {error}") from error

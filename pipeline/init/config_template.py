"""Render the config.yaml that `noisy-gru init` proposes, with comments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import yaml

from noisy_gru.pipeline.init.roles import Guess
from noisy_gru.pipeline.init.sizing import Training
from noisy_gru.schema.config import DatasetConfig, FeatureConfig, ForecastingConfig, SpansConfig
from noisy_gru.schema.task_config import is_multi_label, is_per_step, targets_of


def config_text(
    name: str,
    dataset: DatasetConfig,
    guesses: Sequence[Guess],
    left_out: dict[str, str],
    training: Training,
    min_tested: int | None = None,
) -> str:
    """Return the YAML of a configuration, with defaults for all that doesn't concern the data.

    ``min_tested``: `evaluation.min_test_sequences`; None: the default.
    """
    lines = ["# Proposed by `noisy-gru init`. Inferred settings, with the reasons:"]
    lines += [f"#   {_comment(str(each))}" for each in guesses]
    lines += [
        "# All keys: docs/config-reference.md. Check changes with `noisy-gru validate`.",
        f"name: {_scalar(name)}",
        "seed: 0",
        "# Schema that the data is validated against; inferred from your files, please correct it.",
        "schema: schema.pbtxt",
        "",
        "data:",
        *_files(dataset),
        "  # Column that names a sequence (null: all rows are one series; a list: several), and what orders its steps.",
        f"  entity: {_flow(dataset.data.entity)}",
    ]
    time = dataset.data.time
    if time is not None:
        lines.append(f"  time: {_flow(time.model_dump(exclude_defaults=True) | {'kind': time.kind})}")
    lines += [
        "  # Inputs of the model. `missing: mask` adds an input that marks missing values.",
        "  features:",
    ]
    lines += [f"    - {text}" for text in dict.fromkeys(map(_feature, dataset.data.features))]
    for column, why in left_out.items():
        lines.append(f"    # left out: {_comment(f'{column} ({why})')}")
    lines += _policies(dataset)
    task = dataset.task
    lines += ["", "task:", f"  kind: {task.kind}"]
    if isinstance(task, ForecastingConfig):
        lines += [
            f"  targets: {_flow(task.targets)}",
            "  # Steps of the past that the model reads, and steps ahead that it predicts.",
            f"  input_length: {task.input_length}",
            f"  horizons: {_flow(task.horizons)}",
        ]
        if task.stride > 1:
            lines += ["  # Steps between two windows: with 1 an epoch would read many times as much.", ""]
            lines[-1] = f"  stride: {task.stride}"
        if task.season_length is not None:
            lines += ["  # Steps of a season: a model has to beat the value one season before.", ""]
            lines[-1] = f"  season_length: {task.season_length}"
    else:
        if is_multi_label(task):
            lines += ["  # Each is true or false by itself; one that is missing is left out of the loss.", ""]
            lines[-1] = f"  labels: {_flow(task.labels)}"
        else:
            several = targets_of(task)
            lines.append(f"  targets: {_flow(several)}" if len(several) > 1 else f"  label: {_scalar(task.label)}")
        if is_per_step(task):
            what, those = ("number", "one") if task.kind == "regression" else ("class", "a label")
            lines += [f"  # A {what} for each step; those without {those} are masked.", "  per_step: true"]
    lines += ["", *_splits(dataset)]
    model = _LAYERS if training.preset is None else f"{_PRESETS[training.preset]}\n  preset: {training.preset}"
    rest = _REST.format(model=model, epochs=training.epochs, batch_size=training.batch_size, patience=training.patience)
    if training.difference:
        rest = rest.replace("\n\ntraining:", f"\n{_DIFFERENCE}\n\ntraining:")
    if min_tested is not None:
        rest += _MIN_TESTED.format(count=min_tested)
    return "\n".join(lines) + "\n" + rest


_MIN_TESTED = """  # The test split holds no more sequences. A result on so few is mostly chance: bring more data.
  min_test_sequences: {count}
"""


_DIFFERENCE = """  # The model predicts the difference from the last value.
  target: difference"""

_LAYERS = """  # Noisy GRU layers, from the input up; stddev: of the random initial state in training.
  layers:
    - {units: 64, stddev: 0.1}
    - {units: 32, stddev: 0.05}
    - {units: 16, stddev: 0.025}"""

_PRESETS = {
    "classification": """\
  # Noisy GRUs behind convolutions, and random kernels beside them: better than GRUs alone on published
  # data with as few sequences (docs/classification.md). `preset: reference` is the stack of 64, 32 and 16 alone.""",
    "long": """\
  # Noisy GRUs over segments of 24 steps (docs/classification.md). `preset: reference` reads step by step.""",
    "forecasting": """\
  # Noisy GRUs over segments of 24 steps, relative to each window's last value (docs/forecasting.md).
  # `preset: reference` reads step by step.""",
}

_REST = """
model:
{model}

training:
  epochs: {epochs}
  batch_size: {batch_size}
  learning_rate: 0.001
  # Stops when the eval split has not improved for `patience` epochs, and keeps the best weights.
  early_stopping: {{monitor: val_loss, patience: {patience}}}

evaluation:
  # A model has to beat the naive baselines. Add thresholds of metrics, for example
  # thresholds: {{accuracy: {{min: 0.9}}}}    (or mae: {{max: 2.5}})
  thresholds: {{}}
  baselines: require
"""


def _files(dataset: DatasetConfig) -> list[str]:
    files, sql = dataset.data.files, dataset.data.sql
    if sql is not None:
        given = sql.model_dump(exclude_defaults=True)
        return [
            "  # The rows of a query; a database's file is relative to this file.",
            "  sql:",
            *(f"    {key}: {_flow(value)}" for key, value in given.items()),
        ]
    lines = ["  # Files or patterns, relative to this file."]
    if isinstance(files, dict):
        lines += ["  files:", *(f"    {split}: {_flow(patterns)}" for split, patterns in files.items())]
    else:
        lines.append(f"  files: {_flow(files)}")
    if dataset.data.spans != SpansConfig():
        lines.append("  # Spans that a run reads, up to that of --span: rolling (count: 30), static, or all.")
        lines.append(f"  spans: {_flow(dataset.data.spans.model_dump(exclude_defaults=True))}")
    if dataset.data.format != "auto":
        lines.append(f"  format: {dataset.data.format}")
    if dataset.data.layout is not None:
        lines += [
            "  # A wide table: each cell is a row. data.layout in docs/data-formats.md.",
            f"  layout: {_flow(dataset.data.layout.model_dump(exclude_defaults=True))}",
        ]
    if excel := dataset.data.excel.model_dump(exclude_defaults=True):
        lines.append(f"  excel: {_flow(excel)}")
    if csv := dataset.data.csv.model_dump(exclude_defaults=True):
        lines += ["  # How the files are written: data.csv in docs/data-formats.md.", f"  csv: {_flow(csv)}"]
    return lines


def _feature(feature: FeatureConfig) -> str:
    given = feature.model_dump(exclude_defaults=True)
    if feature.calendar is not None:
        # One entry may be a sine and a cosine; it brings name, kind and scale.
        rest = {key: value for key, value in given.items() if key not in ("calendar", "name", "kind", "scale")}
        return _flow({"calendar": feature.calendar, **rest})
    return _scalar(feature.name) if set(given) == {"name"} else _flow(given)


def _policies(dataset: DatasetConfig) -> list[str]:
    given = dataset.data.policies.model_dump(exclude_defaults=True)
    lines = [f"  max_length: {dataset.data.max_length}"] if "max_length" in dataset.data.model_fields_set else []
    if given:
        lines += ["  policies:", *(f"    {key}: {_scalar(value)}" for key, value in given.items())]
    return lines


def _splits(dataset: DatasetConfig) -> list[str]:
    splits = dataset.splits
    why = {
        "entity": "Whole sequences are assigned to a split by a hash of their names.",
        "files": "The splits of your files; early stopping takes its part from train.",
        "column": "The splits of a column of your data.",
        "time": "The past is for training, the future for evaluation; their windows don't overlap.",
    }[splits.by]
    return [f"# {why}", f"splits: {_flow(splits.model_dump(exclude_unset=True))}"]


def _comment(text: str) -> str:
    """Return text for a comment: on one line, with characters that YAML forbids escaped."""
    line = " ".join(text.splitlines())
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in line)


def _scalar(value: Any) -> str:
    """Return a YAML scalar; text is quoted if YAML could read it as another type."""
    if not isinstance(value, str):
        # NumPy's numbers are floats that the dumper doesn't know.
        return yaml.safe_dump(float(value) if isinstance(value, float) else value).partition("\n")[0]
    plain = value.replace("_", "a").replace("-", "a").replace(".", "a").replace("/", "a")
    reserved = value.lower() in ("yes", "no", "on", "off", "true", "false", "null", "y", "n", "nan", "inf")
    if plain.isascii() and plain.isalnum() and value[0].isalpha() and not reserved:
        return value
    return yaml.safe_dump(value, default_style='"', allow_unicode=True, width=math.inf).rstrip("\n")


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_scalar(key)}: {_flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _scalar(value)

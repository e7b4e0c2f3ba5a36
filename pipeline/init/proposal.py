"""Propose a configuration and a schema for data files.

>>> proposal = propose(["sensors/*.parquet"], out=Path("my-model"))  # doctest: +SKIP
>>> proposal.write(Path("my-model"))  # doctest: +SKIP
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from noisy_gru.data.reading.files import is_folder
from noisy_gru.data.values.precision import precision_loss
from noisy_gru.data.values.precision import sample_distinct as some_of
from noisy_gru.pipeline.config.pipeline_config import NAME
from noisy_gru.pipeline.init.config_template import config_text
from noisy_gru.pipeline.init.inference import Guess, Roles, guess_columns, guess_task, is_timestamp
from noisy_gru.pipeline.init.sampling import STEP, record_entity
from noisy_gru.pipeline.init.sampling import sample as sample_rows
from noisy_gru.pipeline.schema_file.data_profile import measure
from noisy_gru.pipeline.schema_file.entries import proposed_schema
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import ConfigError
from noisy_gru.schema.file_patterns import absolute_pattern, escape, escape_existing, local_glob, unescape
from noisy_gru.schema.span_patterns import SpanPattern, holds_spans, pattern_problems
from noisy_gru.storage.atomic_files import write_atomically

_SPLIT_WORDS = {"train": "train", "training": "train", "test": "test", "testing": "test"}
_SPLIT_WORDS |= dict.fromkeys(("eval", "val", "valid", "validation", "dev"), "eval")
_SEASONS = {60: 60, 300: 288, 600: 144, 900: 96, 1800: 48, 3600: 24, 86400: 7}
_OFFSETS = {60: "1min", 300: "5min", 600: "10min", 900: "15min", 1800: "30min", 3600: "1h", 86400: "1D"}
MOST_VOCABULARY = 1000
Splits = dict[str, Any]


@dataclass(frozen=True)
class Proposal:
    """The texts of both files, and the inferred settings, one line each."""

    config: str
    schema: str
    guesses: list[str]

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
) -> Proposal:
    """Infer a configuration from the first rows of files, and a schema from all rows.

    Args:
        data: files or patterns, relative to the current folder.
        out: folder of the configuration, which its paths are relative to.
        task: task of the model, if known; likewise ``entity``, ``time`` and ``targets`` (label, or columns to
            forecast).
        name: name of the pipeline; None: that of the folder.

    Raises:
        ConfigError: files or columns are missing, the name is invalid, or no configuration can be inferred.
    """
    if name is not None and re.fullmatch(NAME, name) is None:
        raise ConfigError(f"--name: expected lower case, digits and hyphens, found {name!r}")
    data = [escape_existing(given) for given in data]
    paths = _matching(data)
    spanned = holds_spans(data)
    rows = sample_rows(paths)
    sample = rows.frame
    if rows.is_records:
        entity, time = entity or record_entity(sample), STEP
    roles = guess_columns(sample, entity=entity, time=time)
    split_column = _split_column(sample, roles)
    roles.constant = [column for column in roles.constant if column != split_column]
    kind, answers = guess_task(sample, roles, task=task, targets=list(targets))
    left_out: dict[str, str] = {}
    features = _features(sample, roles, kind, answers, left_out, split_column)
    if kind == "regression":
        _offset(answers[0], sample[answers[0]], roles, is_target=True)
    patterns = data if spanned else [escape(str(path)) for path in paths]
    files, splits = _splits(patterns, out, kind, sample, split_column, roles)
    timing, forecasting = _timing(sample, roles, kind)
    if forecasting and roles.time_kind == "timestamp":
        features.append({"calendar": "hour_of_day"})
        roles.guesses.append(Guess("calendar hour_of_day", "forecasts depend on the time of day"))
    content: dict[str, Any] = {
        "data": {"files": files, "entity": roles.entity, "time": timing, "features": features},
        "task": {"kind": kind, **({"targets": answers, **forecasting} if forecasting else {"label": answers[0]})},
        "splits": splits,
    }
    if spanned:
        content["data"]["spans"] = {"window": "all"}
        roles.guesses.append(Guess("spans all", "a rolling window would read only the newest spans", sure=False))
    if rows.is_records:
        if forecasting:
            raise ConfigError("--data: forecasting expects tables with a time column, found TFRecords")
        content["data"] |= {"format": rows.format, "time": None}
    measures = measure(_absolute(DatasetConfig.model_validate(content), out))
    if not forecasting:
        longest = max(measures.steps.values(), default=1)
        content["data"]["max_length"] = int(np.ceil(longest * 1.5))
    dataset = DatasetConfig.model_validate(content)
    read = Guess("read", f"{measures.rows:,} rows of {len(measures.steps):,} sequences")
    guesses = [read, *roles.guesses, *(Guess(f"left out {column}", why) for column, why in left_out.items())]
    if measures.quarantined:
        counts = ", ".join(f"{count} {reason}" for reason, count in measures.quarantined.items())
        guesses.append(
            Guess("rows that can't be used", f"{counts}; a run quarantines them, and fails above 5 %", False)
        )
        guesses += [Guess("for example", each.removeprefix(f"{Path.cwd()}/")) for each in measures.examples]
    if name is None:
        name = re.sub(r"[^a-z0-9]+", "-", out.resolve().name.lower()).strip("-") or "my-model"
    return Proposal(
        config_text(name, dataset, guesses, left_out), proposed_schema(dataset, measures), list(map(str, guesses))
    )


def _matching(data: Sequence[str]) -> list[Path]:
    """Return the files of all patterns and all spans, each once."""
    if problems := pattern_problems(data):
        raise ConfigError("\n".join(f"--data {problem}" for problem in problems))
    paths: dict[str, Path] = {}
    for given in data:
        pattern = SpanPattern(given)
        found = local_glob(pattern.glob)
        if holds_spans(data):
            found = [path for path in found if _is_of_span(pattern, path)]
        if not found:
            raise ConfigError(f"--data {unescape(given)}: matches no file")
        if "**" in given:
            found = [path for path in found if not is_folder(path)]
        if folder := next(filter(is_folder, found), None):
            raise ConfigError(f"--data {unescape(given)}: {folder} is a folder. Give the files in it: {folder}/*.csv")
        paths |= {path: Path(path) for path in found}
    return list(paths.values())


def _is_of_span(pattern: SpanPattern, path: str) -> bool:
    try:
        return pattern.match(path) is not None
    except ValueError as error:
        raise ConfigError(f"--data {unescape(pattern.text)}: {path} is not a span: {error}. Rename it") from error


def _absolute(dataset: DatasetConfig, out: Path) -> DatasetConfig:
    files = dataset.data.files
    groups = files if isinstance(files, dict) else {"": files}
    there = str(out.absolute())
    absolute = {split: [absolute_pattern(each, there) for each in group] for split, group in groups.items()}
    data = dataset.data.model_copy(update={"files": absolute if isinstance(files, dict) else absolute[""]})
    return dataset.model_copy(update={"data": data})


def _split_column(sample: pd.DataFrame, roles: Roles) -> str | None:
    for column in roles.constant + roles.others:
        values = {str(value).lower() for value in sample[column].dropna().unique()[:10]}
        if values and values <= set(_SPLIT_WORDS) and {"train", "test"} <= {_SPLIT_WORDS[value] for value in values}:
            return column
    return None


def _features(
    sample: pd.DataFrame,
    roles: Roles,
    kind: str,
    answers: list[str],
    left_out: dict[str, str],
    split_column: str | None,
) -> list[dict[str, Any] | str]:
    features: list[dict[str, Any] | str] = []
    for column in roles.others:
        if column in (split_column, *(answers if kind != "forecasting" else ())):
            continue
        values = sample[column]
        if values.nunique() <= 1:
            left_out[column] = "at most one value"
        elif pd.api.types.is_numeric_dtype(values):
            features.append(_numeric(column, values, roles, is_target=column in answers))
        elif is_timestamp(values):
            left_out[column] = "a second time column"
        elif values.nunique() <= MOST_VOCABULARY and values.nunique() < len(values) / 2:
            features.append({"name": column, "kind": "categorical"})
        else:
            left_out[column] = "text with few repeated values"
    for column in roles.constant:
        if column not in answers:
            left_out[column] = f"constant within a {roles.entity}; add it unless it depends on the label"
    if kind == "forecasting" and roles.entity not in left_out and sample[roles.entity].nunique() <= MOST_VOCABULARY:
        features.append({"name": roles.entity, "kind": "categorical"})
    if not features:
        raise ConfigError(
            f"expected at least one column for features, besides {roles.entity}, {roles.time}, {', '.join(answers)}"
        )
    return features


def _numeric(column: str, values: pd.Series, roles: Roles, *, is_target: bool) -> dict[str, Any] | str:
    given: dict[str, Any] = {"name": column}
    low, middle, high = np.nanquantile(values.astype(float), [0.25, 0.5, 0.75])
    if high > low and np.nanmax(np.abs(values - middle)) > 20 * (high - low):
        given["scale"] = "robust"
    if values.isna().mean() > 0.01:
        given["missing"] = "mask"
    if offset := _offset(column, values, roles, is_target=is_target):
        given["offset"] = offset
    return given if len(given) > 1 else column


def _offset(column: str, values: pd.Series, roles: Roles, *, is_target: bool) -> float | None:
    """Return the offset of a column whose values float32 can't tell apart; for a target, add a warning instead."""
    found = precision_loss(column, some_of(np.asarray(pd.to_numeric(values, errors="coerce"), np.float64)))
    if found is None:
        return None
    if found.is_severe and not is_target:
        roles.guesses.append(Guess(f"{column}, offset {found.offset:.17g}", str(found).partition(": ")[2]))
        return found.offset
    remedy = "; subtract a constant from it in the data, or predict differences" if is_target else ""
    roles.guesses.append(Guess(column, str(found).partition(": ")[2] + remedy, sure=False))
    return None


def _splits(
    patterns: list[str], out: Path, kind: str, sample: pd.DataFrame, split_column: str | None, roles: Roles
) -> tuple[list[str] | dict[str, list[str]], Splits]:
    here, there = escape(str(Path.cwd())), escape(str(out.absolute()))
    relative = {pattern: os.path.relpath(os.path.join(here, pattern), there) for pattern in patterns}  # noqa: PTH118
    if kind == "forecasting":
        return list(relative.values()), {"by": "time", "eval": 0.1, "test": 0.15}
    if split_column is not None:
        values: dict[str, list[str]] = {}
        for value in map(str, sample[split_column].dropna().unique()):
            values.setdefault(_SPLIT_WORDS[value.lower()], []).append(value)
        roles.guesses.append(Guess(f"splits by column {split_column}", "its values are names of splits"))
        rest = {} if "eval" in values else {"eval_from_train": 0.15}
        return list(relative.values()), {"by": "column", "column": split_column, "values": values, **rest}
    named: dict[str, list[str]] = {}
    for pattern in patterns:
        words = re.split(r"[^a-z]+", os.path.basename(pattern).lower())  # noqa: PTH119
        splits = [_SPLIT_WORDS[word] for word in words if word in _SPLIT_WORDS]
        named.setdefault(splits[0] if splits else "", []).append(relative[pattern])
    if {"train", "test"} <= set(named) and "" not in named:
        roles.guesses.append(Guess("splits by files", "their names contain train and test"))
        return named, {"by": "files", **({} if "eval" in named else {"eval_from_train": 0.15})}
    count = sample[roles.entity].nunique()
    roles.guesses.append(Guess("splits by entity", "10 % for early stopping, 10 % for evaluation", count >= 50))
    return list(relative.values()), {"by": "entity", "eval": 0.1, "test": 0.1}


def _timing(sample: pd.DataFrame, roles: Roles, kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the section of the time column, and for forecasting the windows."""
    timing: dict[str, Any] = {"column": roles.time, "kind": roles.time_kind}
    if kind != "forecasting":
        return timing, {}
    column = sample[roles.time]
    moments: Any = pd.to_datetime(column, format="ISO8601", utc=True) if roles.time_kind == "timestamp" else column
    steps: Any = moments.groupby(sample[roles.entity], sort=False, observed=True).diff().dropna()
    season: int | None = None
    if len(steps):
        step = steps.mode().iloc[0]
        irregular = float((steps != step).mean())
        seconds = int(step.total_seconds()) if roles.time_kind == "timestamp" else None
        season = _SEASONS.get(seconds) if seconds is not None else None
        frequency = _OFFSETS.get(seconds) if seconds is not None else str(int(step)) if step % 1 == 0 else None
        if 0 < irregular < 0.2 and frequency:
            timing |= {"frequency": frequency, "gaps": "fill"}
            roles.guesses.append(Guess("gaps fill", f"{irregular:.2%} of the steps are longer than {frequency}"))
    shortest = int(sample.groupby(roles.entity, observed=True).size().min())
    length = max(1, min(season or 24, shortest // 8))
    horizon = max(1, length // 4)
    roles.guesses.append(
        Guess(
            f"input_length {length}, horizon {horizon}",
            "one season" if season == length else "a starting point",
            sure=False,
        )
    )
    fits = season is not None and season <= shortest // 8
    return timing, {"input_length": length, "horizons": [horizon], **({"season_length": season} if fits else {})}

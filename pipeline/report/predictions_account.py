"""The account of prediction files: what was predicted, how surely, and some of the forecasts.

>>> account = predictions_page_account(config, ["scores/span=7"])  # doctest: +SKIP
>>> account["predictions"]["labels"]  # doctest: +SKIP
{'rises': 210, 'falls': 90}
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.report.account import FORMAT
from noisy_gru.pipeline.runs.run_record import timestamp
from noisy_gru.schema.config import ClassificationConfig, ForecastingConfig
from noisy_gru.schema.errors import DataError, UserError
from noisy_gru.schema.interval_config import levels_of
from noisy_gru.schema.task_config import MultiLabelConfig
from noisy_gru.serving.client.prediction_columns import PROBABILITY, SEQUENCE_ID, number_names

VERSION = "model_version"
SHOWN = 6
UNSURE = 10
_BINS = 20
_ENDINGS = (".csv", ".jsonl", ".json", ".ndjson", ".parquet", ".pq")
# Shares of the sequences that a chart of forecasts shows beside their mean.
_SPREAD = (0.1, 0.5, 0.9)


def predictions_page_account(config: PipelineConfig, paths: Sequence[Path]) -> dict[str, Any]:
    """Return the account of prediction files, of the layouts short and wide, for ``run_page``.

    Args:
        config: configuration of the model.
        paths: files of `noisy-gru predict`, or folders of parts.

    Raises:
        UserError: a file is missing or unreadable, or holds no predictions of this configuration.
    """
    files = [file for path in paths for file in _files(path)]
    label = {config.task.label: str} if isinstance(config.task, ClassificationConfig) else {}
    frames = [_read(file, {SEQUENCE_ID: str, "entity": str, **label}) for file in files]
    kept = [frame for frame in frames if len(frame)]
    frame = pd.concat(kept, ignore_index=True) if kept else pd.DataFrame({SEQUENCE_ID: []})
    try:
        predictions = _account(frame, config, files) if kept else None
    except ValueError as error:
        raise DataError(f"{files[0]}: expected numbers in the columns of predictions: {error}") from error
    versions = list((predictions or {}).get("versions", {}))
    by = f" by version {', '.join(versions)}" if versions else ""
    return {
        "format": FORMAT,
        "examples": config.report.examples,
        "run": {
            "run_id": "show predictions",
            "command": "noisy-gru show predictions",
            "pipeline": config.name,
            "status": "data",
            "started": timestamp(datetime.now(UTC)),
            "seconds": 0.0,
        },
        "outcome": {
            "status": "data",
            "headline": f"{len(frame):,} predictions{by}",
            "version": None,
            "compared_with": None,
            "decisive": None,
            "reasons": [],
            "warnings": [],
            "comparisons": [],
            "plan": None,
            "next": [],
        },
        "predictions": predictions,
        "notes": {} if kept else {"predictions": "No sequence was predicted."},
    }


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(path.glob("**/part-*"))
    found = [file for file in found if file.suffix.lower() in _ENDINGS and not file.name.startswith(".")]
    if not found:
        raise UserError(f"{path}: expected files part-* of noisy-gru predict in the folder, found none")
    return found


def _read(file: Path, text: Mapping[str, type]) -> pd.DataFrame:
    try:
        if not file.stat().st_size:
            return pd.DataFrame({SEQUENCE_ID: []})
        if file.suffix.lower() in (".parquet", ".pq"):
            return pd.read_parquet(file, partitioning=None)
        if file.suffix.lower() == ".csv":
            return pd.read_csv(file, dtype=dict(text), keep_default_na=False, na_values={VERSION: [""]})
        with file.open(encoding="utf-8") as stream:
            return pd.DataFrame([json.loads(line) for line in stream if line.strip()])
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UserError(f"{file}: can't be read as a file of predictions: {reason}") from error


def _account(frame: pd.DataFrame, config: PipelineConfig, files: Sequence[Path]) -> dict[str, Any]:
    task = config.task
    if isinstance(task, MultiLabelConfig):
        names = [name for label in task.labels for name in (label, f"{PROBABILITY}{label}")]
    else:
        names = [task.label] if isinstance(task, ClassificationConfig) else number_names(task)
    if missing := [name for name in [SEQUENCE_ID, *names] if name not in frame]:
        long = " It has the layout long: predict with --layout wide or short." if "prediction" in frame else ""
        raise DataError(
            f"{files[0]}: expected the columns {', '.join(missing)} of predictions of this configuration "
            f"({task.kind}), received {', '.join(map(str, frame.columns))}.{long}"
        )
    versions: dict[str, int] = {}
    if VERSION in frame:
        counts = frame[VERSION].dropna().astype(np.int64).value_counts().sort_index()
        versions = {str(version): int(count) for version, count in counts.items()}
    content: dict[str, Any] = {
        "kind": task.kind,
        "files": [str(file) for file in files],
        "predictions": len(frame),
        "versions": versions,
        "units": getattr(task, "units", None),
    }
    if isinstance(task, ClassificationConfig):
        return content | _classes(frame, task.label, config.report.examples)
    if isinstance(task, MultiLabelConfig):
        return content | _labels(frame, task)
    numbers = {name: pd.to_numeric(frame[name]).to_numpy(float) for name in names}
    content["numbers"] = [_number(name, values) for name, values in numbers.items()]
    if isinstance(task, ForecastingConfig):
        content["horizons"] = list(task.horizons)
        content["forecasts"] = [_horizons(target, frame, task) for target in task.targets]
        content["series"] = _series(frame, task) if config.report.examples else None
    return content


def _classes(frame: pd.DataFrame, label: str, examples: bool) -> dict[str, Any]:
    chosen = frame[label].astype(str)
    counts = chosen.value_counts()
    columns = [name for name in frame if str(name).startswith(PROBABILITY)]
    highest = frame[columns].apply(pd.to_numeric).to_numpy(float).max(axis=1)
    edges = np.linspace(0, 1, _BINS + 1)
    order = np.argsort(highest, kind="stable")[:UNSURE]
    unsure = [
        {"id": str(frame[SEQUENCE_ID].iloc[place]), "label": chosen.iloc[place], "probability": float(highest[place])}
        for place in order.tolist()
    ]
    return {
        "labels": {str(name): int(count) for name, count in counts.items()},
        "confidence": {"edges": edges.tolist(), "counts": np.histogram(highest, edges)[0].tolist()},
        "mean_confidence": float(highest.mean()),
        "unsure": unsure if examples else None,
    }


def _labels(frame: pd.DataFrame, task: MultiLabelConfig) -> dict[str, Any]:
    counts = {label: int((pd.to_numeric(frame[label]) == 1).sum()) for label in task.labels}
    scores = {label: pd.to_numeric(frame[f"{PROBABILITY}{label}"]).to_numpy(float) for label in task.labels}
    return {"labels": counts, "numbers": [_number(label, each) for label, each in scores.items()]}


def _number(name: str, values: np.ndarray) -> dict[str, Any]:
    counts, edges = np.histogram(values, _BINS)
    return {
        "name": name,
        "mean": float(values.mean()),
        "min": float(values.min()),
        "max": float(values.max()),
        "edges": edges.tolist(),
        "counts": counts.tolist(),
    }


def _horizons(target: str, frame: pd.DataFrame, task: ForecastingConfig) -> dict[str, Any]:
    """Return the mean over the sequences at each horizon, and their spread."""
    values = frame[[f"{target}@{horizon}" for horizon in task.horizons]].apply(pd.to_numeric).to_numpy(float)
    spread = {f"{share:.0%} of the sequences": np.quantile(values, share, axis=0).tolist() for share in _SPREAD}
    return {"target": target, "mean": values.mean(axis=0).tolist(), "spread": spread}


def _series(frame: pd.DataFrame, task: ForecastingConfig) -> list[dict[str, Any]]:
    """Return the forecasts of the first sequences, with the outer quantiles, where there are some."""
    levels = levels_of(task)
    outer = [levels[0], levels[-1]] if len(levels) > 1 else []
    found = []
    for row in frame.head(SHOWN).to_dict("records"):
        lines = {}
        for target in task.targets:
            names = [f"{target}@{horizon}" for horizon in task.horizons]
            lines[target] = [float(row[name]) for name in names]
            for level in outer:
                if all(f"{name}_q{level:g}" in row for name in names):
                    lines[f"{target} q{level:g}"] = [float(row[f"{name}_q{level:g}"]) for name in names]
        found.append({"id": str(row[SEQUENCE_ID]), "lines": lines})
    return found

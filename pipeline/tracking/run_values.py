"""The settings of a run and its numbers, as trackers take them: flat, by name."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.pipeline.runs.run_record import RunRecord


def settings_of(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value of a configuration with its key, as `--set` writes it; nothing for an empty section."""
    for key, value in config.items():
        name = f"{prefix}{key}"
        items = dict(enumerate(value)) if isinstance(value, list) else value
        if isinstance(items, Mapping):
            yield from settings_of({str(each): items[each] for each in items}, f"{name}.")
        elif value is not None:
            yield name, value


def parameters_of(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the settings as texts."""
    return ((name, str(value)) for name, value in settings_of(config))


def history_of(record: RunRecord, directory: RunDirectory) -> Iterator[tuple[str, float, int]]:
    """Yield name, value and epoch (from 1) of the training; nothing if its artifact is gone."""
    from noisy_gru.pipeline.report.account import SECTIONS, section_content
    from noisy_gru.pipeline.report.artifacts import Artifacts

    artifacts = Artifacts(record, directory.root)
    training = section_content("training", SECTIONS["training"], artifacts, examples=False, notes={}) or {}
    for name, values in (training.get("history") or {}).items():
        for epoch, value in enumerate(values, start=1):
            if name != "epoch" and value is not None and math.isfinite(value):
                yield f"training/{name}", value, epoch


def results_of(record: RunRecord) -> dict[str, float]:
    """Return the numbers of the whole run: of the evaluation, of its baseline, the seconds of each step."""
    single = {f"test/{name}": value for name, value in record.metrics.items()}
    single |= {f"baseline/{name}": value for name, value in record.baseline.items()}
    single |= {f"seconds/{step.name}": step.seconds for step in record.steps}
    return {name: value for name, value in single.items() if math.isfinite(value)}

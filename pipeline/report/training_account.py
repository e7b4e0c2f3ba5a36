"""The training: loss and metrics by epoch, the best epoch, how long each epoch took, the noise."""

from __future__ import annotations

import csv
from itertools import pairwise
from pathlib import Path
from typing import Any

from noisy_gru.data.reading.tables import Source
from noisy_gru.data.reading.tfrecords import read_frames
from noisy_gru.pipeline.report.artifacts import Artifacts
from noisy_gru.saved_model.message_classes import message_classes

# tensorflow/core/util/event.proto; what else is in an event isn't read.
_EVENT = message_classes(
    "noisy_gru.report_events", {"Event": {"wall_time": (1, "double", False), "step": (2, "int64", False)}}
)["Event"]


def training_account(artifacts: Artifacts, examples: bool) -> dict[str, Any]:
    """Return the history by epoch, the key numbers, and what the noise and the learning rate were set to.

    Raises:
        AbsentError: the run ended before the training did, or its artifact is gone.
    """
    training = artifacts.json("Trainer", "model_run", "training.json")
    folder = artifacts.folder("Trainer", "model_run")
    history = read_history(folder / "history.csv")
    trainer = training.get("trainer") or {}
    settings = trainer.get("training") or {}
    choice = training.get("noise") or {}
    layers = (trainer.get("model") or {}).get("layers") or []
    return {
        **{key: training.get(key) for key in ("epochs", "best_epoch", "parameters", "seconds", "seed", "final", "xla")},
        "history": history,
        "epoch_seconds": epoch_seconds(folder),
        "learning_rate": settings.get("learning_rate"),
        "schedule": settings.get("schedule"),
        "noise": choice.get("stddev") or [layer.get("stddev") for layer in layers],
        "noise_choice": choice or None,
        "noise_schedule": settings.get("noise_schedule"),
        "warm_start": training.get("warm_start"),
        "decision": training.get("decision"),
    }


def read_history(file: Path) -> dict[str, list[float | None]]:
    """Return the columns of ``history.csv``; None where an epoch has no value.

    Raises:
        ValueError: there is no epoch in it, or what isn't a number.
    """
    with file.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    if not rows:
        raise ValueError(f"{file} holds no epoch")
    return {name: [float(row[name]) if row[name] else None for row in rows] for name in rows[0]}


def epoch_seconds(folder: Path) -> list[float]:
    """Return the durations of the epochs after the first, from the times in TensorBoard's event files.

    An epoch during which the training was interrupted is left out.
    """
    times: dict[int, float] = {}
    durations: list[float] = []
    for file in sorted(folder.glob("train/events.out.tfevents.*")):
        times = {}
        for record in read_frames(Source(str(file), file.name, "example")):
            event: Any = _EVENT.FromString(record)
            times.setdefault(event.step, event.wall_time)
        steps = sorted(times)
        # The file's first event has step 0, too: the first epoch's own time isn't known.
        durations += [times[b] - times[a] for a, b in pairwise(steps) if b == a + 1]
    return durations

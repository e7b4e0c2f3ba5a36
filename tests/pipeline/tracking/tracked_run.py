"""A run on disk that published version 4, for tests of what reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.pipeline.runs.run_record import RowCounts, RunRecord, StepRecord

CONFIG = {
    "name": "odd",
    "model": {"layers": [{"units": 8, "stddev": 0.1}]},
    "data": {"files": ["a.csv"], "entity": None},
}
TRAINER = "2026-04-01T03:00:02.500Z"
HISTORY = "epoch,loss,val_loss\n0,1.5,1.25\n1,0.75,\n"


def run_of(root: Path, **changes: Any) -> tuple[RunDirectory, RunRecord]:
    """A run on disk that published version 4, with a history of two epochs."""
    directory = RunDirectory(root)
    directory.create()
    training = directory.artifacts / "Trainer" / "model_run" / "1"
    training.mkdir(parents=True, exist_ok=True)
    (training / "history.csv").write_text(HISTORY)
    (training / "training.json").write_text(json.dumps({"epochs": 2, "best_epoch": 2}))
    model = directory.serving / "odd" / "4"
    model.mkdir(parents=True, exist_ok=True)
    (model / "saved_model.pb").write_bytes(b"graph")
    content = {
        "run_id": "20260401-030000-114270",
        "pipeline": "odd",
        "status": "succeeded",
        "started": "2026-04-01T03:00:00Z",
        "finished": "2026-04-01T03:01:30Z",
        "seconds": 90.0,
        "config_path": "config.yaml",
        "config_hash": "0" * 64,
        "config": CONFIG,
        "seed": 0,
        "root": str(root),
        "log": "log",
        "rows": RowCounts(read=900, kept=880, quarantined={"bad_number": 15, "late": 5}),
        "steps": [
            StepRecord(
                name="Trainer", status="complete", started="2026-04-01T03:00:02.500Z", seconds=60.25, peak_mb=700
            ),
            StepRecord(name="Pusher", status="complete", seconds=0.5, cpu_seconds=0.25),
        ],
        "metrics": {"accuracy": 0.875, "pr_auc": float("nan")},
        "baseline": {"accuracy": 0.5},
        "artifacts": {"Trainer": {"model_run": [str(training)]}},
        "version": 4,
        "published_path": str(model),
        "fingerprint": "f" * 64,
        "pid": 1,
        "host": "here",
    }
    record = RunRecord.model_validate(content | changes)
    directory.write(record)
    return directory, record

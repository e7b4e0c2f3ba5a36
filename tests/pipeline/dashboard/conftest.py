"""A root as runs leave it, without TFX: records, published versions, checks, reports; some of it torn or hostile."""

from __future__ import annotations

import math
import os
import socket
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from noisy_gru.pipeline.runs.check_log import RetrainCheck, append_check
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.pipeline.runs.run_record import RunRecord, StepRecord
from noisy_gru.registry.config import PublishingConfig
from noisy_gru.registry.publish import publish

HOSTILE = "<script>document.title='hacked'</script><img src=http://192.0.2.1/x>"
MODEL = "pumps"
CANARY = PublishingConfig.model_validate({"versions": {"rollout": "canary", "keep": 3}})
BEGIN = datetime.now(UTC).replace(microsecond=0) - timedelta(days=10)


def drift_plan(distances: dict[str, float], summary: str = "due: 1 new span") -> dict[str, Any]:
    features = [{"feature": name, "distance": distance, "p_value": 0.5} for name, distance in distances.items()]
    reason = {"rule": "drift", "kind": "trigger", "met": True, "text": "drifted", "numbers": {"features": features}}
    return {"retrain": True, "summary": summary, "reasons": [reason]}


@dataclass
class FakeRoot:
    """A root to add runs and versions to; one run a day."""

    path: Path
    model: str = MODEL
    records: list[RunRecord] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.directory = RunDirectory(self.path)
        self.directory.create()

    def run(self, status: Any = "succeeded", **content: Any) -> RunRecord:
        began = BEGIN + timedelta(days=len(self.records))
        values: dict[str, Any] = {
            "run_id": f"{began:%Y%m%d-%H%M%S-%f}",
            "pipeline": self.model,
            "status": status,
            "started": f"{began:%Y-%m-%dT%H:%M:%SZ}",
            "finished": None if status == "running" else f"{began + timedelta(minutes=5):%Y-%m-%dT%H:%M:%SZ}",
            "seconds": 300.125,
            "config_path": "/somewhere/config.yaml",
            "config_hash": "0" * 64,
            "config": {"training": {"epochs": 10 + len(self.records)}},
            "seed": 0,
            "root": str(self.path),
            "log": "/somewhere/log",
            "steps": [
                StepRecord(name="Trainer", status="complete", seconds=1.5, cpu_seconds=1.25, disk_bytes=2_500_000)
            ],
            "metrics": {"example_count": 60.0, "accuracy": 0.9 + len(self.records) / 128},
            "fingerprint": "f" * 64,
            "pid": os.getpid(),
            "host": socket.gethostname(),
        }
        record = RunRecord(**(values | content))
        self.directory.write(record)
        self.records.append(record)
        return record

    def published(self, version: int, settings: PublishingConfig | None = None, **content: Any) -> RunRecord:
        source = self.path / "artifacts" / f"model-{version}"
        source.mkdir()
        (source / "saved_model.pb").write_text(f"{self.model} {version}")
        done = publish(source, self.directory.serving, self.model, settings=settings, clock=lambda: float(version))
        return self.run(version=done.publication.version, published_path=str(done.folder), **content)

    def tear(self, name: str, text: str) -> None:
        (self.directory.runs / f"{name}.json").write_text(text)


@pytest.fixture
def make_root(tmp_path: Path):
    return lambda name="plant", model=MODEL: FakeRoot(tmp_path / name, model)


@pytest.fixture
def plant(make_root) -> FakeRoot:
    """Two published versions, the newer one a canary; a refusal, a failure, torn records, and what is hostile."""
    root = make_root()
    root.published(100, CANARY, plan=drift_plan({"pressure": 0.125, "flow": 0.25}))
    root.published(200, CANARY, previous={"accuracy": 0.875})
    root.run("refused", refusals=[HOSTILE], metrics={HOSTILE: 0.5, "accuracy": math.nan})
    root.run("failed", error=f"the disk is full {HOSTILE}", warnings=[HOSTILE])
    root.tear("20250101-000000-000000", "")
    root.tear("20250102-000000-000000", '{"run_id": "20250102-000000')
    at = f"{BEGIN + timedelta(days=5):%Y-%m-%dT%H:%M:%SZ}"
    check = RetrainCheck(at=at, pipeline=MODEL, outcome="not due", summary=f"not due: {HOSTILE}", drift={"flow": 0.375})
    append_check(root.path, check)
    (root.directory.runs / f"{root.records[0].run_id}.html").write_text("<!DOCTYPE html><title>the report</title>")
    return root

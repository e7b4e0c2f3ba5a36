"""Where a run's model comes from, and what its steps took."""

from __future__ import annotations

from typing import Any

from noisy_gru.pipeline.report.artifacts import Artifacts
from noisy_gru.pipeline.report.outcome import compared_version


def lineage_account(artifacts: Artifacts, examples: bool) -> dict[str, Any]:
    """Return configuration, seed, source, packages, input files with their hashes, and the models it was made from."""
    record = artifacts.record
    return {
        "version": record.version,
        "published_path": record.published_path,
        "compared_with": compared_version(record),
        "warm_start": record.warm_start,
        "config_path": record.config_path,
        "config_hash": record.config_hash,
        "overrides": record.overrides,
        "seed": record.seed,
        "source": record.fingerprint,
        "packages": record.packages,
        "schema": record.schema_copy,
        "replay_of": record.replay_of,
        "files": [
            {"name": name, **{key: file.get(key) for key in ("rows", "bytes", "sha256", "span")}}
            for name, file in sorted(record.inputs.items())
        ],
        "artifacts": record.artifacts,
    }


def resources_account(artifacts: Artifacts, examples: bool) -> dict[str, Any]:
    """Return the steps with their status, duration, processor time, memory and summary."""
    record = artifacts.record
    keys = {"name", "status", "seconds", "cpu_seconds", "peak_mb", "disk_bytes", "summary"}
    steps = [step.model_dump(mode="json", include=keys) for step in record.steps]
    for step in steps:
        if step["name"] == "SequenceExampleGen" and not examples:
            step["summary"] = ""  # quotes values that lose digits
    return {"seconds": record.seconds, "steps": steps}

"""The page of a night on which retraining was due and held back for a person."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.report.account import FORMAT
from noisy_gru.pipeline.report.feature_account import drift_account
from noisy_gru.pipeline.report.outcome import plan_account
from noisy_gru.pipeline.report.page import run_page
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.pipeline.runs.run_record import timestamp
from noisy_gru.storage.atomic_files import write_atomically


def held_account(plan: Mapping[str, Any], config: PipelineConfig, root: Path, now: datetime) -> dict[str, Any]:
    """Return the account of a night that was held: the alarms, all rules, and the drift that was measured."""
    alarms = [each["text"] for each in plan.get("reasons", []) if each.get("kind") == "alarm" and each.get("met")]
    base = plan.get("base_version")
    serving = f"Version {base} keeps serving." if base else "No version serves yet."
    force = f"noisy-gru retrain run CONFIG --root {shlex.quote(str(root))} --force"
    drift = drift_account(plan)
    return {
        "format": FORMAT,
        "examples": config.report.examples,
        "run": {
            "run_id": f"held-{now.astimezone(UTC):%Y%m%d-%H%M%S}",
            "pipeline": config.name,
            "status": "held",
            "started": timestamp(now),
            "seconds": 0.0,
            "root": str(root),
        },
        "outcome": {
            "status": "held",
            "headline": "Held for a person: nothing was trained",
            "version": None,
            "compared_with": base,
            "decisive": None,
            "reasons": alarms,
            "warnings": [],
            "comparisons": [],
            "plan": plan_account(plan),
            "next": [serving, f"Correct the data, or train on it all the same: {force}"],
        },
        "features": None if drift is None else {"splits": [], "features": [], "drift": drift},
        "notes": {},
    }


def write_held_page(directory: RunDirectory, plan: Mapping[str, Any], config: PipelineConfig, *, now: datetime) -> Path:
    """Write the page to ``runs/held-<time>.html``, and return its path."""
    account = held_account(plan, config, directory.root, now)
    page = directory.report_file(account["run"]["run_id"])
    write_atomically(page, run_page(account))
    return page

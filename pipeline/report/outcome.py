"""What came of a run: published or not, why, against what and by how much, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from noisy_gru.components.evaluation.comparisons import Comparison
from noisy_gru.components.evaluation.planned_comparisons import PUBLISHED, WHOLE
from noisy_gru.components.evaluation.verdict import sentence
from noisy_gru.pipeline.report.artifacts import Artifacts
from noisy_gru.pipeline.runs.run_record import RunRecord

_HEADLINES = {
    "refused": "Refused: the model was trained, and is not published",
    "failed": "Failed: nothing is published",
    "interrupted": "Interrupted: nothing is published",
    "killed": "Killed: nothing is published",
    "running": "Still running",
}


def outcome_account(artifacts: Artifacts, examples: bool) -> dict[str, Any]:
    """Return headline, reasons, comparisons in words and numbers, warnings, and what to do next."""
    record = artifacts.record
    before = compared_version(record)
    against = f"version {before}" if before else "the published model"
    comparisons = [_comparison(each, against) for each in record.comparisons]
    whole = [each for each in comparisons if each["slice"] == WHOLE]
    main = [each for each in whole if each["against"] == PUBLISHED][:1] or [each for each in whole if each["required"]]
    headline = _HEADLINES.get(record.status, record.status)
    if record.status == "succeeded":
        headline = f"Published as version {record.version}" if record.version else "Succeeded"
    return {
        "status": record.status,
        "headline": headline,
        "version": record.version,
        "compared_with": before,
        "decisive": main[0] if main else None,
        "reasons": list(record.refusals) + ([shown_error(record, examples)] if record.error else []),
        "warnings": list(record.warnings),
        "comparisons": comparisons,
        "plan": None if record.plan is None else plan_account(record.plan),
        "next": _next(record, before),
    }


def compared_version(record: RunRecord) -> int | None:
    """Return the published version that a run compared its model with; None if there was none, or it is unknown."""
    return next((step.numbers.get("version") for step in record.steps if step.name == "LatestBlessed"), None)


def _comparison(content: dict[str, Any], against: str) -> dict[str, Any]:
    known: dict[str, Any] = {name: content.get(name) for name in Comparison.__dataclass_fields__}
    return {**known, "text": sentence(Comparison(**known), against)}


def shown_error(record: RunRecord, examples: bool) -> str:
    """Return the error of a run; without ``examples`` where to find it, as errors of data quote rows."""
    if examples:
        return str(record.error)
    step = next((step.name for step in record.steps if step.status == "failed"), "the run")
    return f"{step} failed. The error may quote data and isn't shown here: noisy-gru runs show {record.run_id}"


def plan_account(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return the decision to retrain, and the verdict of each rule."""
    reasons = [{key: each.get(key) for key in ("rule", "kind", "met", "text")} for each in plan.get("reasons", [])]
    return {"summary": plan.get("summary", ""), "held": plan.get("held", False), "reasons": reasons}


def _next(record: RunRecord, before: int | None) -> list[str]:
    where = _where(record)
    serving = f"Version {before} keeps serving." if before else "No version serves yet."
    if record.status == "succeeded":
        stable = next((step.numbers.get("stable") for step in record.steps if step.name == "Pusher"), record.version)
        if stable != record.version:
            return [
                f"The new version is the canary; stable is version {stable}. To make it stable: "
                f"noisy-gru runs promote {where}"
            ]
        if before is None:
            return ["Servers load it within seconds."]
        return [f"Servers load it within seconds. To go back to the one before: noisy-gru runs rollback {where}"]
    if record.status == "refused":
        return [
            serving,
            "Each reason says what would change the verdict; the sections below show where the model fails.",
        ]
    if record.status in ("interrupted", "killed"):
        return [serving, f"Run it again; finished steps come from the cache: {_command(record, where)}"]
    if record.status == "failed":
        return [
            serving,
            "Correct what the error names, then run it again; finished steps come from the cache: "
            f"{_command(record, where)}",
            f"The log has the details: {record.log}",
        ]
    return []


def _where(record: RunRecord) -> str:
    """Return the options that name the versions of a run: its root, or on a cluster the folder that it published to."""
    if record.root or not record.published_path:
        return f"--root {shlex.quote(record.root)}"
    model = Path(record.published_path).parent
    return f"--serving-dir {shlex.quote(str(model.parent))} --model {shlex.quote(model.name)}"


def _command(record: RunRecord, where: str) -> str:
    overrides = "".join(f" --set {shlex.quote(each)}" for each in record.overrides)
    return f"noisy-gru run {shlex.quote(record.config_path)} {where}{overrides}"

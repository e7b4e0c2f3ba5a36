"""The gates: what the served graph was asked and what it costs, and the comparison on the reference set."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from noisy_gru.components.reference_gate.verdict import read_reference_verdict
from noisy_gru.pipeline.report.artifacts import AbsentError, Artifacts


def gate_account(artifacts: Artifacts, examples: bool) -> dict[str, Any]:
    """Return the serving gate's report: its checks with verdicts and numbers.

    Raises:
        AbsentError: the run ended before the gate did, or its report is gone.
    """
    report = artifacts.json("ServingGate", "report", "report.json")
    keys = ("name", "found", "problems", "numbers", "passed", "distributions")
    return {
        "blessed": report.get("blessed"),
        "summary": report.get("summary"),
        "problems": report.get("problems") or [],
        "checks": [{key: check.get(key) for key in keys} for check in report.get("checks") or []],
    }


def importance_section(artifacts: Artifacts, examples: bool) -> dict[str, Any] | None:
    """Return the importance of features and time steps, as `importance_account` of the gate has it.

    None for a run that didn't measure it: `report.explain_seconds` is 0, or an earlier release.

    Raises:
        AbsentError: the run ended before the gate did, its report is gone, or it says why nothing was measured.
    """
    found = artifacts.json("ServingGate", "report", "report.json").get("importance")
    if found is not None and found.get("note"):
        raise AbsentError(f"Not measured: {found['note']}")
    return found


def reference_account(artifacts: Artifacts, examples: bool) -> dict[str, Any] | None:
    """Return the verdict on the reference set; None for a run without one.

    Raises:
        AbsentError: the run ended before the step, or its verdict is gone.
    """
    if (artifacts.record.config.get("evaluation") or {}).get("reference") is None:
        return None
    return asdict(read_reference_verdict(artifacts.folder("ReferenceGate", "blessing")))

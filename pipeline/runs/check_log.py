"""Log of retraining checks: one line of JSON in ``checks.jsonl`` under the root for each, whether it trained or not.

>>> read_checks(Path("runs/vowels"))[-1].summary  # doctest: +SKIP
'not due: nothing new since version 1795625257'
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from noisy_gru.storage.json_lines import append_record, read_records

CHECKS = "checks.jsonl"
# A check takes about 2 KB: this is some years of nights. The file before it is kept, too.
_LIMIT_BYTES = 2_000_000


@dataclass(frozen=True, kw_only=True)
class RetrainCheck:
    """One check whether retraining is due, and what came of it.

    Attributes:
        at: when it ended, in ISO 8601, UTC.
        pipeline: name of the pipeline.
        outcome: published, refused, failed, interrupted, held or not due.
        summary: the plan in one line; empty if planning failed.
        run_id: of the run that it started; empty if none began.
        error: message of the error; empty if there was none.
        reasons: verdict of each rule: `rule`, `kind`, `met`, `text`.
        drift: distance from the served model's training data, by feature, where it was measured.
    """

    at: str
    pipeline: str
    outcome: str
    summary: str = ""
    run_id: str = ""
    error: str = ""
    reasons: list[dict[str, Any]] = field(default_factory=list)
    drift: dict[str, float] = field(default_factory=dict)


def drift_distances(plan: Mapping[str, Any]) -> dict[str, float]:
    """Return the distance of each feature that a plan's rule `drift` measured; empty where it measured none."""
    features = [
        feature
        for reason in plan.get("reasons", [])
        if reason.get("rule") == "drift"
        for feature in (reason.get("numbers") or {}).get("features", [])
    ]
    return {str(each["feature"]): float(each["distance"]) for each in features if each.get("distance") is not None}


def append_check(root: Path, check: RetrainCheck) -> None:
    """Append a check; once the file is large, it becomes ``checks.jsonl.1``, in place of the one before.

    Raises:
        OSError: the file can't be written.
    """
    log = root / CHECKS
    if log.is_file() and log.stat().st_size > _LIMIT_BYTES:
        log.replace(log.with_name(f"{CHECKS}.1"))
    append_record(log, check)


def read_checks(root: Path) -> list[RetrainCheck]:
    """Return the checks, oldest first; skip lines that are torn."""
    return [each for name in (f"{CHECKS}.1", CHECKS) for each in read_records(root / name, RetrainCheck)]

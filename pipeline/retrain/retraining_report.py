"""The result of a retraining, as JSON and as the content of notifications."""

from __future__ import annotations

import socket
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.config.retraining_config import NotifyEvent
from noisy_gru.pipeline.retrain.notifications import Delivery
from noisy_gru.pipeline.runs.check_log import RetrainCheck, drift_distances
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.pipeline.runs.run_record import RunRecord, RunStatus, timestamp
from noisy_gru.registry.retraining_attempts import Attempt

Outcome = Literal["published", "refused", "failed", "interrupted", "held", "not due"]
OUTCOMES: dict[RunStatus, Outcome] = {
    "succeeded": "published",
    "refused": "refused",
    "interrupted": "interrupted",
    "failed": "failed",
    "killed": "failed",
}
EVENTS: dict[Outcome, NotifyEvent] = {
    "published": "success",
    "refused": "refusal",
    "failed": "failure",
    "interrupted": "interruption",
    "held": "held",
    "not due": "skipped",
}


@dataclass(frozen=True, kw_only=True)
class RetrainResult:
    """The result of ``retrain_once``.

    Attributes:
        pipeline: name of the pipeline.
        outcome: how it ended.
        plan: the decision and its reasons; None if planning failed.
        resumes: id of the killed or interrupted run that this one resumes; None for a new one.
        record: record of the run; None if none began.
        error: message of the error; None if there was none.
        wrong_config: whether the error is one of the configuration.
        notified: a delivery for each hook.
    """

    pipeline: str
    outcome: Outcome
    plan: dict[str, Any] | None = None
    resumes: str | None = None
    record: RunRecord | None = None
    error: str | None = None
    wrong_config: bool = False
    notified: tuple[Delivery, ...] = ()

    def to_dict(self, run: dict[str, Any] | None) -> dict[str, Any]:
        """Return the object that ``retrain run --json`` prints; ``run`` is the summary of the record."""
        return {
            "pipeline": self.pipeline,
            "outcome": self.outcome,
            "plan": self.plan,
            "resumes": self.resumes,
            "run": run,
            "error": self.error,
            "notified": [asdict(each) for each in self.notified],
        }


def check_of(result: RetrainResult, now: datetime) -> RetrainCheck:
    """Return the line of the log for the result of a retraining."""
    plan = result.plan or {}
    reasons = [{key: each.get(key) for key in ("rule", "kind", "met", "text")} for each in plan.get("reasons", [])]
    return RetrainCheck(
        at=timestamp(now),
        pipeline=result.pipeline,
        outcome=result.outcome,
        summary=str(plan.get("summary", "")),
        run_id=result.record.run_id if result.record else "",
        error=result.error or "",
        reasons=reasons,
        drift=drift_distances(plan),
    )


def hook_content(
    config: PipelineConfig,
    directory: RunDirectory,
    record: RunRecord | None,
    *,
    outcome: Outcome,
    decision: dict[str, Any] | None,
    resumes: str | None = None,
    error: str | None = None,
) -> dict[str, Any]:
    """Return the JSON object of a notification, without its ``event``; it always has the same keys."""
    content: dict[str, Any] = {
        "pipeline": config.name,
        "model": config.model_name,
        "status": outcome,
        "run_id": None,
        "decision": decision,
        "resumes": resumes,
        "version": None,
        "published_path": None,
        "metrics": {},
        "previous": {},
        "refusals": [],
        "error": error,
        "record": None,
        "log": None,
        "root": str(directory.root),
        "host": socket.gethostname(),
    }
    if record is not None:
        kept = ("run_id", "version", "published_path", "metrics", "previous", "refusals", "log")
        content |= record.model_dump(mode="json", include=set(kept))
        content["record"] = str(directory.runs / f"{record.run_id}.json")
    return content


def killed_content(config: PipelineConfig, directory: RunDirectory, attempt: Attempt) -> dict[str, Any]:
    """Return the content of the notification for a retraining that was killed."""
    record = next((each for each in directory.records() if each.run_id == attempt.run_id), None)
    decision = record.plan if record else None
    content = hook_content(config, directory, record, outcome="failed", decision=decision, error=attempt.reason)
    return {**content, "run_id": attempt.run_id}

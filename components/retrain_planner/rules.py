"""Puts the rules' verdicts together: due if a trigger is met and no brake holds, and held if then there is an alarm."""

from __future__ import annotations

from datetime import datetime

from noisy_gru.components.retrain_planner.alarms import alarms
from noisy_gru.components.retrain_planner.config import RulesConfig
from noisy_gru.components.retrain_planner.evidence import Evidence
from noisy_gru.components.retrain_planner.formatting import utc_text
from noisy_gru.components.retrain_planner.guards import guards
from noisy_gru.components.retrain_planner.plan import Reason, RetrainPlan
from noisy_gru.components.retrain_planner.triggers import triggers
from noisy_gru.schema.span_patterns import format_spans


def decide(rules: RulesConfig, evidence: Evidence, *, pipeline: str, now: datetime, force: bool = False) -> RetrainPlan:
    """The plan. The same evidence at the same time gives the same plan.

    Args:
        rules: of the configuration.
        evidence: what is known.
        pipeline: its name.
        now: the time, with a time zone.
        force: a person's order to retrain, whatever the rules say.
    """
    reasons = (
        *triggers(rules, evidence, now),
        *guards(rules, evidence, now),
        *alarms(rules.alarms, evidence),
    )
    if force:
        reasons += (
            Reason(rule="force", kind="order", met=True, text="ordered by --force, whatever the rules and alarms say"),
        )
    met = {reason.kind for reason in reasons if reason.met}
    due = "trigger" in met and "brake" not in met
    return RetrainPlan(
        pipeline=pipeline,
        retrain=force or (due and "alarm" not in met),
        held=due and "alarm" in met and not force,
        reasons=reasons,
        spans=format_spans(evidence.spans),
        newest_span=max(evidence.spans, default=None),
        new_spans=evidence.news.new_spans,
        base_version=evidence.base.version if evidence.base else None,
        data=evidence.data,
        decided_at=utc_text(now),
    )

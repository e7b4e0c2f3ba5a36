"""Puts the rules' verdicts together: due if a trigger is met and no brake holds."""

from __future__ import annotations

from datetime import datetime

from noisy_gru.components.retrain_planner.brakes import brakes
from noisy_gru.components.retrain_planner.config import RulesConfig
from noisy_gru.components.retrain_planner.evidence import Evidence
from noisy_gru.components.retrain_planner.plan import Plan, Reason
from noisy_gru.components.retrain_planner.triggers import triggers
from noisy_gru.components.retrain_planner.words import utc_text
from noisy_gru.schema.span_patterns import span_text


def decide(rules: RulesConfig, evidence: Evidence, *, pipeline: str, now: datetime, force: bool = False) -> Plan:
    """The plan. The same evidence at the same time gives the same plan.

    Args:
        rules: of the configuration.
        evidence: what is known.
        pipeline: its name.
        now: the time, with a time zone.
        force: a person's order to retrain, whatever the rules say.
    """
    reasons = (*triggers(rules, evidence, now), *brakes(rules, evidence, now))
    if force:
        reasons += (Reason(rule="force", kind="order", met=True, text="ordered by --force, whatever the rules say"),)
    called = any(reason.met for reason in reasons if reason.kind == "trigger")
    held = any(reason.met for reason in reasons if reason.kind == "brake")
    return Plan(
        pipeline=pipeline,
        retrain=force or (called and not held),
        reasons=reasons,
        spans=span_text(evidence.spans),
        newest_span=max(evidence.spans, default=None),
        new_spans=evidence.news.new_spans,
        base_version=evidence.base.version if evidence.base else None,
        data=evidence.data,
        decided_at=utc_text(now),
    )

"""Alarms over the evidence: sizes and errors worked out by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from noisy_gru.components.evaluation.served_error import PartError, PublishedError, ServedError, published_error
from noisy_gru.components.retrain_planner.config import RulesConfig
from noisy_gru.components.retrain_planner.evidence import (
    DataChanges,
    DataSizes,
    Evidence,
    Measurements,
    PublishedVersion,
)
from noisy_gru.components.retrain_planner.plan import RetrainPlan
from noisy_gru.components.retrain_planner.planning import decide
from noisy_gru.schema.config import ClassificationConfig, ForecastingConfig, RegressionConfig

NOW = datetime(2026, 4, 1, 3, tzinfo=UTC)
FINE = ServedError(error=0.4, lower=0.3, published=0.2, limit=0.6, sequences=50, independent=50)
COLLAPSED = ServedError(error=2.0, lower=1.8, published=0.2, limit=0.6, sequences=50, independent=50)


def _plan(
    rules: dict[str, Any] | None = None,
    *,
    served: ServedError | None = FINE,
    new: dict[str, int] | None = None,
    force: bool = False,
    spans: tuple[int, ...] = (10,),
) -> RetrainPlan:
    evidence = Evidence(
        base=PublishedVersion(version=7, published=NOW - timedelta(days=1), spans="8-9"),
        changes=DataChanges(by_span=True, known=True, spans=spans, files=("10.csv",)),
        spans=(8, 9, 10),
        data="now",
        measured=Measurements(
            rows=100, sequences=50, why_no_drift="off", served=served, why_not_served="no alarm is set"
        ),
        sizes=DataSizes(by_span=True, new=new or {"span 10": 1000}, known=(900, 1100)),
    )
    return decide(RulesConfig(**(rules or {})), evidence, pipeline="p", now=NOW, force=force)


def test_a_served_model_that_collapses_holds_the_night():
    assert _plan().retrain
    plan = _plan(served=COLLAPSED)
    assert (plan.retrain, plan.held) == (False, True)
    assert plan.summary == (
        "held for a person: the served model's error on 50 new sequences is 2 of the naive answer's (surely above "
        "1.8), 0.2 when it was published; at most 0.6 is no alarm (due by: 1 new span (10), at least 1 "
        "needed). Correct the data, or train on it all the same: noisy-gru retrain run --force"
    )
    assert plan.to_dict()["held"] is True


def test_too_few_independent_sequences_are_said_to_be_too_few():
    served = ServedError(error=3.0, lower=None, published=0.2, limit=0.6, sequences=24, independent=2, broken=1)
    plan = _plan(served=served)
    assert plan.retrain
    (reason,) = [each for each in plan.reasons if each.rule == "served_model"]
    assert reason.text.endswith(
        "is 3 of the naive answer's, 0.2 when it was published; at most 0.6 is no alarm; 1 of the answers are no "
        "numbers; 2 independent ones are too few to be sure"
    )
    json.loads(json.dumps(plan.to_dict(), allow_nan=False))


def test_one_bad_span_among_good_ones_holds_the_night():
    parts = (
        PartError(name="span 10", error=0.2, lower=0.1, sequences=40, independent=40),
        PartError(name="span 11", error=1.8, lower=1.3, sequences=40, independent=40),
        PartError(name="span 12", error=1.9, lower=None, sequences=6, independent=3),
    )
    plan = _plan(served=replace(FINE, parts=parts))
    assert (plan.retrain, plan.held) == (False, True)
    assert plan.summary.startswith(
        "held for a person: the served model's error on 50 new sequences is 0.4 of the naive answer's, 0.2 when it was "
        "published; at most 0.6 is no alarm; on the 40 of span 11 alone it is 1.8 (surely above 1.3); on the 6 of span "
        "12 alone it is 1.9, of which 3 independent ones are too few to be sure (due by"
    )
    json.loads(json.dumps(plan.to_dict(), allow_nan=False))
    assert _plan(served=replace(FINE, parts=parts[::2])).retrain


def test_a_person_goes_on_with_force():
    plan = _plan(served=COLLAPSED, force=True)
    assert (plan.retrain, plan.held) == (True, False)


def test_nothing_is_held_that_is_not_due():
    plan = _plan({"new_spans": 2}, served=COLLAPSED)
    assert (plan.retrain, plan.held) == (False, False)
    assert plan.summary.startswith("not due")


@pytest.mark.parametrize(("size", "held"), [(224, True), (225, False), (4400, False), (4401, True)])
def test_a_span_of_an_odd_size_holds_the_night(size, held):
    """Four times less than 900, or more than 1,100."""
    plan = _plan(new={"span 10": size})
    assert plan.held == held
    if held:
        assert f"span 10 has {size:,} bytes; those that were trained on have 900 to 1,100" in plan.summary


def test_alarms_can_be_off():
    plan = _plan({"alarms": {"collapse": None, "size_factor": None}}, served=COLLAPSED, new={"span 10": 1})
    assert plan.retrain
    assert all(reason.is_off for reason in plan.reasons if reason.kind == "alarm")


@pytest.mark.parametrize(
    ("metrics", "task", "expected"),
    [
        (
            {"accuracy": 0.9, "accuracy_majority": 0.6},
            ClassificationConfig(kind="classification", label="y"),
            PublishedError(pytest.approx(0.1), pytest.approx(0.4)),  # type: ignore[arg-type]
        ),
        ({"accuracy": 1.0, "accuracy_majority": 1.0}, ClassificationConfig(kind="classification", label="y"), None),
        ({"rmse": 2.0, "rmse_naive_mean": 4.0}, RegressionConfig(kind="regression", label="y"), PublishedError(2, 4)),
        (
            {"mae": 1.0, "mae_naive_last": float("nan")},
            ForecastingConfig(kind="forecasting", targets=["y"], input_length=2, horizons=[1]),
            None,
        ),
        ({}, RegressionConfig(kind="regression", label="y"), None),
    ],
)
def test_what_a_version_says_of_its_error(metrics, task, expected):
    assert published_error(metrics, task) == expected

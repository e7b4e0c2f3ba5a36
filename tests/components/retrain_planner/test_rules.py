"""The decision over the evidence: each line of the tables was worked out by hand."""

from __future__ import annotations

import io
import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError
from rich.console import Console

from noisy_gru.components.retrain_planner.config import RulesConfig
from noisy_gru.components.retrain_planner.evidence import (
    DataChanges,
    Drift,
    Evidence,
    FeatureDrift,
    Measurements,
    PublishedVersion,
)
from noisy_gru.components.retrain_planner.plan import RetrainPlan
from noisy_gru.components.retrain_planner.planning import decide
from noisy_gru.registry.retraining_attempts import Outcome

NOW = datetime(2026, 4, 1, 3, tzinfo=UTC)
TEMP = FeatureDrift(feature="temp", measure="location", distance=0.25, p_value=0.0005, drifted=True)
CITY = FeatureDrift(feature="city", measure="shares", distance=0.05, p_value=0.3)
WIND = FeatureDrift(feature="wind", measure="shape", distance=0.9, p_value=0.04)


def _drift(*features: FeatureDrift) -> Drift:
    return Drift(features=features, compared="50 new and 300 trained-on entities", false_alarm_rate=0.01)


def _base(days: float = 1.0) -> PublishedVersion:
    return PublishedVersion(version=7, published=NOW - timedelta(days=days), spans="3-9")


def _evidence(
    *spans: int, sequences: int = 50, drift: tuple[FeatureDrift, ...] = (CITY,), days: float = 1.0, **more: Any
) -> Evidence:
    changes = DataChanges(by_span=True, known=True, spans=spans, files=tuple(f"{span}.csv" for span in spans))
    measured = Measurements(rows=10 * sequences, sequences=sequences, drift=_drift(*drift)) if spans else None
    given: dict[str, Any] = {
        "base": _base(days),
        "changes": changes,
        "spans": (8, 9, *spans),
        "data": "now",
        "measured": measured,
        "why_not_measured": "" if spans else "there is no new data",
        **more,
    }
    return Evidence(**given)


def _outcome(
    event: str, hours: float, *, data: str = "now", run: str = "r1", reason: str = "", version=None
) -> Outcome:
    began = NOW - timedelta(hours=hours)
    return Outcome(
        run_id=run,
        started=began,
        ended=began + timedelta(minutes=30),
        event=event,  # type: ignore[arg-type]
        data=data,
        reason=reason,
        version=version,
    )


def _plan(rules: dict[str, Any], evidence: Evidence, **more: Any) -> RetrainPlan:
    return decide(RulesConfig(**rules), evidence, pipeline="vowels", now=NOW, **more)


def _met(plan: RetrainPlan) -> set[str]:
    return {reason.rule for reason in plan.reasons if reason.met}


def test_nothing_new_is_a_no_that_says_what_the_model_knows():
    plan = _plan({"max_age": "12h"}, _evidence())
    assert not plan.retrain
    assert _met(plan) == set()
    assert plan.summary == (
        "not due: nothing new since version 7, which was trained on spans 3-9; version 7 is 1 d old, past 12h, but "
        "there is nothing new to train it on"
    )
    assert (plan.base_version, plan.newest_span, plan.new_spans, plan.spans) == (7, 9, (), "8-9")


def test_a_model_that_was_never_published_is_due():
    changes = DataChanges(by_span=True, known=False, spans=(1, 2), files=("1.csv", "2.csv"))
    plan = _plan({"new_spans": 5}, _evidence(base=None, changes=changes, spans=(1, 2), measured=None))
    assert plan.retrain
    assert plan.summary == "due: no model is published yet"
    assert plan.base_version is None


def test_a_model_that_does_not_say_what_it_was_trained_on_is_due():
    changes = DataChanges(by_span=True, known=False, spans=(1,), files=("1.csv",))
    plan = _plan({"new_spans": 5}, _evidence(changes=changes, spans=(1,), measured=None))
    assert plan.retrain
    assert "version 7 doesn't say what it was trained on" in plan.summary


# Each: spans that are new, sequences, drifted, days of age, hours since the last attempt -> triggers met.
TRIGGERS = {"new_spans": 2, "new_sequences": 100, "drift": True, "max_age": "30d"}


@pytest.mark.parametrize(
    ("spans", "sequences", "drift", "days"),
    list(itertools.product([1, 2], [99, 100], [False, True], [29.9, 30.0])),
)
def test_any_trigger_is_enough(spans, sequences, drift, days):
    evidence = _evidence(
        *range(10, 10 + spans), sequences=sequences, drift=(TEMP, CITY) if drift else (CITY,), days=days
    )
    plan = _plan(TRIGGERS, evidence)
    expected = {
        *(["new_spans"] if spans == 2 else []),
        *(["new_sequences"] if sequences == 100 else []),
        *(["drift"] if drift else []),
        *(["max_age"] if days == 30.0 else []),
    }
    assert _met(plan) == expected
    assert plan.retrain == bool(expected)


@pytest.mark.parametrize("rule", ["new_spans", "new_sequences", "drift", "max_age"])
def test_a_trigger_that_is_off_is_never_met(rule):
    off = {"new_spans": 0, "new_sequences": 0, "drift": False, "max_age": None}
    evidence = _evidence(10, 11, sequences=100, drift=(TEMP,), days=31)
    assert rule in _met(_plan(TRIGGERS, evidence))
    plan = _plan(TRIGGERS | {rule: off[rule]}, evidence)
    assert rule not in _met(plan)
    assert plan.retrain
    assert not _plan(off, evidence).retrain


@pytest.mark.parametrize(
    ("rules", "attempts", "held"),
    [
        ({"cooldown": "6h"}, [_outcome("published", 5.9, data="old")], {"cooldown"}),
        ({"cooldown": "6h"}, [_outcome("published", 6.0, data="old")], set()),
        ({"cooldown": "6h"}, [_outcome("refused", 5.9, data="old")], {"cooldown"}),
        ({"cooldown": "6h"}, [_outcome("interrupted", 1)], set()),
        ({"cooldown": "6h"}, [_outcome("failed", 5), _outcome("interrupted", 1, run="r2")], {"cooldown"}),
        ({"cooldown": "6h"}, [], set()),
        ({"after_failure": "retry"}, [_outcome("failed", 0.6)], set()),
        ({"after_failure": "wait"}, [_outcome("failed", 0.6)], {"after_failure"}),
        ({"after_failure": "wait"}, [_outcome("failed", 0.6, data="old")], set()),
        ({"after_failure": "wait"}, [_outcome("failed", 1), _outcome("interrupted", 0, run="r2")], {"after_failure"}),
        ({"after_failure": "wait"}, [_outcome("failed", 2), _outcome("published", 1, run="r2", data="old")], set()),
        # An attempt ends half an hour after it began; one failure waits 1 h from then, two 2 h, three 4 h, at most 5 h.
        ({"after_failure": "backoff"}, [_outcome("failed", 1.4)], {"after_failure"}),
        ({"after_failure": "backoff"}, [_outcome("failed", 1.5)], set()),
        ({"after_failure": "backoff"}, [_outcome("failed", 9), _outcome("failed", 2.4, run="r2")], {"after_failure"}),
        ({"after_failure": "backoff"}, [_outcome("failed", 9), _outcome("failed", 2.5, run="r2")], set()),
        (
            {"after_failure": "backoff", "retry_after_max": "5h"},
            [_outcome("failed", 90 - hour, run=f"r{hour}") for hour in range(60)] + [_outcome("failed", 5.4)],
            {"after_failure"},
        ),
        (
            {"after_failure": "backoff", "retry_after_max": "5h"},
            [_outcome("failed", 90 - hour, run=f"r{hour}") for hour in range(60)] + [_outcome("failed", 5.5)],
            set(),
        ),
        ({}, [_outcome("refused", 20)], {"after_refusal"}),
        ({}, [_outcome("refused", 20, data="old")], set()),
        ({"after_refusal": "retry"}, [_outcome("refused", 20)], set()),
        ({}, [_outcome("refused", 20), _outcome("failed", 3, run="r2")], set()),
        ({}, [_outcome("published", 20, version=8)], {"after_refusal"}),
        ({}, [_outcome("published", 20, version=6)], set()),
    ],
)  # fmt: skip
def test_guards(rules, attempts, held):
    plan = _plan(rules, _evidence(10, attempts=attempts, withdrawn=(8,)))
    assert _met(plan) == {"new_spans", *held}
    assert plan.retrain == (not held)
    if held:
        assert plan.summary.startswith("postponed: ")
        assert "1 new span (10)" in plan.summary


def test_an_order_overrides_guards_and_rules_that_are_not_met():
    rules = {"cooldown": "1d"}
    for evidence in (_evidence(10, attempts=[_outcome("failed", 1)]), _evidence()):
        assert not _plan(rules, evidence).retrain
        plan = _plan(rules, evidence, force=True)
        assert plan.retrain
        assert plan.summary.startswith("ordered")


def test_drift_names_the_columns_with_distance_and_p_value():
    gone = FeatureDrift(feature="gust", change="disappeared", drifted=True)
    plan = _plan({}, _evidence(10, drift=(CITY, gone, TEMP, WIND)))
    (drift,) = (reason for reason in plan.reasons if reason.rule == "drift")
    assert drift.met
    assert drift.text == ("gust disappeared; temp location 0.25 (p 0.0005) (50 new and 300 trained-on entities)")
    assert drift.numbers["false_alarm_rate"] == 0.01
    by_name = {each["feature"]: each for each in drift.numbers["features"]}
    assert by_name["wind"] == {
        "feature": "wind",
        "measure": "shape",
        "distance": 0.9,
        "p_value": 0.04,
        "change": "",
        "drifted": False,
    }


@pytest.mark.parametrize(
    ("drift", "text"),
    [
        (
            _drift(CITY, WIND),
            "none; most conspicuous: wind shape 0.9 (p 0.04) (50 new and 300 trained-on entities)",
        ),
        (_drift(), "there is no column to compare (50 new and 300 trained-on entities)"),
        (None, "not measured: no sequence came of it"),
    ],
)
def test_drift_that_is_none_says_how_near_it_was(drift, text):
    evidence = _evidence(10)
    measured = Measurements(rows=5, sequences=0, drift=drift, why_no_drift="no sequence came of it")
    plan = _plan({}, Evidence(**{**vars(evidence), "measured": measured}))
    (reason,) = (reason for reason in plan.reasons if reason.rule == "drift")
    assert not reason.met
    assert reason.text == text


def test_changed_spans_and_files_are_told_from_new_ones():
    changes = DataChanges(
        by_span=True, known=True, spans=(10,), changed={8: "version 1 became 2"}, files=("8.csv", "10.csv")
    )
    plan = _plan({"new_spans": 2}, _evidence(10, changes=changes))
    assert plan.retrain
    assert plan.new_spans == (8, 10)
    assert "1 new span (10) and 1 span changed (8: version 1 became 2), at least 2 needed" in plan.summary
    loose = DataChanges(by_span=False, known=True, files=("a.csv", "b.csv"), altered=("b.csv",), gone=("c.csv",))
    plan = _plan({"new_spans": 3}, _evidence(10, changes=loose, spans=()))
    assert plan.retrain
    assert "1 file new (a.csv), 1 file changed (b.csv), 1 file gone (c.csv)" in plan.summary
    assert (plan.spans, plan.newest_span) == ("", None)


def test_the_same_evidence_gives_the_same_plan_and_json_holds_all_of_it():
    evidence = _evidence(10, drift=(TEMP, CITY), attempts=[_outcome("failed", 1, reason="disk full\nat 03:10")])
    plan = _plan(TRIGGERS, evidence)
    assert plan == _plan(TRIGGERS, evidence)
    reported = json.loads(plan.to_json())
    assert reported["retrain"] is True
    assert reported["decided_at"] == "2026-04-01T03:00:00+00:00"
    assert reported["data"] == "now"
    assert {reason["rule"]: reason["met"] for reason in reported["reasons"]} == {
        reason.rule: reason.met for reason in plan.reasons
    }
    failure = next(reason for reason in reported["reasons"] if reason["rule"] == "after_failure")
    assert "r1: disk full at 03:10" in failure["text"]


def test_the_table_has_a_line_for_every_rule():
    stream = io.StringIO()
    held = _plan({"cooldown": "1d"}, _evidence(10, attempts=[_outcome("failed", 1)]))
    held.table(Console(file=stream, width=160))
    text = stream.getvalue()
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    for reason in held.reasons:
        assert reason.rule in lines
    assert lines["cooldown"].split()[1] == "postpones"
    assert lines["new_spans"].split()[1] == "met"
    assert lines["max_age"].split()[1] == "off"
    assert "no  postponed" in text


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"cooldown": "soon"}, "expected a duration"),
        ({"max_age": "3 days"}, "expected a duration"),
        ({"max_age": "-1d"}, "expected a duration"),
        ({"max_age": "1e9d"}, "expected a duration"),
        ({"max_age": "99999999999w"}, "expected a duration"),
        ({"retry_after": "2d"}, r"retry_after \(2d\) is longer than retry_after_max \(1d\)"),
        ({"new_spans": -1}, "greater than or equal to 0"),
        ({"after_failure": "panic"}, "retry"),
        ({"drfit": True}, "drfit"),
    ],
)
def test_rules_that_mean_nothing(rules, words):
    with pytest.raises(ValidationError, match=words):
        RulesConfig(**rules)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("1.5h", 5400), ("7d", 604800), ("2w", 1209600), ("0h", 0)]
)
def test_durations(text, seconds):
    from noisy_gru.schema.durations import parse_duration

    assert parse_duration(text).total_seconds() == seconds


@pytest.mark.parametrize(
    "rules",
    [
        {"cooldown": "12h"},
        {"after_failure": "backoff", "retry_after": "1h", "retry_after_max": "1d"},
    ],
)
@pytest.mark.parametrize("started", [datetime(2033, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
def test_an_attempt_from_the_future_holds_nothing_back_and_is_named(rules, started):
    """A clock that was wrong once wrote it."""
    future = replace(_outcome("failed", 0), started=started, ended=started)
    plan = _plan(rules, _evidence(10, attempts=[future]))
    assert plan.retrain
    (reason,) = [each for each in plan.reasons if each.rule == next(iter(rules))]
    assert not reason.met
    assert f"at {started.year}-" in reason.text
    assert "ahead of the clock (2026-04-01T03:00:00+00:00)" in reason.text


def test_a_clock_that_was_set_back_during_an_attempt_leaves_its_beginning():
    rules = {"after_failure": "backoff", "retry_after": "2h", "retry_after_max": "1d"}
    begun = _outcome("failed", 1)
    ended_ahead = replace(begun, ended=datetime(2033, 1, 1, tzinfo=UTC))
    assert not _plan(rules, _evidence(10, attempts=[ended_ahead])).retrain
    assert _plan(rules, _evidence(10, attempts=[replace(ended_ahead, started=NOW - timedelta(hours=3))])).retrain


def test_clocks_that_differ_by_minutes_are_trusted():
    attempt = _outcome("published", -3 / 60, version=7)
    assert not _plan({"cooldown": "12h"}, _evidence(10, attempts=[attempt])).retrain


def test_a_version_from_the_future_does_not_stay_young_for_years():
    base = PublishedVersion(version=7, published=datetime(2033, 1, 1, tzinfo=UTC), spans="3-9")
    rules = {"new_spans": 3, "max_age": "30d"}
    plan = _plan(rules, _evidence(10, base=base))
    assert _met(plan) == {"max_age"}
    assert "version 7 was published at 2033-01-01T00:00:00+00:00, ahead of the clock" in plan.summary
    assert not _plan(rules, _evidence(base=base)).retrain
    assert not _plan({"new_spans": 3}, _evidence(10, base=base)).retrain

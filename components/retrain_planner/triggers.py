"""Triggers of retraining: new spans or files, new sequences, drift, and the age of the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from noisy_gru.components.retrain_planner.config import RulesConfig
from noisy_gru.components.retrain_planner.evidence import DataChanges, Evidence, FeatureDrift, PublishedVersion
from noisy_gru.components.retrain_planner.plan import FIRST, Reason
from noisy_gru.components.retrain_planner.time_text import ahead_text, is_ahead, span_of_time
from noisy_gru.schema.durations import parse_duration
from noisy_gru.schema.span_patterns import format_spans

OFF = {"off": True}
_SHOWN = 5


def triggers(rules: RulesConfig, evidence: Evidence, now: datetime) -> Iterator[Reason]:
    """Yield the verdict of every trigger."""
    base, changes = evidence.base, evidence.changes
    if base is None:
        yield Reason(rule=FIRST, kind="trigger", met=True, text="no model is published yet")
    elif not changes.known:
        text = f"version {base.version} doesn't say what it was trained on, so all data is new to it"
        yield Reason(rule=FIRST, kind="trigger", met=True, text=text)
    else:
        yield Reason(rule=FIRST, kind="trigger", met=False, text=f"version {base.version} is published", numbers=OFF)
    yield _new_spans(rules, evidence)
    yield _new_sequences(rules, evidence)
    yield _drift(rules, evidence)
    yield _age(rules, evidence, now)


def _new_spans(rules: RulesConfig, evidence: Evidence) -> Reason:
    changes, base = evidence.changes, evidence.base
    count, wanted = changes.count, rules.new_spans
    numbers: dict[str, Any] = {"new": count, "wanted": wanted, "files": list(changes.files)}
    if changes.by_span:
        numbers |= {"spans": list(changes.spans), "changed": {str(span): why for span, why in changes.changed.items()}}
    else:
        numbers["gone"] = list(changes.gone)
    if not count:
        text = f"nothing new since version {base.version}" if base else "there is no data"
        text += f", which was trained on {_of_base(base)}" if base and base.spans else ""
        return Reason(rule="new_spans", kind="trigger", met=False, text=text, numbers=numbers)
    text = _changes_text(changes)
    if not wanted:
        return Reason(rule="new_spans", kind="trigger", met=False, text=f"{text}; no trigger", numbers=numbers | OFF)
    text = f"{text}, at least {wanted} needed"
    return Reason(rule="new_spans", kind="trigger", met=count >= wanted, text=text, numbers=numbers)


def _of_base(base: PublishedVersion) -> str:
    return f"span{'s' * (not base.spans.isdecimal())} {base.spans}"


def _changes_text(changes: DataChanges) -> str:
    if not changes.by_span:
        new = [name for name in changes.files if name not in changes.altered]
        kinds = (("new", new), ("changed", changes.altered), ("gone", changes.gone))
        parts = [f"{len(names)} file{'s' * (len(names) != 1)} {how}{_some(names)}" for how, names in kinds if names]
        return ", ".join(parts)
    parts = []
    if changes.spans:
        parts.append(f"{len(changes.spans)} new span{'s' * (len(changes.spans) != 1)} ({format_spans(changes.spans)})")
    if changes.changed:
        which = "; ".join(f"{span}: {why}" for span, why in list(changes.changed.items())[:_SHOWN])
        parts.append(f"{len(changes.changed)} span{'s' * (len(changes.changed) != 1)} changed ({which})")
    return " and ".join(parts)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f" ({', '.join(names[:_SHOWN])}{more})" if names else ""


def _new_sequences(rules: RulesConfig, evidence: Evidence) -> Reason:
    wanted, measured = rules.new_sequences, evidence.measured
    if not wanted:
        count = f"{measured.sequences:,} new sequences; " if measured else ""
        numbers = {"sequences": measured.sequences, "rows": measured.rows} if measured else {}
        return Reason(
            rule="new_sequences", kind="trigger", met=False, text=f"{count}no trigger", numbers={**numbers, **OFF}
        )
    if measured is None:
        return Reason(
            rule="new_sequences",
            kind="trigger",
            met=False,
            text=f"not counted: {evidence.why_not_measured}",
            numbers={"sequences": 0, "wanted": wanted, "no_data": not evidence.changes.count},
        )
    numbers = {"sequences": measured.sequences, "rows": measured.rows, "wanted": wanted}
    text = f"{measured.sequences:,} new sequences (of {measured.rows:,} rows), at least {wanted:,} needed"
    met = measured.sequences >= wanted
    return Reason(rule="new_sequences", kind="trigger", met=met, text=text, numbers=numbers)


def _drift(rules: RulesConfig, evidence: Evidence) -> Reason:
    measured = evidence.measured
    if not rules.drift:
        return Reason(rule="drift", kind="trigger", met=False, text="no trigger", numbers=OFF)
    if measured is None:
        text = f"not measured: {evidence.why_not_measured}"
        numbers = {"features": [], "no_data": not evidence.changes.count}
        return Reason(rule="drift", kind="trigger", met=False, text=text, numbers=numbers)
    drift = measured.drift
    if drift is None:
        text = f"not measured: {measured.why_no_drift}"
        return Reason(rule="drift", kind="trigger", met=False, text=text, numbers={"features": []})
    drifted = sorted((each for each in drift.features if each.drifted), key=_by_surprise)
    numbers = {
        "features": [asdict(each) for each in drift.features],
        "false_alarm_rate": drift.false_alarm_rate,
        "compared": drift.compared,
    }
    if drifted:
        more = f"; and {len(drifted) - _SHOWN} more" if len(drifted) > _SHOWN else ""
        text = "; ".join(map(_drift_text, drifted[:_SHOWN])) + more
    elif drift.features:
        text = f"none; most conspicuous: {_drift_text(min(drift.features, key=_by_surprise))}"
    else:
        text = "there is no column to compare"
    return Reason(rule="drift", kind="trigger", met=bool(drifted), text=f"{text} ({drift.compared})", numbers=numbers)


def _by_surprise(each: FeatureDrift) -> tuple[float, float, str]:
    return each.p_value or 0.0, -(each.distance or 0.0), each.feature


def _drift_text(each: FeatureDrift) -> str:
    if each.change:
        return f"{each.feature} {each.change}"
    return f"{each.feature} {each.measure} {each.distance:.2g} (p {each.p_value:.2g})"


def _age(rules: RulesConfig, evidence: Evidence, now: datetime) -> Reason:
    base = evidence.base
    if base is None:
        return Reason(rule="max_age", kind="trigger", met=False, text="no model that could be old", numbers=OFF)
    if is_ahead(base.published, now):
        return _unknown_age(rules, evidence, base, now)
    age = now - base.published
    numbers = {"age_seconds": age.total_seconds()}
    model_age = f"version {base.version} is {span_of_time(age)} old"
    if rules.max_age is None:
        return Reason(
            rule="max_age", kind="trigger", met=False, text=f"{model_age}; no trigger", numbers={**numbers, **OFF}
        )
    limit = parse_duration(rules.max_age)
    numbers["max_age_seconds"] = limit.total_seconds()
    if age < limit:
        return Reason(
            rule="max_age", kind="trigger", met=False, text=f"{model_age}, {rules.max_age} is the most", numbers=numbers
        )
    if not evidence.changes.count:
        text = f"{model_age}, past {rules.max_age}, but there is nothing new to train it on"
        return Reason(rule="max_age", kind="trigger", met=False, text=text, numbers=numbers)
    return Reason(
        rule="max_age", kind="trigger", met=True, text=f"{model_age}, {rules.max_age} is the most", numbers=numbers
    )


def _unknown_age(rules: RulesConfig, evidence: Evidence, base: PublishedVersion, now: datetime) -> Reason:
    """Return the verdict on a version from the future: it would stay young for years, so it counts as too old."""
    model_age = f"version {base.version} was published {ahead_text(base.published, now)}; its age is not known"
    if rules.max_age is None:
        return Reason(rule="max_age", kind="trigger", met=False, text=f"{model_age}; no trigger", numbers=OFF)
    numbers = {"max_age_seconds": parse_duration(rules.max_age).total_seconds()}
    if not evidence.changes.count:
        text = f"{model_age}, and there is nothing new to train it on"
        return Reason(rule="max_age", kind="trigger", met=False, text=text, numbers=numbers)
    text = f"{model_age}, so it counts as older than {rules.max_age}"
    return Reason(rule="max_age", kind="trigger", met=True, text=text, numbers=numbers)

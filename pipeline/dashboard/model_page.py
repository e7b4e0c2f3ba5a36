"""Sections of a model's page: what serves, metrics and drift over time, versions, checks, failures."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from noisy_gru.pipeline.dashboard.links import change_path, report_path, run_link
from noisy_gru.pipeline.dashboard.models import ModelState
from noisy_gru.pipeline.dashboard.overview import failures_table, runs_table, schedule_facts
from noisy_gru.pipeline.dashboard.roots import RootState
from noisy_gru.pipeline.dashboard.run_rows import RunRow
from noisy_gru.pipeline.report.blocks import Block, Cell, Chart, Facts, Link, Mark, Section, Sentences, Table
from noisy_gru.pipeline.report.charts import line_chart, small_line_charts

_METRIC_CHARTS = 4
_FEATURES = 6
_ROWS = 60
_LARGEST = 1e100  # beyond it Matplotlib's axes overflow
# Hashable, so that a chart is drawn once: name, times, values.
Series = tuple[str, tuple[datetime, ...], tuple[float, ...]]


def model_sections(state: RootState, model: ModelState, allow_changes: bool) -> list[Section]:
    """Return the sections of a model's page, newest things first."""
    runs = [row for row in state.runs if row.model == model.name]
    newest = [(state.key, row) for row in reversed(runs)]
    failed = [each for each in newest if each[1].failed][:_ROWS]
    no_drift = "No check measured drift (retraining.rules.drift)."
    content = {
        "serving": ("What serves now", _serving(state, model, allow_changes), ""),
        "metrics": ("Metrics over time", _metrics(runs), "None yet."),
        "versions": ("Versions", _versions(state, model, runs), "None yet."),
        "checks": ("Checks: why it trained, or not", _checks(state, runs), "No check is recorded."),
        "drift": ("Drift over time", _drift(state, runs), no_drift),
        "failures": ("Failures", [failures_table(failed)] if failed else [], "None."),
        "changes": ("Changes of the versions", _changes(model), "None yet."),
        "runs": ("Runs", [runs_table(newest[:_ROWS], [state])] if newest else [], "None yet."),
    }
    return [Section(key, title, blocks, "" if blocks else note) for key, (title, blocks, note) in content.items()]


def _serving(state: RootState, model: ModelState, allow_changes: bool) -> list[Block]:
    blocks: list[Block] = [Sentences([model.problem], tone="grey")] if model.problem else []
    facts: list[tuple[str, Cell]] = [
        ("serves", model.serves),
        ("stable", _name(model.stable)),
        ("canary", _name(model.canary) if model.canary != model.stable else None),
        ("rollout", model.rollout or None),
        *schedule_facts(state),
    ]
    if allow_changes and not model.problem:
        if model.back_to is not None:
            facts.append(("change", Link(f"Roll back to version {model.back_to}", _change(state, model, "rollback"))))
        if model.can_promote:
            facts.append(("change", Link(f"Promote version {model.canary}", _change(state, model, "promote"))))
    return [*blocks, Facts(facts)]


def _change(state: RootState, model: ModelState, action: str) -> str:
    return change_path(state.key, model.name, action)


def _metrics(runs: Sequence[RunRow]) -> list[Block]:
    timed = [(when, row) for row in runs if row.metrics and (when := row.when) is not None]
    if not timed:
        return []
    names = list(timed[-1][1].metrics)[:_METRIC_CHARTS]
    charts = []
    for name in names:
        parts = (
            ("this run's model", [(when, row.metrics[name]) for when, row in timed if name in row.metrics]),
            ("the published one", [(when, row.previous[name]) for when, row in timed if name in row.previous]),
        )
        charts.append((name, tuple(_series(label, points) for label, points in parts if points)))
    rows: list[list[Cell]] = [
        [row.run_id, row.started, Mark(row.status), _name(row.version), *(row.metrics.get(name) for name in names)]
        for _, row in reversed(timed)
    ]
    numbers = Table("Numbers", ["run", "started", "status", "version", *names], rows[:_ROWS], folded=True)
    caption = "On the test split of each run: the model that it trained, and the published one on the same data."
    return [Chart("Metrics of the runs", caption, _metric_charts(tuple(charts)), numbers)]


def _versions(state: RootState, model: ModelState, runs: Sequence[RunRow]) -> list[Block]:
    if not model.versions:
        return []
    by_version = {row.version: row for row in runs if row.version is not None}
    names = next((list(row.metrics)[:3] for row in reversed(runs) if row.metrics), [])
    rows: list[list[Cell]] = []
    for each in model.versions[:_ROWS]:
        row = by_version.get(each.version)
        metrics = [None if row is None else row.metrics.get(name) for name in names]
        rows.append(
            [
                str(each.version),
                each.state,
                " and ".join(each.labels) or None,
                each.published or None,
                run_link(state.key, row.run_id) if row else None,
                *metrics,
                each.changed or None,
                each.reason or None,
            ]
        )
    columns = ["version", "state", "label", "published", "run", *names, "last change", "reason"]
    return [Table("Versions", columns, rows)]


def _checks(state: RootState, runs: Sequence[RunRow]) -> list[Block]:
    pipelines = {row.pipeline for row in runs}
    known = {each.run_id for each in state.checks}
    rows: list[tuple[str, list[Cell]]] = []
    for check in state.checks:
        if check.pipeline not in pipelines and len(state.models) > 1:
            continue
        why = "; ".join(filter(None, (check.summary, check.error)))
        cells: list[Cell] = [check.at, check.outcome, why or None]
        page = f"held-{_digits(check.at)}"
        held = check.outcome == "held" and state.directory.report_file(page).is_file()
        last = Link("report", report_path(state.key, page)) if held else None
        rows.append((check.at, [*cells, run_link(state.key, check.run_id) if check.run_id else last]))
    # Retrainings of before there was a log of checks.
    rows += [
        (row.started, [row.started, row.status, row.plan or row.due_by, run_link(state.key, row.run_id)])
        for row in runs
        if (row.plan or row.due_by) and row.run_id not in known
    ]
    rows.sort(key=lambda each: each[0], reverse=True)
    if not rows:
        return []
    return [Table("Checks", ["at", "outcome", "why", "run"], [cells for _, cells in rows[:_ROWS]])]


def _drift(state: RootState, runs: Sequence[RunRow]) -> list[Block]:
    pipelines = {row.pipeline for row in runs}
    planned = {each.run_id for each in state.checks if each.drift}
    found: dict[datetime, dict[str, float]] = {}
    for row in runs:
        if row.drift and row.run_id not in planned and (at := row.when):
            found[at] = row.drift
    for check in state.checks:
        if check.drift and (check.pipeline in pipelines or len(state.models) == 1) and (at := _time(check.at)):
            found[at] = check.drift
    if not found:
        return []
    most: dict[str, float] = {}
    for distances in found.values():
        for name, distance in distances.items():
            most[name] = max(distance, most.get(name, 0.0))
    names = sorted(most, key=lambda name: -most[name])[:_FEATURES]
    times = sorted(found)
    lines = tuple(_series(name, [(at, found[at][name]) for at in times if name in found[at]]) for name in names)
    rows: list[list[Cell]] = [
        [at.isoformat(), *(found[at].get(name) for name in names)] for at in reversed(times[-_ROWS:])
    ]
    numbers = Table("Numbers", ["at", *names], rows, folded=True)
    more = f" The {_FEATURES} features that drifted most, of {len(most)}." if len(most) > _FEATURES else ""
    caption = f"Distance of the new data from what the served model was trained on, at each check.{more}"
    return [Chart("Drift by feature", caption, _drift_chart(lines), numbers)]


def _changes(model: ModelState) -> list[Block]:
    rows: list[list[Cell]] = [
        [event.at, event.action, str(event.version), _name(event.stable), event.reason]
        for event in reversed(model.events)
    ]
    columns = ["at", "change", "version", "stable after it", "reason"]
    return [Table("Changes", columns, rows[:_ROWS], folded=True)] if rows else []


def _name(version: int | None) -> str | None:
    """Return a version as a name: it is no quantity."""
    return None if version is None else str(version)


def _series(name: str, points: Iterable[tuple[datetime, float]]) -> Series:
    ordered = sorted(points)
    # Matplotlib draws times without a zone as they are.
    times = tuple(when.astimezone(UTC).replace(tzinfo=None) for when, _ in ordered)
    return name, times, tuple(value if abs(value) < _LARGEST else math.nan for _, value in ordered)


@functools.lru_cache(maxsize=64)
def _metric_charts(charts: tuple[tuple[str, tuple[Series, ...]], ...]) -> str:
    return small_line_charts(
        [(title, {name: (times, values) for name, times, values in lines}) for title, lines in charts],
        x="start of the run (UTC)",
    )


@functools.lru_cache(maxsize=64)
def _drift_chart(lines: tuple[Series, ...]) -> str:
    return line_chart(
        {name: (times, values) for name, times, values in lines}, x="time of the check (UTC)", y="distance"
    )


def _time(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _digits(at: str) -> str:
    moment = _time(at)
    return "" if moment is None else f"{moment.astimezone(UTC):%Y%m%d-%H%M%S}"

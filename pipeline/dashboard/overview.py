"""Sections of the first page and of the list of runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from noisy_gru.pipeline.dashboard.links import compare_path, model_path, report_path, run_link
from noisy_gru.pipeline.dashboard.models import ModelState
from noisy_gru.pipeline.dashboard.roots import RootState
from noisy_gru.pipeline.dashboard.run_rows import RunRow
from noisy_gru.pipeline.report.blocks import Block, Cell, Facts, Link, Mark, Section, Sentences, Table

LATEST = 20
FAILURE_DAYS = 30
_METRICS = 3
Listed = tuple[str, RunRow]


def overview_sections(states: Sequence[RootState], now: datetime) -> list[Section]:
    """Return a section for each root with its models, then the latest runs and failures."""
    sections = [_root_section(state, number, now) for number, state in enumerate(states)]
    listed = newest_first(states)
    latest = listed[:LATEST]
    note = "" if latest else "No runs yet; start one with noisy-gru run CONFIG."
    recent: list[Listed] = [each for each in listed if each[1].failed and _is_recent(each[1], now)]
    return [
        *sections,
        Section("latest", "Latest runs", [runs_table(latest, states)] if latest else [], note),
        Section(
            "failures",
            f"Failures of the last {FAILURE_DAYS} days",
            [failures_table(recent)] if recent else [],
            "" if recent else "None.",
        ),
    ]


def newest_first(states: Sequence[RootState]) -> list[Listed]:
    """Return the runs of all roots with the roots' keys, newest first."""
    listed = [(state.key, row) for state in states for row in state.runs]
    return sorted(listed, key=lambda each: each[1].run_id, reverse=True)


def runs_table(listed: Sequence[Listed], states: Sequence[RootState]) -> Table:
    """Return a table of runs; one whose record can't be read is a grey row that says why."""
    before = {state.key: _run_before(state.runs) for state in states}
    reports = {(state.key, file.stem) for state in states for file in state.directory.runs.glob("[!.]*.html")}
    rows: list[list[Cell]] = []
    grey: list[int] = []
    for key, row in listed:
        if row.problem:
            grey.append(len(rows))
            rows.append([row.run_id, key, Mark("unreadable"), None, None, None, row.problem, None, None, None])
            continue
        earlier = before[key].get(row.run_id)
        rows.append(
            [
                run_link(key, row.run_id),
                Link(row.model, model_path(key, row.model)),
                Mark(row.status),
                row.started,
                None if row.seconds is None else round(row.seconds, 1),
                None if row.version is None else str(row.version),
                metrics_text(row) or "; ".join(row.reasons),
                row.plan or row.due_by or None,
                Link("open", report_path(key, row.run_id)) if (key, row.run_id) in reports else None,
                Link("with the one before", compare_path(key, earlier, row.run_id)) if earlier else None,
            ]
        )
    columns = ["run", "model", "status", "started", "seconds", "version", "metrics", "why it ran", "report", "compare"]
    note = "In brackets: difference to the published model on the same data."
    return Table("Runs", columns, rows, note, grey=grey)


def failures_table(listed: Sequence[Listed]) -> Table:
    """Return a table of runs that ended without a verdict, and why."""
    rows: list[list[Cell]] = [
        [
            row.run_id if row.problem else run_link(key, row.run_id),
            key,
            Mark(row.status),
            row.started or None,
            row.problem or "; ".join(row.reasons) or None,
        ]
        for key, row in listed
    ]
    grey = [place for place, (_, row) in enumerate(listed) if row.problem]
    return Table("Runs that failed", ["run", "root", "status", "started", "why"], rows, grey=grey)


def metrics_text(row: RunRow, count: int = _METRICS) -> str:
    """Format metrics, each with its difference from the published model's on the same data."""
    return "  ".join(
        f"{name} {value:.4g}" + (f" ({value - row.previous[name]:+.2g})" if name in row.previous else "")
        for name, value in list(row.metrics.items())[:count]
    )


def size_text(count: float | None) -> str | None:
    """Format a number of bytes; None stays None."""
    if count is None:
        return None
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 1e3:,.1f} kB"


def time_text(moment: datetime | None) -> str | None:
    """Format a time in UTC; None stays None."""
    return None if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def schedule_facts(state: RootState) -> list[tuple[str, Cell]]:
    """Return the next scheduled time, the last check, and the disk of a root."""
    last = state.checks[-1] if state.checks else None
    sizes = [row.disk_bytes for row in state.runs if row.disk_bytes is not None]
    return [
        ("next retraining", time_text(state.schedule.next)),
        ("schedule", state.schedule.text),
        ("last check by the scheduler", time_text(state.schedule.last_check)),
        ("last check", None if last is None else f"{last.outcome}, {last.at}"),
        ("artifacts of the runs", size_text(sum(sizes)) if sizes else None),
        ("free on its disk", size_text(state.free_bytes)),
    ]


def _root_section(state: RootState, number: int, now: datetime) -> Section:
    failed = sum(row.failed and _is_recent(row, now) for row in state.runs)
    unreadable = sum(bool(row.problem) for row in state.runs)
    facts: list[tuple[str, Cell]] = [
        ("root", str(state.path)),
        ("runs", len(state.runs)),
        (f"failed in {FAILURE_DAYS} days", failed),
        *schedule_facts(state),
    ]
    if unreadable:
        facts.insert(3, ("records that can't be read", unreadable))
    blocks: list[Block] = [Facts(facts)]
    if state.problem:
        blocks.insert(0, Sentences([state.problem], tone="grey"))
    if state.models:
        rows = [_model_row(state, model) for model in state.models]
        columns = ["model", "serves now", "last run", "status", "started", "metrics", "versions"]
        grey = [place for place, model in enumerate(state.models) if model.problem]
        blocks.append(Table("Models", columns, rows, grey=grey))
    return Section(f"root-{number}", state.key, blocks)


def _model_row(state: RootState, model: ModelState) -> list[Cell]:
    last = next((row for row in reversed(state.runs) if row.model == model.name), None)
    return [
        Link(model.name, model_path(state.key, model.name)),
        model.problem or model.serves,
        run_link(state.key, last.run_id) if last else None,
        Mark(last.status) if last else None,
        last.started if last else None,
        metrics_text(last) or None if last else None,
        sum(each.state == "published" for each in model.versions),
    ]


def _is_recent(row: RunRow, now: datetime) -> bool:
    """Whether a run is of the last days; one without a time, which can't be read, counts by its id's day."""
    when = row.when
    if when is None:
        try:
            when = datetime.strptime(row.run_id[:8], "%Y%m%d").replace(tzinfo=UTC)
        except ValueError:
            return True
    return now - when < timedelta(days=FAILURE_DAYS)


def _run_before(rows: Sequence[RunRow]) -> dict[str, str]:
    """Return for each run the one of the same model before it."""
    last: dict[str, str] = {}
    found = {}
    for row in rows:
        if not row.problem:
            if row.model in last:
                found[row.run_id] = last[row.model]
            last[row.model] = row.run_id
    return found

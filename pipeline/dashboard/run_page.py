"""Sections of a run's page, of one that is going on, and of the comparison of two."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from noisy_gru.pipeline.dashboard.links import compare_path, model_path, report_path, run_path
from noisy_gru.pipeline.dashboard.overview import size_text
from noisy_gru.pipeline.dashboard.roots import RootState
from noisy_gru.pipeline.dashboard.run_rows import RunRow, row_of
from noisy_gru.pipeline.report.blocks import Block, Cell, Chart, Facts, Link, Mark, Section, Sentences, Table
from noisy_gru.pipeline.report.charts import small_line_charts
from noisy_gru.pipeline.report.training_account import read_history
from noisy_gru.pipeline.runs.comparison import Difference, Number, compare
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.pipeline.runs.run_record import RunRecord

_LOG_BYTES = 16_384
_LOG_LINES = 40
_EPOCHS = 20
_NOT_DRAWN = ("epoch", "learning_rate", "stddev_")  # beginnings of names


def run_sections(state: RootState, record: RunRecord, now: datetime) -> list[Section]:
    """Return the sections of a run: facts and links, what came of it, metrics."""
    row = row_of(record)
    metrics: list[list[Cell]] = [
        [name, value, row.previous.get(name), _change(row.previous.get(name), value)]
        for name, value in row.metrics.items()
    ]
    notes: list[Block] = []
    if row.reasons:
        notes.append(Sentences(row.reasons, "Why nothing was published", "warning"))
    if record.warnings:
        notes.append(Sentences(record.warnings, "Warnings"))
    if row.plan:
        notes.append(Sentences([row.plan], "Why it ran"))
    columns = ["metric", "this run", "the published model", "difference"]
    return [
        Section("run", "Run", [Facts(_facts(state, record, row)), *notes]),
        *([] if record.status == "running" else live_sections(state.directory, record, now)),
        Section(
            "metrics",
            "Metrics on the test split",
            [Table("Metrics", columns, metrics)] if metrics else [],
            "" if metrics else "None yet.",
        ),
    ]


def live_sections(directory: RunDirectory, record: RunRecord, now: datetime) -> list[Section]:
    """Return the sections that change while a run goes on: steps; and, until it ends, training and log."""
    sections = [Section("steps", "Steps", _steps(record, now))]
    if record.status == "running":
        training, log = _training(directory, record), _log_tail(directory, record)
        sections.append(Section("training", "Training", training, "" if training else "No epoch has ended yet."))
        sections.append(Section("log", "The log's last lines", [Sentences(log)] if log else [], "" if log else "None."))
    return sections


def comparison_sections(first: RunRecord, second: RunRecord) -> list[Section]:
    """Return what differs between two runs, then all metrics, slices and durations of both."""
    found = compare(first, second)
    names = list(found.runs)

    def section(key: str, title: str, blocks: Sequence[Block]) -> Section:
        return Section(key, title, blocks, "" if blocks else "No difference.")

    def differences(title: str, each: Sequence[Difference]) -> list[Block]:
        rows: list[list[Cell]] = [[one.what, _text(one.first), _text(one.second)] for one in each]
        return [Table(title, ["what", *names], rows)] if rows else []

    def numbers(title: str, each: Iterable[Number]) -> list[Block]:
        rows: list[list[Cell]] = [[one.name, one.first, one.second, one.change] for one in each]
        return [Table(title, ["number", *names, "change"], rows)] if rows else []

    slices = [block for name, each in found.slices.items() for block in numbers(name, each)]
    return [
        section("outcome", "Outcome", differences("Outcome", found.outcome)),
        section("metrics", "Metrics", numbers("Metrics", found.metrics)),
        section("config", "Configuration", differences("Configuration", found.config)),
        section("data", "Data", differences("Data", found.data)),
        section("files", "Files, by sha256", differences("Files", found.files)),
        section("packages", "Packages and source", differences("Packages", found.packages)),
        section("slices", "Slices", slices),
        section("seconds", "Seconds", numbers("Seconds", found.seconds)),
    ]


def _facts(state: RootState, record: RunRecord, row: RunRow) -> list[tuple[str, Cell]]:
    page = state.directory.report_file(record.run_id)
    earlier = [each.run_id for each in state.runs if each.model == row.model and each.run_id < record.run_id]
    facts: list[tuple[str, Cell]] = [
        ("model", Link(row.model, model_path(state.key, row.model))),
        ("status", Mark(record.status)),
        ("started", record.started),
        ("took, s", row.seconds),
        ("version", None if record.version is None else str(record.version)),
        ("report", Link("open", report_path(state.key, record.run_id)) if page.is_file() else "none was written"),
        ("compare", Link("with the one before", compare_path(state.key, earlier[-1], record.run_id)))
        if earlier
        else ("compare", None),
        ("spans", row.spans or None),
        ("CPU, s", row.cpu_seconds),
        ("peak memory, MB", row.peak_mb),
        ("artifacts", size_text(row.disk_bytes) if record.pruned is None else f"deleted on {record.pruned}"),
        ("configuration", record.config_path),
        ("log", record.log),
    ]
    if record.replay_of:
        facts.append(("replay of", Link(record.replay_of, run_path(state.key, record.replay_of))))
    return facts


def _steps(record: RunRecord, now: datetime) -> list[Block]:
    rows: list[list[Cell]] = []
    for step in record.steps:
        used = [step.cpu_seconds, step.peak_mb, size_text(step.disk_bytes)]
        seconds: Cell = None if step.status == "running" else round(step.seconds, 1)
        rows.append([step.name, Mark(step.status), seconds, *used, step.summary or None])
    columns = ["step", "status", "seconds", "CPU s", "peak MB", "output", "what it says"]
    facts: list[Block] = []
    if record.status == "running":
        started = datetime.fromisoformat(record.started)
        running = next((step.name for step in record.steps if step.status == "running"), None)
        taken = max(0, int((now - started).total_seconds()))
        facts = [Facts([("runs for, s", taken), ("step", running), ("process", str(record.pid))])]
    return [*facts, Table("Steps", columns, rows)]


def _training(directory: RunDirectory, record: RunRecord) -> list[Block]:
    """Return the epochs of the training that is going on, from the newest history.csv since the run began."""
    started = datetime.fromisoformat(record.started).timestamp()
    found: list[tuple[float, Path]] = []
    for file in directory.artifacts.glob("Trainer/model_run/*/**/history.csv"):
        changed = _changed(file)
        if changed is not None and changed >= started:
            found.append((changed, file))
    if not found:
        return []
    try:
        history = read_history(max(found)[1])
    except (OSError, ValueError, LookupError, TypeError):
        # It is being written: the next second has it whole.
        return []
    names = [name for name in history if not name.startswith(_NOT_DRAWN)]
    epochs = tuple(history.get("epoch", []))
    lines: list[tuple[str, tuple[tuple[str, tuple[float | None, ...]], ...]]] = []
    for name in names:
        if not name.startswith("val_"):
            pair = [each for each in (name, f"val_{name}") if each in history]
            lines.append((name, tuple((each, tuple(history[each])) for each in pair)))
    rows = [list(row) for row in zip(*history.values(), strict=True)][::-1][:_EPOCHS]
    table = Table("Epochs", list(history), rows, f"The last {_EPOCHS} epochs at most, newest first.")
    chart = Chart("Loss and metrics", "By epoch; val_ is on the split eval.", _epochs_chart(epochs, tuple(lines[:3])))
    return [chart, table]


@functools.lru_cache(maxsize=8)
def _epochs_chart(
    epochs: tuple[float | None, ...], lines: tuple[tuple[str, tuple[tuple[str, tuple[float | None, ...]], ...]], ...]
) -> str:
    charts = [(title, {name: (epochs, values) for name, values in pair}) for title, pair in lines]
    return small_line_charts(charts, x="epoch")


def _log_tail(directory: RunDirectory, record: RunRecord) -> list[str]:
    try:
        with directory.log_file(record.run_id).open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - _LOG_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()][-_LOG_LINES:]


def _changed(file: Path) -> float | None:
    try:
        return file.stat().st_mtime
    except OSError:
        return None


def _change(before: float | None, after: float) -> float | None:
    return None if before is None or not math.isfinite(after - before) else after - before


def _text(value: object) -> Cell:
    return value if value is None or isinstance(value, bool | int | float) else str(value)

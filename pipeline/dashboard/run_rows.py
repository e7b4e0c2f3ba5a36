"""Run records of a root as rows, read again only where a file has changed.

>>> RunRows(RunDirectory(Path("runs/vowels"))).read()[-1].status  # doctest: +SKIP
'succeeded'
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from noisy_gru.pipeline.runs.check_log import drift_distances
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.pipeline.runs.run_record import RunRecord, due_by, read_record
from noisy_gru.schema.errors import UserError
from noisy_gru.schema.span_patterns import format_spans

# What a part of a record raises that isn't as any release wrote it: records hold free-form parts.
UNREADABLE = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """What the dashboard's tables and charts take from a run record.

    ``problem`` says why the record can't be read; the other fields are then empty, except for ``run_id``.
    """

    run_id: str
    problem: str = ""
    pipeline: str = ""
    model: str = ""
    status: str = "unreadable"
    started: str = ""
    seconds: float | None = None
    version: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    previous: dict[str, float] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    spans: str = ""
    plan: str = ""
    due_by: str = ""
    drift: dict[str, float] = field(default_factory=dict)
    cpu_seconds: float | None = None
    peak_mb: float | None = None
    disk_bytes: int | None = None
    cron: str | None = None
    timezone: str = "UTC"

    @property
    def when(self) -> datetime | None:
        """The start; None if the record doesn't have a time there."""
        try:
            moment = datetime.fromisoformat(self.started)
        except ValueError:
            return None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    @property
    def failed(self) -> bool:
        """Whether it ended without a verdict on a model."""
        return self.status in ("failed", "killed", "interrupted", "unreadable")


class RunRows:
    """The rows of one root. Not for several threads at a time."""

    def __init__(self, directory: RunDirectory):
        self._directory = directory
        self._kept: dict[str, tuple[tuple[int, int], RunRow]] = {}

    def read(self) -> list[RunRow]:
        """Return a row for each record, oldest first; a torn one has a ``problem``.

        Raises:
            OSError: the folder can't be listed, other than for its absence.
        """
        found: dict[str, tuple[tuple[int, int], RunRow]] = {}
        for file in sorted(self._directory.runs.glob("[!.]*.json")):
            try:
                status = file.stat()
            except FileNotFoundError:
                continue
            key, kept = (status.st_mtime_ns, status.st_size), self._kept.get(file.stem)
            row = kept[1] if kept and kept[0] == key else _row(file, read_record)
            found[file.stem] = key, row
        self._kept = found
        return [self._as_it_is(row) for _, row in found.values()]

    def _as_it_is(self, row: RunRow) -> RunRow:
        """Ask whether the process of a run that says `running` is alive."""
        if row.status != "running":
            return row
        return _row(self._directory.runs / f"{row.run_id}.json", lambda _: self._directory.record(row.run_id))


def row_of(record: RunRecord) -> RunRow:
    """Return the row of a record."""
    plan, config = record.plan or {}, record.config
    outputs = [] if record.pruned else [step.disk_bytes for step in record.steps if step.status != "cached"]
    spans = [span["span"] for span in record.spans if "span" in span]
    schedule = _below(config, "retraining", "schedule")
    cron = schedule.get("cron")
    return RunRow(
        run_id=record.run_id,
        pipeline=record.pipeline,
        model=_model(record),
        status=record.status,
        started=record.started,
        seconds=record.seconds if record.finished else None,
        version=record.version,
        metrics=_numbers(record.metrics),
        previous=_numbers(record.previous),
        reasons=(*record.refusals, *([record.error] if record.error else [])),
        spans=format_spans(spans) if spans else "",
        plan=str(plan.get("summary", "")),
        due_by=due_by(plan),
        drift=drift_distances(plan),
        cpu_seconds=_total([step.cpu_seconds for step in record.steps]),
        peak_mb=max((step.peak_mb for step in record.steps if step.peak_mb is not None), default=None),
        disk_bytes=_total(outputs),
        cron=cron if isinstance(cron, str) else None,
        timezone=str(schedule.get("timezone") or "UTC"),
    )


def _row(file: Path, read: Callable[[Path], RunRecord]) -> RunRow:
    try:
        record = read(file)
        if record.run_id != file.stem:
            return RunRow(run_id=file.stem, problem=f"{file}: the record is of another run, {record.run_id}")
        return row_of(record)
    except UserError as error:
        return RunRow(run_id=file.stem, problem=str(error))
    except UNREADABLE as error:
        return RunRow(run_id=file.stem, problem=f"{file}: not a run record: {type(error).__name__}: {error}")


def _model(record: RunRecord) -> str:
    if record.published_path:
        return Path(record.published_path).parent.name
    return str(_below(record.config, "serving").get("model_name") or record.pipeline)


def _below(content: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    for key in keys:
        inner = content.get(key)
        content = inner if isinstance(inner, Mapping) else {}
    return content


def _numbers(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name != "example_count"}


def _total(values: list[Any]) -> Any:
    known = [value for value in values if value is not None]
    return sum(known) if known else None

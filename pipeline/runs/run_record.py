"""The record of a run, `runs/<run_id>.json`: its steps, rows, metrics and outcome."""

from __future__ import annotations

import hashlib
import html
import math
import os
import shlex
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from noisy_gru.schema.errors import UserError
from noisy_gru.schema.html_tables import html_heading, html_list, html_table

RunStatus = Literal["running", "succeeded", "refused", "failed", "interrupted", "killed"]
# JSON knows no NaN: it is written as null.
Metric = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
StepStatus = Literal["running", "complete", "cached", "skipped", "failed", "interrupted"]
# Kinds of rules that postpone a retraining; records of before 0.2 have the second.
GUARD_KINDS = ("guard", "brake")
_METRICS_SHOWN = 20  # in a notebook; a forecast has some for each horizon


class StepRecord(BaseModel):
    """The record of a step: when it began, ``seconds`` of wall-clock time, what it used, and key numbers.

    ``cpu_seconds`` and ``peak_mb`` are those of `step_resources.StepResources`, ``disk_bytes`` those of its output
    artifacts; they and ``started`` are None in records of earlier releases.
    """

    model_config = ConfigDict(extra="ignore")

    name: str
    status: StepStatus = "running"
    started: str | None = None
    seconds: float = 0.0
    cpu_seconds: float | None = None
    peak_mb: float | None = None
    disk_bytes: int | None = None
    summary: str = ""
    numbers: dict[str, Any] = Field(default_factory=dict)


class RowCounts(BaseModel):
    """Numbers of rows that ingestion read, kept, dropped by policy, and quarantined, by reason."""

    model_config = ConfigDict(extra="ignore")

    read: int = 0
    kept: int = 0
    dropped: dict[str, int] = Field(default_factory=dict)
    quarantined: dict[str, int] = Field(default_factory=dict)


class RunRecord(BaseModel):
    """The record of a run, ``runs/<run_id>.json``. Times are ISO 8601 in UTC.

    ``spans`` and ``files`` are the input of ingestion with the sha256 of each file; ``previous`` the metrics of the
    published model on the same data; ``plan`` the decision to retrain and its reasons, None for a run started by hand;
    ``comparisons`` the Evaluator's comparisons with confidence intervals; ``warm_start`` the version that training
    started from, or why it was refused; ``schema_copy`` the copy of the schema under ``inputs/``; ``replay_of`` the run
    that this one replays; ``pruned`` the time when its artifacts were deleted.
    """

    model_config = ConfigDict(extra="ignore")

    run_id: str
    pipeline: str
    status: RunStatus = "running"
    started: str
    finished: str | None = None
    seconds: float = 0.0
    config_path: str
    overrides: list[str] = Field(default_factory=list)
    config_hash: str
    config: dict[str, Any]
    seed: int
    root: str
    log: str
    rows: RowCounts | None = None
    sequences: dict[str, int] = Field(default_factory=dict)
    steps: list[StepRecord] = Field(default_factory=list)
    metrics: dict[str, Metric] = Field(default_factory=dict)
    slices: dict[str, dict[str, Metric]] = Field(default_factory=dict)
    baseline: dict[str, Metric] = Field(default_factory=dict)
    blessed: bool | None = None
    refusals: list[str] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    comparisons: list[dict[str, Any]] = Field(default_factory=list)
    published_path: str | None = None
    version: int | None = None
    error: str | None = None
    fingerprint: str
    packages: dict[str, str] = Field(default_factory=dict)
    artifacts: dict[str, dict[str, list[str]]] = Field(default_factory=dict)
    spans: list[dict[str, Any]] = Field(default_factory=list)
    files: list[dict[str, Any]] = Field(default_factory=list)
    plan: dict[str, Any] | None = None
    previous: dict[str, Metric] = Field(default_factory=dict)
    warm_start: dict[str, Any] | None = None
    schema_copy: str | None = None
    replay_of: str | None = None
    pruned: str | None = None
    pid: int
    host: str

    @property
    def inputs(self) -> dict[str, dict[str, Any]]:
        """Return the files that ingestion read, by name, with `sha256`, `bytes` and, for data with spans, `span`."""
        of_spans = [{**file, "span": span["span"]} for span in self.spans for file in span.get("files", [])]
        return {file["name"]: file for file in [*self.files, *of_spans]}

    def _repr_html_(self) -> str:
        """Return what a notebook shows: what became of it and why, metrics and steps."""
        published = f", published as version {self.version}" if self.version is not None else ""
        parts = [html_heading(f"{self.pipeline} {self.run_id}: {self.status}{published}, {self.seconds:.0f} s")]
        said = [*([self.error] if self.error else []), *self.refusals, *self.warnings]
        parts += [html_list(said)] if said else []
        if self.metrics:
            columns = ["metric", "this model", *(["published model"] if self.previous else [])]
            rows = [
                (name, value, *([self.previous.get(name)] if self.previous else []))
                for name, value in list(self.metrics.items())[:_METRICS_SHOWN]
            ]
            parts.append(html_table(columns, rows))
        if self.steps:
            steps = [(step.name, step.status, round(step.seconds, 1), step.summary) for step in self.steps]
            parts.append(html_table(["step", "status", "seconds", "summary"], steps))
        where = f"noisy-gru report {self.run_id} --root {shlex.quote(self.root)}"
        return f"<div>{''.join(parts)}<p>Report: <code>{html.escape(where)}</code></p></div>"


def due_by(plan: Mapping[str, Any]) -> str:
    """Return the rules of a plan that made retraining due."""
    met = [each for each in plan.get("reasons", []) if each.get("met") and each.get("kind") not in GUARD_KINDS]
    return ", ".join(str(each.get("rule")) for each in met)


def text_hash(text: str) -> str:
    """Return the SHA-256 of a text in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def timestamp(now: datetime) -> str:
    """Format a time as ISO 8601 in UTC, to the second."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_record(path: Path) -> RunRecord:
    """Return the record in a file as it was written; raise ``UserError`` if it can't be read."""
    try:
        content = path.read_bytes()
        return RunRecord.model_validate_json(content)
    except OSError as error:
        raise UserError(f"{path}: can't be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        what = "the file is empty" if not content else "".join(f"{key}: " for key in first["loc"]) + first["msg"]
        raise UserError(f"{path}: not a run record: {what}") from error


def with_actual_status(record: RunRecord) -> RunRecord:
    """Return a record with status `killed` if it says `running` but its process is gone."""
    if record.status == "running" and record.host == socket.gethostname() and not _alive(record.pid):
        return as_killed(record)
    return record


def as_killed(record: RunRecord) -> RunRecord:
    steps = [
        step.model_copy(update={"status": "interrupted"}) if step.status == "running" else step for step in record.steps
    ]
    note = "the process was killed, or the machine went down; run it again to resume"
    return record.model_copy(update={"status": "killed", "steps": steps, "error": note})


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """Whether it has ended and is still listed: in a container whose first process doesn't collect others, for ever."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False

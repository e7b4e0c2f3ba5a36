"""The root folder of a pipeline's runs: layout, lock and run records.

>>> root = RunDirectory(Path("runs/vowels"))
>>> [record.run_id for record in root.records()]  # doctest: +SKIP
['20260401-030000-114270']
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from noisy_gru.schema.errors import ConfigError, UserError
from noisy_gru.storage.atomic_files import write_atomically
from noisy_gru.storage.locks import exclusive_lock
from noisy_gru.storage.object_stores import scheme_of_folder

RunStatus = Literal["running", "succeeded", "refused", "failed", "interrupted", "killed"]
# JSON knows no NaN: it is written as null.
Metric = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
StepStatus = Literal["running", "complete", "cached", "skipped", "failed", "interrupted"]
# Kinds of rules that postpone a retraining; records of before 0.2 have the second.
GUARD_KINDS = ("guard", "brake")
_RUN_ID = "%Y%m%d-%H%M%S-%f"
logger = logging.getLogger(__name__)


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


def check_root(root: Path) -> None:
    """Raise ``UserError`` if a path has characters that TensorFlow and Beam read as a pattern."""
    if (scheme := scheme_of_folder(root)) is not None:
        raise ConfigError(
            f"--root: expected a folder, received one of {scheme}://. TFX writes artifacts and ML Metadata to a folder "
            "of this machine, or a mounted one; data.files and schema may be on s3:// or gs://"
        )
    special = sorted(set("*?[\\") & set(str(root)))
    if special:
        # TensorFlow's RestoreV2 looks for a model's variables by GetMatchingPaths, and finds none in such a folder.
        raise UserError(
            f"--root {root}: contains {' and '.join(special)}, which TensorFlow and Beam read as a pattern in paths of "
            "artifacts and models. Choose a root without; paths of data files may contain them"
        )


class RunDirectory:
    """The layout under a root, as in docs/architecture.md. Creates nothing before ``create``."""

    def __init__(self, root: Path):
        if scheme_of_folder(root) is not None:
            check_root(root)
        self.root = root.absolute()
        self.artifacts = self.root / "artifacts"
        self.metadata = self.root / "metadata.sqlite"
        self.logs = self.root / "logs"
        self.runs = self.root / "runs"
        self.serving = self.root / "serving"
        self.inputs = self.root / "inputs"
        self.hashes = self.inputs / "hashes.json"
        self.work = self.root / "work"
        self.experiments = self.root / "experiments"
        self._warned: set[str] = set()

    def create(self) -> None:
        """Create the folders; raise ``UserError`` if that is impossible."""
        check_root(self.root)
        try:
            for folder in (self.artifacts, self.logs, self.runs, self.serving, self.inputs, self.work):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--root {self.root}: can't create {error.filename}: {error.strerror}") from error

    def log_file(self, run_id: str) -> Path:
        """Return the log file of a run."""
        return self.logs / f"{run_id}.log"

    def report_file(self, run_id: str) -> Path:
        """Return the page of a run, beside its record."""
        return self.runs / f"{run_id}.html"

    def new_run_id(self, now: datetime) -> str:
        """Return a new run id: the time in UTC to the microsecond, or the next free one. Call with the lock held.

        Ids sort in the order in which the runs began: if the newest run is ahead of the clock, which was set back
        since, the id is the next one after it.
        """
        newest = next(reversed(self._names()), "")
        with suppress(ValueError):
            now = max(now, datetime.strptime(newest, _RUN_ID).replace(tzinfo=UTC))
        while self.log_file(name := f"{now.astimezone(UTC):{_RUN_ID}}").exists() or self._file(name).exists():
            now += timedelta(microseconds=1)
        return name

    def keep_input(self, name: str, text: str) -> Path:
        """Write an input to a name with a hash of its content, because TFX caches by path and not by content.

        Args:
            name: file name, for example ``schema.pbtxt``.
            text: content.
        """
        kept = self.inputs / f"{Path(name).stem}-{text_hash(text)[:12]}{Path(name).suffix}"
        if not kept.exists():
            write_atomically(kept, text)
        return kept

    @contextmanager
    def locked(self, what: str = "a run", *, model: str | None = None) -> Iterator[None]:
        """Lock the root for one run; raise ``BusyError`` if another process holds the lock.

        Args:
            what: name of the holder, for the message of other processes.
            model: name of the model to publish; its folder is locked as well, since other roots may publish to it.
        """
        advice = "One run at a time under a root: wait for it, or use another"
        with ExitStack() as held:
            held.enter_context(exclusive_lock(self.root / ".lock", what, advice))
            if model is not None:
                folder = self.serving / model
                folder.mkdir(parents=True, exist_ok=True)
                advice = "One run at a time for a model: wait for it"
                held.enter_context(exclusive_lock(folder / ".run.lock", f"{what} under {self.root}", advice))
            yield

    def write(self, record: RunRecord) -> None:
        """Write the record of a run."""
        write_atomically(self._file(record.run_id), record.model_dump_json(indent=1) + "\n")

    def record(self, run: str) -> RunRecord:
        """Return the record of a run by its id, an unambiguous prefix, or ``latest``; raise ``UserError`` otherwise.

        ``latest`` is the newest readable one.
        """
        names = self._names()
        if run == "latest":
            for name in reversed(names):
                if (record := self._readable(name)) is not None:
                    return _with_actual_status(record)
        if not names or run == "latest":
            raise UserError(f"{self.root}: no runs here. Give another root with --root")
        matches = [name for name in names if name.startswith(run)]
        if run in matches:
            matches = [run]
        if not matches:
            raise UserError(f"run {run}: not found under {self.root}. The last runs are {', '.join(names[-3:])}")
        if len(matches) > 1:
            raise UserError(f"run {run}: matches {len(matches)} runs: {', '.join(matches[-5:])}. Give a longer prefix")
        return _with_actual_status(read_record(self._file(matches[0])))

    def records(self) -> list[RunRecord]:
        """Return all readable records, oldest first; log a warning for each of the others, once."""
        return [_with_actual_status(record) for name in self._names() if (record := self._readable(name)) is not None]

    def close_killed(self) -> None:
        """Mark runs with status `running` as killed. Call with the lock held, which a run holds until its end.

        So neither host names, which change with each container, nor process ids, which may repeat, matter.
        """
        for name in self._names():
            record = self._readable(name)
            if record is not None and record.status == "running":
                self.write(_killed(record))

    def _names(self) -> list[str]:
        """Return the ids of all runs, oldest first."""
        return sorted(path.stem for path in self.runs.glob("[!.]*.json"))

    def _readable(self, run_id: str) -> RunRecord | None:
        """Return a record; None, and log a warning, if it can't be read: a crash of the machine may truncate it."""
        try:
            return read_record(self._file(run_id))
        except UserError as error:
            if run_id not in self._warned:
                self._warned.add(run_id)
                logger.warning("WARNING: %s. This run is ignored; delete the file, or restore a copy", error)
            return None

    def _file(self, run_id: str) -> Path:
        return self.runs / f"{run_id}.json"


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


def _with_actual_status(record: RunRecord) -> RunRecord:
    """Return a record with status `killed` if it says `running` but its process is gone."""
    if record.status == "running" and record.host == socket.gethostname() and not _alive(record.pid):
        return _killed(record)
    return record


def _killed(record: RunRecord) -> RunRecord:
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

"""The root folder of a pipeline's runs: layout, lock, and where its run records are.

>>> root = RunDirectory(Path("runs/vowels"))
>>> [record.run_id for record in root.records()]  # doctest: +SKIP
['20260401-030000-114270']
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.runs.run_record import RunRecord, as_killed, read_record, text_hash, with_actual_status
from noisy_gru.schema.errors import ConfigError, UserError
from noisy_gru.storage.atomic_files import write_atomically
from noisy_gru.storage.locks import exclusive_lock
from noisy_gru.storage.object_stores import scheme_of_folder

_RUN_ID = "%Y%m%d-%H%M%S-%f"
logger = logging.getLogger(__name__)


def default_root(config: PipelineConfig) -> Path:
    """Return the default of ``--root``."""
    return Path("runs") / config.name


def check_root(root: Path) -> None:
    """Raise ``UserError`` if a path has characters that TensorFlow and Beam read as a pattern."""
    if (scheme := scheme_of_folder(root)) is not None:
        raise ConfigError(
            f"--root: expected a folder, received one of {scheme}://. TFX writes artifacts and ML Metadata to a folder "
            "of this machine, or a mounted one; data.files and schema may be on s3:// or gs://"
        )
    special = sorted(set("*?[\\") & set(str(root)))
    if special:
        # RestoreV2 (tensorflow/core/kernels/save_restore_v2_ops.cc) looks for `<prefix>.index` by GetMatchingPaths, and
        # then opens the prefix as it is: in a folder with `[` neither a literal nor an escaped prefix is found by both.
        # TF Serving restores likewise. `*` and `?` also match the files of sibling folders. `{` and `}` are no pattern.
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
                    return with_actual_status(record)
        if not names or run == "latest":
            raise UserError(f"{self.root}: no runs here. Give another root with --root")
        matches = [name for name in names if name.startswith(run)]
        if run in matches:
            matches = [run]
        if not matches:
            raise UserError(f"run {run}: not found under {self.root}. The last runs are {', '.join(names[-3:])}")
        if len(matches) > 1:
            raise UserError(f"run {run}: matches {len(matches)} runs: {', '.join(matches[-5:])}. Give a longer prefix")
        return with_actual_status(read_record(self._file(matches[0])))

    def records(self) -> list[RunRecord]:
        """Return all readable records, oldest first; log a warning for each of the others, once."""
        return [with_actual_status(record) for name in self._names() if (record := self._readable(name)) is not None]

    def close_killed(self) -> None:
        """Mark runs with status `running` as killed. Call with the lock held, which a run holds until its end.

        So neither host names, which change with each container, nor process ids, which may repeat, matter.
        """
        for name in self._names():
            record = self._readable(name)
            if record is not None and record.status == "running":
                self.write(as_killed(record))

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

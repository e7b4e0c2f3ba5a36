"""The record of a dry run: a line for each task on the terminal, and all of it in a file."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TaskRecord:
    """The outcome of a task.

    Attributes:
        name: with those of the graphs around it, as ``graph/task``.
        state: SUCCEEDED, FAILED, SKIPPED or NOT_STARTED.
        seconds: over all tries.
        tries: how often it was started.
        parameters: outputs by name.
        artifacts: outputs by name: ``uri`` and ``metadata``.
        folder: of the last try, with its log; None where no container ran.
        error: of the last try.
    """

    name: str
    state: str
    seconds: float = 0.0
    tries: int = 0
    parameters: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)
    folder: str | None = None
    error: str = ""


@dataclass
class DryRunRecord:
    """The outcome of a dry run; ``status`` is `succeeded` or `failed`."""

    run_id: str
    pipeline: str
    root: str
    parameters: dict[str, Any]
    status: str = "running"
    notes: list[str] = field(default_factory=list)
    tasks: list[TaskRecord] = field(default_factory=list)

    def task(self, name: str) -> TaskRecord:
        """Return the record of a task; KeyError if there is none."""
        for task in self.tasks:
            if task.name == name:
                return task
        raise KeyError(name)


class TaskReporter:
    """Record tasks as they end, from any thread, and print a line for each.

    Args:
        record: gets each task's.
        write_line: writes a line of text.
    """

    def __init__(self, record: DryRunRecord, write_line: Callable[[str], None]):
        self.record = record
        self._write_line = write_line
        self._lock = threading.Lock()

    def note(self, text: str) -> None:
        """Record a difference from a cluster."""
        with self._lock:
            self.record.notes.append(text)
            self._write_line(f"  note: {text}")

    def ended(self, task: TaskRecord) -> None:
        """Record the end of a task."""
        with self._lock:
            self.record.tasks.append(task)
            tries = f" (try {task.tries})" if task.tries > 1 else ""
            self._write_line(f"  {task.name:<28} {task.seconds:7.1f} s  {task.state.lower().replace('_', ' ')}{tries}")
            if task.error:
                self._write_line("\n".join(f"      {line}" for line in task.error.splitlines()))
            if task.state == "FAILED" and task.folder:
                self._write_line(f"      log: {task.folder}/log.txt")

    def write(self, file: Path) -> None:
        """Write the record as JSON."""
        file.write_text(json.dumps(asdict(self.record), indent=1, sort_keys=True) + "\n")

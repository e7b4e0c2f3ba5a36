"""Everything that the dashboard shows of its roots: runs, models, checks, schedule, disk."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from noisy_gru.pipeline.config.cron import cron_times
from noisy_gru.pipeline.dashboard.models import ModelState, model_state
from noisy_gru.pipeline.dashboard.run_rows import RunRow, RunRows
from noisy_gru.pipeline.retrain.schedule import next_time
from noisy_gru.pipeline.retrain.schedule_loop import STATE
from noisy_gru.pipeline.runs.check_log import RetrainCheck, read_checks
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.schema.errors import UserError

_HOLDER = re.compile(r"process (\d+) on (.*?): ")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The next time of a root's retraining, and where that is known from."""

    next: datetime | None
    text: str
    last_check: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class RootState:
    """A root at this moment; ``problem`` says what of it can't be read."""

    key: str
    path: Path
    runs: list[RunRow]
    models: list[ModelState]
    checks: list[RetrainCheck]
    schedule: Schedule
    free_bytes: int | None
    problem: str = ""

    @property
    def directory(self) -> RunDirectory:
        """The layout under the root."""
        return RunDirectory(self.path)


class Roots:
    """The roots of a dashboard, by a key for addresses: the folder's name, with a number where it repeats.

    Args:
        paths: folders, each the root of runs.

    Raises:
        UserError: a folder isn't there.
    """

    def __init__(self, paths: Sequence[Path]):
        self._rows: dict[str, tuple[Path, RunRows]] = {}
        for path in dict.fromkeys(each.absolute() for each in paths):
            if not path.is_dir():
                raise UserError(f"--root {path}: expected the root folder of runs, found no folder")
            key = name = path.name or "root"
            number = 1
            while key in self._rows:
                number += 1
                key = f"{name}-{number}"
            self._rows[key] = path, RunRows(RunDirectory(path))

    @property
    def keys(self) -> list[str]:
        """Keys of the roots, in the order in which they were given."""
        return list(self._rows)

    def directory(self, key: str) -> RunDirectory:
        """Return the layout of a root; raise ``KeyError`` if there is none of this key."""
        return RunDirectory(self._rows[key][0])

    def states(self) -> list[RootState]:
        """Return every root as it is now."""
        return [self.state(key) for key in self._rows]

    def state(self, key: str) -> RootState:
        """Return a root as it is now; raise ``KeyError`` if there is none of this key."""
        path, rows = self._rows[key]
        problem, runs, checks, free = "", [], [], None
        try:
            runs, checks = rows.read(), read_checks(path)
            free = shutil.disk_usage(path).free
        except OSError as error:
            problem = f"{error.filename or path}: can't be read: {error.strerror}"
        return RootState(
            key=key,
            path=path,
            runs=runs,
            models=[model_state(RunDirectory(path).serving, name) for name in _model_names(path, runs)],
            checks=checks,
            schedule=schedule_of(path, runs, datetime.now(UTC)),
            free_bytes=free,
            problem=problem,
        )


def _model_names(root: Path, runs: Iterable[RunRow]) -> list[str]:
    """Return the models that were published under a root, and those that runs tried to publish."""
    serving = RunDirectory(root).serving
    try:
        folders = [child.name for child in serving.iterdir() if child.is_dir() and not child.name.startswith(".")]
    except OSError:
        folders = []
    return sorted({*folders, *(row.model for row in runs if row.model)})


def schedule_of(root: Path, runs: Sequence[RunRow], now: datetime) -> Schedule:
    """Return the next retraining: by the scheduler that runs here, else by the last run's configuration."""
    state: dict[str, str] = {}
    note = ""
    try:
        state = json.loads((root / STATE).read_text(encoding="utf-8"))
        last_check, following = (_moment(state.get(name)) for name in ("asked", "next"))
    except FileNotFoundError:
        last_check = following = None
    except (OSError, ValueError, AttributeError, TypeError) as error:
        last_check, following, note = None, None, f"{STATE} can't be read ({error}); "
    if _scheduler_runs(root):
        return Schedule(next=following, last_check=last_check, text=f"{note}a scheduler runs on this machine")
    row = next((each for each in reversed(runs) if not each.problem), None)
    text = f"{note}no scheduler runs on this machine"
    if row is None or not row.cron:
        return Schedule(next=None, last_check=last_check, text=text)
    try:
        following = next_time(cron_times(row.cron), ZoneInfo(row.timezone), now)
    except (ValueError, UserError, ZoneInfoNotFoundError) as error:
        return Schedule(next=None, last_check=last_check, text=f"{text}; the cron expression of the last run: {error}")
    cron = f"{row.cron!r} in {row.timezone}, of the last run's configuration"
    return Schedule(next=following, last_check=last_check, text=f"{text}; the time is that of {cron}")


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)


def _scheduler_runs(root: Path) -> bool:
    """Whether the process that the scheduler's lock names is there: to try the lock could refuse one that starts."""
    try:
        found = _HOLDER.match((root / ".schedule.lock").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    if found is None or found[2] != socket.gethostname():
        return False
    try:
        os.kill(int(found[1]), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True

"""The processes of the simulated world: the scheduler, and what people start; and its disk, which may be full.

>>> with Scheduler(folder, config, root) as scheduler:  # doctest: +SKIP
...     scheduler.reach(datetime(2031, 1, 2, 6, tzinfo=UTC))
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

from tests.soak.process.soak_clock import WorldClock

_PROCESS = Path(__file__).parent / "process"
_TIMEOUT_SECONDS = 900
_DISK_MB = 512
# What is left on an almost full disk: enough to begin a run, too little to end it.
_LEFT_BYTES = 400_000


def environment(folder: Path) -> dict[str, str]:
    """Of a process that lives in the world."""
    return {**os.environ, "PYTHONPATH": str(_PROCESS), "SOAK_FOLDER": str(folder)}


def noisy_gru(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """What a person or crontab starts."""
    command = [sys.executable, "-m", "noisy_gru.pipeline", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment(folder), check=False)


class Scheduler:
    """``noisy-gru retrain schedule``, as a service: started again whenever it ends.

    Args:
        folder: of the simulation; gets ``schedule.log``.
        config: the pipeline's.
        root: of its runs.
    """

    def __init__(self, folder: Path, config: Path, root: Path):
        self._folder = folder
        self._clock = WorldClock(folder)
        self._root = root
        self._words = ["retrain", "schedule", str(config), "--root", str(root)]
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / "schedule.log"
        self.pids: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()

    def start(self) -> None:
        """As a service manager does; the machine needs a minute."""
        self._clock.set(self._clock.now() + timedelta(minutes=1))
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "noisy_gru.pipeline", *self._words]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment(self._folder))
        self.pids.add(self._process.pid)

    def _restart(self) -> None:
        """Once nothing of it is left: a process that is killed takes a moment to give its memory back."""
        with (self._root / ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
        self.start()

    @property
    def log(self) -> str:
        """All that it ever said."""
        return self._log.read_text() if self._log.exists() else ""

    def reach(self, moment: datetime) -> None:
        """Sets the clock, and returns when the scheduler has nothing to do then; restarts it if it ends meanwhile."""
        if self._process is None:
            self.start()
        setting = self._clock.set(moment)
        end = time.monotonic() + _TIMEOUT_SECONDS
        while not self._waits(setting):
            assert self._process is not None
            if self._process.poll() is not None:
                self._restart()
            assert time.monotonic() < end, f"it never waited again: {self.log[-3000:]}"
            time.sleep(0.01)

    def _waits(self, setting: int) -> bool:
        seen = self._folder / "seen"
        if self._process is None or not seen.exists():
            return False
        process, last = map(int, seen.read_text().split())
        return process == self._process.pid and last >= setting


class Disk:
    """A small disk of its own for the root, so that it can be full.

    Args:
        folder: where it is mounted.

    Attributes:
        why_not: why it couldn't be mounted; empty: it is.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_MB}m", "tmpfs", str(folder)]
        if shutil.which("mount") is None:
            self.why_not = "there is no mount"
        else:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            self.why_not = done.stderr.strip() if done.returncode else ""

    def fill(self, *, left: bool) -> None:
        """Others fill it, whether to the last byte or so that a run may begin, and can't end."""
        size = shutil.disk_usage(self._folder).free - (_LEFT_BYTES if left else 0)
        with self._ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)

    def free(self) -> None:
        """Somebody deletes what filled it."""
        self._ballast.unlink()

    def unmount(self) -> None:
        """Also where a process still has a file open."""
        if not self.why_not:
            subprocess.run(["umount", "--lazy", str(self._folder)], check=True)

    @property
    def _ballast(self) -> Path:
        return self._folder / "ballast"


def lines(file: Path) -> Sequence[str]:
    """The lines of a file that may not be there yet."""
    return file.read_text().splitlines() if file.exists() else []

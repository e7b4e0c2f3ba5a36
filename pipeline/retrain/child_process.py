"""Starts ``noisy-gru retrain run`` in a process of its own, whose memory, and whose death, are not the scheduler's.

>>> child = RetrainChild(command(config_path, root=root))  # doctest: +SKIP
>>> child.run().code  # doctest: +SKIP
0
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Ended:
    """How the process ended.

    Attributes:
        code: as in ``subprocess``: below 0 a signal.
        told: its JSON; None if it didn't come to that.
        late: after how many seconds it was killed because it took too long; None if it wasn't.
    """

    code: int
    told: dict[str, Any] | None
    late: float | None = None

    @property
    def words(self) -> str:
        """How, for a person."""
        if self.late is not None:
            return f"was killed after {self.late:g} s (retraining.schedule.time_limit)"
        if self.code >= 0:
            return f"ended with {self.code} before it could say how"
        name = signal.Signals(-self.code).name if -self.code in set(signal.Signals) else f"signal {-self.code}"
        memory = ", perhaps because memory ran out" if self.code == -signal.SIGKILL else ""
        return f"was killed by {name}{memory}"


def command(config_path: Path, *, root: Path, overrides: Sequence[str] = ()) -> list[str]:
    """The command that retrains once, wherever it is started."""
    settings = [part for override in overrides for part in ("--set", override)]
    return [
        *(sys.executable, "-m", "noisy_gru.pipeline", "retrain", "run", str(config_path.absolute())),
        *("--root", str(root.absolute()), *settings, "--json"),
    ]


class RetrainChild:
    """The process of one retraining.

    Args:
        argv: what to start; it prints one JSON object at the end.
        time_limit: seconds until it is killed; None: however long it takes.
    """

    def __init__(self, argv: Sequence[str], *, time_limit: float | None = None):
        self._argv = list(argv)
        self._time_limit = time_limit

    def run(self) -> Ended:
        """Starts it and waits for its end.

        A first KeyboardInterrupt meanwhile asks it to end its step, a second one kills it; then it is raised.
        """
        with tempfile.TemporaryFile() as answer:
            # In a session of its own, so that a Ctrl-C of the terminal reaches it once, through this process.
            process = subprocess.Popen(self._argv, stdin=subprocess.DEVNULL, stdout=answer, start_new_session=True)
            late = None
            try:
                process.wait(self._time_limit)
            except subprocess.TimeoutExpired:
                # Killed, so that it counts as a failure: a stop would be gone on with, and hang, again and again.
                late = self._time_limit
            except KeyboardInterrupt:
                process.terminate()
                process.wait()
                raise
            finally:
                # What it started must not outlive it: nobody waits for that, and it may still write.
                _kill_group(process.pid)
                process.wait()
            answer.seek(0)
            return Ended(process.returncode, _parsed(answer.read()) if late is None else None, late)


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def _parsed(answer: bytes) -> dict[str, Any] | None:
    lines = answer.decode(errors="replace").strip().splitlines()
    try:
        told = json.loads(lines[-1]) if lines else None
    except json.JSONDecodeError:
        return None
    return told if isinstance(told, dict) else None

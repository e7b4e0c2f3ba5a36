"""Run ``noisy-gru retrain run`` in a child process, so that its memory and its crashes are not the scheduler's.

>>> child = RetrainProcess(command(config_path, root=root))  # doctest: +SKIP
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
class ProcessExit:
    """How the child process ended.

    Attributes:
        code: return code, as in ``subprocess``: negative for a signal.
        report: the JSON object that it printed; None if it ended before that.
        timed_out: seconds after which it was killed for exceeding the time limit; None if it wasn't.
    """

    code: int
    report: dict[str, Any] | None
    timed_out: float | None = None

    @property
    def reason(self) -> str:
        """Why there is no report, for a message: `was killed by SIGKILL, …`."""
        if self.timed_out is not None:
            return f"was killed after {self.timed_out:g} s (retraining.schedule.time_limit)"
        if self.code >= 0:
            return f"exited with code {self.code} and printed no result"
        name = signal.Signals(-self.code).name if -self.code in set(signal.Signals) else f"signal {-self.code}"
        memory = ", perhaps because memory ran out" if self.code == -signal.SIGKILL else ""
        return f"was killed by {name}{memory}"


def command(
    config_path: Path, *, root: Path, overrides: Sequence[str] = (), name: Sequence[str] = ("retrain", "run")
) -> list[str]:
    """Return the command line that retrains once, or of another command ``name``, with absolute paths."""
    settings = [part for override in overrides for part in ("--set", override)]
    return [
        *(sys.executable, "-m", "noisy_gru.pipeline", *name, str(config_path.absolute())),
        *("--root", str(root.absolute()), *settings, "--json"),
    ]


class RetrainProcess:
    """The child process of one retraining.

    Args:
        argv: command line; it prints one JSON object at the end.
        time_limit: seconds until it is killed; None: no limit.
    """

    def __init__(self, argv: Sequence[str], *, time_limit: float | None = None):
        self._argv = list(argv)
        self._time_limit = time_limit

    def run(self) -> ProcessExit:
        """Start the process and wait for its end.

        Raises:
            KeyboardInterrupt: if one came meanwhile. The first sends SIGTERM, which ends the current step; a second
                one kills the process.
        """
        with tempfile.TemporaryFile() as output:
            # In a session of its own, so that a Ctrl-C of the terminal reaches it once, through this process.
            process = subprocess.Popen(self._argv, stdin=subprocess.DEVNULL, stdout=output, start_new_session=True)
            timed_out = None
            try:
                process.wait(self._time_limit)
            except subprocess.TimeoutExpired:
                # Killed, so that it counts as a failure: an interrupted run would be resumed, and hang, again and
                # again.
                timed_out = self._time_limit
            except KeyboardInterrupt:
                process.terminate()
                process.wait()
                raise
            finally:
                # Its own children must not outlive it: nobody waits for them, and they may still write.
                _kill_group(process.pid)
                process.wait()
            output.seek(0)
            report = _last_json_object(output.read()) if timed_out is None else None
            return ProcessExit(process.returncode, report, timed_out)


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def _last_json_object(output: bytes) -> dict[str, Any] | None:
    lines = output.decode(errors="replace").strip().splitlines()
    try:
        report = json.loads(lines[-1]) if lines else None
    except json.JSONDecodeError:
        return None
    return report if isinstance(report, dict) else None

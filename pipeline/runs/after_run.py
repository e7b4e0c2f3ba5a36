"""What follows a run that has ended: its report and its tracking, each in a process of its own.

Whatever goes wrong there is a warning in the log: the run is as it was.

>>> write_report(directory, record)  # doctest: +SKIP
PosixPath('/…/runs/20260401-030000-114270.html')
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.pipeline.runs.run_record import RunRecord

# A report takes a few seconds; what takes longer hangs.
TIMEOUT = 120.0
logger = logging.getLogger(__name__)


def write_report(directory: RunDirectory, record: RunRecord, timeout: float = TIMEOUT) -> Path | None:
    """Write the report beside the record; return its path, or None with a warning in the log.

    Args:
        directory: root of the run.
        record: of the run, on disk.
        timeout: seconds after which the process is killed.
    """
    page = directory.report_file(record.run_id)
    problem = _problem(["report", record.run_id, "--root", str(directory.root), "--out", str(page)], timeout)
    if problem is None and page.is_file():
        return page
    logger.warning("the report of run %s was not written: %s", record.run_id, problem or "exit code 0")
    return None


def track_run(directory: RunDirectory, record: RunRecord, timeout: float) -> str | None:
    """Report the run where its configuration's `tracking` says; return what went wrong, also in the log, or None.

    Args:
        directory: root of the run.
        record: of the run, on disk.
        timeout: seconds after which the process is killed.
    """
    problem = _problem(["runs", "track", record.run_id, "--root", str(directory.root)], timeout)
    if problem is not None:
        logger.warning("run %s was not tracked everywhere: %s", record.run_id, problem)
    return problem


def _problem(arguments: list[str], timeout: float) -> str | None:
    """Run a command of the command line; return what it said if it failed, or None."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "noisy_gru.pipeline", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            env=_environment(),
        )
    except subprocess.TimeoutExpired:
        return f"it took longer than {timeout:g} s"
    except OSError as error:
        return str(error)
    return (done.stderr or done.stdout).strip() or f"exit code {done.returncode}" if done.returncode else None


def _environment() -> dict[str, str]:
    """Return this process's environment with its import path, so that the child finds the same package."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}

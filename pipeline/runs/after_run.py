"""Let a process of its own write the report of a run that has ended: whatever goes wrong there, the run is as it was.

>>> write_report(directory, record)  # doctest: +SKIP
PosixPath('/…/runs/20260401-030000-114270.html')
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

from noisy_gru.pipeline.runs.run_directory import RunDirectory, RunRecord

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
    command = [sys.executable, "-m", "noisy_gru.pipeline", "report", record.run_id, "--root", str(directory.root)]
    try:
        done = subprocess.run(
            [*command, "--out", str(page)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            env=_environment(),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        logger.warning("the report of run %s was not written: %s", record.run_id, error)
        return None
    if done.returncode or not page.is_file():
        said = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
        logger.warning("the report of run %s was not written: %s", record.run_id, said)
        return None
    return page


def _environment() -> dict[str, str]:
    """Return this process's environment with its import path, so that the child finds the same package."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}

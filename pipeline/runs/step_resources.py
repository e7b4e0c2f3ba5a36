"""CPU time, peak memory and disk of a step.

>>> meter = ResourceMeter()
>>> sum(range(100_000))
4999950000
>>> meter.stop().cpu_seconds >= 0
True
"""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_INTERVAL = 0.5  # seconds between samples of the child processes' memory
_RESET_PEAK = "5"  # proc_pid_clear_refs(5): sets VmHWM to the current resident set


@dataclass(frozen=True)
class StepResources:
    """What a step used.

    Attributes:
        cpu_seconds: user and system time of this process and of the children that ended.
        peak_mb: peak resident memory of this process and its children, in 10^6 bytes; None where the system has no
            /proc. Children are sampled twice a second, so a shorter peak of theirs is missed.
    """

    cpu_seconds: float
    peak_mb: float | None


class ResourceMeter:
    """Measure from the construction to ``stop``. One at a time: it resets the process' own peak of memory."""

    def __init__(self) -> None:
        self._cpu = _cpu_seconds()
        self._children = 0
        self._has_peak = _reset_peak()
        self._stopped = threading.Event()
        self._sampler = threading.Thread(target=self._sample, name="step-resources", daemon=True)
        if self._has_peak:
            self._sampler.start()

    def stop(self) -> StepResources:
        """End the measurement; a further call returns what was used since the construction, without new samples."""
        self._stopped.set()
        if self._has_peak and self._sampler.is_alive():
            self._sampler.join()
        peak = _peak_bytes() if self._has_peak else None
        return StepResources(
            round(_cpu_seconds() - self._cpu, 3), None if peak is None else round((peak + self._children) / 1e6, 1)
        )

    def _sample(self) -> None:
        while not self._stopped.wait(_INTERVAL):
            self._children = max(self._children, sum(map(_resident_bytes, _descendants(os.getpid()))))


def disk_bytes(paths: Iterable[str | Path]) -> int:
    """Return the bytes of the files below local folders; what isn't there counts as nothing."""
    total = 0
    for folder in map(Path, paths):
        files = folder.rglob("*") if folder.is_dir() else [folder]
        total += sum(file.stat().st_size for file in files if file.is_file())
    return total


def _cpu_seconds() -> float:
    used = [resource.getrusage(which) for which in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _reset_peak() -> bool:
    """Set the peak of this process to its present memory; return whether the system knows both."""
    try:
        (PROC / "self" / "clear_refs").write_text(_RESET_PEAK)
    except OSError:
        return False
    return _peak_bytes() is not None


def _peak_bytes() -> int | None:
    try:
        lines = (PROC / "self" / "status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


def _descendants(pid: int) -> Iterator[int]:
    for tasks in (PROC / str(pid) / "task").glob("*/children"):
        try:
            children = [int(each) for each in tasks.read_text().split()]
        except OSError:  # the process has ended meanwhile
            continue
        for child in children:
            yield child
            yield from _descendants(child)


def _resident_bytes(pid: int) -> int:
    try:
        pages = int((PROC / str(pid) / "statm").read_text().split()[1])
    except (OSError, IndexError):  # the process has ended meanwhile
        return 0
    return pages * resource.getpagesize()

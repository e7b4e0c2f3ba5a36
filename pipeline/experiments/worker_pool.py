"""Processes that train at the same time, as many as memory and cores allow.

with WorkerPool(common, most=4, command=…) as pool:
    pool.begin(key, trainer)                    # in a process that is free, or in a new one
    for key, answer in pool.ended(): ...        # waits for the next one
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from noisy_gru.schema.errors import UserError

# Of the memory that is available; the rest is the system's, and that of larger variants.
_SHARE = 0.8
_MODULE = "noisy_gru.pipeline.experiments.worker"


class WorkerPool:
    """Processes that are started when they are needed.

    Args:
        common: what all trainings have in common, as JSON.
        seen: called with a training's key and each event of it.
        command: that starts a process; it gets the number of the descriptor to answer on.
    """

    def __init__(
        self,
        common: Mapping[str, Any],
        seen: Callable[[Any, Mapping[str, Any]], None] = lambda key, event: None,
        command: Sequence[str] = (sys.executable, "-m", _MODULE),
    ):
        self._common, self._seen, self._command = dict(common), seen, [*command]
        self._workers: list[_Worker] = []
        self._ended: queue.SimpleQueue[tuple[_Worker, dict[str, Any]]] = queue.SimpleQueue()

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.stop()

    @property
    def busy(self) -> int:
        """Number of trainings that are going on."""
        return sum(worker.key is not None for worker in self._workers)

    def begin(self, key: Any, job: Mapping[str, Any]) -> None:
        """Begin a training in a process of the pool."""
        free = next((worker for worker in self._workers if worker.key is None), None)
        if free is None:
            free = _Worker(self._command, self._ended, self._seen)
            self._workers.append(free)
            free.send(self._common)
        free.key = key
        free.send(job)

    def next_end(self) -> tuple[Any, dict[str, Any]]:
        """Wait for the next training that ends; return its key and its answer.

        Raises:
            UserError: a process ended, as when the system ran out of memory.
        """
        worker, answer = self._ended.get()
        key, worker.key = worker.key, None
        if "code" in answer:
            self._workers.remove(worker)
            worker.stop()
            raise UserError(
                f"{key}: the process that trained it ended with code {answer['code']}. Where memory was short (code "
                "-9), take a smaller --parallel; run it again to go on"
            )
        return key, answer


class _Worker:
    """A process, and the thread that reads what it answers."""

    def __init__(self, command: list[str], ended: Any, seen: Callable[[Any, Mapping[str, Any]], None]):
        self.key: Any = None
        read, write = os.pipe()
        path = os.pathsep.join(filter(None, sys.path))
        try:
            self._process = subprocess.Popen(
                [*command, str(write)],
                stdin=subprocess.PIPE,
                pass_fds=[write],
                text=True,
                env={**os.environ, "PYTHONPATH": path},
                # Ctrl-C is for the process that collects the results.
                start_new_session=True,
            )
        finally:
            os.close(write)
        self._answers = os.fdopen(read, encoding="utf-8")
        threading.Thread(target=self._collect, args=(ended, seen), daemon=True).start()

    def send(self, job: Mapping[str, Any]) -> None:
        """Send a line; a process that has ended is noticed by its answers' end."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(json.dumps(job) + "\n")
                self._process.stdin.flush()

    def _collect(self, ended: Any, seen: Callable[[Any, Mapping[str, Any]], None]) -> None:
        with self._answers:
            for line in self._answers:
                answer = json.loads(line)
                if "event" in answer:
                    seen(self.key, answer["event"])
                else:
                    ended.put((self, answer))
        ended.put((self, {"code": self._process.wait()}))

    def stop(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()


def fitting(peak_bytes: int, cores: int | None = None, available: int | None = None) -> int:
    """Return how many processes fit into memory and cores, the one that was measured among them.

    Args:
        peak_bytes: most memory of a training.
        cores: that may be used; None: those of this machine.
        available: bytes of memory that are free, beside the process that was measured; None: of this machine.
    """
    cores = len(os.sched_getaffinity(0)) if cores is None else cores
    available = available_bytes() if available is None else available
    beside = int(available * _SHARE // peak_bytes) if peak_bytes else 0
    return max(min(cores, 1 + beside), 1)


def available_bytes(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Return the memory that new processes may take; 0 where the system doesn't say."""
    try:
        lines = meminfo.read_text().splitlines()
    except OSError:
        return 0
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else 0

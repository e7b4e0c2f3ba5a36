"""Processes that find TFX imported already: it takes ten seconds, and some tests need dozens of processes.

Python's forkserver imports it once for all of a test worker's processes. What they run, where, and what they are told
is their own; only what a process does before its first line isn't tested by them.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerContext
from pathlib import Path

MODULES = (
    *("noisy_gru.pipeline.build", "noisy_gru.pipeline.runs.local_runner", "noisy_gru.pipeline.runs.recovery"),
    *("noisy_gru.pipeline.runs.pruning", "noisy_gru.pipeline.runs.replay", "noisy_gru.pipeline.runs.step_report"),
    *("noisy_gru.components.evaluation.tfma_metrics", "noisy_gru.components.serving_gate.training_path"),
    *("noisy_gru.components.retrain_planner.new_data", "noisy_gru.components.retrain_planner.drift"),
    *("noisy_gru.kubeflow.step.step_io", "noisy_gru.trainer.module"),
)


def forkserver() -> ForkServerContext:
    """What such processes are started with. They are told of modules beside the package by ``sys.path``."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(MODULES))
    return context


class Popen:
    """``subprocess.Popen`` as far as the tests use it, for ``python -m MODULE …`` and ``python -c CODE …``.

    Args:
        command: the words.
        stdout: path of the file that gets what it writes.
        stderr: the same; None: the same file.
        cwd: its working directory.
        env: its environment.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        stdout: Path,
        stderr: Path | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ):
        arguments = (list(command), stdout, stderr, cwd or Path.cwd(), dict(os.environ if env is None else env))
        self._process = forkserver().Process(target=_become, args=arguments)
        self._process.start()

    @property
    def pid(self) -> int:
        """Also of its process group."""
        assert self._process.pid is not None
        return self._process.pid

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, as in ``subprocess``."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("python", timeout or 0.0)
        return self._process.exitcode


def _become(command: list[str], stdout: Path, stderr: Path | None, cwd: Path, env: dict[str, str]) -> None:
    os.setsid()
    sys.stdout.flush()
    sys.stderr.flush()
    for descriptor, file in ((1, stdout), (2, stderr or stdout)):
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    tempfile.tempdir = None
    _, how, what, *arguments = command
    sys.argv = [how, *arguments]
    if how == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})

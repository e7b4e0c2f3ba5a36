"""`scripts/gpu_check.sh`: its exit codes, and all of its checks on a CPU."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "gpu_check.sh"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    # What this process was told of GPUs must not decide.
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    return subprocess.run(["bash", SCRIPT, *arguments], capture_output=True, text=True, check=False, env=env)


@pytest.mark.slow
def test_without_a_gpu_it_says_so() -> None:
    done = run()
    assert done.returncode == 3
    assert "no GPU" in done.stderr and "--allow-cpu" in done.stderr


def test_an_unknown_argument_is_refused() -> None:
    done = run("--cpu")
    assert done.returncode == 2
    assert "--allow-cpu" in done.stderr


@pytest.mark.slow
@pytest.mark.long
def test_all_checks_run_on_a_cpu() -> None:
    done = run("--allow-cpu")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "ms a training step" in done.stdout and "no GPU" in done.stderr

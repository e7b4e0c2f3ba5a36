"""The command that is the same on all machines, without a training: who runs what, and what everybody ends with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from noisy_gru.schema.errors import ConfigError, WorkerLostError
from noisy_gru.trainer.distributed import rendezvous
from noisy_gru.trainer.distributed.cluster import Cluster
from noisy_gru.trainer.distributed.rendezvous import announce_end, run_chief, run_worker
from tests.patience import PATIENCE

CLUSTER = Cluster(("a:1", "b:1"), 1)
PRINT_ENVIRONMENT = (
    "import os; print(os.environ.get('TF_CONFIG'), os.environ.get('NOISY_GRU_RENDEZVOUS')); raise SystemExit({code})"
)


def worker(folder: Path, *options: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "noisy_gru.trainer.distributed.worker", *options, str(folder), "--"]
    command += [sys.executable, "-c", PRINT_ENVIRONMENT.format(code=code)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE, env=environment)


def test_the_chief_runs_the_command_and_the_others_end_with_its_code(tmp_path: Path) -> None:
    pods = ("--hosts", "train-{index}.train:2222", "--workers", "2")
    chief = worker(tmp_path / "rendezvous", *pods, code=3, JOB_COMPLETION_INDEX="0")
    config, folder = chief.stdout.rsplit(maxsplit=1)
    assert json.loads(config)["cluster"] == {"worker": ["train-0.train:2222", "train-1.train:2222"]}
    assert json.loads(config)["task"] == {"type": "worker", "index": 0}
    assert folder == str(tmp_path / "rendezvous")
    other = worker(tmp_path / "rendezvous", *pods, JOB_COMPLETION_INDEX="1")
    assert (chief.returncode, other.returncode, other.stdout) == (3, 3, "")


def test_a_single_worker_just_runs_the_command(tmp_path: Path) -> None:
    alone = worker(tmp_path / "rendezvous")
    assert (alone.returncode, alone.stdout.split()) == (0, ["None", "None"])
    assert not (tmp_path / "rendezvous").exists()


def test_half_of_the_options_are_refused(tmp_path: Path) -> None:
    refused = worker(tmp_path, "--workers", "2")
    assert refused.returncode == 2
    assert "--hosts, --workers and --index (or JOB_COMPLETION_INDEX) belong together" in refused.stderr


def test_a_worker_waits_until_the_run_is_over(tmp_path: Path) -> None:
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            announce_end(tmp_path, 0)

    assert run_worker(tmp_path, CLUSTER, {}, poll_seconds=0.5, sleep=sleep) == 0
    assert waited == [0.5] * 3


def test_who_leads_is_the_chief_and_knows_where(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Worker 1 runs the pipeline, but only the chief may"):
        run_chief(SimpleNamespace(), CLUSTER, {"NOISY_GRU_RENDEZVOUS": str(tmp_path)})
    with pytest.raises(ConfigError, match="names 2 workers, but NOISY_GRU_RENDEZVOUS, the folder"):
        run_chief(SimpleNamespace(), Cluster(("a:1", "b:1"), 0), {})


def test_a_killed_worker_ends_the_training_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = tmp_path / "training"
    # Of the chief, a training that goes on for ever.
    training.write_text("#!/bin/sh\ncase $TF_CONFIG in *'\"index\": 1'*) kill -9 $$ ;; esac\nexec sleep 1000\n")
    training.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(training))
    monkeypatch.setattr(rendezvous, "_OWN_ERROR_SECONDS", 0.1)
    codes: list[int] = []
    folder, environment = tmp_path / "rendezvous", {**os.environ, "NOISY_GRU_RENDEZVOUS": str(tmp_path / "rendezvous")}
    worker = threading.Thread(
        target=lambda: codes.append(run_worker(folder, CLUSTER, environment, poll_seconds=0.05)), daemon=True
    )
    worker.start()
    with pytest.raises(WorkerLostError, match=r"worker 1's process ended with exit code -9\). Start all workers again"):
        run_chief(SimpleNamespace(), Cluster(CLUSTER.addresses, 0), environment)
    worker.join(PATIENCE)
    assert codes == [1]

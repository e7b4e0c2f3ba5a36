"""File-based rendezvous for multi-worker training over a shared folder.

    chief      run_chief(fn_args, cluster, os.environ)      writes task.json, trains with the workers, raises failures
    workers    code = run_worker(folder, cluster, environ)  wait for task.json, train with the chief, return at end.json

Every training runs in a process of its own (`training_worker`), because TensorFlow joins a cluster before its first
operation and the Trainer's process has run Transform already. A new task (the chief was restarted) ends the process of
the old one. A worker whose training process dies writes lost.json, on which the chief gives up: TensorFlow takes longer
to see it. The folder belongs to one run; end.json holds the exit code of that run.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from noisy_gru.schema import errors
from noisy_gru.schema.errors import ConfigError, WorkerLostError
from noisy_gru.trainer.distributed.cluster import TF_CONFIG, Cluster

logger = logging.getLogger(__name__)
# The logger of `callbacks.progress`, which imports TensorFlow: a waiting worker doesn't need it.
progress_logger = logging.getLogger("noisy_gru.progress")

# Environment variable with the rendezvous folder, set by `worker` for the Trainer's process.
RENDEZVOUS = "NOISY_GRU_RENDEZVOUS"
TASK, END, LOST = "task.json", "end.json", "lost.json"
# The fields of TFX's FnArgs that a training reads.
FN_ARGS = (
    "train_files",
    "eval_files",
    "train_steps",
    "eval_steps",
    "transform_graph_path",
    "serving_model_dir",
    "model_run_dir",
    "hyperparameters",
    "base_model",
    "custom_config",
)
JOINED = "joined"
_LAST_LINES = 20
_POLL_SECONDS = 0.2
# In which a process that fails like the others reports its own error.
_OWN_ERROR_SECONDS = 5.0


def training_cluster(choice: str, environment: Mapping[str, str]) -> Cluster | None:
    """Return the cluster that trains together, or None if this process trains alone.

    Args:
        choice: `training.strategy`.
        environment: variables, TF_CONFIG among them.

    Raises:
        ConfigError: `choice` is `multi_worker` and TF_CONFIG names no other worker, or TF_CONFIG is invalid.
    """
    if choice not in ("auto", "multi_worker"):
        return None
    cluster = Cluster.of_environment(environment)
    if cluster is None and choice == "multi_worker":
        raise ConfigError(
            f"training.strategy: multi_worker needs {TF_CONFIG} with two workers or more. Start all of them with "
            "`python -m noisy_gru.trainer.distributed.worker`, or set training.strategy: auto."
        )
    return cluster


def run_chief(fn_args: Any, cluster: Cluster, environment: Mapping[str, str], *, join_timeout: float = 1800) -> None:
    """Train as the chief, together with the workers that wait in the rendezvous folder.

    Args:
        fn_args: TFX's FnArgs; all workers must see its files under the same paths.
        cluster: the cluster whose chief this process is.
        environment: variables for the training process; `NOISY_GRU_RENDEZVOUS` names the folder.
        join_timeout: seconds within which all workers must join.

    Raises:
        ConfigError: no rendezvous folder is set, or this process is not the chief.
        UserError: as the training raised it.
        WorkerLostError: a worker was lost.
        RuntimeError: the training failed otherwise, or a worker did not join.
    """
    if not cluster.is_chief:
        raise ConfigError(
            f"Worker {cluster.index} runs the pipeline, but only the chief may. Start all workers with "
            "`python -m noisy_gru.trainer.distributed.worker FOLDER -- COMMAND`, which runs COMMAND on the chief alone."
        )
    if RENDEZVOUS not in environment:
        raise ConfigError(
            f"{TF_CONFIG} names {len(cluster.addresses)} workers, but {RENDEZVOUS}, the folder in which they wait, is "
            "not set. Start the run with `python -m noisy_gru.trainer.distributed.worker FOLDER -- COMMAND` on all of "
            "them, or set training.strategy: none to train on this machine alone."
        )
    folder = Path(environment[RENDEZVOUS])
    arguments = {name: _as_json(getattr(fn_args, name, None)) for name in FN_ARGS}
    task = folder / TASK
    number = uuid.uuid4().hex
    _write(task, {"id": number, "arguments": arguments})
    try:
        _TrainingProcess(task, cluster, environment).wait(join_timeout, lambda: _lost(folder, number))
    finally:
        task.unlink(missing_ok=True)


def run_worker(
    folder: Path,
    cluster: Cluster,
    environment: Mapping[str, str],
    *,
    poll_seconds: float = 1.0,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Run every training task of the chief until its run ends.

    Args:
        folder: the rendezvous folder.
        cluster: the cluster of which this process is a worker.
        environment: variables for the training process.
        poll_seconds: interval between two reads of the folder.
        sleep: called between them.

    Returns:
        The exit code of the chief's run, or 1 if a training failed in this process.
    """
    done = ""
    while True:
        end = _read(folder / END)
        if end is not None:
            return int(end["code"])
        task = _read(folder / TASK)
        if task is None or task["id"] == done:
            sleep(poll_seconds)
            continue
        training = _TrainingProcess(folder / TASK, cluster, environment)
        try:
            while training.process.poll() is None and (_read(folder / TASK) or task)["id"] == task["id"]:
                sleep(poll_seconds)
            if training.process.poll() is None:
                logger.info("the chief has restarted the training; restarting this worker")
                continue
            training.reader.join()
            if training.process.returncode:
                sys.stderr.write(f"{training.failure()}\n")
                if training.error is None:
                    message = f"worker {cluster.index}'s process ended with exit code {training.process.returncode}"
                    _write(folder / LOST, {"id": task["id"], "message": message})
                return 1
        finally:
            training.end()
        done = task["id"]


def lost_message(reason: str) -> str:
    """Return what ends a training of which a worker was lost."""
    return (
        f"Another worker was lost, so the training can't continue ({reason}). Start all workers again; they resume "
        "after the last finished epoch if the run has a working_dir."
    )


def announce_end(folder: Path, code: int) -> None:
    """Write end.json, on which all workers exit with the code of the chief's run."""
    _write(folder / END, {"code": code})


class _TrainingProcess:
    """The process of one training; its progress events and log lines are logged here."""

    def __init__(self, task: Path, cluster: Cluster, environment: Mapping[str, str]):
        self.cluster = cluster
        self.joined = threading.Event()
        self.error: dict[str, str] | None = None
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "noisy_gru.trainer.distributed.training_worker", str(task)],
            # It ends when this end of its input closes, so it never outlives who started it.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**environment, TF_CONFIG: cluster.tf_config()},
        )
        self.reader = threading.Thread(target=self._read_lines, daemon=True)
        self.reader.start()

    def wait(self, join_timeout: float, lost: Callable[[], str | None]) -> None:
        """Wait until the training ends, or ``lost`` returns why it can't go on; raise its error if it failed."""
        try:
            deadline = time.monotonic() + join_timeout
            while self.process.poll() is None:
                if (reason := lost()) is not None:
                    with suppress(subprocess.TimeoutExpired):
                        self.process.wait(_OWN_ERROR_SECONDS)
                        break
                    raise WorkerLostError(lost_message(reason))
                if not self.joined.wait(_POLL_SECONDS) and time.monotonic() > deadline:
                    raise RuntimeError(
                        f"Not all of the {len(self.cluster.addresses)} workers joined within {join_timeout:.0f} s: "
                        f"{', '.join(self.cluster.addresses)}. Are they running, and can they reach each other's ports?"
                    )
                time.sleep(_POLL_SECONDS)
            code = self.process.wait()
            self.reader.join()
            if self.error is not None and issubclass(getattr(errors, self.error["type"], object), errors.UserError):
                raise getattr(errors, self.error["type"])(self.error["message"])
            if code:
                raise RuntimeError(self.failure())
        finally:
            self.end()

    def failure(self) -> str:
        """Return the error message of a training that failed."""
        if self.error is not None:
            return self.error["message"]
        headline = (
            f"The training on {len(self.cluster.addresses)} workers failed with exit code {self.process.returncode}:"
        )
        return "\n".join([headline, *self.lines])

    def end(self) -> None:
        """Kill the process if it runs, and release its pipes."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()

    def _read_lines(self) -> None:
        stream: IO[str] | None = self.process.stdout
        for line in stream or ():
            message = _parse_message(line)
            if message is None:
                logger.info("%s", line.rstrip())
                self.lines = [*self.lines[1 - _LAST_LINES :], line.rstrip()]
            elif "error" in message:
                self.error = message["error"]
            elif message["event"].get("kind") == JOINED:
                self.joined.set()
            else:
                progress_logger.info(message["message"], extra={"event": message["event"]})


def _lost(folder: Path, task: str) -> str | None:
    """Return which worker of a task was lost, and how; None if there is none."""
    lost = _read(folder / LOST)
    return lost["message"] if lost is not None and lost["id"] == task else None


def _parse_message(line: str) -> dict[str, Any] | None:
    """Parse a message of the training process, a JSON object in one line; None for any other line."""
    if not line.startswith("{"):
        return None
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None


def _as_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _as_json(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(each) for each in value]
    return value


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content))
    temporary.replace(path)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None

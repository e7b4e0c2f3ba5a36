"""File-based rendezvous for multi-worker training over a shared folder.

    chief     lead(fn_args, cluster, os.environ)    writes task.json, trains with the others, raises what went wrong
    others    code = follow(folder, cluster)        wait for task.json, train along, end when over.json is there

Each training is a process of its own (`training_worker`): TensorFlow joins a cluster before it does anything else, and
the Trainer's process has run Transform before. A task that is replaced (the chief was started anew) ends the process
that follows the old one. The folder belongs to one run; over.json in it says with which code that ended.
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
from pathlib import Path
from typing import IO, Any

from noisy_gru.schema import errors
from noisy_gru.schema.errors import ConfigError
from noisy_gru.trainer.distributed.cluster import TF_CONFIG, Cluster

logger = logging.getLogger(__name__)
# That of `progress`, which imports TensorFlow: those who wait don't need it.
progress_logger = logging.getLogger("noisy_gru.progress")

# The launcher tells the Trainer's process where the workers wait.
MEETING = "NOISY_GRU_MEETING"
TASK, OVER = "task.json", "over.json"
# What a training needs of TFX's FnArgs.
ARGUMENTS = (
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


def several_workers(choice: str, environment: Mapping[str, str]) -> Cluster | None:
    """The cluster to train with; None where this process trains alone.

    Args:
        choice: `training.strategy`.
        environment: with TF_CONFIG.

    Raises:
        ConfigError: `multi_worker` is wanted and TF_CONFIG names no others, or can't be read.
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


def lead(fn_args: Any, cluster: Cluster, environment: Mapping[str, str], *, join_timeout: float = 1800) -> None:
    """Train as the chief, together with those that wait in the meeting folder.

    Args:
        fn_args: TFX's FnArgs; the files that they name must be there under the same paths for all workers.
        cluster: this process is its chief.
        environment: of the training's process; it names the folder.
        join_timeout: seconds until all workers must have come.

    Raises:
        ConfigError: nobody said where to meet, or this is not the chief.
        UserError: as the training raised it.
        RuntimeError: the training ended without a result: a worker did not come, or got lost.
    """
    if not cluster.is_chief:
        raise ConfigError(
            f"Worker {cluster.index} runs the pipeline, but that is the chief's. Start all workers with "
            "`python -m noisy_gru.trainer.distributed.worker FOLDER -- COMMAND`, which runs it on the chief alone."
        )
    if MEETING not in environment:
        raise ConfigError(
            f"{TF_CONFIG} names {len(cluster.addresses)} workers, but {MEETING} does not say in which folder they wait"
            ". Start the run with `python -m noisy_gru.trainer.distributed.worker FOLDER -- COMMAND` on all of them, "
            "or set training.strategy: none to train on this machine alone."
        )
    folder = Path(environment[MEETING])
    arguments = {name: _plain(getattr(fn_args, name, None)) for name in ARGUMENTS}
    task = folder / TASK
    _write(task, {"id": uuid.uuid4().hex, "arguments": arguments})
    try:
        _Member(task, cluster, environment).lead(join_timeout)
    finally:
        task.unlink(missing_ok=True)


def follow(
    folder: Path,
    cluster: Cluster,
    environment: Mapping[str, str],
    *,
    poll_seconds: float = 1.0,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Train along with the chief until its run is over.

    Args:
        folder: where the tasks come.
        cluster: this process is one of its workers.
        environment: of the training's process.
        poll_seconds: between two looks at the folder.
        sleep: for them.

    Returns:
        The code to end with: that of the chief's run, or of a training that failed here.
    """
    done = ""
    while True:
        over = _read(folder / OVER)
        if over is not None:
            return int(over["code"])
        task = _read(folder / TASK)
        if task is None or task["id"] == done:
            sleep(poll_seconds)
            continue
        member = _Member(folder / TASK, cluster, environment)
        try:
            while member.process.poll() is None and (_read(folder / TASK) or task)["id"] == task["id"]:
                sleep(poll_seconds)
            if member.process.poll() is None:
                logger.info("the chief has begun anew; so does this worker")
                continue
            member.reader.join()
            if member.process.returncode:
                sys.stderr.write(f"{member.failure()}\n")
                return 1
        finally:
            member.end()
        done = task["id"]


def end_meeting(folder: Path, code: int) -> None:
    """Tell all workers that the chief's run has ended with this code."""
    _write(folder / OVER, {"code": code})


class _Member:
    """A training's process: what it reports is reported here."""

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

    def lead(self, join_timeout: float) -> None:
        """Wait until it ends, and raise what went wrong."""
        try:
            deadline = time.monotonic() + join_timeout
            while self.process.poll() is None and not self.joined.wait(0.2):
                if time.monotonic() > deadline:
                    raise RuntimeError(
                        f"After {join_timeout:.0f} s not all of the {len(self.cluster.addresses)} workers had come: "
                        f"{', '.join(self.cluster.addresses)}. Are they running, and can they reach each other's ports?"
                    )
            code = self.process.wait()
            self.reader.join()
            if self.error is not None and issubclass(getattr(errors, self.error["type"], object), errors.UserError):
                raise getattr(errors, self.error["type"])(self.error["message"])
            if code:
                raise RuntimeError(self.failure())
        finally:
            self.end()

    def failure(self) -> str:
        """Why it ended, in words."""
        if self.error is not None:
            return self.error["message"]
        headline = f"The training on {len(self.cluster.addresses)} workers ended with {self.process.returncode}:"
        return "\n".join([headline, *self.lines])

    def end(self) -> None:
        """Leave no process behind."""
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
            message = _message(line)
            if message is None:
                logger.info("%s", line.rstrip())
                self.lines = [*self.lines[1 - _LAST_LINES :], line.rstrip()]
            elif "error" in message:
                self.error = message["error"]
            elif message["event"].get("kind") == JOINED:
                self.joined.set()
            else:
                progress_logger.info(message["message"], extra={"event": message["event"]})


def _message(line: str) -> dict[str, Any] | None:
    """What a training says to who started it: a JSON object in a line; None for any other line."""
    if not line.startswith("{"):
        return None
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
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

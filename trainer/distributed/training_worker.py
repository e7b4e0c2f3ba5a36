"""One process of a multi-worker training: ``python -m …distributed.training_worker TASK``, with TF_CONFIG.

All processes read the same task and train alike; only the chief writes the outputs. `rendezvous` starts the process,
reads the JSON lines that it prints, and ends it by closing its standard input.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import tensorflow as tf

from noisy_gru.schema.errors import ConfigError, UserError, WorkerLostError
from noisy_gru.trainer.callbacks.progress import progress_logger, report
from noisy_gru.trainer.custom_config import CustomConfig
from noisy_gru.trainer.distributed.rendezvous import JOINED, lost_message
from noisy_gru.trainer.distributed.replicas import agree, is_chief
from noisy_gru.trainer.training import train

_FAILED, _USER_ERROR = 1, 2
# The errors of an all-reduce whose peer is gone.
_WORKER_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


def main(task_file: str) -> int:
    """Train a task together with the other workers of TF_CONFIG's cluster.

    Args:
        task_file: path of the task that `rendezvous.run_chief` wrote.

    Returns:
        The exit code: 0, 1 if a worker was lost, 2 for a UserError.
    """
    _send_progress_to_parent()
    task = json.loads(Path(task_file).read_text())
    try:
        # TensorFlow joins a cluster only before its first operation.
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        report("all workers have joined", kind=JOINED)
        if not agree(strategy, int(task["id"][:6], 16)):
            raise ConfigError("The workers have read different tasks. Give every run its own rendezvous folder.")
        with tempfile.TemporaryDirectory() as scratch:
            arguments = dict(task["arguments"])
            if not is_chief(strategy):
                arguments |= {"serving_model_dir": f"{scratch}/model", "model_run_dir": f"{scratch}/model_run"}
            train(SimpleNamespace(**arguments), CustomConfig.parse(arguments["custom_config"]), strategy)
        # Wait until the chief has written: a worker that exits earlier would count as lost.
        agree(strategy, 1)
    except UserError as error:
        return _report_failure(error, _USER_ERROR)
    except _WORKER_LOST as error:
        lines = str(error.message).splitlines()
        reason = next((line for line in lines if "aborted by" in line), lines[0] if lines else type(error).__name__)
        return _report_failure(WorkerLostError(lost_message(reason)), _FAILED)
    return 0


def _send_progress_to_parent() -> None:
    """Print progress events as JSON lines, and exit when the parent closes this process's standard input."""

    class JsonLines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            event = getattr(record, "event", {})
            print(json.dumps({"message": record.getMessage(), "event": event}), flush=True)

    def exit_with_parent() -> None:
        # Not through sys.stdin, whose lock this thread would hold while Python ends.
        os.read(0, 1)
        os._exit(_FAILED)

    progress_logger.setLevel(logging.INFO)
    progress_logger.addHandler(JsonLines())
    progress_logger.propagate = False
    threading.Thread(target=exit_with_parent, daemon=True).start()


def _report_failure(error: UserError, code: int) -> int:
    content: dict[str, Any] = {"error": {"type": type(error).__name__, "message": str(error)}}
    print(json.dumps(content), flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

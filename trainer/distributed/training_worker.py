"""One process of multi-worker training: ``python -m …distributed.training_worker TASK``, with TF_CONFIG.

All of them read the same task and train alike; the chief alone writes what it names. `rendezvous` starts it, reads the
lines of JSON that it prints, and ends it by closing its standard input.
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

from noisy_gru.schema.errors import ConfigError, UserError
from noisy_gru.trainer.callbacks.progress import progress_logger, report
from noisy_gru.trainer.custom_config import Settings
from noisy_gru.trainer.distributed.rendezvous import JOINED
from noisy_gru.trainer.distributed.replicas import agree, is_chief
from noisy_gru.trainer.training import train

_FAILED, _USER_ERROR = 1, 2
# What an all-reduce ends with when a worker does not answer.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


def main(task_file: str) -> int:
    """Take part in the training of a task.

    Args:
        task_file: of `meeting.lead`.

    Returns:
        0; 1 if a worker got lost, 2 for what a user can put right.
    """
    _tell_the_parent()
    task = json.loads(Path(task_file).read_text())
    try:
        # Before anything else: TensorFlow joins a cluster only while it is new.
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        report("all workers are here", kind=JOINED)
        if not agree(strategy, int(task["id"][:6], 16)):
            raise ConfigError("The workers have read different tasks. Give every run a folder of its own to meet in.")
        with tempfile.TemporaryDirectory() as scratch:
            arguments = dict(task["arguments"])
            if not is_chief(strategy):
                arguments |= {"serving_model_dir": f"{scratch}/model", "model_run_dir": f"{scratch}/model_run"}
            train(SimpleNamespace(**arguments), Settings.parse(arguments["custom_config"]), strategy)
        # Nobody leaves before the chief has written: a worker that is gone would be taken for lost.
        agree(strategy, 1)
    except UserError as error:
        return _say_why(error, str(error), _USER_ERROR)
    except _LOST as error:
        lines = str(error.message).splitlines()
        reason = next((line for line in lines if "aborted by" in line), lines[0] if lines else type(error).__name__)
        words = (
            f"Another worker got lost, so the training can't go on ({reason}). Start all workers again; they go on "
            "after the last finished epoch if the run has a working_dir."
        )
        return _say_why(error, words, _FAILED)
    return 0


def _tell_the_parent() -> None:
    """Send the progress up as lines of JSON, and end with whoever started this process."""

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            event = getattr(record, "event", {})
            print(json.dumps({"message": record.getMessage(), "event": event}), flush=True)

    def wait_for_the_end() -> None:
        # Not through sys.stdin, whose lock this thread would hold while Python ends.
        os.read(0, 1)
        os._exit(_FAILED)

    progress_logger.setLevel(logging.INFO)
    progress_logger.addHandler(Lines())
    progress_logger.propagate = False
    threading.Thread(target=wait_for_the_end, daemon=True).start()


def _say_why(error: Exception, words: str, code: int) -> int:
    content: dict[str, Any] = {"error": {"type": type(error).__name__, "message": words}}
    print(json.dumps(content), flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

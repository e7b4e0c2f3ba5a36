"""A process that trains for an experiment: ``python -m noisy_gru.pipeline.experiments.worker``.

It reads one JSON object for each line of its standard input: first what all trainings have in common, then a training
each. It answers with lines on the descriptor that its argument names: an `event` while it trains; at the end a
`result`, or why it was `refused` or `failed`. It ends at once when its input ends, which is also when the process that
started it is killed: no training goes on that nobody waits for.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import resource
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from noisy_gru.pipeline.runs.output_redirection import FORMAT
from noisy_gru.pipeline.runs.process_setup import prepare_process
from noisy_gru.pipeline.runs.progress import LOGGER
from noisy_gru.schema.errors import ConfigError, UserError

Train = Callable[[dict[str, Any]], Any]


def main(load: Callable[[Mapping[str, Any]], Train] | None = None) -> None:
    """Train until the input ends.

    Args:
        load: returns the function that trains, given what all trainings have in common; None: the product's.
    """
    answers = os.fdopen(int(sys.argv[1]), "w", buffering=1, encoding="utf-8")
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format=FORMAT)
    jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(jobs,), daemon=True).start()
    prepare_process()
    train = (load or _load)(jobs.get())
    logging.getLogger(LOGGER).addHandler(_Events(answers))
    while True:
        job = jobs.get()
        try:
            answer: dict[str, Any] = {"result": train(job)}
        except ConfigError as error:
            answer = {"refused": str(error)}
        except Exception as error:
            logging.getLogger(__name__).exception("the training failed")
            text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            answer = {"failed": text}
        # Kilobytes on Linux.
        answer["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        answers.write(json.dumps(answer) + "\n")


def _read(jobs: queue.SimpleQueue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        jobs.put(json.loads(line))
    os._exit(0)


def _load(common: Mapping[str, Any]) -> Train:
    from noisy_gru.schema.config import DatasetConfig
    from noisy_gru.trainer.config import TrainerConfig
    from noisy_gru.trainer.custom_config import CustomConfig
    from noisy_gru.trainer.experiments.starts import FirstStates
    from noisy_gru.trainer.experiments.trial import TransformedFiles, train_and_measure

    files = TransformedFiles(**common["files"])
    dataset = DatasetConfig.model_validate(common["dataset"])
    starts = None
    if common["starts"] is not None:
        starts = FirstStates(**{name: tuple(values) for name, values in common["starts"].items()})

    def train(job: dict[str, Any]) -> Any:
        trainer = TrainerConfig.model_validate(job)
        config = CustomConfig(dataset, trainer, common["fingerprint"], common["working_dir"])
        return train_and_measure(files, config, starts)

    return train


class _Events(logging.Handler):
    """Pass the events of a training on."""

    def __init__(self, answers: Any):
        super().__init__()
        self._answers = answers

    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "event", None)
        if isinstance(event, Mapping) and event.get("kind") == "epoch":
            self._answers.write(json.dumps({"event": dict(event)}, default=str) + "\n")


if __name__ == "__main__":
    main()

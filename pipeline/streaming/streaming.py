"""Run a stream: poll, process, commit, until a signal or the end of the topic.

Each batch is one transaction. Whatever ends the process, the next one goes on from the last committed transaction; an
aborted one is handled in the same way, by reading the checkpoint anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from noisy_gru.data.events.event_order import step_of_times
from noisy_gru.data.events.event_reader import Time
from noisy_gru.data.sequences.gaps import MOST_FILLED_RATIO
from noisy_gru.pipeline.streaming.answers import Answering
from noisy_gru.pipeline.streaming.event_log import EventLog, Owner, TransactionAborted
from noisy_gru.pipeline.streaming.metrics import StreamMetrics
from noisy_gru.pipeline.streaming.model_source import ModelSource
from noisy_gru.pipeline.streaming.processor import StreamProcessor
from noisy_gru.pipeline.streaming.step_answers import StepAnswers
from noisy_gru.pipeline.streaming.window_answers import WindowAnswers
from noisy_gru.schema.config import DatasetConfig, ForecastingConfig
from noisy_gru.schema.durations import parse_duration
from noisy_gru.schema.errors import ConfigError, UserError
from noisy_gru.serving.client.stream_states import STEP

# A longer gap begins an entity anew, as data.time.fill_limit does: to fill it would hold up all others.
MOST_FILLED_STEPS = 100 * MOST_FILLED_RATIO
_ABORTED_SECONDS = 300.0  # of aborted transactions without a committed one
_PAUSE_SECONDS = 1.0


class OpenLog(Protocol):
    """Open the log; ``started_at`` takes a new partition, and the offset where it begins."""

    def __call__(self, owner: Owner, started_at: Callable[[int, int], None], /) -> EventLog:
        """Return the log."""
        ...


@dataclass(frozen=True)
class Batching:
    """How many messages make a batch, and how long one waits for them, in seconds."""

    most: int = 2000
    seconds: float = 0.1


def streamed_dataset(dataset: DatasetConfig) -> DatasetConfig:
    """Return a configuration with a limit of the steps that are filled in one gap.

    Raises:
        ConfigError: a stream has no order without `data.time`, nor by the order in which its messages came.
    """
    step_of_times(dataset)
    time = dataset.data.time
    if time is not None and time.ambiguous == "infer":
        raise ConfigError(
            "data.time.ambiguous: expected earlier, later or reject for noisy-gru stream, whose messages may come in "
            "another order than their times, received infer. Send times with their offset from UTC, or override it: "
            "--set data.time.ambiguous=later"
        )
    if time is None or time.gaps != "fill":
        return dataset
    limit = min(time.fill_limit or MOST_FILLED_STEPS, MOST_FILLED_STEPS)
    data = dataset.data.model_copy(update={"time": time.model_copy(update={"fill_limit": limit})})
    return dataset.model_copy(update={"data": data})


def parse_lateness(text: str | None, dataset: DatasetConfig) -> Time:
    """Return a lateness in the unit of the data's times: a duration such as `30s` of timestamps, else a number.

    Raises:
        ConfigError: it is neither.
    """
    kind = dataset.data.time.kind if dataset.data.time else "integer"
    if text is None:
        return 0.0 if kind == "float" else 0
    try:
        if kind == "timestamp":
            return round(parse_duration(text).total_seconds() * 1e9)
        value: Time = int(text) if kind == "integer" else float(text)
    except ValueError as error:
        expected = {"timestamp": "a duration such as 30s or 5m", "integer": "a whole number", "float": "a number"}
        raise ConfigError(
            f"--lateness: expected {expected[kind]} (data.time.kind is {kind}), received {text!r}"
        ) from error
    if not 0 <= value < float("inf"):
        raise ConfigError(f"--lateness: expected at least 0, received {text}")
    return value


def choose_answering(dataset: DatasetConfig, model: ModelSource, kept_steps: int) -> Answering:
    """Return the way of answering: by states where the model has `serving_step`, for forecasts always by windows.

    Raises:
        UserError: the configuration can't be answered so.
    """
    if STEP in model.signatures and not isinstance(dataset.task, ForecastingConfig):
        return StepAnswers(dataset, model, kept_steps)
    return WindowAnswers(dataset, model)


def run_stream(
    open_log: OpenLog,
    processor: StreamProcessor,
    model: ModelSource,
    metrics: StreamMetrics,
    *,
    batching: Batching,
    stopped: Callable[[], bool],
    until_end: bool = False,
    report: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Process batches until ``stopped``, or with ``until_end`` until all was read that was there.

    Raises:
        UserError: Kafka, the model or the data are at fault; all that is committed stays.
    """
    owner = Owner(processor.assigned, processor.revoked)
    committed = clock()
    while not stopped():
        processor.reset()
        log: EventLog | None = None
        try:
            log = open_log(owner, processor.started_at)
            while not stopped():
                messages = log.poll(batching.most, batching.seconds)
                begun = clock()
                if transaction := processor.process(messages):
                    log.commit(transaction)
                    committed = clock()
                    metrics.committed(committed - begun)
                metrics.report(processor, model.version, log.lag)
                if until_end and log.at_end():
                    break
            metrics.report(processor, model.version, log.lag, now=True)
            return
        except TransactionAborted as error:
            if clock() - committed > _ABORTED_SECONDS:
                raise UserError(f"no transaction could be committed for {_ABORTED_SECONDS:.0f} s: {error}") from error
            report(f"a transaction was aborted, going on from the checkpoint: {error}")
        finally:
            if log is not None:
                log.close()
        sleep(_PAUSE_SECONDS)

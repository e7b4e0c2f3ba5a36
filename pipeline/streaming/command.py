"""Put a stream together from the options of ``noisy-gru stream``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from noisy_gru.compat.extras import require
from noisy_gru.data.events.event_reader import EventReader, ValueFormat
from noisy_gru.pipeline.batch_prediction.published_model import published_model
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.config.tracking_config import check_tracking
from noisy_gru.pipeline.prediction import Server, library_log
from noisy_gru.pipeline.runs.interrupts import stop_on_signals
from noisy_gru.pipeline.runs.output_redirection import output_to
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.pipeline.streaming.bounded_calls import BoundedCalls, BoundedLog
from noisy_gru.pipeline.streaming.metrics import StreamMetrics
from noisy_gru.pipeline.streaming.model_source import ModelSource, PublishedModel, ServerModel
from noisy_gru.pipeline.streaming.processor import StreamProcessor, StreamRules
from noisy_gru.pipeline.streaming.step_answers import StepAnswers
from noisy_gru.pipeline.streaming.streaming import (
    Batching,
    choose_answering,
    parse_lateness,
    run_stream,
    streamed_dataset,
)
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.durations import parse_duration
from noisy_gru.schema.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class StreamOptions:
    """The options of the command; see its help."""

    root: Path
    bootstrap_servers: str | None
    client_config: Path | None
    input_topic: str
    output_topic: str
    dead_letter_topic: str | None
    group: str
    instance: str
    value_format: ValueFormat
    csv_columns: Sequence[str] | None
    lateness: str | None
    max_ahead: str
    replay_steps: int
    start: str
    until_end: bool
    batch_events: int
    batch_seconds: float
    server: str | None
    plaintext: bool
    report_seconds: float


def stream_events(config: PipelineConfig, options: StreamOptions) -> None:
    """Answer the events of a topic until a signal.

    Raises:
        UserError: Kafka or the model can't be reached or refuse, or the configuration can't be streamed.
    """
    require("confluent_kafka", "noisy-gru stream")
    if options.server is None:
        require("tensorflow", "noisy-gru stream without --server")
        published_model(options.root, config.model_name)
    check_tracking(config.tracking)
    from noisy_gru.pipeline.streaming.kafka_log import KafkaLog
    from noisy_gru.pipeline.streaming.kafka_settings import KafkaSettings
    from noisy_gru.pipeline.streaming.kafka_topics import Topics, prepare_topics, read_client_settings

    dataset = streamed_dataset(config.dataset)
    lateness = parse_lateness(options.lateness, dataset)
    reader = EventReader(dataset, value_format=options.value_format, header=options.csv_columns)
    client = read_client_settings(options.client_config, options.bootstrap_servers)
    topics = Topics(
        options.input_topic,
        options.output_topic,
        options.dead_letter_topic or f"{options.output_topic}-dead-letters",
        f"{options.group}-changelog",
    )
    rules = StreamRules(lateness, _most_ahead(options.max_ahead, dataset), topics.input, topics.checkpoint)
    settings = KafkaSettings(topics, options.group, options.instance, options.start, client)
    prometheus = config.tracking.prometheus

    def report(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    partitions = prepare_topics(topics, client)
    with stop_on_signals() as stop, _model(config, options) as model:
        calls = BoundedCalls(stop.is_set, report)
        answering = choose_answering(dataset, model, options.replay_steps)
        metrics = StreamMetrics(
            config.name,
            folder=None if prometheus is None else Path(prometheus.folder),
            every=options.report_seconds,
            report=report,
        )
        processor = StreamProcessor(
            dataset,
            config.model_name,
            reader=reader,
            model=model,
            answering=answering,
            rules=rules,
            report=report,
        )
        report(
            f"{topics.input} ({partitions} partitions) is answered into {topics.output} by version {model.version}, "
            f"with {'states' if isinstance(answering, StepAnswers) else 'windows'}; checkpoint in "
            f"{topics.checkpoint}, dead letters in {topics.dead_letters}"
        )
        run_stream(
            lambda owner, started_at: BoundedLog(
                calls, lambda: KafkaLog(settings, owner, started_at, report, calls.step)
            ),
            processor,
            model,
            metrics,
            batching=Batching(options.batch_events, options.batch_seconds),
            stopped=stop.is_set,
            until_end=options.until_end,
            report=report,
        )
        report("stopped, with all that was read committed")


@contextmanager
def _model(config: PipelineConfig, options: StreamOptions) -> Iterator[ModelSource]:
    if options.server is not None:
        with ServerModel(Server(target=options.server, plaintext=options.plaintext), config) as served:
            yield served
        return
    # TensorFlow writes to standard error on its own, when it is loaded.
    log = library_log(RunDirectory(options.root).logs)
    with output_to(log):
        published = PublishedModel(options.root, config.model_name, loading=lambda: output_to(log))
    with published:
        yield published


def _most_ahead(text: str, dataset: DatasetConfig) -> int | None:
    time = dataset.data.time
    if text == "none" or time is None or time.kind != "timestamp":
        return None
    try:
        return round(parse_duration(text).total_seconds() * 1e9)
    except ValueError as error:
        raise ConfigError(f"--max-ahead: expected a duration such as 1d, or none; received {text!r}") from error

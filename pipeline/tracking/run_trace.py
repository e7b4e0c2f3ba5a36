"""A trace of a run for OpenTelemetry: one span for the run, one for each step that ran, sent over OTLP/HTTP.

The ids follow from the run's, so that a trace that is sent again is the same trace.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from noisy_gru.pipeline.config.tracking_config import OpenTelemetryConfig
from noisy_gru.pipeline.runs.run_record import RunRecord
from noisy_gru.schema.errors import UserError

SERVICE = "noisy-gru"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PATH = "/v1/traces"


def send_trace(config: OpenTelemetryConfig, record: RunRecord) -> None:
    """Send the trace of a run that has ended.

    Raises:
        UserError: no endpoint is known, or the collector didn't accept the trace.
    """
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import SpanExportResult

    if config.endpoint is None and not any(os.environ.get(name) for name in _ENDPOINTS):
        raise UserError(
            f"tracking.opentelemetry: expected `endpoint`, or the environment variable {_ENDPOINTS[1]}; neither is set"
        )
    endpoint = config.endpoint
    if endpoint is not None and not endpoint.endswith(_PATH):
        endpoint = endpoint.rstrip("/") + _PATH
    exporter = OTLPSpanExporter(endpoint=endpoint)
    reasons = _Reasons()
    logging.getLogger("opentelemetry").addHandler(reasons)
    try:
        result = exporter.export(spans(record))
    finally:
        logging.getLogger("opentelemetry").removeHandler(reasons)
        exporter.shutdown()
    if result is not SpanExportResult.SUCCESS:
        reason = f": {reasons.texts[-1]}" if reasons.texts else ""
        raise UserError(f"tracking.opentelemetry: the collector did not accept the trace{reason}")


def spans(record: RunRecord) -> list[Any]:
    """Return the finished spans of a run, of OpenTelemetry's SDK; the run's own is the last."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON
    from opentelemetry.trace import Status, StatusCode, set_span_in_context

    memory = InMemorySpanExporter()
    resource = Resource.create({"service.name": SERVICE, "host.name": record.host})
    provider = TracerProvider(resource=resource, id_generator=_ids(record.run_id), sampler=ALWAYS_ON)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer(SERVICE)
    began = _nanoseconds(record.started)
    attributes = {
        "noisy_gru.pipeline": record.pipeline,
        "noisy_gru.run_id": record.run_id,
        "noisy_gru.status": record.status,
        **({} if record.version is None else {"noisy_gru.version": record.version}),
        **{f"noisy_gru.metric.{name}": value for name, value in record.metrics.items()},
    }
    run = tracer.start_span(f"run {record.pipeline}", start_time=began, attributes=attributes)
    end = began
    for step in record.steps:
        # Records of earlier releases don't say when a step began.
        start = _nanoseconds(step.started) if step.started else end
        end = start + round(step.seconds * 1e9)
        used = {
            "noisy_gru.status": step.status,
            **({} if step.cpu_seconds is None else {"noisy_gru.cpu_seconds": step.cpu_seconds}),
            **({} if step.peak_mb is None else {"noisy_gru.peak_mb": step.peak_mb}),
            **({} if step.disk_bytes is None else {"noisy_gru.disk_bytes": step.disk_bytes}),
        }
        span = tracer.start_span(step.name, context=set_span_in_context(run), start_time=start, attributes=used)
        if step.status in ("failed", "interrupted"):
            span.set_status(Status(StatusCode.ERROR, step.status))
        span.end(end)
    if record.status in ("failed", "interrupted", "killed"):
        # The message may quote data, and stays on this machine.
        run.set_status(Status(StatusCode.ERROR, record.status))
    run.end(began + round(record.seconds * 1e9))
    return list(memory.get_finished_spans())


class _Reasons(logging.Handler):
    """Keeps what the exporter logs, as it returns no reason."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def _ids(run_id: str) -> Any:
    """Return an id generator whose ids follow from ``run_id`` and the number of the span."""
    from opentelemetry.sdk.trace.id_generator import IdGenerator

    def numbers() -> Iterator[bytes]:
        count = 0
        while True:
            yield hashlib.sha256(f"{run_id} {count}".encode()).digest()
            count += 1

    class OfRun(IdGenerator):
        _numbers = numbers()

        def generate_span_id(self) -> int:
            return int.from_bytes(next(self._numbers)[:8])

        def generate_trace_id(self) -> int:
            return int.from_bytes(hashlib.sha256(run_id.encode()).digest()[:16])

    return OfRun()


def _nanoseconds(time: str) -> int:
    epoch = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
    return (datetime.fromisoformat(time) - epoch) // timedelta(microseconds=1) * 1000

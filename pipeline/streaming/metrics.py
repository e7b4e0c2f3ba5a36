"""Metrics of a stream: a line for people now and then, and a file for Prometheus (`tracking.prometheus`)."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from noisy_gru.pipeline.streaming.processor import Counts, StreamProcessor
from noisy_gru.schema.errors import UserError

_LATENCIES = 10_000
_QUANTILES = (0.5, 0.95, 0.99)
MEANINGS = {
    "stream_events": "Events read since the process began.",
    "stream_answers": "Answers committed since the process began.",
    "stream_rejected": "Events sent to the dead-letter topic since the process began, by reason.",
    "stream_events_per_second": "Events read per second, since the report before.",
    "stream_lag_events": "Messages of the input that are still to be read.",
    "stream_held_events": "Events that wait for the watermark.",
    "stream_entities": "Entities of which a state is kept.",
    "stream_latency_seconds": "From reading a message to the commit of its batch, of the last 10,000 batches.",
    "stream_model_version": "The version that answers.",
    "stream_report_timestamp_seconds": "When this was written.",
}


class StreamMetrics:
    """Collect metrics, and report them every so often.

    Args:
        pipeline: its name.
        folder: of Prometheus' textfile collector; None: no file.
        every: seconds between reports.
        report: takes the line for people.
        clock: seconds, of any beginning.
    """

    def __init__(
        self,
        pipeline: str,
        *,
        folder: Path | None,
        every: float,
        report: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pipeline, self._folder, self._every, self._report, self._clock = pipeline, folder, every, report, clock
        self._latencies: deque[float] = deque(maxlen=_LATENCIES)
        self._reported, self._events, self._answers = clock(), 0, 0

    def committed(self, seconds: float) -> None:
        """Note how long a batch took."""
        self._latencies.append(seconds)

    def report(
        self, processor: StreamProcessor, version: int, lag: Callable[[], int | None], *, now: bool = False
    ) -> None:
        """Report, if it is time or ``now``.

        Raises:
            UserError: the file can't be written.
        """
        passed = self._clock() - self._reported
        if passed < self._every and not now:
            return
        counts, behind = processor.counts, lag()
        rate = (counts.events - self._events) / passed if passed else 0.0
        if now or counts.events != self._events or counts.answers != self._answers:
            self._report(self._line(counts, rate, behind, processor))
        self._reported, self._events, self._answers = self._clock(), counts.events, counts.answers
        if self._folder is not None:
            self._write(counts, rate, behind, processor, version)

    def quantile(self, level: float) -> float:
        """Return a quantile of the last batches' seconds; 0 without any."""
        ordered = sorted(self._latencies)
        return ordered[min(int(level * len(ordered)), len(ordered) - 1)] if ordered else 0.0

    def _line(self, counts: Counts, rate: float, lag: int | None, processor: StreamProcessor) -> str:
        rejected = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.rejected.items())) or "none"
        return (
            f"{counts.events:,} events ({rate:,.0f}/s), {counts.answers:,} answers, rejected: {rejected}; "
            f"{processor.held:,} held, lag {'unknown' if lag is None else f'{lag:,}'}, "
            f"batch p50 {self.quantile(0.5) * 1e3:.0f} ms, p99 {self.quantile(0.99) * 1e3:.0f} ms"
        )

    def _write(self, counts: Counts, rate: float, lag: int | None, processor: StreamProcessor, version: int) -> None:
        from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

        registry = CollectorRegistry()

        def gauge(name: str, *labels: str) -> Gauge:
            return Gauge(f"noisy_gru_{name}", MEANINGS[name], ["pipeline", *labels], registry=registry)

        values = {
            "stream_events": counts.events,
            "stream_answers": counts.answers,
            "stream_events_per_second": rate,
            "stream_held_events": processor.held,
            "stream_entities": processor.entities,
            "stream_model_version": version,
            "stream_report_timestamp_seconds": time.time(),
            **({} if lag is None else {"stream_lag_events": lag}),
        }
        for name, value in values.items():
            gauge(name).labels(pipeline=self._pipeline).set(value)
        rejected = gauge("stream_rejected", "reason")
        for reason, count in counts.rejected.items():
            rejected.labels(pipeline=self._pipeline, reason=reason).set(count)
        latency = gauge("stream_latency_seconds", "quantile")
        for level in _QUANTILES:
            latency.labels(pipeline=self._pipeline, quantile=str(level)).set(self.quantile(level))
        file = (self._folder or Path()) / f"noisy_gru_{self._pipeline}_stream.prom"
        try:
            write_to_textfile(str(file), registry)
        except OSError as error:
            raise UserError(
                f"tracking.prometheus.folder: {file} can't be written: {error.strerror or error}"
            ) from error

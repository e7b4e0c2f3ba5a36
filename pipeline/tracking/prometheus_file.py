"""A file of metrics for the textfile collector of Prometheus' node exporter.

Each call writes the whole file anew from the records under the root: the last run, the last check whether retraining is
due, and what was published last. Times are Unix times, so that an alert can say "nothing published for two days".
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, get_args

from noisy_gru.pipeline.runs.check_log import read_checks
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.pipeline.runs.run_record import RunRecord, RunStatus
from noisy_gru.schema.errors import UserError


class Sample(NamedTuple):
    """A value of a metric, ``noisy_gru_<name>``, with its labels beside that of the pipeline."""

    name: str
    value: float
    labels: dict[str, str] = {}  # noqa: RUF012 (never changed)


MEANINGS = {
    "run_status": "1 for the status of the last run, 0 for the others.",
    "run_start_timestamp_seconds": "When the last run began.",
    "run_end_timestamp_seconds": "When the last run ended.",
    "run_duration_seconds": "Duration of the last run.",
    "published_timestamp_seconds": "When a run last published a version.",
    "published_version": "The version that was published last.",
    "step_duration_seconds": "Duration of each step of the last run.",
    "step_cpu_seconds": "CPU time of each step of the last run.",
    "step_peak_memory_bytes": "Most memory of the process in each step of the last run.",
    "metric": "Metrics of the last run's model on its test split.",
    "rows": "Rows of the last run's input: read, kept, dropped, quarantined.",
    "retrain_check_timestamp_seconds": "When it was last checked whether retraining is due.",
    "retrain_check_outcome": "1 for what came of that check.",
}


def write_metrics(folder: Path, directory: RunDirectory, pipeline: str) -> Path:
    """Write the metrics of a pipeline; return the file, ``noisy_gru_<pipeline>.prom``.

    Args:
        folder: of the collector.
        directory: root of the pipeline's runs.
        pipeline: its name.

    Raises:
        UserError: the folder doesn't exist or can't be written.
    """
    from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

    registry = CollectorRegistry()
    gauges: dict[str, Gauge] = {}
    for name, value, labels in samples(directory, pipeline):
        if name not in gauges:
            gauges[name] = Gauge(f"noisy_gru_{name}", MEANINGS[name], ["pipeline", *labels], registry=registry)
        gauges[name].labels(pipeline=pipeline, **labels).set(value)
    file = folder / f"noisy_gru_{pipeline}.prom"
    try:
        # Written beside it and renamed: the collector never reads half a file.
        write_to_textfile(str(file), registry)
    except OSError as error:
        raise UserError(f"tracking.prometheus.folder: {file} can't be written: {error.strerror or error}") from error
    return file


def samples(directory: RunDirectory, pipeline: str) -> Iterator[Sample]:
    """Yield the metrics of a pipeline; of a kind that there is nothing of, none."""
    records = [record for record in directory.records() if record.pipeline == pipeline]
    if records:
        yield from _of_run(records[-1])
    published = [record for record in records if record.version is not None and record.finished]
    if published:
        yield Sample("published_timestamp_seconds", _unix(str(published[-1].finished)))
        yield Sample("published_version", float(published[-1].version or 0))
    checks = [check for check in read_checks(directory.root) if check.pipeline == pipeline]
    if checks:
        yield Sample("retrain_check_timestamp_seconds", _unix(checks[-1].at))
        yield Sample("retrain_check_outcome", 1, {"outcome": checks[-1].outcome})


def _of_run(record: RunRecord) -> Iterator[Sample]:
    for status in get_args(RunStatus):
        yield Sample("run_status", float(status == record.status), {"status": status})
    yield Sample("run_start_timestamp_seconds", _unix(record.started))
    if record.finished:
        yield Sample("run_end_timestamp_seconds", _unix(record.finished))
        yield Sample("run_duration_seconds", record.seconds)
    for step in record.steps:
        labels = {"step": step.name}
        yield Sample("step_duration_seconds", step.seconds, labels)
        if step.cpu_seconds is not None:
            yield Sample("step_cpu_seconds", step.cpu_seconds, labels)
        if step.peak_mb is not None:
            yield Sample("step_peak_memory_bytes", step.peak_mb * 1e6, labels)
    for name, value in record.metrics.items():
        if math.isfinite(value):
            yield Sample("metric", value, {"metric": name})
    if record.rows is not None:
        rows = record.rows
        counts = {"read": rows.read, "kept": rows.kept}
        counts |= {"dropped": sum(rows.dropped.values()), "quarantined": sum(rows.quarantined.values())}
        for kind, count in counts.items():
            yield Sample("rows", count, {"kind": kind})


def _unix(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()

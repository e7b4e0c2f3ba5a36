"""The page of the data of a configuration, as a run would read it: before anything is trained.

>>> account = data_only_account(config)  # doctest: +SKIP
>>> account["data"]["sequences"]["by_split"]  # doctest: +SKIP
{'train': 270, 'test': 370}
"""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from noisy_gru.data.ingestion.report_checks import check_report, check_spans
from noisy_gru.data.ingestion.report_summary import lineage, report_summary
from noisy_gru.data.ingestion.resolved_input import resolve_input
from noisy_gru.data.ingestion.spans import LATEST
from noisy_gru.data.sequences.example_files import with_windows
from noisy_gru.data.sequences.splits import boundaries_from_report
from noisy_gru.pipeline.config.input_base import relative_to_base
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.report.account import FORMAT, section_content
from noisy_gru.pipeline.report.artifacts import Artifacts
from noisy_gru.pipeline.report.data_account import data_account
from noisy_gru.pipeline.report.feature_account import STATISTICS, feature_account
from noisy_gru.pipeline.runs.run_record import RunRecord, text_hash, timestamp
from noisy_gru.schema.config import ForecastingConfig
from noisy_gru.schema.errors import DataError
from noisy_gru.storage.object_stores import glob_files

_NOT_SHOWN = "The reason may quote data and isn't shown here: the run says it."


def data_only_account(config: PipelineConfig, config_path: Path, span: str = LATEST) -> dict[str, Any]:
    """Ingest the data and count its statistics, in a temporary folder; return the account of both.

    Data that a run would refuse is shown, with the reason on top.

    Args:
        config: configuration from ``load_config``.
        config_path: its file.
        span: newest span to read: ``latest``, a number, or a date.

    Raises:
        UserError: files are missing or can't be read.
    """
    with tempfile.TemporaryDirectory(prefix="noisy-gru-show-") as name:
        artifacts, problem = _ingested(config, config_path, span, Path(name))
        notes: dict[str, str] = {}
        examples = config.report.examples
        data = section_content("data", data_account, artifacts, examples, notes)
        features = section_content("features", feature_account, artifacts, examples, notes)
    record = artifacts.record
    headline = "A run would stop at this data" if problem else "The data, as a run reads it"
    return {
        "format": FORMAT,
        "examples": examples,
        "run": {
            "run_id": "show data",
            "command": "noisy-gru show data",
            "pipeline": config.name,
            "status": "data",
            "started": record.started,
            "seconds": record.seconds,
        },
        "outcome": {
            "status": "failed" if problem else "data",
            "headline": headline,
            "version": None,
            "compared_with": None,
            "decisive": None,
            "reasons": [problem if examples else _NOT_SHOWN] if problem else [],
            "warnings": [],
            "comparisons": [],
            "plan": None,
            "next": [f"noisy-gru run {config_path}"] if not problem else [],
        },
        "data": data,
        "features": features,
        "notes": notes,
    }


def _ingested(config: PipelineConfig, config_path: Path, span: str, folder: Path) -> tuple[Artifacts, str]:
    """Return the artifacts of an ingestion and of statistics, and why a run would stop there; empty if it wouldn't."""
    from noisy_gru.components.sequence_example_gen.in_process import EXAMPLES, ingest_in_process

    began = datetime.now(UTC)
    base, dataset = relative_to_base(config.dataset)
    resolved = resolve_input(base, dataset.data, span, glob_files)
    if isinstance(dataset.task, ForecastingConfig):  # TFDV's statistics of files, and the page, read windows
        dataset = with_windows(dataset, "stored")
    report = ingest_in_process(resolved.sources, dataset, folder, lambda source: Path(source.path).stat().st_size)
    content = report_summary(report, dataset, None if report.file_errors else boundaries_from_report(report, dataset))
    content |= lineage(report, dataset.data, resolved)
    (folder / "ingestion_report.json").write_text(json.dumps(content), encoding="utf-8")
    problem = ""
    try:
        check_spans(report, dataset.data, resolved)
        check_report(report, dataset)
    except DataError as error:
        problem = str(error)
    _count(folder / EXAMPLES, folder / "statistics")
    record = RunRecord(
        run_id="show",
        pipeline=config.name,
        started=timestamp(began),
        seconds=round((datetime.now(UTC) - began).total_seconds(), 3),
        config_path=str(config_path),
        config_hash=text_hash(config.model_dump_json(by_alias=True)),
        config=config.model_dump(mode="json", by_alias=True),
        seed=config.seed,
        root=str(folder),
        log="",
        artifacts={
            "SequenceExampleGen": {"ingestion_report": [str(folder)], "examples": [str(folder / EXAMPLES)]},
            "StatisticsGen": {"statistics": [str(folder / "statistics")]},
        },
        fingerprint="",
        pid=0,
        host="",
    )
    return Artifacts(record, folder), problem


def _count(examples: Path, statistics: Path) -> None:
    """Write the statistics of each split, as StatisticsGen counts them."""
    import tensorflow_data_validation as tfdv
    from apache_beam.options.pipeline_options import PipelineOptions

    from noisy_gru.components.sequence_example_gen.in_process import IN_PROCESS

    library: Any = tfdv
    statistics.mkdir()
    for split in sorted(examples.glob("Split-*")):
        if not any(split.glob("data_tfrecord-*.gz")):
            continue
        found = library.generate_statistics_from_tfrecord(
            f"{split}/data_tfrecord-*.gz",
            output_path=f"{statistics}/{split.name}.tfrecord",
            pipeline_options=PipelineOptions(list(IN_PROCESS)),
        )
        (statistics / split.name).mkdir()
        (statistics / split.name / STATISTICS).write_bytes(found.SerializeToString())

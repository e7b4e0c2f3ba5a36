"""Ingest a few files in this process, as a run would, without Beam."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from noisy_gru.components.sequence_example_gen.beam_transforms import ingest
from noisy_gru.data.reading.tables import Source
from noisy_gru.data.report.ingestion_report import IngestionReport
from noisy_gru.data.sequences import example_files
from noisy_gru.data.sequences.chunks import bucket_count
from noisy_gru.data.sequences.example_files import FILES
from noisy_gru.schema.config import DatasetConfig

# With whatever runner the run itself has.
IN_PROCESS = (
    "--runner=apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner",
    "--direct_running_mode=in_memory",
    "--direct_num_workers=1",
)
EXAMPLES = "examples"
SHARDS = f"Split-*/{FILES}"


def ingest_in_process(
    sources: Sequence[Source], dataset: DatasetConfig, folder: Path, size_of: Callable[[Source], int] = lambda source: 0
) -> IngestionReport:
    """Ingest to ``<folder>/examples``.

    Args:
        sources: the files.
        dataset: the configuration.
        folder: of what comes out, and of the quarantine.
        size_of: bytes of a file, by which the work is cut.
    """
    with beam.Pipeline(options=PipelineOptions(list(IN_PROCESS))) as pipeline:
        ingest(
            pipeline,
            sorted(sources, key=lambda source: source.name),
            dataset.model_dump_json(),
            buckets=bucket_count((source.format, size_of(source)) for source in sources),
            examples=str(folder / EXAMPLES),
            quarantine_folder=str(folder / "quarantine"),
            report=str(folder / "ingestion_report.json"),
        )
    return IngestionReport.from_json((folder / "ingestion_report.json").read_text())


def read_examples(folder: Path) -> list[bytes]:
    """Return the serialized tf.Examples of ``ingest_in_process``, of all splits, in the order of their files."""
    files = sorted(str(file) for file in (folder / EXAMPLES).glob(SHARDS))
    return [example for file in files for example in example_files.read_examples(file)]

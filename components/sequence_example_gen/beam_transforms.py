"""The Beam side: files in, chunks grouped by bucket, shards and reports out.

It imports neither TFX nor TensorFlow, so that worker processes start fast.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics.metric import Metrics
from apache_beam.pvalue import AsSingleton, TaggedOutput
from apache_beam.typehints import with_output_types

from noisy_gru.compat.beam_counters import NAMESPACE
from noisy_gru.components.sequence_example_gen.counters import CHUNK_BYTES, FILE_BYTES, ROWS, WRITTEN_BYTES
from noisy_gru.data.reading.file_hashes import read_hash
from noisy_gru.data.reading.files import quarantine_file
from noisy_gru.data.reading.reader import Reader
from noisy_gru.data.reading.tables import Source, unreadable_error
from noisy_gru.data.report.ingestion_report import IngestionReport
from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.data.sequences.chunks import pack
from noisy_gru.data.sequences.example_files import bucket_files, file_name
from noisy_gru.data.sequences.spilled_chunks import SpilledChunks, read_chunk
from noisy_gru.data.sequences.splits import boundaries_from_report
from noisy_gru.schema.config import DatasetConfig, TimeSplitConfig
from noisy_gru.schema.errors import DataError
from noisy_gru.storage.object_stores import open_file

INGESTION_REPORT = "ingestion_report"
# Ending of a file that is still being written.
PART = ".part"


def write_bytes(path: str, content: bytes) -> None:
    """Write a file under another name first: a repeated bundle replaces it, and nobody reads half of one.

    The other name is new every time, since a bundle that is thought lost may still be at work on another machine.
    """
    folder, name = FileSystems.split(path)
    if not FileSystems.exists(folder):
        try:
            FileSystems.mkdirs(folder)
        except OSError:  # another worker may have been faster
            if not FileSystems.exists(folder):
                raise
    part = FileSystems.join(folder, f".{name}.{uuid.uuid4().hex}{PART}")
    with FileSystems.create(part, mime_type="application/octet-stream", compression_type="uncompressed") as stream:
        stream.write(content)
    FileSystems.rename([part], [path])


class PlanReads(beam.DoFn):
    """A file to the parts that are read separately; an error goes to the report."""

    def __init__(self, dataset: str, *, prediction: bool = False) -> None:
        self._dataset, self._prediction = dataset, prediction

    def setup(self) -> None:
        dataset = DatasetConfig.model_validate_json(self._dataset)
        self._reader = Reader(dataset, opener=open_file, prediction=self._prediction)

    def process(self, source: Source) -> Iterator[Source | TaggedOutput]:
        try:
            yield from self._reader.parts(source)
        except DataError as error:
            yield TaggedOutput(INGESTION_REPORT, IngestionReport(file_errors=[str(error)]).to_json().encode())


class HashFile(beam.DoFn):
    """A file to a report of its size and SHA-256, wherever a worker has time for it."""

    def process(self, source: Source) -> Iterator[bytes]:
        report, content = IngestionReport(), (0, "")
        try:
            content = read_hash(source.path, open_file)
        except OSError as error:
            report.file_errors.append(str(unreadable_error(source, "a file", error)))
        report.hashes[source.name] = list(content)
        yield report.to_json().encode()


class PositionedOpener:
    """Opens files, and knows how far the one that was opened last has been read."""

    def __init__(self) -> None:
        self._stream: BinaryIO | None = None

    def __call__(self, path: str) -> BinaryIO:
        self._stream = open_file(path)
        return self._stream

    def position(self) -> int:
        """Return the bytes before the place that is read next; 0 where that isn't known."""
        return 0 if self._stream is None or self._stream.closed else self._stream.tell()


@with_output_types(tuple[int, bytes])
class ReadChunks(beam.DoFn):
    """A part of a file to (bucket, chunk) and its report; quarantined rows are written to a file of this part.

    With ``prediction`` without label and split; without a ``quarantine_folder`` the report has examples of them alone;
    with a folder for ``spill`` the chunks are written there, and references to them stand in their place.
    """

    def __init__(
        self,
        dataset: str,
        buckets: int,
        quarantine_folder: str | None,
        *,
        prediction: bool = False,
        spill: str | None = None,
    ) -> None:
        self._dataset, self._buckets, self._quarantine_folder = dataset, buckets, quarantine_folder
        self._prediction, self._spill = prediction, spill
        self._rows, self._file_bytes, self._chunk_bytes = (
            Metrics.counter(NAMESPACE, name) for name in (ROWS, FILE_BYTES, CHUNK_BYTES)
        )

    def setup(self) -> None:
        dataset = DatasetConfig.model_validate_json(self._dataset)
        self._opener = PositionedOpener()
        self._reader = Reader(dataset, opener=self._opener, prediction=self._prediction)

    def process(self, source: Source) -> Iterator[tuple[int, bytes] | TaggedOutput]:
        with contextlib.ExitStack() as stack:
            spill = None if self._spill is None else stack.enter_context(SpilledChunks(self._spill))
            yield from self._chunks(source, spill)

    def _chunks(self, source: Source, spill: SpilledChunks | None) -> Iterator[tuple[int, bytes] | TaggedOutput]:
        quarantine, before = Quarantine(), 0
        try:
            for table in self._reader.tables(source, quarantine):
                if table.num_rows:
                    times = table["time"].to_numpy()
                    quarantine.report.widen_time_range("read", times.min().item(), times.max().item())
                self._rows.inc(table.num_rows)
                # Parts of a Parquet file begin anywhere in it.
                if source.format != "parquet" and (position := self._opener.position()) > before:
                    self._file_bytes.inc(position - before)
                    before = position
                for bucket, chunk in pack(table, source.name, self._buckets):
                    self._chunk_bytes.inc(len(chunk))
                    yield bucket, chunk if spill is None else spill.add(chunk)
        except DataError as error:
            quarantine.report.file_errors.append(str(error))
        if quarantine.lines and self._quarantine_folder is not None:
            write_bytes(FileSystems.join(self._quarantine_folder, quarantine_file(source)), quarantine.json_lines())
        yield TaggedOutput(INGESTION_REPORT, quarantine.report.to_json().encode())


class WriteBucket(beam.DoFn):
    """A bucket's chunks, or references to them, to files in ``<examples>/Split-<split>``, and the bucket's report."""

    def __init__(
        self, dataset: str, buckets: int, examples: str, quarantine_folder: str, *, are_references: bool = False
    ) -> None:
        self._dataset, self._buckets, self._examples, self._quarantine_folder = (
            dataset,
            buckets,
            examples,
            quarantine_folder,
        )
        self._are_references = are_references
        self._written_bytes = Metrics.counter(NAMESPACE, WRITTEN_BYTES)

    def setup(self) -> None:
        self._config = DatasetConfig.model_validate_json(self._dataset)

    def process(self, bucket: tuple[int, Iterable[bytes]], read: bytes | None) -> Iterator[bytes]:
        number, chunks = bucket
        quarantine, sizes = Quarantine(), [0]
        if self._are_references:
            chunks = map(read_chunk, chunks)
        try:
            at = boundaries_from_report(IngestionReport.from_json(read), self._config) if read is not None else None
            for split, part, content in bucket_files(_measured(chunks, sizes), at, self._config, quarantine):
                name = file_name(self._config, number, self._buckets, part)
                write_bytes(FileSystems.join(self._examples, f"Split-{split}", name), content)
        except DataError as error:
            quarantine.report.file_errors.append(str(error))
        if quarantine.lines:
            path = FileSystems.join(self._quarantine_folder, f"bucket-{number:05d}.jsonl")
            write_bytes(path, quarantine.json_lines())
        self._written_bytes.inc(sum(sizes))
        yield quarantine.report.to_json().encode()


def _measured(chunks: Iterable[bytes], sizes: list[int]) -> Iterator[bytes]:
    """Yield the chunks, and add the size of each to a list."""
    for chunk in chunks:
        sizes.append(len(chunk))
        yield chunk


def merged(reports: Iterable[bytes]) -> bytes:
    """Return the sum of serialized reports."""
    return IngestionReport.merged(IngestionReport.from_json(report) for report in reports).to_json().encode()


class WriteText(beam.DoFn):
    """Write the one element to a file."""

    def __init__(self, path: str) -> None:
        self._path = path

    def process(self, content: bytes) -> None:
        write_bytes(self._path, content)


def ingest(
    pipeline: beam.Pipeline,
    sources: list[Source],
    dataset: str,
    *,
    buckets: int,
    examples: str,
    quarantine_folder: str,
    report: str,
    spill: str | None = None,
) -> None:
    """Add the whole of ingestion to a pipeline.

    Args:
        pipeline: the Beam pipeline.
        sources: the files.
        dataset: DatasetConfig as JSON.
        buckets: how many groups of entities; each needs to fit in a worker's memory.
        examples: folder that receives ``Split-<split>/data_*``.
        quarantine_folder: folder that receives ``*.jsonl``.
        report: file that receives the serialized IngestionReport.
        spill: folder on this machine for the rows between reading and writing; None: the runner keeps them.
    """
    files = pipeline | "Files" >> beam.Create(sources, reshuffle=False)
    hashed = files | "SpreadFiles" >> beam.Reshuffle() | "Hash" >> beam.ParDo(HashFile())
    plans = files | "Plan" >> beam.ParDo(PlanReads(dataset)).with_outputs(INGESTION_REPORT, main="parts")
    read = (
        plans.parts
        | "Spread" >> beam.Reshuffle()
        | "Read"
        >> beam.ParDo(ReadChunks(dataset, buckets, quarantine_folder, spill=spill)).with_outputs(
            INGESTION_REPORT, main="chunks"
        )
    )
    reading = read[INGESTION_REPORT] | "ReadReport" >> beam.CombineGlobally(merged)
    by_time = isinstance(DatasetConfig.model_validate_json(dataset).splits, TimeSplitConfig)
    side = AsSingleton(reading) if by_time else None
    written = (
        read.chunks
        | "Group" >> beam.GroupByKey()
        | "Write"
        >> beam.ParDo(
            WriteBucket(dataset, buckets, examples, quarantine_folder, are_references=spill is not None), side
        )
    )
    _ = (
        (hashed, plans[INGESTION_REPORT], read[INGESTION_REPORT], written)
        | "Reports" >> beam.Flatten()
        | "IngestionReport" >> beam.CombineGlobally(merged)
        | "WriteReport" >> beam.ParDo(WriteText(report))
    )

"""Prediction input larger than memory: encoded sequences staged on disk, in the order of the files.

>>> staged = stage_input(sources, dataset, folder)  # doctest: +SKIP
>>> for batch in staged.batches(512): stub.predict(batch.examples)  # doctest: +SKIP

Rows are spilled to buckets of entities, as in ingestion; each bucket is put in order and encoded on its own, to a file
that is sorted by each sequence's first row. Merged, these files give the same batches as ``read_sources`` would.
Input of one bucket stays in memory.
"""

from __future__ import annotations

import heapq
import itertools
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from noisy_gru.data.arrow import pa
from noisy_gru.data.ingestion.report_checks import check_errors
from noisy_gru.data.reading.reader import Reader
from noisy_gru.data.reading.tables import Source
from noisy_gru.data.report.ingestion_report import IngestionReport
from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.data.requests.actual_windows import Counting, every_row, rows_of_files
from noisy_gru.data.requests.origins import Origins, joined_columns, origins_of
from noisy_gru.data.requests.prediction_input import (
    PredictionInput,
    actual_or_none,
    input_order,
    read_sources,
    sequences_of_rows,
    source_places,
)
from noisy_gru.data.sequences.chunks import bucket_count, pack, unpack
from noisy_gru.data.sequences.encoding import Encoder
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.storage.atomic_files import write_atomically
from noisy_gru.storage.object_stores import file_state

# Open files of the merge stay well below the usual limit of 1024.
MOST_BUCKETS = 256
# Quarantined rows that are kept of each reason.
LINES_KEPT = 5
STAGED = "staged.json"
_RUN_SEQUENCES, _RUN_BYTES = 1024, 4 << 20
_LENGTH_BYTES = 8


@dataclass(frozen=True)
class StagedInput:
    """Sequences to predict, in memory (``request``) or on disk (``runs``).

    ``report`` counts the rows, ``unusable`` are rejected ones: from disk the first few of each reason. ``time_kind``
    and ``entity_columns`` are those of `Origins`.
    """

    report: IngestionReport
    unusable: list[dict[str, Any]]
    time_kind: str
    entity_columns: tuple[str, ...]
    request: PredictionInput | None = None
    runs: Sequence[Path] = ()

    def batches(self, size: int, first: int = 0) -> Iterator[PredictionInput]:
        """Yield up to ``size`` sequences at a time in the order of the files, without the ``first`` ones."""
        if self.request is not None:
            yield from _slices(self.request, size, first)
            return
        merged = heapq.merge(*map(_read_run, self.runs), key=_order)
        records = itertools.islice(merged, first, None)
        while batch := list(itertools.islice(records, size)):
            _, _, entities, _, ids, examples, times, step_times, actual = zip(*batch, strict=True)
            known = None if times[0] is None else np.array(times)
            of_steps = None if step_times[0] is None else [np.array(each) for each in step_times]
            origins = Origins(list(entities), known, self.time_kind, self.entity_columns, of_steps)
            came = None if actual[0] is None else np.array(actual, np.float32)
            yield PredictionInput(list(ids), list(examples), self.report, [], origins, came)


def stage_input(
    sources: Sequence[Source],
    dataset: DatasetConfig,
    folder: Path,
    *,
    buckets: int | None = None,
    own: Collection[str] | None = None,
    with_actual: bool = False,
) -> StagedInput:
    """Read files to predict, as ``read_sources``, with memory for one bucket of entities.

    Args:
        sources: local files.
        dataset: the configuration.
        folder: for the encoded sequences; what an earlier call for the same files has staged there is taken, if it was
            completed. Nothing is written for input of one bucket.
        buckets: number of groups of entities; None: by the files' sizes.
        own: names of the sources whose entities are predicted; the others only add rows to these. None: all.
        with_actual: a forecast has all windows whose targets have come (in ``own``), too.

    Raises:
        DataError: as ``read_sources``.
        OSError: the folder can't be written.
    """
    kind = dataset.data.time.kind if dataset.data.time else "integer"
    columns = joined_columns(dataset)
    if (folder / STAGED).is_file():
        return _staged_before(folder, kind, columns)
    if buckets is None:
        sizes = ((source.format, file_state(source.path).size) for source in sources)
        buckets = min(MOST_BUCKETS, bucket_count(sizes))
    if buckets == 1 and own is None:
        request = read_sources(sources, dataset, every_row if with_actual else None)
        return StagedInput(request.report, request.unusable, kind, columns, request)
    for left in [*folder.glob("rows-*.chunks"), *folder.glob("run-*.arrow")]:
        left.unlink()
    reading = Quarantine(lines_kept=LINES_KEPT)
    counting = None if not with_actual else every_row if own is None else rows_of_files(own)
    spilled = _spill(sources, dataset, reading, folder, buckets)
    reports, runs, lines = [reading.report], [], []
    for bucket, path in sorted(spilled.items()):
        quarantine = Quarantine(lines_kept=LINES_KEPT)
        run = folder / f"run-{bucket:05d}.arrow"
        _encode_bucket(path, run, sources, dataset, quarantine, own, counting)
        path.unlink()
        runs.append(run)
        reports.append(quarantine.report)
        lines += quarantine.lines
    report = IngestionReport.merged(reports)
    check_errors(report)
    # One bucket rejects its rows by entity.
    lines = reading.lines + sorted(lines, key=lambda line: str(line.get("entity", "")))
    content = {"report": report.to_json(), "unusable": lines, "runs": [run.name for run in runs]}
    write_atomically(folder / STAGED, json.dumps(content))
    return StagedInput(report, lines, kind, columns, runs=runs)


def _staged_before(folder: Path, kind: str, columns: tuple[str, ...]) -> StagedInput:
    content = json.loads((folder / STAGED).read_text())
    report = IngestionReport.from_json(content["report"])
    return StagedInput(report, content["unusable"], kind, columns, runs=[folder / name for name in content["runs"]])


def _spill(
    sources: Sequence[Source], dataset: DatasetConfig, quarantine: Quarantine, folder: Path, buckets: int
) -> Mapping[int, Path]:
    """Append the chunks of each bucket to a file of its own, each after its length."""
    reader = Reader(dataset, prediction=True)
    paths: dict[int, Path] = {}
    for source in sources:
        for table in reader.tables(source, quarantine):
            for bucket, chunk in pack(table, source.name, buckets):
                path = paths.setdefault(bucket, folder / f"rows-{bucket:05d}.chunks")
                with path.open("ab") as stream:
                    stream.write(len(chunk).to_bytes(_LENGTH_BYTES, "little"))
                    stream.write(chunk)
    return paths


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while length := stream.read(_LENGTH_BYTES):
            yield stream.read(int.from_bytes(length, "little"))


def _encode_bucket(
    chunks: Path,
    run: Path,
    sources: Sequence[Source],
    dataset: DatasetConfig,
    quarantine: Quarantine,
    own: Collection[str] | None,
    counting: Counting | None,
) -> None:
    rows = unpack(_chunks(chunks))
    sequences = sequences_of_rows(rows, dataset, quarantine, counting=counting)
    if own is not None:
        known = np.array([name in own for name in rows.file_names], bool)[rows.file]
        names = {rows.entities[code] for code in np.unique(rows.entity[known]).tolist()}
        found = sequences.rows.entity[sequences.start].tolist()
        sequences = sequences.take(np.array([sequences.rows.entities[code] in names for code in found], bool))
    del rows
    order = input_order(sequences, sources)
    sequences = sequences.take(order)
    files = source_places(sequences.rows, sources)[sequences.rows.file[sequences.start]]
    first_rows = sequences.rows.row[sequences.start]
    origins = origins_of(sequences, dataset)
    encoded = Encoder(sequences, dataset, prediction=True).examples()
    times, actual = origins.target_times, actual_or_none(sequences, dataset)
    with pa.OSFile(str(run), "wb") as sink:
        writer = None
        start = 0
        while start < len(sequences):
            examples: list[bytes] = []
            size = 0
            while start + len(examples) < len(sequences) and len(examples) < _RUN_SEQUENCES and size < _RUN_BYTES:
                examples.append(next(encoded))
                size += len(examples[-1])
            part = slice(start, start + len(examples))
            batch = pa.record_batch(
                {
                    "file": pa.array(files[part]),
                    "row": pa.array(first_rows[part]),
                    "entity": pa.array(origins.entities[part], pa.string()),
                    "index": pa.array(order[part]),
                    "id": pa.array(sequences.ids[part], pa.string()),
                    "example": pa.array(examples, pa.binary()),
                    "times": pa.nulls(len(examples)) if times is None else pa.array(times[part].tolist()),
                    "step_times": pa.nulls(len(examples))
                    if origins.step_times is None
                    else pa.array([each.tolist() for each in origins.step_times[part]]),
                    "actual": pa.nulls(len(examples)) if actual is None else pa.array(actual[part].tolist()),
                }
            )
            writer = writer or pa.ipc.new_stream(sink, batch.schema)
            writer.write_batch(batch)
            start = part.stop
        if writer is not None:
            writer.close()


_Record = tuple[int, int, str, int, str, bytes, Any, Any, Any]


def _order(record: _Record) -> tuple[int, int, str, int]:
    """Return the key of ``input_order``; sequences of one row, of a wide table, are in the order of their entities."""
    return record[:4]


def _read_run(run: Path) -> Iterator[_Record]:
    if not run.stat().st_size:
        return
    with pa.OSFile(str(run), "rb") as stream, pa.ipc.open_stream(stream) as reader:
        for batch in reader:
            columns: Iterable[list[Any]] = [column.to_pylist() for column in batch.columns]
            yield from zip(*columns, strict=True)  # type: ignore[misc]


def _slices(request: PredictionInput, size: int, first: int) -> Iterator[PredictionInput]:
    origins = request.origins
    for start in range(first, len(request.ids), size):
        part = slice(start, start + size)
        own = None if origins is None else origins.part(part)
        actual = None if request.actual is None else request.actual[part]
        yield PredictionInput(request.ids[part], request.examples[part], request.report, [], own, actual)

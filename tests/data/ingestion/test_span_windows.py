"""Spans are read as if their data had come at once: the examples are those of one file, byte for byte."""

from __future__ import annotations

import glob
import gzip
import hashlib
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from noisy_gru.data.arrow import pa
from noisy_gru.data.ingestion.report_checks import check_spans
from noisy_gru.data.ingestion.report_summary import lineage
from noisy_gru.data.ingestion.resolved_input import resolve_input
from noisy_gru.data.reading.reader import Reader
from noisy_gru.data.reading.tables import Source
from noisy_gru.data.report.ingestion_report import IngestionReport
from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.data.sequences.chunks import pack
from noisy_gru.data.sequences.example_files import bucket_files
from noisy_gru.data.sequences.series_tables import read_windows
from noisy_gru.data.sequences.splits import boundaries_from_report
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import DataError

BUCKETS = 3
FORECAST = {"kind": "forecasting", "targets": ["x"], "input_length": 4, "horizons": [1, 3], "season_length": 6}


def listed(pattern: str) -> list[str]:
    return glob.glob(pattern)  # noqa: PTH207


def records(shard: bytes) -> Iterable[bytes]:
    if shard.startswith(b"PAR1"):
        yield from read_windows(pa.BufferReader(shard))
        return
    content, place = gzip.decompress(shard), 0
    while place < len(content):
        (size,) = struct.unpack_from("<Q", content, place)
        yield content[place + 12 : place + 12 + size]
        place += 16 + size


def ingested(dataset: DatasetConfig, sources: Sequence[Source]) -> tuple[set[tuple[str, bytes]], IngestionReport]:
    """The examples with their splits, and the report."""
    reader, quarantine, chunks = Reader(dataset), Quarantine(), {}
    for source in sources:
        for table in reader.tables(source, quarantine):
            if table.num_rows:
                times = table["time"].to_numpy()
                quarantine.report.widen_time_range("read", times.min().item(), times.max().item())
            for bucket, chunk in pack(table, source.name, BUCKETS):
                chunks.setdefault(bucket, []).append(chunk)
    at, found = boundaries_from_report(quarantine.report, dataset), []
    for _, some in sorted(chunks.items()):
        for split, _, shard in bucket_files(some, at, dataset, quarantine):
            found += [(split, record) for record in records(shard)]
    assert quarantine.report.unbalanced == 0
    assert len(set(found)) == len(found)
    return set(found), quarantine.report


def write(folder: Path, header: str, spans: Mapping[int, Sequence[str]]) -> None:
    """The spans' rows, each in a file, and all of them in one."""
    for span, rows in spans.items():
        (folder / f"day-{span}").mkdir(parents=True)
        (folder / f"day-{span}" / "rows.csv").write_text("\n".join([header, *rows]) + "\n")
    (folder / "once").mkdir()
    (folder / "once" / "rows.csv").write_text("\n".join([header, *(row for rows in spans.values() for row in rows)]))


def both(configured: Any, folder: Path, **given: Any) -> tuple[Any, Any]:
    """Examples and report of the three spans, and of the one file."""
    separate = configured(files=["day-{SPAN}/*.csv"], spans={"count": 3}, **given)
    once = configured(files=["once/*.csv"], **given)
    resolved = resolve_input(str(folder), separate.data, "latest", listed)
    assert resolved.numbers == [8, 9, 10]
    return ingested(separate, resolved.sources), ingested(
        once, resolve_input(str(folder), once.data, "latest", listed).sources
    )


def series(first: int, last: int) -> list[str]:
    return [f"{name},{step},{step * (1 + place)}" for place, name in enumerate("abcde") for step in range(first, last)]


@pytest.mark.parametrize(
    "splits", [{"by": "entity", "eval": 0.2, "test": 0.2}, {"by": "time", "eval": 0.2, "test": 0.25}]
)
@pytest.mark.parametrize("duplicate_step", ["quarantine", "drop"])
@pytest.mark.parametrize("gaps", ["ignore", "fill", "split"])
def test_windows_that_cross_spans(tmp_path, configured, splits, duplicate_step, gaps):
    # At each border, rows that came twice: copies of a's, and another value for b's. A row of c's came a span late.
    spans = {
        8: [row for row in series(0, 20) if row != "c,15,45"],
        9: ["a,19,19", "b,19,7", *series(20, 40), "c,15,45"],
        10: [*(row for row in series(40, 60) if not row.startswith("d,40")), "b,39,8", "a,39,39"],
    }
    write(tmp_path, "id,t,x", spans)
    policies = {"duplicate_step": duplicate_step, "missing_label": "drop", "max_quarantined_fraction": 0.5}
    time = {"column": "t", "frequency": "1", "gaps": gaps}
    (separate, report), (once, report_of_one) = both(
        configured, tmp_path, task=FORECAST, splits=splits, policies=policies, time=time
    )
    assert separate == once
    assert report.dropped["exact_duplicate"] == report_of_one.dropped["exact_duplicate"] == 2
    assert report.quarantined == report_of_one.quarantined
    assert (report.quarantined.total() > 0) == (duplicate_step == "quarantine")
    # a's windows end at every step from the fourth to the one before its last three, wherever a span ends.
    if splits["by"] == "entity":
        ends = {f"a@{step}".encode() for step in range(3, 57)}
        assert sum(any(b"\x0a" + bytes([len(end)]) + end in record for end in ends) for _, record in separate) == 54
    alone, _ = ingested(
        configured(files=["*"], task=FORECAST, splits=splits, policies=policies, time=time),
        [Source(str(tmp_path / "day-10" / "rows.csv"), "rows.csv", "csv")],
    )
    assert len(alone) < len(separate) / 2


def test_time_splits_are_parts_of_the_whole_window(tmp_path, configured):
    write(tmp_path, "id,t,x", {8: series(0, 40), 9: series(40, 60), 10: series(60, 101)})
    splits = {"by": "time", "eval": 0.2, "test": 0.2}
    (_, report), _ = both(configured, tmp_path, task=FORECAST, splits=splits)
    dataset = configured(files=["*"], task=FORECAST, splits=splits)
    at = boundaries_from_report(report, dataset)
    # Times 0 to 100: the fifth before the last fifth, and the last.
    assert at is not None and (at.eval, at.test) == (60, 80)


def test_sequences_that_came_in_parts(tmp_path, configured):
    def rows(first: int, last: int) -> list[str]:
        return [f"s{name},{step},{name}.{step},{'xyz'[name % 3]}" for name in range(30) for step in range(first, last)]

    spans = {8: rows(0, 5), 9: ["s3,4,3.4,x", "s4,4,9,y", *rows(5, 9)], 10: [*rows(9, 12), "s5,12,1,x"]}
    write(tmp_path, "id,t,x,y", spans)
    policies = {"max_quarantined_fraction": 0.5, "too_long": "truncate"}
    (separate, report), (once, _) = both(configured, tmp_path, policies=policies, max_length=10)
    assert separate == once
    assert report.lengths == {"10": 29}  # of 12 steps the last ten; s5's second label takes it out whole
    assert dict(report.quarantined) == {"duplicate_step": 2, "conflicting_label": 13}


def hashed(report: IngestionReport, folder: Path) -> IngestionReport:
    for path in folder.rglob("*.csv"):
        name = str(path.relative_to(folder))
        report.hashes[name] = [path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()]
    return report


def test_the_report_names_spans_and_files(tmp_path, configured):
    for span, rows in {2: ["a,1,1"], 3: [], 5: ["a,2,2", "a,3,3"]}.items():
        (tmp_path / f"{span}").mkdir()
        (tmp_path / f"{span}" / "rows.csv").write_text("\n".join(["id,t,x", *rows]) + "\n")
    dataset = configured(files=["{SPAN}/*.csv"], spans={"count": 7}, task={**FORECAST, "input_length": 1})
    resolved = resolve_input(str(tmp_path), dataset.data, "latest", listed)
    _, report = ingested(dataset, resolved.sources)
    reported = lineage(hashed(report, tmp_path), dataset.data, resolved)
    assert reported["window"] == {"window": "rolling", "asked": 7, "read": 3, "gaps": "4"}
    assert reported["files"] == []
    assert [(each["span"], each["version"], each["rows"]) for each in reported["spans"]] == [
        (2, None, 1),
        (3, None, 0),
        (5, None, 2),
    ]
    content = (tmp_path / "5" / "rows.csv").read_bytes()
    (file,) = reported["spans"][2]["files"]
    digest = hashlib.sha256(content).hexdigest()
    assert file == {"name": "5/rows.csv", "rows": 2, "bytes": len(content), "sha256": digest}
    with pytest.raises(DataError, match=r"^span 3 is empty: 3/rows\.csv holds no rows\. Write it again"):
        check_spans(report, dataset.data, resolved)


def test_a_bad_span_does_not_hide_among_good_ones(tmp_path, configured):
    write(
        tmp_path, "id,t,x", {8: series(0, 90), 9: series(90, 180), 10: [f"a,{step},oops" for step in range(180, 185)]}
    )
    dataset = configured(files=["day-{SPAN}/*.csv"], spans={"window": "all"}, task=FORECAST)
    resolved = resolve_input(str(tmp_path), dataset.data, "latest", listed)
    _, report = ingested(dataset, resolved.sources)
    assert report.quarantined.total() < 0.05 * report.rows_read
    with pytest.raises(DataError, match=r"^span 10: 5 of its 5 rows \(100\.0%\) can't be read.*: day-10/rows\.csv"):
        check_spans(report, dataset.data, resolved)
    check_spans(report, dataset.data, resolve_input(str(tmp_path), dataset.data, "9", listed))

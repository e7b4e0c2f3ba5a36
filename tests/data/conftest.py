"""Runs ingestion without Beam, TFX or TensorFlow: read, pack into buckets, cut into sequences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from noisy_gru.data.reading.files import format_of
from noisy_gru.data.reading.reader import Reader
from noisy_gru.data.reading.tables import Source
from noisy_gru.data.report.ingestion_report import IngestionReport
from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.data.sequences.chunks import pack, unpack
from noisy_gru.data.sequences.sequences import Sequences
from noisy_gru.data.sequences.shards import build_sequences
from noisy_gru.data.sequences.splits import boundaries_from_report
from noisy_gru.schema.config import SPLITS, DatasetConfig


@dataclass
class Ingested:
    """What ingestion made: sequences by id, the report and the quarantine's lines."""

    report: IngestionReport
    lines: list[dict[str, Any]]
    by_id: dict[str, dict[str, Any]] = field(default_factory=dict)
    parts: list[Sequences] = field(default_factory=list)

    def ids(self, split: str) -> list[str]:
        return sorted(name for name, found in self.by_id.items() if found["split"] == split)


def _entry(sequences: Sequences, place: int) -> dict[str, Any]:
    rows, start, stop = sequences.rows, int(sequences.start[place]), int(sequences.stop[place])
    return {
        "split": SPLITS[sequences.split[place]],
        "entity": rows.entities[rows.entity[start]],
        "time": rows.time[start:stop].tolist(),
        "values": {name: values[start:stop].tolist() for name, values in rows.numeric.items()},
        "texts": {
            name: [texts[code] if code >= 0 else "" for code in codes[start:stop]]
            for name, (codes, texts) in rows.categorical.items()
        },
        "label": rows.label_text(start),
        "answers": {name: values[place].tolist() for name, values in sequences.horizon_values.items()},
        "stop": stop,
        "rows": rows,
    }


def run(dataset: DatasetConfig, paths: Mapping[str, Sequence[Path]] | Sequence[Path], buckets: int = 2) -> Ingested:
    """Ingest files, given as a list or by split; the report balances, or the test fails."""
    given = paths if isinstance(paths, Mapping) else {None: paths}
    quarantine, chunks = Quarantine(), {}
    reader = Reader(dataset)
    for split, files in given.items():
        for path in files:
            for part in reader.parts(Source(str(path), path.name, format_of(path.name, dataset.data), split)):
                for table in reader.tables(part, quarantine):
                    if table.num_rows:
                        times = table["time"].to_numpy()
                        quarantine.report.widen_time_range("read", times.min().item(), times.max().item())
                    for bucket, chunk in pack(table, path.name, buckets):
                        chunks.setdefault(bucket, []).append(chunk)
    at = boundaries_from_report(quarantine.report, dataset)
    found = Ingested(quarantine.report, quarantine.lines)
    for _, some in sorted(chunks.items()):
        sequences = build_sequences(unpack(some), at, dataset, quarantine)
        found.parts.append(sequences)
        for place, name in enumerate(sequences.ids):
            assert name not in found.by_id or found.by_id[name]["split"] != SPLITS[sequences.split[place]]
            found.by_id[name] = _entry(sequences, place)
    assert found.report.unbalanced == 0
    return found


@pytest.fixture
def ingest() -> Callable[..., Ingested]:
    return run


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    """Writes CSV text to a file."""

    def write(text: str, name: str = "rows.csv") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


@pytest.fixture
def configured() -> Callable[..., DatasetConfig]:
    """A data set of entity ``id``, time ``t`` and feature ``x``; keyword arguments replace parts of it."""

    def configure(
        *, task: dict[str, Any] | None = None, splits: dict[str, Any] | None = None, seed: int = 0, **data: Any
    ) -> DatasetConfig:
        return DatasetConfig.model_validate(
            {
                "data": {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": ["x"], **data},
                "task": task or {"kind": "classification", "label": "y"},
                "splits": splits or {"by": "entity"},
                "seed": seed,
            }
        )

    return configure

"""Profile all rows of a data set, read as in ingestion: ranges, categories, lengths."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from noisy_gru.data.ingestion.report_checks import format_record
from noisy_gru.data.ingestion.resolved_input import resolve_input
from noisy_gru.data.ingestion.spans import LATEST
from noisy_gru.data.reading.reader import Reader
from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.data.sequences.chunks import CATEGORICAL, NUMERIC
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.storage.object_stores import glob_files

MOST_ROWS = 5_000_000


@dataclass
class Range:
    """Smallest and largest finite value of a numeric column, and the number of missing values."""

    low: float = np.inf
    high: float = -np.inf
    missing: int = 0

    def add(self, values: np.ndarray) -> None:
        """Update with more values."""
        finite = values[np.isfinite(values)]
        self.missing += int(np.isnan(values).sum())
        if len(finite):
            self.low, self.high = min(self.low, float(finite.min())), max(self.high, float(finite.max()))


@dataclass
class Measures:
    """The profile of ``rows`` rows; ``complete`` if these are all. ``steps`` counts the rows of each entity.

    ``quarantined`` counts the unusable rows by reason; ``examples`` describes some of them.
    """

    rows: int = 0
    complete: bool = True
    ranges: dict[str, Range] = field(default_factory=dict)
    categories: dict[str, set[str]] = field(default_factory=dict)
    steps: Counter[str] = field(default_factory=Counter)
    labels: set[str] = field(default_factory=set)
    label_range: Range = field(default_factory=Range)
    quarantined: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)


def measure(dataset: DatasetConfig, most_rows: int = MOST_ROWS) -> Measures:
    """Profile the files of a data set; stop after ``most_rows``.

    Raises:
        DataError: a file can't be read.
    """
    found = resolve_input("", dataset.data, LATEST, glob_files).sources
    reader, quarantine, measures = Reader(dataset), Quarantine(), Measures()
    for source in found:
        for part in reader.parts(source):
            for table in reader.tables(part, quarantine):
                _add(measures, table)
                if measures.rows >= most_rows:
                    measures.complete = False
                    return _with_quarantine(measures, quarantine)
    return _with_quarantine(measures, quarantine)


def _with_quarantine(measures: Measures, quarantine: Quarantine) -> Measures:
    measures.quarantined = quarantine.report.quarantined
    measures.examples = [format_record(record) for some in quarantine.report.examples.values() for record in some]
    return measures


def _add(measures: Measures, table: Any) -> None:
    measures.rows += table.num_rows
    for name in table.column_names:
        column = table[name].combine_chunks()
        if name.startswith(NUMERIC):
            values = column.to_numpy(zero_copy_only=False)
            measures.ranges.setdefault(name.removeprefix(NUMERIC), Range()).add(values)
        elif name.startswith(CATEGORICAL):
            seen = measures.categories.setdefault(name.removeprefix(CATEGORICAL), set())
            seen.update(_texts(column.unique()))
        elif name == "entity":
            counts = column.value_counts().to_pylist()
            measures.steps.update({str(each["values"]): each["counts"] for each in counts})
        elif name == "label":
            values = column.to_numpy(zero_copy_only=False)
            if np.issubdtype(values.dtype, np.number):
                measures.label_range.add(values)
            else:
                measures.labels.update(_texts(column.unique()))


def _texts(column: Any) -> list[str]:
    return [str(value) for value in column.to_pylist() if value]

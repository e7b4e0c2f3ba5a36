"""The ingestion report: counters of rows and sequences, which merge in any order and have to balance."""

from __future__ import annotations

import dataclasses
import heapq
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from noisy_gru.data.values.precision import merge_samples

EXAMPLES_KEPT = 3
SPELLINGS_KEPT = 256
_NO_COUNTERS = ("time_ranges", "examples", "hashes", "value_samples", "spellings")


def _place(record: dict[str, Any]) -> tuple:
    return (str(record.get("file")), record.get("row") or 0, str(record.get("sequence_id")), str(record.get("problem")))


@dataclass
class IngestionReport:
    """Counters of one part of an ingestion; ``merged`` sums parts, in any order, to the same report."""

    rows_read: int = 0
    rows_kept: int = 0
    quarantined: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    imputed: dict[str, Counter[str]] = field(default_factory=dict)
    targets_masked: Counter[str] = field(default_factory=Counter)
    steps_filled: int = 0
    rows_merged: int = 0  # into the first row of their step
    entities: int = 0
    entities_in_several_splits: int = 0
    sequences: Counter[str] = field(default_factory=Counter)
    sequences_quarantined: Counter[str] = field(default_factory=Counter)
    sequences_dropped: Counter[str] = field(default_factory=Counter)
    lengths: Counter[str] = field(default_factory=Counter)
    labels: dict[str, Counter[str]] = field(default_factory=dict)
    time_ranges: dict[str, list[int | float]] = field(default_factory=dict)
    files: Counter[str] = field(default_factory=Counter)
    quarantined_files: Counter[str] = field(default_factory=Counter)
    hashes: dict[str, list[int | str]] = field(default_factory=dict)
    file_errors: list[str] = field(default_factory=list)
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    value_samples: dict[str, list[float]] = field(default_factory=dict)  # of a column, for `precision`
    spellings: dict[str, list[str]] = field(default_factory=dict)  # of fractions in a text column

    def count_imputed(self, reason: str, column: str, cells: int) -> None:
        """Count cells that are treated as missing."""
        if cells:
            self.imputed.setdefault(reason, Counter())[column] += cells

    def count_masked(self, column: str, cells: int) -> None:
        """Count targets of kept windows that are not known."""
        if cells:
            self.targets_masked[column] += cells

    def widen_time_range(self, name: str, first: int | float, last: int | float) -> None:
        """Widen the time range ``name`` (``read``, ``rows`` or a split) to include both times."""
        low, high = self.time_ranges.get(name, [first, last])
        self.time_ranges[name] = [min(low, first), max(high, last)]

    def add_examples(self, reason: str, records: Iterable[dict[str, Any]]) -> None:
        """Keep the first few quarantine records of a reason, by file and row."""
        self.examples[reason] = heapq.nsmallest(EXAMPLES_KEPT, [*self.examples.get(reason, []), *records], key=_place)

    def sample_values(self, column: str, values: list[float]) -> None:
        """Keep a sample of the distinct values of a column."""
        self.value_samples[column] = merge_samples([*self.value_samples.get(column, []), *values])

    def add_spellings(self, column: str, spelled: Iterable[str]) -> None:
        """Keep the first spellings of fractions, in alphabetical order, so that those of one number are adjacent."""
        if kept := sorted({*self.spellings.get(column, []), *spelled})[:SPELLINGS_KEPT]:
            self.spellings[column] = kept

    def add(self, other: IngestionReport) -> None:
        """Add another part's counters."""
        for part in dataclasses.fields(self):
            mine, theirs = getattr(self, part.name), getattr(other, part.name)
            if isinstance(mine, int):
                setattr(self, part.name, mine + theirs)
            elif isinstance(mine, Counter):
                mine.update(theirs)
            elif isinstance(mine, list):
                mine.extend(theirs)
        for name in ("imputed", "labels"):
            mine = getattr(self, name)
            for key, counts in getattr(other, name).items():
                mine.setdefault(key, Counter()).update(counts)
        self.hashes |= other.hashes
        for name, values in other.value_samples.items():
            self.sample_values(name, values)
        for name, spelled in other.spellings.items():
            self.add_spellings(name, spelled)
        for key, (first, last) in other.time_ranges.items():
            self.widen_time_range(key, first, last)
        for reason, records in other.examples.items():
            self.add_examples(reason, records)

    @classmethod
    def merged(cls, parts: Iterable[IngestionReport]) -> IngestionReport:
        """Return the sum of all parts, with file errors in alphabetical order."""
        total = cls()
        for part in parts:
            total.add(part)
        total.file_errors = sorted(set(total.file_errors))
        return total

    def to_json(self) -> str:
        """Canonical JSON: equal reports give equal text."""
        return json.dumps(vars(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> IngestionReport:
        """Parse the result of ``to_json``."""
        values = json.loads(text)
        for part in dataclasses.fields(cls):
            value = values[part.name]
            if part.name in ("imputed", "labels"):
                values[part.name] = {key: Counter(counts) for key, counts in value.items()}
            elif isinstance(value, dict) and part.name not in _NO_COUNTERS:
                values[part.name] = Counter(value)
        return cls(**values)

    @property
    def unbalanced(self) -> int:
        """Number of rows that were read but neither kept, merged, quarantined nor dropped: not 0 means a bug."""
        return self.rows_read - self.rows_kept - self.rows_merged - self.quarantined.total() - self.dropped.total()

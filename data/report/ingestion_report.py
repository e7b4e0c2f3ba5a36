"""What became of every row and sequence: counters that merge in any order and have to balance."""

from __future__ import annotations

import dataclasses
import heapq
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from noisy_gru.data.values.precision import merged

EXAMPLES_KEPT = 3
SPELLINGS_KEPT = 256


def _place(record: dict[str, Any]) -> tuple:
    return (str(record.get("file")), record.get("row") or 0, str(record.get("sequence_id")), str(record.get("problem")))


@dataclass
class IngestionReport:
    """Counters of one part of the work; ``merged`` adds parts up, in any order, to the same report."""

    rows_read: int = 0
    rows_kept: int = 0
    quarantined: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    imputed: dict[str, Counter[str]] = field(default_factory=dict)
    steps_filled: int = 0
    entities: int = 0
    entities_in_several_splits: int = 0
    sequences: Counter[str] = field(default_factory=Counter)
    sequences_quarantined: Counter[str] = field(default_factory=Counter)
    sequences_dropped: Counter[str] = field(default_factory=Counter)
    lengths: Counter[str] = field(default_factory=Counter)
    labels: dict[str, Counter[str]] = field(default_factory=dict)
    times: dict[str, list[int | float]] = field(default_factory=dict)
    files: Counter[str] = field(default_factory=Counter)
    quarantined_files: Counter[str] = field(default_factory=Counter)
    hashes: dict[str, list[int | str]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    distinct: dict[str, list[float]] = field(default_factory=dict)  # some of the values of a column, for `precision`
    fractions: dict[str, list[str]] = field(default_factory=dict)  # some spellings of fractions in a column of texts

    def impute(self, reason: str, column: str, cells: int) -> None:
        """Count cells that are treated as missing."""
        if cells:
            self.imputed.setdefault(reason, Counter())[column] += cells

    def span(self, name: str, first: int | float, last: int | float) -> None:
        """Widen the time range ``name`` (``rows`` or a split) to hold both times."""
        low, high = self.times.get(name, [first, last])
        self.times[name] = [min(low, first), max(high, last)]

    def example(self, reason: str, records: Iterable[dict[str, Any]]) -> None:
        """Remember the first few records of a reason, by file and row."""
        self.examples[reason] = heapq.nsmallest(EXAMPLES_KEPT, [*self.examples.get(reason, []), *records], key=_place)

    def look_at(self, column: str, values: list[float]) -> None:
        """Keep some of the different values of a column."""
        self.distinct[column] = merged([*self.distinct.get(column, []), *values])

    def spell(self, column: str, spelled: Iterable[str]) -> None:
        """Keep the first of the spellings of fractions; those of one number stand together."""
        if kept := sorted({*self.fractions.get(column, []), *spelled})[:SPELLINGS_KEPT]:
            self.fractions[column] = kept

    def add(self, other: IngestionReport) -> None:
        """Add another part to this one."""
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
        for name, values in other.distinct.items():
            self.look_at(name, values)
        for name, spelled in other.fractions.items():
            self.spell(name, spelled)
        for key, (first, last) in other.times.items():
            self.span(key, first, last)
        for reason, records in other.examples.items():
            self.example(reason, records)

    @classmethod
    def merged(cls, parts: Iterable[IngestionReport]) -> IngestionReport:
        """The sum of all parts; faults in alphabetical order."""
        total = cls()
        for part in parts:
            total.add(part)
        total.faults = sorted(set(total.faults))
        return total

    def to_json(self) -> str:
        """Canonical JSON: equal reports give equal text."""
        return json.dumps(vars(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> IngestionReport:
        """The report that ``to_json`` wrote."""
        values = json.loads(text)
        for part in dataclasses.fields(cls):
            value = values[part.name]
            if part.name in ("imputed", "labels"):
                values[part.name] = {key: Counter(counts) for key, counts in value.items()}
            elif isinstance(value, dict) and part.name not in ("times", "examples", "hashes", "distinct", "fractions"):
                values[part.name] = Counter(value)
        return cls(**values)

    @property
    def unbalanced(self) -> int:
        """Rows read that are neither kept, quarantined nor dropped: 0, or ingestion has a bug."""
        return self.rows_read - self.rows_kept - self.quarantined.total() - self.dropped.total()

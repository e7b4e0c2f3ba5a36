"""Rows and windows that can't be used, with their reason: counted, and written down unless they are dropped."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from noisy_gru.data.report.ingestion_report import IngestionReport

Record = dict[str, Any]


def plain(value: Any) -> Any:
    """A value as JSON can hold it: NaN becomes null, what JSON doesn't know becomes text."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value if value is None or isinstance(value, int | float | str | bool) else str(value)


@dataclass
class Quarantine:
    """The report of one part of the work, and the lines of its quarantine."""

    report: IngestionReport = field(default_factory=IngestionReport)
    lines: list[Record] = field(default_factory=list)

    def rows(
        self, action: str, reason: str, count: int, records: Callable[[], Iterable[Record]], *, file: str | None = None
    ) -> None:
        """Take rows out: ``error`` and ``quarantine`` write records, ``drop`` only counts.

        With ``file``, they are of this file and can't be used for what they hold themselves.
        """
        if not count:
            return
        if action == "drop":
            self.report.dropped[reason] += count
            return
        self.report.quarantined[reason] += count
        if file is not None:
            self.report.quarantined_files[file] += count
        self._write(action, reason, count, records)

    def sequences(self, action: str, reason: str, count: int, records: Callable[[], Iterable[Record]]) -> None:
        """Take windows or sequences out whose rows other windows may still use."""
        if not count:
            return
        if action == "drop":
            self.report.sequences_dropped[reason] += count
            return
        self.report.sequences_quarantined[reason] += count
        self._write(action, reason, count, records)

    def _write(self, action: str, reason: str, count: int, records: Callable[[], Iterable[Record]]) -> None:
        written = [{"reason": reason, **record} for record in records()]
        if action == "error":
            self.report.errors[reason] += count
        self.report.add_examples(reason, written)
        self.lines += written

    def json_lines(self) -> bytes:
        """The quarantine's lines, ready to be written."""
        return "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in self.lines).encode()

"""The quarantine: unusable rows and windows with their reasons, counted, and recorded unless they are dropped."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from noisy_gru.data.report.ingestion_report import IngestionReport

Record = dict[str, Any]


def plain(value: Any) -> Any:
    """Convert a value for JSON: NaN becomes null, values of other types text."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value if value is None or isinstance(value, int | float | str | bool) else str(value)


@dataclass
class Quarantine:
    """Collect the ingestion report and the quarantine records (``lines``) of one part of an ingestion.

    With ``lines_kept`` only the first records of each reason are kept.
    """

    report: IngestionReport = field(default_factory=IngestionReport)
    lines: list[Record] = field(default_factory=list)
    lines_kept: int | None = None

    def rows(
        self, action: str, reason: str, count: int, records: Callable[[], Iterable[Record]], *, file: str | None = None
    ) -> None:
        """Reject rows: ``error`` and ``quarantine`` record them, ``drop`` only counts them.

        With ``file``, they count against this file, since their own values are invalid.
        """
        if not count:
            return
        if action == "drop":
            self.report.dropped[reason] += count
            return
        self.report.quarantined[reason] += count
        if file is not None:
            self.report.quarantined_files[file] += count
        self._record(action, reason, count, records)

    def sequences(self, action: str, reason: str, count: int, records: Callable[[], Iterable[Record]]) -> None:
        """Reject windows or sequences whose rows other windows may still use."""
        if not count:
            return
        if action == "drop":
            self.report.sequences_dropped[reason] += count
            return
        self.report.sequences_quarantined[reason] += count
        self._record(action, reason, count, records)

    def _record(self, action: str, reason: str, count: int, records: Callable[[], Iterable[Record]]) -> None:
        found = [{"reason": reason, **record} for record in records()]
        if action == "error":
            self.report.errors[reason] += count
        self.report.add_examples(reason, found)
        if self.lines_kept is not None:
            kept = sum(line["reason"] == reason for line in self.lines)
            found = found[: max(0, self.lines_kept - kept)]
        self.lines += found

    def json_lines(self) -> bytes:
        """Return the records as JSON lines."""
        return "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in self.lines).encode()

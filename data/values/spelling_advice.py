"""Name the option that helps, for a cell that can't be read as the configuration says.

>>> SpellingAdvice(CsvConfig()).number("3,14")
' (a number if data.csv.decimal is ",")'
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cached_property

from noisy_gru.data.arrow import pa
from noisy_gru.data.values.cells import CellReader
from noisy_gru.schema.csv_config import FALSE_TEXTS, TRUE_TEXTS, CsvConfig
from noisy_gru.schema.time_config import TimeSpelling

_MARKS = ((".", None), (",", None), (".", ","), (",", "."), (".", " "), (",", " "), (".", "'"), (".", "_"))
_MOST_NAMED = 2
_MARKERS = re.compile(r"(?i)[^\w\s]+|missing|unknown|n\.?[ad]\.?|nil|no[ _-]?data|void")
_EXAMPLES = (
    (r"\d{1,2}\.\d{1,2}\.\d{4}", '"%d.%m.%Y"'),
    (r"\d{1,2}/\d{1,2}/\d{4}", '"%m/%d/%Y" or "%d/%m/%Y"'),
    (r"\d{1,2}-\d{1,2}-\d{4}", '"%d-%m-%Y" or "%m-%d-%Y"'),
    (r"\d{1,2}[ -][A-Za-z]{3}[ -]\d{4}", '"%d-%b-%Y"'),
    (r"\d{10}(?:\.\d*)?$", "epoch_s"),
    (r"\d{13}(?:\.\d*)?$", "epoch_ms"),
    (r"\d{16}$", "epoch_us"),
    (r"\d{19}$", "epoch_ns"),
)


class SpellingAdvice:
    """Advice on cells by the dialect in use; an empty text where there is none."""

    def __init__(self, csv: CsvConfig) -> None:
        self._csv = csv

    @cached_property
    def _readers(self) -> list[tuple[str, CellReader]]:
        readers = []
        for decimal, thousands in _MARKS:
            wanted = {"decimal": decimal, "thousands": thousands}
            changed = {name: mark for name, mark in wanted.items() if getattr(self._csv, name) != mark}
            named = " and ".join(f"data.csv.{name} is {json.dumps(mark)}" for name, mark in changed.items())
            if changed:
                readers.append((named, CellReader(self._csv.model_copy(update=wanted))))
        return readers

    def number(self, text: str) -> str:
        """Return advice on a text that is no number."""
        if not CellReader(self._csv).numbers(pa.array([text]))[1][0]:
            return ""
        found = [named for named, reader in self._readers if not reader.numbers(pa.array([text]))[1][0]]
        shortest = min((named.count(" and ") for named in found), default=0)
        if found:
            named = [each for each in found if each.count(" and ") == shortest][:_MOST_NAMED]
            return f" (a number if {', or if '.join(named)})"
        if text.strip().lower() in (*TRUE_TEXTS, *FALSE_TEXTS):
            return " (a feature of kind: boolean has true and false)"
        return _of_marker(text)

    def boolean(self, text: str) -> str:
        """Return advice on a text that is neither true nor false."""
        missing = " or data.csv.missing" if _of_marker(text) else ""
        return f" (for another spelling add it to data.csv.true, data.csv.false{missing})"

    def time(self, text: str, kind: str, spelling: TimeSpelling) -> str:
        """Return advice on a text that is no time of this kind."""
        if spelling.zone is not None and self._is_of_change(text, spelling):
            return (
                f" (in {spelling.zone} the clock skips this time or shows it twice: data.time.nonexistent and "
                "data.time.ambiguous decide)"
            )
        if not re.search(r"\d", text):
            return ""
        examples = [example for pattern, example in _EXAMPLES if re.match(pattern, text.strip())]
        such = f", such as {examples[0]}" if examples else ""
        if kind != "timestamp":
            return f" (dates need data.time.kind: timestamp{' and data.time.format' + such if such else ''})"
        if spelling.format is None:
            return f" (for another spelling set data.time.format{such})"
        return ""

    def _is_of_change(self, text: str, spelling: TimeSpelling) -> bool:
        cells, array = CellReader(self._csv), [pa.array([text])]
        plainly = replace(spelling, zone=None)
        return bool(
            cells.times(array, "timestamp", spelling)[1][0] and not cells.times(array, "timestamp", plainly)[1][0]
        )


def _of_marker(text: str) -> str:
    if not _MARKERS.fullmatch(text.strip()):
        return ""
    return " (if it stands for a missing value, add it to data.csv.missing)"

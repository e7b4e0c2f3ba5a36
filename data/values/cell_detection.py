"""Detect how the text columns of a file spell numbers, Booleans and missing values.

>>> detect_cells({"x": ["1,5", "2,25", "?"], "on": ["ja", "nein", "ja"]}).options
{'decimal': ',', 'missing': ['?'], 'true': ['ja'], 'false': ['nein']}
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from noisy_gru.data.arrow import pa
from noisy_gru.data.values.cells import CellReader
from noisy_gru.data.values.parsing import NULL_TEXTS
from noisy_gru.schema.csv_config import FALSE_TEXTS, TRUE_TEXTS, CsvConfig

_MARKS: tuple[tuple[str, str | None], ...] = (
    *((".", None), (",", None), (".", ","), (",", "."), (",", " "), (".", " "), (".", "'")),
)
_LEAST_READ = 0.95
_LEAST_WITH_MARKERS = 0.5
_MOST_MARKERS = 3
_PAIRS = (
    ("ja", "nein"),
    ("oui", "non"),
    ("si", "no"),
    ("sí", "no"),
    ("sim", "não"),
    ("wahr", "falsch"),
    ("vrai", "faux"),
)


@dataclass(frozen=True)
class Finding:
    """A detected option: what it is, the reason, and whether no other reading is near."""

    what: str
    why: str
    sure: bool = True


@dataclass
class DetectedCells:
    """The ``options`` of `data.csv` that aren't the default, the findings, and the columns of Booleans."""

    options: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    booleans: list[str] = field(default_factory=list)


def detect_cells(columns: Mapping[str, Sequence[str]], delimiter: str | None = None) -> DetectedCells:
    """Detect the spelling of cells, given as text by column; ``delimiter`` is that of their CSV file."""
    found = DetectedCells()
    known = {
        name: [text for cell in cells if (text := cell.strip()) and text.lower() not in NULL_TEXTS]
        for name, cells in columns.items()
    }
    known = {name: cells for name, cells in known.items() if cells}
    _marks(known, found, delimiter)
    reader = CellReader(CsvConfig(**found.options))
    _missing(known, reader, found)
    _booleans(known, found)
    return found


def _shares(known: Mapping[str, Sequence[str]], reader: CellReader) -> dict[str, float]:
    """Return by column the part of its cells that are numbers."""
    return {name: float(1 - np.mean(reader.numbers(pa.array(cells))[1])) for name, cells in known.items()}


def _reader(decimal: str, thousands: str | None) -> CellReader:
    return CellReader(CsvConfig.model_validate({"decimal": decimal, "thousands": thousands}))


def _marks(known: Mapping[str, Sequence[str]], found: DetectedCells, delimiter: str | None) -> None:
    rated = []
    for decimal, thousands in _MARKS:
        shares = _shares(known, _reader(decimal, thousands))
        rated.append(
            (sum(share >= _LEAST_WITH_MARKERS for share in shares.values()), sum(shares.values()), decimal, thousands)
        )
    plain = rated[0]
    best = max(rated, key=lambda each: (each[0], round(each[1], 3)))
    if best[:2] == plain[:2] or (best[0] == plain[0] and best[1] - plain[1] < 0.05):
        return
    if delimiter == best[2]:
        # Who writes decimals with the delimiter's mark takes another delimiter: 1,234 in quotes has a thousands mark.
        best = next((each for each in rated if each[:2] == best[:2] and each[3] == delimiter), best)
    _, _, decimal, thousands = best
    if decimal != ".":
        found.options["decimal"] = decimal
    if thousands is not None:
        found.options["thousands"] = thousands
    reader, plainly = _reader(decimal, thousands), CellReader(CsvConfig())
    shown = next(
        cell
        for cells in known.values()
        for cell in cells
        if plainly.numbers(pa.array([cell]))[1][0] and not reader.numbers(pa.array([cell]))[1][0]
    )
    # 1,234 may be either: another reading is as good, and has the mark in the other role.
    ambiguous = [each for each in rated if each[:2] == best[:2] and (each[3] == decimal or each[2] == thousands)]
    what = " and ".join(f"csv.{name} {mark!r}" for name, mark in found.options.items())
    why = f"numbers such as {shown}"
    ambiguous = [] if thousands is not None and thousands == delimiter else ambiguous
    if ambiguous:
        why += f"; or decimal {ambiguous[0][2]!r} and thousands {ambiguous[0][3]!r}"
    found.findings.append(Finding(what, why, not ambiguous))


def _missing(known: Mapping[str, Sequence[str]], reader: CellReader, found: DetectedCells) -> None:
    markers: list[str] = []
    for name, cells in known.items():
        _, bad = reader.numbers(pa.array(cells))
        if not 1 - np.mean(bad) >= _LEAST_WITH_MARKERS:
            continue
        texts = Counter(cell for cell, wrong in zip(cells, bad, strict=True) if wrong)
        # One word once is an error of its row.
        if 0 < len(texts) <= _MOST_MARKERS and all(_is_marker(text, count) for text, count in texts.items()):
            fresh = [text for text in texts if text not in markers]
            markers += fresh
            why = f"{texts.total()} of {len(cells)} cells of {name}, which are numbers otherwise"
            found.findings += [Finding(f"csv.missing {text}", why) for text in fresh]
    if markers:
        found.options["missing"] = markers


def _is_marker(text: str, count: int) -> bool:
    return not re.search(r"[0-9]", text) and (count > 1 or not re.search(r"\w", text))


def _booleans(known: Mapping[str, Sequence[str]], found: DetectedCells) -> None:
    for name, cells in known.items():
        texts = sorted({cell.lower() for cell in cells} - {text.lower() for text in found.options.get("missing", [])})
        if len(texts) != 2 or set(texts) == {"0", "1"}:
            continue
        if sum(text in TRUE_TEXTS for text in texts) == 1 == sum(text in FALSE_TEXTS for text in texts):
            found.booleans.append(name)
            continue
        pair = next((pair for pair in _PAIRS if set(pair) == set(texts)), None)
        if pair is None:
            continue
        found.booleans.append(name)
        for key, text, usual in (("true", pair[0], TRUE_TEXTS), ("false", pair[1], FALSE_TEXTS)):
            if text not in usual and text not in found.options.setdefault(key, []):
                found.options[key].append(text)
        found.findings.append(Finding(f"csv.true {pair[0]}, csv.false {pair[1]}", f"the two values of {name}"))
    for key in ("true", "false"):
        if not found.options.get(key, [1]):
            del found.options[key]

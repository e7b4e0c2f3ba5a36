"""Detect how CSV files are written, and read a sample by it; the draft gets what differs from the defaults.

>>> spelling = detect_spelling(["rows.csv"])  # doctest: +SKIP
>>> frame = spelling.typed(preview_files(paths, csv_config=spelling.csv).sample)  # doctest: +SKIP
>>> spelling.write(draft.data)  # doctest: +SKIP
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from noisy_gru.data.arrow import pa
from noisy_gru.data.reading.csv_detection import detect_dialect
from noisy_gru.data.reading.csv_records import is_of_another_kind
from noisy_gru.data.reading.files import format_by_ending
from noisy_gru.data.values.cell_detection import Finding, detect_cells
from noisy_gru.data.values.cells import CellReader
from noisy_gru.data.values.time_detection import clock_format, detect_number_format, detect_time_format
from noisy_gru.pipeline.init.columns import MOST_UNPARSABLE, TIME_NAMES, named
from noisy_gru.schema.config import CsvConfig
from noisy_gru.schema.time_config import TimeSpelling
from noisy_gru.storage.object_stores import open_file

_HEAD_BYTES = 1 << 20
_ISO_DATE = "%Y-%m-%d"
_EXACT = 2**53
_LEAST_MEASURED = 20


@dataclass
class Spelling:
    """The spelling of a data set's files, and how its columns of times are written.

    ``of_csv``: they are CSV, so that every cell is text; ``of_texts``: their cells have types, and some are text;
    ``keeps_numbers``: short numbers in texts are codes, for the file could have stored them as numbers.
    """

    of_csv: bool = False
    of_texts: bool = False
    keeps_numbers: bool = False
    csv: CsvConfig = field(default_factory=CsvConfig)
    findings: list[Finding] = field(default_factory=list)
    booleans: list[str] = field(default_factory=list)
    formats: dict[str, tuple[str | None, Finding]] = field(default_factory=dict)
    clocks: dict[str, str] = field(default_factory=dict)

    def write(self, data: dict[str, Any]) -> None:
        """Complete the drafted section ``data``: `data.csv`, and the columns and the format of its time."""
        if options := self.csv.model_dump(exclude_defaults=True):
            data["csv"] = options
        column = data["time"]["column"]
        pattern, _ = self.formats.get(column, (None, None))
        if pattern:
            data["time"]["format"] = pattern
        if column in self.clocks:
            data["time"]["column"] = [column, self.clocks[column]]

    def about_time(self, column: str) -> list[Finding]:
        """Return what was found about the format of this column, if it is the time."""
        return [self.formats[column][1]] if column in self.formats else []

    def typed(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Convert columns of text to the type of most of their cells: a run quarantines the other rows."""
        if not (self.of_csv or self.of_texts):
            return frame
        cells = CellReader(self.csv)
        for name in [str(name) for name in frame.columns]:
            if self.of_texts and frame[name].dtype != object:
                if pd.api.types.is_numeric_dtype(frame[name]) and not pd.api.types.is_bool_dtype(frame[name]):
                    self._numbers(frame, name, frame[name].to_numpy(float, na_value=np.nan), cells)
                continue
            if not _are_texts(frame[name]):
                continue
            array = pa.array(frame[name], pa.string())
            if name in self.booleans:
                values, _ = cells.booleans(array)
                known = ~np.isnan(values)
                frame[name] = values == 1 if known.all() else pd.arrays.BooleanArray(values == 1, ~known)
                continue
            values, bad = cells.numbers(array)
            is_number = bad.mean() <= MOST_UNPARSABLE and np.isfinite(values).any()
            if is_number and self.keeps_numbers:
                is_number = bool((values % 1 != 0).any()) and len(np.unique(values)) > _LEAST_MEASURED
            if is_number:
                self._numbers(frame, name, values, cells)
            else:
                self._texts(frame, name, cells)
        return self._with_clock(frame, cells)

    def _numbers(self, frame: pd.DataFrame, name: str, values: np.ndarray, cells: CellReader) -> None:
        found = detect_number_format(values, named_time=named(name, TIME_NAMES))
        if found is not None:
            why = f"times such as {frame[name].iloc[0]}"
            self.formats[name] = found.format, Finding(f"time format {found.format}", why)
            texts = pa.array([None if cell != cell else f"{cell:.0f}" for cell in values], pa.string())
            frame[name] = self._moments(texts if self.of_texts else pa.array(frame[name], pa.string()), name, cells)
            return
        whole = bool(np.isfinite(values).all()) and bool((values % 1 == 0).all()) and np.abs(values).max() < _EXACT
        frame[name] = values.astype(np.int64) if whole else values

    def _texts(self, frame: pd.DataFrame, name: str, cells: CellReader) -> None:
        array = pa.array(frame[name], pa.string())
        texts = [cell for cell in frame[name] if isinstance(cell, str) and cell.strip()]
        found = detect_time_format(texts)
        if found is None:
            if self.csv.missing:
                frame[name] = cells.texts(array)[0].to_pandas()
            return
        if found.format is None:
            _, bad = cells.times([array], "timestamp", TimeSpelling())
            frame[name] = frame[name].mask(bad)
            return
        why = f"times such as {texts[0]}" + (f"; or {found.other}: data.time.format decides" if found.other else "")
        self.formats[name] = found.format, Finding(f"time format {found.format}", why, found.sure)
        frame[name] = self._moments(array, name, cells)

    def _moments(self, array: Any, name: str, cells: CellReader) -> pd.Series:
        values, bad = cells.times([array], "timestamp", TimeSpelling(self.formats[name][0]))
        moments = pd.Series(values.astype("datetime64[ns]"))
        return moments.mask(bad)

    def _with_clock(self, frame: pd.DataFrame, cells: CellReader) -> pd.DataFrame:
        """Join a column of times of day to the column of dates beside it."""
        names = [str(name) for name in frame.columns]
        for place, clock in enumerate(names):
            texts = [cell for cell in frame[clock] if isinstance(cell, str)] if frame[clock].dtype == object else []
            pattern = clock_format(texts) if texts else None
            if pattern is None:
                continue
            beside = [names[each] for each in (place - 1, place + 1) if 0 <= each < len(names)]
            dates = [name for name in beside if name not in self.clocks and self._are_days(frame, name)]
            if not dates:
                continue
            date = dates[0]
            moments = frame[date]
            if not pd.api.types.is_datetime64_any_dtype(moments):
                moments = pd.to_datetime(moments.astype(object), format="ISO8601", errors="coerce")
            spelled, _ = self.formats.get(date, (None, None))
            is_iso = spelled is None and "%I" not in pattern
            joined = f"{spelled or _ISO_DATE} {pattern}"
            day = moments.dt.strftime(_ISO_DATE).astype(object)
            clocks = frame[clock].astype(object)
            text = [None if a != a or b != b or b is None else f"{a} {b}" for a, b in zip(day, clocks, strict=True)]
            values, bad = cells.times(
                [pa.array(text, pa.string())], "timestamp", TimeSpelling(f"{_ISO_DATE} {pattern}")
            )
            if bad.mean() > MOST_UNPARSABLE:
                continue
            sure = self.formats[date][1].sure if date in self.formats else True
            self.formats[date] = (
                None if is_iso else joined,
                Finding(f"time [{date}, {clock}]", "a date and a time of day", sure),
            )
            self.clocks[date] = clock
            frame[date] = pd.Series(values.astype("datetime64[ns]")).mask(bad)
            frame = frame.drop(columns=[clock])
            return frame
        return frame

    def _are_days(self, frame: pd.DataFrame, name: str) -> bool:
        column = frame[name]
        if not pd.api.types.is_datetime64_any_dtype(column):
            texts = [cell for cell in column if isinstance(cell, str)]
            found = detect_time_format(texts) if texts and column.dtype == object else None
            if found is None or found.format is not None:
                return False
            column = pd.to_datetime(column.astype(object), format="ISO8601", errors="coerce", utc=True)
        known = column.dropna()
        return len(known) > 0 and bool((known == known.dt.normalize()).all())


def _are_texts(column: pd.Series) -> bool:
    return all(isinstance(cell, str) for cell in column.dropna())


def detect_spelling(paths: Sequence[str]) -> Spelling:
    """Detect the spelling of CSV files from the beginning of the first; of other files it is the default."""
    if not all((format_by_ending(path) or "").startswith("csv") for path in paths) or not paths:
        return Spelling()
    head = _head(paths[0])
    if not head or is_of_another_kind(head):
        return Spelling(of_csv=True)
    dialect = detect_dialect(head)
    cells = detect_cells(dialect.columns, str(dialect.options.get("delimiter", CsvConfig().delimiter)))
    csv = CsvConfig.model_validate({**dialect.options, **cells.options})
    return Spelling(True, csv=csv, findings=[*dialect.findings, *cells.findings], booleans=cells.booleans)


def spelling_of_texts(frame: pd.DataFrame, *, typed: bool = False) -> Spelling:
    """Detect the spelling of the texts among typed cells, such as those of JSON; ``typed``: of columns with types."""
    texts = {
        str(name): [cell for cell in frame[name] if isinstance(cell, str)]
        for name in frame.columns
        if frame[name].dtype == object
    }
    cells = detect_cells(texts)
    csv = CsvConfig.model_validate(cells.options)
    return Spelling(of_texts=True, keeps_numbers=typed, csv=csv, findings=cells.findings, booleans=cells.booleans)


def _head(path: str) -> bytes:
    """Return the first bytes of a file; none where reading reports what is wrong with it."""
    try:
        with open_file(path) as file:
            return gzip.open(file).read(_HEAD_BYTES) if path.lower().endswith(".gz") else file.read(_HEAD_BYTES)
    except (OSError, EOFError, zlib.error):
        return b""

"""Columns that are one together: the parts of a date as a time, and the columns that name an entity.

>>> table, joins = joined(table, entity=None, time=None)  # doctest: +SKIP
>>> joins.write(draft.data)  # doctest: +SKIP
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from noisy_gru.data.arrow import pa
from noisy_gru.data.values.cells import CellReader
from noisy_gru.data.values.parsing import ColumnTypeError
from noisy_gru.pipeline.init.columns import (
    MOST_UNPARSABLE,
    TIME_NAMES,
    is_entity_name,
    is_timestamp,
    moments,
    named,
    time_kind,
    words_of,
)
from noisy_gru.pipeline.init.readings import entity_candidates, occupied, unique_part
from noisy_gru.pipeline.init.roles import Table
from noisy_gru.schema.config import CsvConfig
from noisy_gru.schema.date_parts import DatePart
from noisy_gru.schema.time_config import TimeSpelling

MARK = "+"
_MOST_JOINED = 3
_MOST_CANDIDATES = 12
_NAMES: dict[DatePart, str] = {
    "year": "year|yr|yyyy|jahr|y",
    "quarter": "quarter|qtr|q",
    "month": "month|mon|mnth|mm|monat|m",
    "week": "week|wk|week_?(of_?year|num|number|no|nr)|iso_?week|kw",
    "day": "day|dd|dom|mday|day_?of_?(the_?)?month|tag|d",
    "day_of_year": "day_?of_?(the_?)?year|doy|yday",
    "hour": "hour|hours|hr|hh|hour_?of_?(the_?)?day|stunde|h",
    "minute": "minute|minutes|min",
    "second": "second|seconds|sec",
}
# From the finest on.
_COMBINATIONS: tuple[tuple[DatePart, ...], ...] = (
    ("year", "month", "day", "hour", "minute", "second"),
    ("year", "month", "day", "hour", "minute"),
    ("year", "month", "day", "hour"),
    ("year", "month", "day"),
    ("year", "day_of_year", "hour"),
    ("year", "day_of_year"),
    ("year", "month"),
    ("year", "week"),
    ("year", "quarter"),
)


@dataclass(frozen=True)
class Joins:
    """The columns that were joined; the joined column's name is theirs with `MARK` between them."""

    entity: Sequence[str] = ()
    time: dict[DatePart, str] = field(default_factory=dict)

    def write(self, data: dict[str, Any]) -> None:
        """Name the columns of the files in the drafted section ``data``."""
        if self.entity and data["entity"] == MARK.join(self.entity):
            data["entity"] = list(self.entity)
        if self.time and data["time"]["column"] == MARK.join(self.time.values()):
            data["time"]["column"] = dict(self.time)


def joined(table: Table, entity: str | None, time: str | None) -> tuple[Table, Joins]:
    """Join the parts of a date, and the columns that only together name an entity; the columns themselves go.

    Args:
        table: sampled rows.
        entity: column that names the sequence, if known, or several with `+` or `,` between them.
        time: column that orders the steps, if known.
    """
    names = [str(name) for name in table.frame.columns]
    parts = _date_parts(table.frame) if time not in names else {}
    if parts:
        table = _with_column(table, list(parts.values()), _times(table.frame, parts))
        time = time if time is None else MARK.join(parts.values())
    if entity is not None:
        columns = [] if entity in names else re.split(r"\s*[+,]\s*", entity)
        columns = columns if len(columns) > 1 and set(columns) <= set(names) else []
    else:
        columns = _entity_columns(table, time)
    if columns:
        texts = table.frame[columns].astype(object)
        whole = texts.notna().all(axis=1)
        texts = texts.map(lambda cell: f"{cell:.0f}" if isinstance(cell, float) and cell % 1 == 0 else str(cell))
        table = _with_column(table, columns, texts.agg("|".join, axis=1).where(whole, None))
    return table, Joins(columns, parts)


def _with_column(table: Table, columns: Sequence[str], values: pd.Series) -> Table:
    frame = table.frame.drop(columns=list(columns))
    frame.insert(0, MARK.join(columns), values)
    return replace(table, frame=frame)


def _date_parts(frame: pd.DataFrame) -> dict[DatePart, str]:
    """Return the columns of the parts of a date, by part; none where a column has a time of its own."""
    columns = [str(name) for name in frame.columns]
    if any(is_timestamp(frame[name]) for name in columns):
        return {}
    found: dict[DatePart, str] = {}
    for part, pattern in _NAMES.items():
        matching = [name for name in columns if re.fullmatch(pattern, words_of(name))]
        if len(matching) == 1:
            found[part] = matching[0]
    if "year" in found:
        # y, m and d are the parts of a date beside each other; alone they are any letters.
        short = len(found["year"]) == 1
        found = {part: name for part, name in found.items() if (len(name) == 1) == short}
    for wanted in _COMBINATIONS:
        if set(wanted) <= set(found):
            parts: dict[DatePart, str] = {part: found[part] for part in wanted}
            values = _times(frame, parts)
            if values.notna().mean() >= 1 - MOST_UNPARSABLE and values.nunique() > 1:
                return parts
    return {}


def _times(frame: pd.DataFrame, parts: dict[DatePart, str]) -> pd.Series:
    arrays = [pa.array(frame[name], from_pandas=True) for name in parts.values()]
    try:
        values, bad = CellReader(CsvConfig()).times(arrays, "timestamp", TimeSpelling(parts=tuple(parts)))
    except ColumnTypeError:
        return pd.Series(pd.NaT, index=frame.index)
    return pd.Series(values.astype("datetime64[ns]"), index=frame.index).mask(bad)


def _entity_columns(table: Table, time: str | None) -> list[str]:
    """Return the columns that name an entity together, where a time repeats within each of them alone."""
    frame = table.frame
    names = [time] if time is not None else [str(name) for name in frame.columns]
    kinds = {name: time_kind(frame[name]) for name in names if name in frame}
    times = [name for name, kind in kinds.items() if kind == "timestamp"]
    times = times or [name for name, kind in kinds.items() if kind is not None and named(name, TIME_NAMES)]
    times = times or [name for name, kind in kinds.items() if kind == "integer" and _counts_again(frame[name])]
    candidates = [name for name in entity_candidates(frame) if name not in times]
    for name in times:
        when = moments(frame[name], str(kinds[name]))
        alone = [None, *(each for each in candidates if _may_name(table, each, when))]
        if any(unique_part(table.series(each), when) >= 0.95 for each in alone):
            return []
    candidates.sort(key=lambda name: not (is_entity_name(name) or not pd.api.types.is_numeric_dtype(frame[name])))
    for count in range(2, _MOST_JOINED + 1):
        found = [
            (score, chosen)
            for name in times
            for chosen in combinations(candidates[:_MOST_CANDIDATES], count)
            if (score := _score(table, chosen, moments(frame[name], str(kinds[name])))) is not None
        ]
        if found:
            best = max(score for score, _ in found)
            _, chosen = next(each for each in found if each[0] == best)
            return [name for name in map(str, frame.columns) if name in chosen]
    return []


def _counts_again(column: pd.Series) -> bool:
    """Return whether a column counts the rows of one sequence after the other, each from its first number on."""
    steps = column.diff().iloc[1:]
    return bool((steps == 1).mean() > 0.9 and (steps < 0).any() and column[1:][steps < 0].nunique() == 1)


def _may_name(table: Table, column: str, when: np.ndarray) -> bool:
    """Return whether a column may name a sequence: a measured number has other values at each time, or none."""
    if is_entity_name(column) or not pd.api.types.is_numeric_dtype(table.frame[column]):
        return True
    return bool(table.frame[column].notna().mean() > 0.95) and occupied(table.series(column), when) >= 0.2


def _score(table: Table, columns: Sequence[str], when: np.ndarray) -> float | None:
    """Return how likely columns name an entity together; None if a time repeats within it."""
    frame = table.frame[list(columns)]
    codes = frame.groupby(list(columns), sort=False).ngroup().fillna(-1).to_numpy(np.int64)
    series = np.where(codes < 0, -1, codes * (int(table.part.max()) + 1) + table.part)
    if codes.max(initial=-1) + 1 > len(frame) / 3 or unique_part(series, when) < 0.98:
        return None
    full = occupied(series, when)
    texts = [not pd.api.types.is_numeric_dtype(frame[name]) for name in columns]
    named_ = [is_entity_name(name) for name in columns]
    if full < 0.2 and not all(text or name for text, name in zip(texts, named_, strict=True)):
        return None  # a measurement beside the entity
    return 3.0 * full + sum(2.0 * name + 0.7 * text for text, name in zip(texts, named_, strict=True))

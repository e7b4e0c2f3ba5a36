"""Infer the roles of a table's columns: entity, time, and what is constant in an entity.

    >>> guess_columns(table)  # doctest: +SKIP
    Roles(entity='utterance', time='step', time_kind='integer', constant=['speaker'], …)

Names count, values count more: a time never repeats within a sequence, a label never changes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from noisy_gru.pipeline.init.columns import (
    ENTITY_NAMES,
    INDEX_NAMES,
    TIME_NAMES,
    is_calendar_part,
    is_timestamp,
    moments,
    named,
    time_kind,
    words_of,
)
from noisy_gru.schema.errors import ConfigError

MOST_CANDIDATES = 60
# Two readings closer than this are told apart by the user.
CLOSE = 0.8
_LEAST_SCORE = 3.0


@dataclass
class Guess:
    """An inferred setting, the reason, and whether it is certain; ``option`` sets another value."""

    what: str
    why: str
    sure: bool = True
    option: str = ""
    value: str = ""
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.sure:
            return f"{self.what}: {self.why}"
        others = f"; or {', '.join(self.others)}" if self.others else ""
        return f"{self.what}: {self.why}{others}  <- NOT SURE{f', {self.option} decides' if self.option else ''}"


@dataclass
class Table:
    """Sampled rows. ``part`` int [N] tells apart pieces in which the same entity may begin again: splits, samples."""

    frame: pd.DataFrame
    part: np.ndarray

    def series(self, entity: str | None) -> np.ndarray:
        """Return the number of each row's series, int64 [N]: rows of one entity in one part; -1 without an entity."""
        if entity is None:
            return self.part.astype(np.int64)
        codes = pd.factorize(self.frame[entity])[0].astype(np.int64)
        return np.where(codes < 0, -1, codes * (int(self.part.max()) + 1 if len(self.part) else 1) + self.part)


@dataclass
class Roles:
    """Columns by role; ``entity`` None: one series. ``constant`` ones never change within a sequence.

    ``ids`` name rows or entities once more: they are left out, with the reason.
    """

    entity: str | None
    time: str
    time_kind: str
    constant: list[str]
    others: list[str]
    ids: dict[str, str] = field(default_factory=dict)
    guesses: list[Guess] = field(default_factory=list)


def guess_columns(
    table: Table, *, entity: str | None = None, time: str | None = None, one_series: bool = False
) -> Roles:
    """Infer the roles of a table's columns.

    Args:
        table: sampled rows of the files.
        entity: column that names the sequence, if known.
        time: column that orders the steps, if known.
        one_series: whether all rows are known to be one series.

    Raises:
        ConfigError: a given column is missing, or no column can be the time.
    """
    frame = table.frame
    names = [str(name) for name in frame.columns]
    for option, column in (("--entity", entity), ("--time", time)):
        if column is not None and column not in names:
            raise ConfigError(f"{option}: expected one of the columns {', '.join(names)}, received {column}")
    kinds = {name: time_kind(frame[name]) for name in ([time] if time else names)}
    if time and kinds[time] is None:
        raise ConfigError(
            f"--time {time}: expected numbers or ISO timestamps in every row, received {frame[time].iloc[0]!r}"
        )
    entities: list[str | None] = [entity] if entity else [None] if one_series else [None, *_entity_candidates(frame)]
    readings = [
        reading
        for when, kind in list(kinds.items())[:MOST_CANDIDATES]
        if kind is not None
        for reading in _readings(table, entities[:MOST_CANDIDATES], when, kind)
    ]
    if not readings and entity and time:
        readings = [_Reading(0.0, entity, time, str(kinds[time]), f"--entity {entity}", f"--time {time}")]
    readings.sort(key=lambda each: -each.score)
    if not readings or (readings[0].score < _LEAST_SCORE and not ((entity or one_series) and time)):
        raise ConfigError(
            f"no column of {', '.join(names)} looks like the order of steps: a time that never repeats within a "
            "sequence. Give it with --time and the column that names a sequence with --entity, or add a column with "
            "the time, or the number, of each step"
        )
    return _roles(table, readings, entity is not None or one_series, time is not None)


@dataclass(frozen=True)
class _Reading:
    score: float
    entity: str | None
    time: str
    kind: str
    entity_why: str
    time_why: str


def _roles(table: Table, readings: list[_Reading], entity_given: bool, time_given: bool) -> Roles:
    best = readings[0]
    close = [each for each in readings[1:] if each.score > best.score - CLOSE]
    other_entities = tuple(dict.fromkeys(each.entity or "none" for each in close if each.entity != best.entity))
    other_times = tuple(dict.fromkeys(each.time for each in close if each.time != best.time))
    frame = table.frame
    rest = [name for name in map(str, frame.columns) if name not in (best.entity, best.time)]
    # Another spelling of the same entities, such as a code beside a name, is no other reading.
    twins = [name for name in other_entities if best.entity and name in rest and _is_twin(frame, name, best.entity)]
    other_entities = tuple(name for name in other_entities if name not in twins)
    guesses = [
        Guess(
            f"entity {best.entity}" if best.entity else "no entity, all rows are one series",
            "given" if entity_given else best.entity_why,
            entity_given or not other_entities,
            "--entity",
            best.entity or "none",
            other_entities,
        ),
        Guess(
            f"time {best.time}", "given" if time_given else best.time_why, time_given or not other_times, "--time",
            best.time, other_times,
        ),
    ]  # fmt: skip
    ids = _ids(frame, rest, best.entity)
    rest = [name for name in rest if name not in ids]
    constant: list[str] = []
    if best.entity is not None:
        groups = frame.groupby(table.series(best.entity), sort=False)
        if groups.ngroups < len(frame) / 1.5:
            constant = [name for name in rest if frame[name].notna().any() and (groups[name].nunique() <= 1).all()]
    others = [name for name in rest if name not in constant]
    return Roles(best.entity, best.time, best.kind, constant, others, ids, guesses)


def _is_twin(frame: pd.DataFrame, name: str, entity: str) -> bool:
    pairs = frame[[name, entity]].dropna().drop_duplicates()
    return bool(len(pairs) == pairs[name].nunique() == pairs[entity].nunique())


def _ids(frame: pd.DataFrame, names: list[str], entity: str | None) -> dict[str, str]:
    """Return the columns that only name rows or entities, with the reason."""
    found = {}
    for name in names:
        column = frame[name].dropna()
        if len(column) < max(3, 0.9 * len(frame)):
            continue
        unique = column.nunique()
        numeric = pd.api.types.is_numeric_dtype(column)
        whole = numeric and not pd.api.types.is_bool_dtype(column) and bool((column % 1 == 0).all())
        if unique == len(column) and whole and bool((column.diff().iloc[1:] == 1).all()):
            found[name] = "numbers the rows"
        elif unique == len(column) and not numeric and not is_timestamp(column):
            found[name] = "another value in each row: an id"
        elif entity is not None and 1 < unique < len(column) / 1.5 and _is_twin(frame, name, entity):
            # A number for each entity may be its label or a measure of it; text or a code is its name.
            if not numeric or (whole and named(name, "id|ids|code|num|number|no|iso|fips")):
                found[name] = f"another name of {entity}"
    return found


def _entity_candidates(frame: pd.DataFrame) -> list[str]:
    found = []
    for name in map(str, frame.columns):
        column = frame[name].dropna()
        numeric = pd.api.types.is_numeric_dtype(column)
        if not len(column) or pd.api.types.is_bool_dtype(column) or is_timestamp(column) or is_calendar_part(name):
            continue
        if pd.api.types.is_float_dtype(column) and not bool((column % 1 == 0).all()):
            continue  # a float that rises and falls is a measurement
        is_only_one = column.nunique() == 1 and not numeric and named(name, ENTITY_NAMES)
        if is_only_one or 2 <= column.nunique() <= len(frame) / 1.5:
            found.append(name)
    return found


def _readings(table: Table, entities: list[str | None], time: str, kind: str) -> list[_Reading]:
    frame = table.frame
    when = moments(frame[time], kind)
    if len(np.unique(when[np.isfinite(when)])) < 2:
        return []
    once = _unique_part(table.series(None), when) >= 0.98
    found = []
    for entity in entities:
        if entity == time:
            continue
        series = table.series(entity)
        quality, why = _time_quality(series, when, time, kind)
        if quality < 0 or (unique := _unique_part(series, when)) < 0.95:
            continue
        if re.fullmatch(INDEX_NAMES, words_of(time) or "") or re.fullmatch(INDEX_NAMES, time.strip().lower()):
            quality -= 1.0
        if entity is not None and kind == "integer" and once and _numbers_rows(when):
            quality -= 3.0  # the number of the row
        duplicates = "no duplicates" if unique == 1 else "few duplicates"
        score, entity_why = (
            (1.0, f"{time} hardly repeats") if entity is None else _entity_quality(table, entity, series, once)
        )
        why = f"{duplicates} within {f'a {entity}' if entity else 'the table'}" + why
        found.append(_Reading(quality + score, entity, time, kind, entity_why, why))
    return found


def _numbers_rows(when: np.ndarray) -> bool:
    return len(when) > 2 and bool(np.mean(np.diff(when) == 1) > 0.98)


def _unique_part(series: np.ndarray, when: np.ndarray) -> float:
    known = np.isfinite(when) & (series >= 0)
    if not known.any():
        return 0.0
    pairs = pd.DataFrame({"series": series[known], "when": when[known]})
    return 1.0 - float(pairs.duplicated().mean())


def _time_quality(series: np.ndarray, when: np.ndarray, time: str, kind: str) -> tuple[float, str]:
    known = np.isfinite(when) & (series >= 0)
    # In the order of the rows.
    order = np.argsort(series[known], kind="stable")
    same = np.diff(series[known][order]) == 0
    steps = np.diff(when[known][order])[same]
    is_named = named(time, TIME_NAMES)
    score = 3.0 * (kind == "timestamp") + 2.0 * is_named - (kind == "float") * (0.3 if is_named else 1.0)
    why = ""
    if len(steps) and max(np.mean(steps > 0), np.mean(steps < 0)) > 0.99:
        score += 1.5
        why += f", {'in' if steps[0] > 0 else 'de'}creases in the order of the rows"
    elif kind != "timestamp" and not is_named:
        return -3.0, why  # numbers that rise and fall are measurements
    if len(steps):
        values, counts = np.unique(np.round(steps, 6), return_counts=True)
        if values[counts.argmax()] > 0 and counts.max() > 0.9 * len(steps):
            score += 0.5
            why += ", in equal steps"
    return score, why


def _entity_quality(table: Table, entity: str, series: np.ndarray, once: bool) -> tuple[float, str]:
    sizes = np.unique(series[series >= 0], return_counts=True)[1]
    if len(sizes) == 1:
        return 1.5, "its name suggests it, and there is one so far"  # another may follow
    typical = float(np.median(sizes))
    is_named = named(entity, ENTITY_NAMES)
    runs = 1 + int(np.sum(np.diff(series) != 0))
    blocks = runs <= 1.05 * len(sizes)
    numeric = pd.api.types.is_numeric_dtype(table.frame[entity])
    score = 2.0 * is_named + 0.7 * (not numeric) + (0.5 if typical >= 3 else -2.0)
    score += 1.0 * blocks
    if once and not (is_named and (blocks or typical >= 5)):
        score -= 2.0  # the time alone tells all rows apart
    why = f"{typical:g} rows each (median)" + (", and its name suggests it" if is_named else "")
    return score, why + (", in blocks" if blocks else "")

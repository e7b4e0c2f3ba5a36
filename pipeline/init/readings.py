"""Score the readings of a table: pairs of an entity, or none, and a time that is unique within it."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from noisy_gru.pipeline.init.columns import (
    INDEX_NAMES,
    LABEL_NAMES,
    SOFT_LABEL_NAMES,
    TIME_NAMES,
    is_calendar_part,
    is_entity_name,
    is_timestamp,
    moments,
    named,
    words_of,
)
from noisy_gru.pipeline.init.roles import Table

_PLAIN_TIMES = ("time", "timestamp", "datetime", "date", "t", "step")
# Of whom a log of events tells a few each.
_ACTORS = (
    "user|customer|client|visitor|member|account|session|patient|subject|player|buyer|shopper|household|person|uid"
)
_MANY_ACTORS = 50
_LEAST_GROUPS = 20
_MOST_KINDS = 100


@dataclass(frozen=True)
class Reading:
    """A pair of entity (None: one series) and time, the higher its score the likelier, and the reasons."""

    score: float
    entity: str | None
    time: str
    kind: str
    entity_why: str
    time_why: str


def entity_candidates(frame: pd.DataFrame) -> list[str]:
    """Return the columns that may name a sequence: text or whole numbers that repeat."""
    found = []
    for name in map(str, frame.columns):
        column = frame[name].dropna()
        numeric = pd.api.types.is_numeric_dtype(column)
        if not len(column) or pd.api.types.is_bool_dtype(column) or is_timestamp(column) or is_calendar_part(name):
            continue
        if pd.api.types.is_float_dtype(column) and not bool((column % 1 == 0).all()):
            continue  # a float that rises and falls is a measurement
        is_only_one = column.nunique() == 1 and not numeric and is_entity_name(name)
        if is_only_one or 2 <= column.nunique() <= len(frame) / 1.5:
            found.append(name)
    return found


def readings_of(table: Table, entities: list[str | None], time: str, kind: str) -> list[Reading]:
    """Return the readings of a time with each entity within which it hardly repeats."""
    frame = table.frame
    when = moments(frame[time], kind)
    if len(np.unique(when[np.isfinite(when)])) < 2:
        return []
    once = unique_part(table.series(None), when) >= 0.98
    steady = once and _in_equal_steps(when)
    found = []
    for entity in entities:
        if entity == time:
            continue
        series = table.series(entity)
        quality, why = _time_quality(series, when, time, kind)
        if quality < 0 or (unique := unique_part(series, when)) < 0.95:
            continue
        if re.fullmatch(INDEX_NAMES, words_of(time) or "") or re.fullmatch(INDEX_NAMES, time.strip().lower()):
            quality -= 1.0
        if entity is not None and kind == "integer" and once and numbers_rows(when):
            quality -= 3.0  # the number of the row
        duplicates = "no duplicates" if unique == 1 else "few duplicates"
        score, entity_why = 1.0, f"{time} hardly repeats"
        if entity is not None:
            may_describe = once and not (steady and is_entity_name(entity))
            described = may_describe and _describes(frame, entity, time, series)
            score, entity_why = _entity_quality(frame[entity], series, when, once, steady, described)
        why = f"{duplicates} within {f'a {entity}' if entity else 'the table'}" + why
        found.append(Reading(quality + score, entity, time, kind, entity_why, why))
    return found


def occupied(series: np.ndarray, when: np.ndarray) -> float:
    """Return the part of the pairs of a series and a time that have a row."""
    known = np.isfinite(when) & (series >= 0)
    return float(known.sum() / max(len(np.unique(series[known])) * len(np.unique(when[known])), 1))


def _in_equal_steps(when: np.ndarray) -> bool:
    steps = np.diff(when[np.isfinite(when)])
    return len(steps) > 0 and bool(np.mean(steps == np.median(steps)) > 0.9)


def numbers_rows(when: np.ndarray) -> bool:
    """Return whether times [N] count the rows."""
    return len(when) > 2 and bool(np.mean(np.diff(when) == 1) > 0.98)


def unique_part(series: np.ndarray, when: np.ndarray) -> float:
    """Return the part of the rows that are the first of their series and time."""
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
    score = (
        3.0 * (kind == "timestamp")
        + 2.0 * is_named
        + 0.5 * (words_of(time) in _PLAIN_TIMES)
        - (kind == "float") * (0.3 if is_named else 1.0)
    )
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


def _describes(frame: pd.DataFrame, entity: str, time: str, series: np.ndarray) -> bool:
    """Return whether a column of a few values never changes within an entity that has several rows, but between them.

    In many entities of two rows and more that is no chance: the column says what an entity is like, or its label.
    """
    is_in_blocks = int(np.sum(np.diff(series) != 0)) + 1 <= 1.05 * len(np.unique(series))
    if not is_entity_name(entity) and not (is_in_blocks and not _is_state(entity)):
        return False
    sizes = pd.Series(series).map(pd.Series(series).value_counts())
    several = frame[(sizes >= 2).to_numpy() & (series >= 0)]
    groups = several.groupby(entity, sort=False)
    if groups.ngroups < _LEAST_GROUPS:
        return False
    for name in map(str, frame.columns):
        is_said = is_entity_name(entity) or _is_state(name)
        if name not in (entity, time) and is_said and 2 <= frame[name].nunique() <= _MOST_KINDS:
            # A rare value would hardly change by chance, either.
            common = several[name].value_counts(normalize=True).iloc[0] if len(several) else 1.0
            if common < 1 - 5 / groups.ngroups and (groups[name].nunique() <= 1).all():
                return True
    return False


def _is_state(name: str) -> bool:
    """Return whether a column's name is that of a label, or of what something is like."""
    return named(name, f"{LABEL_NAMES}|{SOFT_LABEL_NAMES}")


def _entity_quality(
    column: pd.Series, series: np.ndarray, when: np.ndarray, once: bool, steady: bool, described: bool
) -> tuple[float, str]:
    """Score a column as the entity.

    ``once``: the time is unique in the table, ``steady``: and in equal steps, ``described``: another column never
    changes within an entity.
    """
    sizes = np.unique(series[series >= 0], return_counts=True)[1]
    if len(sizes) == 1:
        return 1.5, "its name suggests it, and there is one so far"  # another may follow
    typical = float(np.median(sizes))
    is_named = is_entity_name(str(column.name))
    runs = 1 + int(np.sum(np.diff(series) != 0))
    blocks = runs <= 1.05 * len(sizes)
    numeric = pd.api.types.is_numeric_dtype(column)
    score = 2.0 * is_named + 0.7 * (not numeric) + (0.5 if typical >= 3 else -2.0)
    score += 1.0 * blocks
    if once and not (is_named and (blocks or typical >= 5)):
        score -= 2.0  # the time alone tells all rows apart
    elif once and steady and not blocks:
        score -= 2.0  # rows at equal steps that change hands are one series
    if numeric and not is_named and not blocks and occupied(series, when) < 0.2:
        score -= 2.0  # a measurement that takes some of its many values at each time
    if described:
        score = max(score, 2.5)
    elif once and not steady and typical >= 2 and len(sizes) >= _MANY_ACTORS and named(str(column.name), _ACTORS):
        score = max(score, 1.4)  # events of many users: their times alone tell rows apart by chance
    why = f"{typical:g} rows each (median)" + (", and its name suggests it" if is_named else "")
    return score, why + (", in blocks" if blocks else "")

"""Infer the roles of a table's columns: entity, time, and what is constant in an entity.

    >>> guess_columns(table)  # doctest: +SKIP
    Roles(entity='utterance', time='step', time_kind='integer', constant=['speaker'], …)

Names count, values count more: a time never repeats within a sequence, a label never changes.
"""

from __future__ import annotations

from itertools import combinations

import pandas as pd

from noisy_gru.pipeline.init.columns import (
    TIME_NAMES,
    is_timestamp,
    moments,
    named,
    time_kind,
)
from noisy_gru.pipeline.init.readings import Reading, entity_candidates, numbers_rows, readings_of, unique_part
from noisy_gru.pipeline.init.roles import Guess, Roles, Table
from noisy_gru.schema.errors import ConfigError

MOST_CANDIDATES = 60
# Two readings closer than this are told apart by the user.
CLOSE = 0.8
_LEAST_SCORE = 3.0


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
    entities: list[str | None] = [entity] if entity else [None] if one_series else [None, *entity_candidates(frame)]
    readings = [
        reading
        for when, kind in list(kinds.items())[:MOST_CANDIDATES]
        if kind is not None
        for reading in readings_of(table, entities[:MOST_CANDIDATES], when, kind)
    ]
    if not readings and entity and time:
        readings = [Reading(0.0, entity, time, str(kinds[time]), f"--entity {entity}", f"--time {time}")]
    readings.sort(key=lambda each: -each.score)
    if not readings or (readings[0].score < _LEAST_SCORE and not ((entity or one_series) and time)):
        # Rows that are numbered are in some order at least.
        readings = [
            each for each in readings if each.entity is None and numbers_rows(moments(frame[each.time], each.kind))
        ]
    if not readings:
        raise ConfigError(_no_reading(table, names, kinds))
    return _roles(table, readings, entity is not None or one_series, time is not None)


def _no_reading(table: Table, names: list[str], kinds: dict[str, str | None]) -> str:
    """Say why no column orders the steps, and what would help."""
    frame = table.frame
    times = [name for name, kind in kinds.items() if kind == "timestamp" or (kind and named(name, TIME_NAMES))]
    candidates = entity_candidates(frame)[:12]
    for time in times:
        when = moments(frame[time], str(kinds[time]))
        for first, second in combinations([name for name in candidates if name != time], 2):
            both = pd.Series(frame.groupby([first, second], sort=False).ngroup())
            if both.nunique() < len(frame) / 3 and unique_part(both.to_numpy() + 0 * table.part, when) >= 0.98:
                return (
                    f"no column names a series: {time} repeats within each {first} and each {second}, but not within "
                    f"both together. Name both with --entity {first}+{second}, or add a column that joins them"
                )
    message = (
        f"no column of {', '.join(names)} looks like the order of steps: a time that never repeats within a sequence. "
        "Give it with --time and the column that names a sequence with --entity, or add a column with the time, or the "
        "number, of each step"
    )
    texts = [name for name in names if named(name, TIME_NAMES) and not kinds.get(name) and len(frame[name].dropna())]
    if texts:
        shown = frame[texts[0]].dropna().iloc[0]
        message += f". {texts[0]} holds {shown!r}, which is neither a number nor an ISO 8601 timestamp"
    return message


def _roles(table: Table, readings: list[Reading], entity_given: bool, time_given: bool) -> Roles:
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
        if groups.ngroups == 1:
            # One sequence can't show that a measured number never changes.
            constant = [name for name in constant if not pd.api.types.is_float_dtype(frame[name])]
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

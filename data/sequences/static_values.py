"""One value for each entity of a static feature; the policies decide about missing and conflicting ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from noisy_gru.data.columns import Columns
from noisy_gru.data.report.quarantine import Quarantine, Record
from noisy_gru.data.sequences.rows import Rows
from noisy_gru.schema.config import PoliciesConfig

MISSING, CONFLICTING = "missing_value", "conflicting_static"
_VALUES_SHOWN = 5
# By entity, then by column: a number, a text, or None where it is missing.
KnownValues = Mapping[str, Mapping[str, float | str | None]]


@dataclass(frozen=True)
class StaticValues:
    """The values of static features by entity, as ``Rows`` holds them by row.

    ``numeric`` float32 [E] each, NaN where missing; ``categorical`` codes int32 [E] (-1 where missing) and texts.
    """

    numeric: dict[str, np.ndarray]
    categorical: dict[str, tuple[np.ndarray, list[str]]]

    def set(self, rows: Rows) -> Rows:
        """Set the values in all rows of their entities, filled-in steps included."""
        if not self.numeric and not self.categorical:
            return rows
        numeric = {name: values[rows.entity] for name, values in self.numeric.items()}
        categorical = {name: (codes[rows.entity], texts) for name, (codes, texts) in self.categorical.items()}
        return replace(rows, numeric={**rows.numeric, **numeric}, categorical={**rows.categorical, **categorical})


def resolve_static(
    rows: Rows,
    columns: Columns,
    policies: PoliciesConfig,
    quarantine: Quarantine,
    known: KnownValues | None = None,
) -> tuple[Rows, StaticValues]:
    """Give each row the values of its entity; reject entities whose rows have several.

    A row without a value takes that of the entity's other rows, in whatever split. An entity without any has a missing
    value, about which `missing_value` decides.

    Args:
        rows: all rows of some entities, in any order.
        columns: with the static ones.
        policies: for `conflicting_static` and `missing_value`.
        quarantine: receives the rejected rows, and the counts.
        known: values that are known of entities already. They count as those of a row, and none of a known entity is
            missing.

    Returns:
        The rows of the other entities, and the values of all.
    """
    values = StaticValues({}, {})
    if not columns.static:
        return rows, values
    known = known or {}
    count = len(rows.entities)
    present = np.bincount(rows.entity, minlength=count) > 0
    is_known = np.array([name in known for name in rows.entities], bool)
    out = np.zeros(count, bool)
    for name in columns.static:
        low, high, texts = _extremes(
            rows, name, {code: known[rows.entities[code]].get(name) for code in np.flatnonzero(is_known).tolist()}
        )
        if texts is None:
            missing = np.isnan(low)
            values.numeric[name] = high
        else:
            missing = high < 0
            values.categorical[name] = (high, texts)
        conflicting = ~out & present & ~missing & (low != high)
        _reject(
            rows,
            conflicting,
            policies.conflicting_static,
            CONFLICTING,
            columns,
            quarantine,
            lambda group, name=name: (
                f"expected one value of {name}, which is static, in all rows of entity {_entity(rows, group)}, "
                f"received {_shown(rows, name, group, known)}; if it changes over time, leave static: true out"
            ),
        )
        out |= conflicting
        absent = ~out & present & missing & ~is_known
        if policies.missing_value == "impute":
            quarantine.report.count_imputed(MISSING, name, int(absent.sum()))
        else:
            _reject(
                rows,
                absent,
                policies.missing_value,
                MISSING,
                columns,
                quarantine,
                lambda _, name=name: (
                    f"expected a value of {name}, which is static, in a row of the entity, received none"
                ),
            )
            out |= absent
    kept = rows.take(~out[rows.entity]) if out.any() else rows
    return values.set(kept), values


def _extremes(rows: Rows, name: str, known: Mapping[int, Any]) -> tuple[np.ndarray, np.ndarray, list[str] | None]:
    """Return the least and greatest value of each entity, [E], and the texts of codes (None for numbers)."""
    count = len(rows.entities)
    if name in rows.numeric:
        low, high = np.full(count, np.nan, np.float32), np.full(count, np.nan, np.float32)
        given = rows.numeric[name]
        np.fmin.at(low, rows.entity, given)
        np.fmax.at(high, rows.entity, given)
        for code, value in known.items():
            if value is not None:
                low[code], high[code] = np.fmin(low[code], np.float32(value)), np.fmax(high[code], np.float32(value))
        return low, high, None
    codes, texts = rows.categorical[name]
    # An empty text is a missing one.
    texts = list(texts)
    filled = np.array([bool(text) for text in texts] + [False])[codes]
    places = {text: place for place, text in enumerate(texts)}
    most = np.iinfo(np.int32).max
    low, high = np.full(count, most, np.int32), np.full(count, -1, np.int32)
    np.minimum.at(low, rows.entity[filled], codes[filled])
    np.maximum.at(high, rows.entity[filled], codes[filled])
    for code, value in known.items():
        if value:
            if value not in places:
                places[value] = len(texts)
                texts.append(value)
            low[code], high[code] = min(low[code], places[value]), max(high[code], places[value])
    return low, high, texts


def _reject(
    rows: Rows,
    which: np.ndarray,
    action: str,
    reason: str,
    columns: Columns,
    quarantine: Quarantine,
    problem: Callable[[np.ndarray], str],
) -> None:
    """Reject all rows of the entities ``which``, bool [E]; ``problem`` describes the rows of one."""
    out = np.flatnonzero(which[rows.entity] & (rows.row > 0))
    out = out[np.argsort(rows.entity[out], kind="stable")]

    def records() -> Iterator[Record]:
        for group in np.split(out, np.flatnonzero(np.diff(rows.entity[out])) + 1):
            yield from rows.records(group, columns.time_kind, problem(group))

    quarantine.rows(action, reason, len(out), records)


def _entity(rows: Rows, group: np.ndarray) -> str:
    return rows.entities[rows.entity[group[0]]]


def _shown(rows: Rows, name: str, group: np.ndarray, known: KnownValues) -> str:
    """Return the first few distinct values in the rows of an entity, and the one that was known before."""
    if name in rows.numeric:
        values = [f"{value:.9g}" for value in np.unique(rows.numeric[name][group]).tolist() if value == value]
    else:
        codes, texts = rows.categorical[name]
        values = [repr(texts[code]) for code in np.unique(codes[group]).tolist() if code >= 0 and texts[code]]
    before = known.get(_entity(rows, group), {}).get(name)
    shown = ", ".join(values[:_VALUES_SHOWN]) + (", …" if len(values) > _VALUES_SHOWN else "")
    if before is None:
        return shown
    return f"{shown} after {before!r}" if isinstance(before, str) else f"{shown} after {before:.9g}"

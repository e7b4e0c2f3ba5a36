"""Times of the hour that a clock shows twice in autumn, inferred from the order of rows (`data.time.ambiguous: infer`).

    clock   01:30  02:00  02:30  02:00  02:30  03:00
    UTC     23:30  00:00  00:30  01:00  01:30  02:00

The rule is that of pandas' ``tz_localize(ambiguous="infer")``, for each entity: within the repeated hour the clock goes
back once; rows before that are earlier, and rows from there on later. Files whose rows go from the newest to the oldest
are read the other way around. A running stream knows only what came before: a time is the earlier one unless the
stream's last step isn't before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.data.sequences.rows import Rows
from noisy_gru.schema.config import DatasetConfig

AMBIGUOUS = "ambiguous_time"
_HALF_A_DAY = 12 * 3600 * 10**9


def infer_repeated_hours(
    rows: Rows, dataset: DatasetConfig, quarantine: Quarantine, last: Mapping[str, int | float] | None = None
) -> Rows:
    """Return rows whose times are those in UTC, without those that the order of rows does not tell apart.

    Args:
        rows: in the order of their files, each with the earlier of its times.
        dataset: the configuration.
        quarantine: where the others go.
        last: of running streams, the time of the last step of each known one.
    """
    repeat, config = rows.repeat, dataset.data.time
    if repeat is None or config is None:
        return rows
    time, wrong = rows.time.copy(), np.zeros(len(rows), bool)
    places = np.flatnonzero(repeat)
    # Each entity's repeated hours by the night, in the order of the rows.
    places = places[np.argsort(rows.entity[places], kind="stable")]
    descends = _descends(rows)
    night = np.zeros(len(places), bool)
    night[1:] = (np.diff(rows.entity[places]) != 0) | (np.abs(np.diff(rows.time[places])) > _HALF_A_DAY)
    for group in np.split(places, np.flatnonzero(night)) if len(places) else []:
        entity = rows.entity[group[0]]
        before = None if last is None else last.get(rows.entities[entity], -np.inf)
        is_later = _later(rows.time[group], bool(descends[entity]), before)
        if is_later is None:
            wrong[group] = True
        else:
            time[group] += np.where(is_later, repeat[group], 0)
    rows = replace(rows, time=time, repeat=None)
    if wrong.any():
        problem = (
            f"expected times of {config.timezone} whose clock goes back once in the hour that it shows twice, "
            "received no such order within this entity's rows. Set data.time.ambiguous: earlier or later, or write "
            "times with their offset from UTC"
        )
        policy = dataset.data.policies.unparsable_value
        quarantine.rows(
            "quarantine" if policy == "impute" else policy,
            AMBIGUOUS,
            int(wrong.sum()),
            lambda: rows.records(np.flatnonzero(wrong), config.kind, problem),
        )
    return rows.take(~wrong) if wrong.any() else rows


def _descends(rows: Rows) -> np.ndarray:
    """Return whether most rows of each entity go from the newest to the oldest, bool [E]."""
    order = np.argsort(rows.entity, kind="stable")
    same = np.diff(rows.entity[order]) == 0
    signs = np.sign(np.diff(rows.time[order]))[same]
    return np.bincount(rows.entity[order][1:][same], signs, minlength=len(rows.entities)) < 0


def _later(clock: np.ndarray, descends: bool, last: int | float | None) -> np.ndarray | None:
    """Return which times [G] of one repeated hour are later, bool [G]; None where that is not known."""
    back = np.flatnonzero(np.diff(clock) >= 0 if descends else np.diff(clock) <= 0)
    if len(back) == 1:
        return (np.arange(len(clock)) > back[0]) ^ descends
    return None if last is None or len(back) else clock <= last

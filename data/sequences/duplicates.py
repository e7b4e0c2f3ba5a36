"""Rows with the same entity and time: exact copies are dropped, the policy decides about the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.data.sequences.rows import Rows

if TYPE_CHECKING:
    import pandas as pd

EXACT, CONFLICT, ACROSS = "exact_duplicate", "duplicate_step", "duplicate_step_across_splits"


def drop_duplicates(
    rows: Rows, action: str, time_kind: str, quarantine: Quarantine, *, are_readings: bool = False
) -> Rows:
    """Return rows, in any order, with at most one for each entity and time.

    Where rows ``are_readings``, to be aggregated, those of one time stay, copies too, unless they are in two splits.

    A row in two splits would leak from one to the other, so it is a duplicate even if its values agree; ``drop`` keeps
    the one of test before eval before train.
    """
    order = np.lexsort((rows.row, rows.file, rows.time, rows.entity))
    same = (np.diff(rows.entity[order]) == 0) & (np.diff(rows.time[order]) == 0)
    if not same.any():
        return rows
    inside = np.zeros(len(rows), bool)
    inside[:-1] |= same
    inside[1:] |= same
    group = np.cumsum(np.concatenate([[True], ~same]))[inside]
    index = order[inside]
    frame = _values(rows.take(index)).assign(group=group)

    copies = np.zeros(len(frame), bool) if are_readings else frame.duplicated().to_numpy()
    quarantine.rows("drop", EXACT, int(copies.sum()), list)
    keep = np.ones(len(rows), bool)
    keep[index[copies]] = False

    rest = frame[~copies].assign(index=index[~copies])
    sizes = rest.groupby("group")["index"].transform("size")
    rest = rest[sizes > 1]
    several = rest.groupby("group")["split"].transform("nunique") > 1
    for reason, found in ((ACROSS, rest[several]), (CONFLICT, rest[~several])):
        if found.empty or (reason == CONFLICT and are_readings):
            continue
        if action == "drop" and are_readings:
            found = found[found["preference"] > found.groupby("group")["preference"].transform("min")]
        elif action == "drop":
            ordered = found.sort_values(["group", "preference", *_value_columns(found)], kind="stable")
            found = ordered[ordered.duplicated("group")]
        out = np.sort(found["index"].to_numpy())
        keep[out] = False
        what = "in more than one split" if reason == ACROSS else "with other values"
        problem = f"expected one row per entity and time, received another one {what}"

        def records(out: np.ndarray = out, problem: str = problem) -> list[dict[str, Any]]:
            return rows.records(out, time_kind, problem)

        quarantine.rows(action, reason, len(out), records)
    return rows.take(keep)


def _value_columns(frame: pd.DataFrame) -> list[str]:
    return [name for name in frame.columns if name.startswith("value ")]


def _values(rows: Rows) -> pd.DataFrame:
    import pandas as pd

    columns: dict[str, Any] = {f"value n {name}": values for name, values in sorted(rows.numeric.items())}
    for name, (codes, texts) in sorted(rows.categorical.items()):
        columns[f"value c {name}"] = np.array([*texts, ""], object)[codes]
    if isinstance(rows.label, tuple):
        columns["value label"] = np.array([*rows.label[1], ""], object)[rows.label[0]]
    elif rows.label is not None:
        columns["value label"] = rows.label
    columns["split"] = np.zeros(len(rows), np.int8) if rows.split is None else rows.split
    columns["preference"] = -columns["split"]
    return pd.DataFrame(columns)

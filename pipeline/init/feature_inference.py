"""Infer the features: how each column is read, and why one is left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from noisy_gru.data.values.precision import precision_loss, sample_distinct
from noisy_gru.pipeline.init.columns import is_boolean, is_timestamp
from noisy_gru.pipeline.init.roles import Guess, Roles
from noisy_gru.pipeline.init.time_structure import DAY, TimeStructure
from noisy_gru.schema.errors import ConfigError

MOST_VOCABULARY = 1000
MOST_STATIC = 20
MOST_IMPUTED = 0.01
_ONE_VALUE = "at most one value"


def infer_features(
    frame: pd.DataFrame, roles: Roles, answers: Sequence[str], *, forecasting: bool, without: Sequence[str] = ()
) -> tuple[list[dict[str, Any] | str], dict[str, str]]:
    """Return the entries of ``data.features``, and the columns that are left out with the reason.

    Args:
        frame: sampled rows.
        roles: columns by role.
        answers: the label, or the targets.
        forecasting: whether targets are among the features.
        without: columns that are neither features nor worth a word, such as that of the split.

    Raises:
        ConfigError: no column is left.
    """
    features: list[dict[str, Any] | str] = []
    left_out = {column: why for column, why in roles.ids.items() if column not in answers}
    for column in roles.others:
        if column in without or (column in answers and not forecasting):
            continue
        entry, why = _entry(column, frame[column], roles, is_target=column in answers)
        if entry is None:
            left_out[column] = why
        else:
            features.append(entry)
    for column in roles.constant:
        if column in without or column in answers:
            continue
        if frame[column].nunique() <= 1:
            left_out[column] = _ONE_VALUE
            continue
        if not forecasting:
            left_out[column] = f"constant within a {roles.entity}; add it unless it depends on the label"
            continue
        # What is known of an entity says nothing about its future that the model must not see.
        entry, why = _entry(column, frame[column], roles, is_target=False)
        if entry is None or len([each for each in features if _name(each) in roles.constant]) >= MOST_STATIC:
            left_out[column] = why or f"constant within a {roles.entity}"
        else:
            features.append(entry)
    if not features:
        raise ConfigError(
            f"expected at least one column for features, besides {', '.join(_named(roles, answers))}. Add a column "
            "that changes from step to step"
        )
    return features, left_out


def calendar_features(structure: TimeStructure | None, times: int) -> list[str]:
    """Return the calendar features that a step and a history of so many ``times`` can learn from."""
    if structure is None or not structure.seasons or structure.step <= 0:
        return []
    days = structure.step / DAY
    found = []
    if days < 1:
        found.append("hour_of_day")
    if days <= 1 and days * times >= 21:
        found.append("day_of_week")
    if days <= 92 and days * times >= 730:
        found.append("day_of_year")
    return found


def _name(entry: dict[str, Any] | str) -> str:
    return entry if isinstance(entry, str) else str(entry["name"])


def _named(roles: Roles, answers: Sequence[str]) -> list[str]:
    return [name for name in (roles.entity, roles.time, *answers) if name is not None]


def _entry(column: str, values: pd.Series, roles: Roles, *, is_target: bool) -> tuple[dict[str, Any] | str | None, str]:
    """Return the entry of a column; or None, and why it is left out."""
    if values.nunique() <= 1 and not is_target:
        return None, _ONE_VALUE
    if is_boolean(values):
        given = {"name": column, "kind": "boolean"}
        return given | ({"missing": "mask"} if values.isna().mean() > MOST_IMPUTED else {}), ""
    if pd.api.types.is_numeric_dtype(values):
        return _numeric(column, values, roles, is_target=is_target), ""
    if is_timestamp(values):
        return None, "a second time column"
    if values.nunique() <= MOST_VOCABULARY and values.nunique() < len(values) / 2:
        return {"name": column, "kind": "categorical"}, ""
    return None, "text with few repeated values"


def _numeric(column: str, values: pd.Series, roles: Roles, *, is_target: bool) -> dict[str, Any] | str:
    given: dict[str, Any] = {"name": column}
    low, middle, high = np.nanquantile(values.astype(float), [0.25, 0.5, 0.75])
    if high > low and np.nanmax(np.abs(values - middle)) > 20 * (high - low):
        given["scale"] = "robust"
    if values.isna().mean() > MOST_IMPUTED:
        given["missing"] = "mask"
    if offset := propose_offset(column, values, roles, is_target=is_target):
        given["offset"] = offset
    return given if len(given) > 1 else column


def propose_offset(column: str, values: pd.Series, roles: Roles, *, is_target: bool) -> float | None:
    """Return the offset of a column whose values float32 can't tell apart; for a target, add a warning instead."""
    found = precision_loss(column, sample_distinct(np.asarray(pd.to_numeric(values, errors="coerce"), np.float64)))
    if found is None:
        return None
    if found.is_severe and not is_target:
        roles.guesses.append(Guess(f"{column}, offset {found.offset:.17g}", str(found).partition(": ")[2]))
        return found.offset
    remedy = "; subtract a constant from it in the data, or predict differences" if is_target else ""
    roles.guesses.append(Guess(column, str(found).partition(": ")[2] + remedy, sure=False))
    return None

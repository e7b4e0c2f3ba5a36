"""Numbers that stand for a missing value in a column: -9, -999, 9999, 1e20 and the like.

>>> missing_codes(pd.DataFrame({"rain": [0.2, -9.0, 1.4, 0.0, -9.0]}))
{'rain': [-9.0]}

A code is written as such (`_LOW`, `_HIGH`), comes at least twice, and lies apart from all other numbers of its column:
-9 only where nothing else is negative, the others beyond twice the range of the rest. It is a guess (NOT SURE).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from noisy_gru.pipeline.init.columns import INDEX_NAMES, TIME_NAMES, is_entity_name, named, words_of
from noisy_gru.pipeline.init.roles import Guess

_NINES = (99.0, 999.0, 9999.0, 99999.0, 999999.0, 99.9, 999.9, 9999.9, 99.99, 999.99, 8888.0)
# Fill values of netCDF, GRIB and CDO among them; float32 holds them a little off.
_HUGE = (1e20, 1e30, 9.96921e36, 1e36, 1e37, 3.4028235e38, 1.7976931348623157e308)
_LOW = (-9.0, *(-each for each in _NINES), *(-each for each in _HUGE))
_HIGH = (*_NINES, *_HUGE)
_MOST_PART = 0.7
_LEAST_KNOWN = 3
_MOST_CODES = 3


def missing_codes(frame: pd.DataFrame) -> dict[str, list[float]]:
    """Return the codes by column, as they are written in it."""
    found = {}
    for name in map(str, frame.columns):
        column = frame[name]
        if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
            continue
        if is_entity_name(name) or named(name, TIME_NAMES) or re.fullmatch(INDEX_NAMES, words_of(name)):
            continue
        if codes := _codes(column.to_numpy(float, na_value=np.nan)):
            found[name] = codes
    return found


def without_codes(frame: pd.DataFrame, codes: Mapping[str, Sequence[float]]) -> pd.DataFrame:
    """Return a table in which codes are missing values."""
    return frame.assign(
        **{name: frame[name].astype(float).mask(frame[name].isin(each)) for name, each in codes.items()}
    )


def guess_of(name: str, codes: Sequence[float]) -> Guess:
    """Return what is said of a column's codes."""
    shown = ", ".join(f"{code:g}" for code in codes)
    why = "far from all other numbers of the column, and usual for a missing value; if it is a measurement, remove it"
    return Guess(f"missing_codes {shown} of {name}", why, sure=False)


def _codes(values: np.ndarray) -> list[float]:
    values, total = values[np.isfinite(values)], len(values)
    found: list[float] = []
    while len(found) < _MOST_CODES and len(values):
        low, high = float(values.min()), float(values.max())
        for code, is_low in ((low, True), (high, False)):
            rest = values[values != code]
            if _is_written(code, is_low) and _is_apart(code, rest, len(values) - len(rest)):
                found.append(code)
                values = rest
                break
        else:
            break
    return found if found and total - len(values) <= _MOST_PART * total else []


def _is_written(code: float, is_low: bool) -> bool:
    return bool(np.isclose(code, _LOW if is_low else _HIGH, rtol=1e-6, atol=0).any())


def _is_apart(code: float, rest: np.ndarray, count: int) -> bool:
    if count < 2 or len(rest) < _LEAST_KNOWN:
        return False
    # Another code may be left among them.
    usual = rest[~np.isclose(rest[:, np.newaxis], [*_LOW, *_HIGH], rtol=1e-6, atol=0).any(axis=1)]
    usual = usual if len(usual) >= _LEAST_KNOWN else rest
    low, high = float(usual.min()), float(usual.max())
    if code < 0 and low >= 0:
        return code == -9.0 or -code > 0.5 * high or len(np.unique(usual)) <= 20
    if abs(code) < 99:
        return False
    return (low - code if code < 0 else code - high) > 2 * (high - low) and abs(code) > 2 * max(abs(low), abs(high))

"""Timestamps in other spellings than ISO 8601: patterns of strptime, and numbers of a unit since 1970.

>>> formatted_times(pa.array(["31.12.2025 06:00", "2025-12-31"]), "%d.%m.%Y %H:%M")
(array([1767160800000000000,                   0]), array([False,  True]))
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

import numpy as np

from noisy_gru.data.arrow import pa, pc
from noisy_gru.data.values.month_names import WORD, in_english
from noisy_gru.data.values.parsing import Array, ColumnTypeError, flatten, has_zone, parse_times
from noisy_gru.data.values.wall_clock import from_wall_clock
from noisy_gru.schema.time_config import EPOCHS, TimeSpelling

_LOWEST, _HIGHEST = -(2**63), 2**63 - 1
_EXACT = 2**53
_DIGITS = {"Y": "{4}", "y": "{2}", "j": "{1,3}", "f": "{1,9}"}
_NUMERIC = "YymdHIMSfj"
_LETTERS = {"b": WORD, "B": WORD, "a": "[A-Za-z]+", "A": "[A-Za-z]+", "p": "[AaPp][Mm]"}
_ZONE = "(?:[Zz]|[+-][0-9]{2}:?[0-9]{2})"
_AMOUNT = r"^(?P<sign>[+-]?)(?P<whole>[0-9]{1,18})(?:\.(?P<fraction>[0-9]*))?$"


def pattern_regex(pattern: str) -> str:
    """Return the regular expression of the texts that a pattern of strptime spells.

    Numbers beside each other have their full number of digits; otherwise a leading zero may be left out.
    """
    parts = re.findall(r"%.|\s+|[^%\s]+", pattern.strip())
    found = []
    for place, part in enumerate(parts):
        code = part[1:] if part.startswith("%") else ""
        beside = [each[1:] for each in parts[max(place - 1, 0) : place + 2 : 2] if each.startswith("%")]
        if place == 0:
            beside = [each[1:] for each in parts[1:2] if each.startswith("%")]
        if code in _LETTERS:
            found.append(_LETTERS[code])
        elif code == "z":
            found.append(_ZONE)
        elif code == "%":
            found.append("%")
        elif code:
            dense = any(each in _NUMERIC for each in beside)
            width = "{3}" if code == "j" and dense else _DIGITS.get(code, "{2}" if dense else "{1,2}")
            found.append(f"[0-9]{width}")
        else:
            found.append(r"\s+" if part.isspace() else re.escape(part))
    return f"^{''.join(found)}$"


def formatted_times(array: Array, spelled: str, native: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return int64 nanoseconds since 1970 in UTC [N], and a mask [N] of the missing or unparsable.

    Stored times and dates are what they are, whatever the format.

    Args:
        array: the column.
        spelled: a pattern of strptime, or one of `EPOCHS`.
        native: mask [N] of texts that stand for values of Python, which may be ISO 8601.

    Raises:
        ColumnTypeError: the column's type holds no timestamps.
    """
    array, _ = flatten(array)
    kind = array.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return parse_times(array, "timestamp")
    if spelled in EPOCHS and pa.types.is_integer(kind) and kind != pa.uint64():
        values = pc.fill_null(array, 0).cast(pa.int64()).to_numpy(zero_copy_only=False)
        return _scaled(values, EPOCHS[spelled], array.is_null().to_numpy(zero_copy_only=False))
    text = _texts(array)
    values, bad = _since_1970(text, EPOCHS[spelled]) if spelled in EPOCHS else _by_pattern(text, spelled)
    if native is not None and (rest := bad & native).any():
        other, unparsable = parse_times(pc.if_else(pa.array(rest), text, None), "timestamp")
        values, bad = np.where(rest, other, values), np.where(rest, unparsable, bad)
    return values, bad


def lacks_zone(array: Array, spelled: str | None, native: np.ndarray | None = None) -> np.ndarray:
    """Mask [N] of the times that have no zone of their own, by the clock of a place; `EPOCHS` are in UTC.

    Args:
        array: the column, as `flatten` returns it.
        spelled: `data.time.format`.
        native: as in ``formatted_times``.
    """
    kind = array.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return np.full(len(array), pa.types.is_date(kind) or kind.tz is None)
    is_stored = np.zeros(len(array), bool) if native is None else native
    if spelled in EPOCHS and (native is None or not pa.types.is_string(kind)):
        return np.zeros(len(array), bool)
    zoned = has_zone(_texts(array))
    if spelled in EPOCHS:  # a datetime of Python among numbers
        is_number = pc.fill_null(pc.match_substring_regex(_texts(array), _AMOUNT), False)
        return ~zoned & is_stored & ~is_number.to_numpy(zero_copy_only=False)
    return ~zoned & (is_stored if spelled is not None and "%z" in spelled else True)


def localized(
    values: np.ndarray, bad: np.ndarray, local: np.ndarray, spelling: TimeSpelling
) -> tuple[np.ndarray, np.ndarray]:
    """Convert the times [N] that have no zone to UTC, and return them with a mask [N] of the unusable."""
    local = local & ~bad
    if not local.any():
        return values, bad
    found, wrong = from_wall_clock(
        values[local], spelling.zone or "UTC", ambiguous=spelling.ambiguous, nonexistent=spelling.nonexistent
    )
    values, bad = values.copy(), bad.copy()
    values[local], bad[local] = found, wrong
    return values, bad


def _texts(array: Array) -> Array:
    """Return texts without blanks around them, and whole numbers without a fraction."""
    kind = array.type
    if pa.types.is_floating(kind):
        values = array.to_numpy(zero_copy_only=False).astype(np.float64)
        whole = np.abs(values) < _EXACT
        whole &= np.where(whole, values, 0.5) % 1 == 0
        texts = pa.array(np.where(whole, values, 0).astype(np.int64)).cast(pa.string())
        if not whole.all():
            spelled = [None if value != value else str(value) for value in values[~whole].tolist()]
            texts = pc.replace_with_mask(texts, pa.array(~whole), pa.array(spelled, pa.string()))
        return texts
    if pa.types.is_decimal(kind):
        return pc.replace_substring_regex(array.cast(pa.string()), r"\.0+$", "")
    if pa.types.is_string(kind) or pa.types.is_null(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return pc.utf8_trim_whitespace(array.cast(pa.string()))
    raise ColumnTypeError(f"timestamps, received a column of type {kind}")


def _by_pattern(text: Array, pattern: str) -> tuple[np.ndarray, np.ndarray]:
    import pandas as pd

    # The expression refuses what pandas takes besides: now, today, numbers without their zeros.
    fits = pc.fill_null(pc.match_substring_regex(text, pattern_regex(pattern)), False)
    encoded = pc.if_else(fits, text, None).dictionary_encode()
    texts = encoded.dictionary.to_pylist()
    if "%b" in pattern or "%B" in pattern:
        texts = [in_english(each, full="%B" in pattern) for each in texts]
    distinct = pd.Series(texts, dtype=object)
    parsed = pd.to_datetime(distinct, format=pattern.strip(), errors="coerce", utc="%z" in pattern, cache=False)
    stamps = parsed.dt.tz_localize(None) if "%z" in pattern else parsed
    found = np.append(stamps.to_numpy(dtype="datetime64[ns]").astype(np.int64), np.iinfo(np.int64).min)
    values = found[pc.fill_null(encoded.indices, len(distinct)).to_numpy(zero_copy_only=False)]
    bad = values == np.iinfo(np.int64).min
    return np.where(bad, 0, values), bad


def _scaled(values: np.ndarray, unit: int, bad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    most = _HIGHEST // unit
    bad = bad | (values < -most) | (values > most)
    return np.where(bad, 0, values) * unit, bad


def _since_1970(text: Array, unit: int) -> tuple[np.ndarray, np.ndarray]:
    found = pc.extract_regex(text, _AMOUNT)
    plain = found.is_valid().to_numpy(zero_copy_only=False)
    whole = _integers(found.field("whole"))
    # Digits beyond nanoseconds are cut off.
    digits = pc.utf8_slice_codeunits(pc.utf8_rpad(pc.fill_null(found.field("fraction"), ""), 9, "0"), 0, 9)
    values, bad = _scaled(whole, unit, ~plain)
    part = _integers(digits) * unit // 10**9
    bad |= values > _HIGHEST - part
    negative = pc.fill_null(pc.equal(found.field("sign"), "-"), False).to_numpy(zero_copy_only=False)
    values = np.where(bad, 0, values + np.where(bad, 0, part))
    values = np.where(negative, -values, values)
    for place in np.flatnonzero(~plain & text.is_valid().to_numpy(zero_copy_only=False)).tolist():
        amount = _exact(text[place].as_py(), unit)
        if amount is not None:
            values[place], bad[place] = amount, False
    return values, bad


def _integers(digits: Array) -> np.ndarray:
    filled = pc.if_else(pc.equal(pc.fill_null(digits, ""), ""), "0", digits)
    return filled.cast(pa.int64()).to_numpy(zero_copy_only=False)


def _exact(text: str, unit: int) -> int | None:
    """Return the nanoseconds of a number with an exponent or many digits; None if it is none, or out of range."""
    if not re.fullmatch(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?", text):
        return None
    try:
        value = Decimal(text)
        if value.adjusted() > 20:
            return None
        amount = int(value * unit)
    except InvalidOperation:
        return None
    return amount if _LOWEST < amount <= _HIGHEST else None

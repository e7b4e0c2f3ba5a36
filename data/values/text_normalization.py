"""Normalized text of ids, classes and categories: the same for a value in every file format and in memory.

>>> [normalize_text(text) for text in ("1.50", "1e-07", "True", "2020-01-01 00:00:00", "007", "up\\n")]
['1.5', '1e-07', 'true', '2020-01-01', '007', 'up\\n']

A stored number, Boolean, date or time is formatted as CSV writers (pandas, Arrow) do; then all their spellings of one
value are unified. Any other text stays as it is, blanks and line ends included.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np

from noisy_gru.data.arrow import pa, pc
from noisy_gru.data.values.parsing import BOOLEANS, Array, ColumnTypeError, flatten

# A fraction, or an exponent with a sign: no CSV writer makes "1e5", but codes look like it. No leading zeros.
_NUMBER = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-][0-9]{1,3})?"
_MOMENT = r"([0-9]{4}-[0-9]{2}-[0-9]{2})[ T]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?(Z|[+-][0-9]{2}:?[0-9]{2})?"
_TIME_OF_DAY = r"([0-9]{2}:[0-9]{2}:[0-9]{2})\.([0-9]{1,9})"
_FEWER_DIGITS = 4
_BEYOND = "<value out of range"  # Arrow's text of a timestamp beyond the calendar
# RE2 and Python's re agree on all of them.
_SPELLED = rf"^(?:{_NUMBER}|{_MOMENT}|{_TIME_OF_DAY}|(?i:{'|'.join(BOOLEANS)}))$"
_FRACTION = r"^-?(?:0|[1-9][0-9]*)\.[0-9]*[1-9][0-9]*$"
_IS_NUMBER, _IS_MOMENT, _IS_TIME_OF_DAY = (re.compile(pattern) for pattern in (_NUMBER, _MOMENT, _TIME_OF_DAY))
_WHOLE = re.compile(r"[0-9]+|-[1-9][0-9]*")


def normalize_text(text: str) -> str:
    """Unify all spellings of CSV writers for a value; return any other text as it is."""
    if _WHOLE.fullmatch(text):
        return text
    if _IS_NUMBER.fullmatch(text):
        return _number(text)
    if text.lower() in BOOLEANS and text in (text.lower(), text.upper(), text.title()):
        return text.lower()
    if found := _IS_MOMENT.fullmatch(text):
        return _moment(text, *found.groups())
    if found := _IS_TIME_OF_DAY.fullmatch(text):
        fraction = found[2].rstrip("0")
        return f"{found[1]}.{fraction}" if fraction else found[1]
    return text


def _number(text: str) -> str:
    """Format integers below 2^64 in full, others like Python's floats, with all their digits."""
    try:
        value = Decimal(text)
    except InvalidOperation:  # an exponent beyond what decimals have
        return text
    if not value:
        return "0"
    if value != value.to_integral_value():
        value = _single(value)
    sign, digits, _ = value.as_tuple()
    place = value.adjusted()
    kept = "".join(map(str, digits)).rstrip("0")
    if len(kept) <= place + 1 and abs(value) < 2**64:
        return f"{'-' * sign}{kept:0<{place + 1}}"
    if -4 <= place < 16:
        plain = kept if place >= 0 else "0" * -place + kept
        whole = max(place, 0) + 1
        return f"{'-' * sign}{plain[:whole]}.{plain[whole:]}"
    fraction = f".{kept[1:]}" if len(kept) > 1 else ""
    return f"{'-' * sign}{kept[0]}{fraction}e{place:+03d}"


def _single(value: Decimal) -> Decimal:
    """Return the short digits of a float32 that was written as a float64: Python and JSON write 0.10000000149011612.

    A decimal such as 171899.875, which float32 represents exactly, is kept: its digits would hardly be fewer.
    """
    double = float(value)
    with np.errstate(over="ignore", under="ignore"):
        single = np.float32(double)
    if float(single) != double or Decimal(repr(double)) != value:
        return value
    short = Decimal(str(single))
    fewer = len(value.normalize().as_tuple().digits) - len(short.normalize().as_tuple().digits)
    return short if fewer >= _FEWER_DIGITS else value


def _moment(text: str, day: str, clock: str, fraction: str | None, zone: str | None) -> str:
    """Format a date alone for midnight without a zone; with a zone the time in UTC."""
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{zone or ''}")
        moment = moment.astimezone(UTC).replace(tzinfo=None) if zone else moment
    except (ValueError, OverflowError):  # no such day or hour
        return text
    rest = (fraction or "").rstrip("0")
    if not (zone or rest) and clock == "00:00:00":
        return day
    return f"{moment.isoformat(' ', 'seconds')}{'.' + rest if rest else ''}{'Z' if zone else ''}"


def format_column(array: Array) -> Array:
    """Format a column like Arrow's CSV writer; times with a zone in UTC, since it knows none like ``+05:30``."""
    if pa.types.is_timestamp(array.type) and array.type.tz is not None:
        array = array.cast(pa.timestamp(array.type.unit, "UTC"))
    return array.cast(pa.string())


def parse_texts(array: Array) -> tuple[Array, np.ndarray]:
    """Return normalized strings, null where missing (null, NaN), and a mask [N] of cells that aren't UTF-8.

    Raises:
        ColumnTypeError: the column's type has no text form.
    """
    array, bad = flatten(array)
    kind = array.type
    if pa.types.is_null(kind):
        return array.cast(pa.string()), bad
    has_text = (
        pa.types.is_string(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_date(kind)
        or pa.types.is_time(kind)
        or pa.types.is_timestamp(kind)
    )
    if not has_text:
        raise ColumnTypeError(f"text, received a column of type {kind}")
    if pa.types.is_floating(kind):
        # Like NumPy: the shortest digits that give the number back in its own type.
        values = array.to_numpy(zero_copy_only=False)
        distinct, indices = np.unique(values, return_inverse=True)
        spelled = pa.array([None if each != each else str(each) for each in distinct], pa.string())
        place = pa.array(indices)
    else:
        encoded = array.dictionary_encode()
        spelled, place = format_column(encoded.dictionary), encoded.indices
    found = _normalize(spelled).take(place)
    if pa.types.is_timestamp(kind):
        beyond = pc.fill_null(pc.starts_with(found, _BEYOND), False)
        found, bad = pc.if_else(beyond, None, found), bad | beyond.to_numpy(zero_copy_only=False)
    return found, bad


def _normalize(spelled: Array) -> Array:
    candidates = pc.fill_null(pc.match_substring_regex(spelled, _SPELLED), False).to_numpy(zero_copy_only=False)
    which = np.flatnonzero(candidates)
    if not len(which):
        return spelled
    found = [normalize_text(text) for text in spelled.take(pa.array(which)).to_pylist()]
    return pc.replace_with_mask(spelled, pa.array(candidates), pa.array(found, pa.string()))


def fractional_texts(array: Array) -> list[str]:
    """Return the distinct fractional numbers in a column of text."""
    array, _ = flatten(array)
    if not pa.types.is_string(array.type):
        return []
    distinct = array.unique()
    return distinct.filter(pc.fill_null(pc.match_substring_regex(distinct, _FRACTION), False)).to_pylist()


def ambiguous_spellings(spelled: Iterable[str]) -> list[list[str]]:
    """Return the groups of texts that normalize to the same text."""
    groups: dict[str, list[str]] = {}
    for text in sorted(spelled):
        groups.setdefault(normalize_text(text), []).append(text)
    return [group for group in groups.values() if len(group) > 1]


def format_value(value: Any) -> str | bytes | None:
    """Format a Python value like a CSV writer; None for a missing one (None, NaN, NaT, NA), bytes if not UTF-8."""
    if isinstance(value, str | bytes):
        return _text_or_bytes(value)
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, datetime):
        if value != value:  # NaT
            return None
        return (value.astimezone(UTC) if value.tzinfo else value).isoformat(" ")
    if isinstance(value, np.datetime64):
        coarse = np.datetime_data(value.dtype)[0] in ("Y", "M", "W", "D", "h", "m")
        return None if np.isnat(value) else str(value.astype("datetime64[s]") if coarse else value)
    if isinstance(value, Decimal):
        return None if value.is_nan() else str(value)
    if isinstance(value, float | np.floating):
        wide = isinstance(value, np.floating) and value.dtype.itemsize > 8  # longdouble
        return None if value != value else str(float(value) if wide else value)
    return None if value is None or type(value).__name__ in ("NAType", "NaTType") else str(value)


def _text_or_bytes(value: str | bytes) -> str | bytes:
    if isinstance(value, str):
        encoded = value.encode("utf-8", "surrogatepass")  # half of a pair, as JSON may hold it
        return str(value) if value.isascii() or encoded == value.encode("utf-8", "replace") else encoded
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value

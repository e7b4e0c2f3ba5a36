"""Parse Arrow columns of any type to numbers or times, with a mask of the unparsable cells.

The result for a cell depends on this cell alone: the vectorized paths follow the same rules as the scalar ones.
`text_normalization` parses texts.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np

from noisy_gru.data.arrow import pa, pc

# Spellings of a missing value in a numeric column of text, in any case: those of pandas.
NULL_TEXTS = ("", "#n/a", "#n/a n/a", "#na", "-1.#ind", "-1.#qnan", "1.#ind", "1.#qnan", "<na>", "n/a", "na", "null")
NULL_TEXTS += ("none", "nan", "-nan", "+nan")
BOOLEANS = {"true": 1, "false": 0}

_NULLS = pa.array(sorted({spelling for text in NULL_TEXTS for spelling in (text, text.upper(), text.title(), "NaN")}))
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?i:inf|infinity)")
# Numbers and integers that Arrow parses as Python does.
_PLAIN = r"^-?[0-9]{1,15}(\.[0-9]{0,15})?([eE][+-]?[0-9]{1,2})?$"
_PLAIN_INTEGER = r"^-?[0-9]{1,18}$"
_DATE = r"[0-9]{4}-[0-9]{1,2}(?:-[0-9]{1,2})?|[0-9]{4}/[0-9]{1,2}/[0-9]{1,2}|(?:[0-9]{8}|[0-9]{4})(?:\.0+)?"
_CLOCK = r"[0-9]{1,2}(?::?[0-9]{2}(?::?[0-9]{2}(?:\.[0-9]+)?)?)?"
_MOMENT = rf"^(?P<day>{_DATE})(?:[Tt ](?P<clock>{_CLOCK}) ?(?P<zone>[zZ]|[+-][0-9]{{2}}(?::?[0-9]{{2}})?)?)?$"
_UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_DAY = 86_400 * 10**9
_MOST_DISTINCT = 0.5
_LOWEST, _HIGHEST = -(2**63), 2**63 - 1

Array = Any  # pa.Array or pa.ChunkedArray: pyarrow has no type stubs.


class ColumnTypeError(TypeError):
    """A column's type can't hold the expected values."""


def flatten(array: Array) -> tuple[Array, np.ndarray]:
    """Return one plain array (chunks joined, decoded, texts as strings) and a mask [N] of cells that aren't UTF-8."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
        if isinstance(array, pa.ChunkedArray):  # no chunk at all
            array = pa.array([], array.type)
    if pa.types.is_run_end_encoded(array.type):
        array = pc.run_end_decode(array)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    bad = np.zeros(len(array), bool)
    kind = array.type
    if pa.types.is_large_string(kind) or kind == pa.string_view():
        array = array.cast(pa.string())
    elif (
        kind == pa.binary_view()
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    ):
        try:
            array = array.cast(pa.binary()).cast(pa.string())
        except pa.ArrowInvalid:
            cells = [_decoded(value) for value in array.to_pylist()]
            array, bad = pa.array([text for text, _ in cells], pa.string()), np.array([wrong for _, wrong in cells])
    return array, bad


def with_plain_layouts(table: Any) -> Any:
    """Return a table without views and run-end encoding, of which Arrow takes no rows."""
    for place, field in enumerate(table.schema):
        kind = field.type
        if kind in (pa.string_view(), pa.binary_view()):
            column = table[place].cast(pa.string() if kind == pa.string_view() else pa.binary())
        elif pa.types.is_run_end_encoded(kind):
            column = pa.chunked_array([pc.run_end_decode(chunk) for chunk in table[place].chunks], kind.value_type)
        else:
            continue
        table = table.set_column(place, field.name, column)
    return table


def _decoded(value: bytes | None) -> tuple[str | None, bool]:
    try:
        return (None, False) if value is None else (value.decode(), False)
    except UnicodeDecodeError:
        return None, True


def parse_number(text: str) -> float | None:
    """Parse a number: NaN for a missing value, None for any other text."""
    text = text.strip()
    lower = text.lower()
    if lower in NULL_TEXTS:
        return float("nan")
    if lower in BOOLEANS:
        return float(BOOLEANS[lower])
    return float(text) if _NUMBER.fullmatch(text) else None


def parse_integer(text: str) -> int | None:
    """Parse an integer within int64; None for any other text."""
    text = text.strip()
    if text.lower() in BOOLEANS:
        return BOOLEANS[text.lower()]
    try:
        value = Decimal(text) if _NUMBER.fullmatch(text) else None
    except InvalidOperation:  # an exponent beyond what decimals have
        return None
    if value is None or not value.is_finite() or value.adjusted() > 18 or value != value.to_integral_value():
        return None
    return int(value) if _LOWEST <= int(value) <= _HIGHEST else None


def parse_numbers(array: Array) -> tuple[np.ndarray, np.ndarray]:
    """Return float64 values [N], NaN where missing or unparsable, and a mask [N] of the unparsable.

    Raises:
        ColumnTypeError: the column's type holds no numbers.
    """
    array, bad = flatten(array)
    kind = array.type
    if pa.types.is_null(kind):
        return np.full(len(array), np.nan), bad
    if pa.types.is_boolean(kind):
        array = array.cast(pa.uint8())
    elif pa.types.is_string(kind):
        values, unparsable = _numbers_from_text(array)
        return values, bad | unparsable
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise ColumnTypeError(f"numbers, received a column of type {kind}")
    return array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), bad


def _numbers_from_text(array: Array) -> tuple[np.ndarray, np.ndarray]:
    text = pc.if_else(pc.is_in(array, _NULLS), None, array)
    bad = np.zeros(len(array), bool)
    try:
        values = text.cast(pa.float64()).to_numpy(zero_copy_only=False)
        rest = np.isnan(values) & text.is_valid().to_numpy(zero_copy_only=False)  # Arrow accepts more spellings of NaN
    except pa.ArrowInvalid:
        plain = pc.fill_null(pc.match_substring_regex(text, _PLAIN), False)
        values = pc.if_else(plain, text, None).cast(pa.float64()).to_numpy(zero_copy_only=False)
        rest = pc.and_(text.is_valid(), pc.invert(plain)).to_numpy(zero_copy_only=False)
    if rest.any():
        values = values.copy()
        for place in np.flatnonzero(rest).tolist():
            number = parse_number(text[place].as_py())
            values[place], bad[place] = (np.nan, True) if number is None else (number, False)
    return values, bad


def parse_times(array: Array, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Return times [N] and a mask [N] of the missing or unparsable.

    ``integer`` gives int64, ``float`` finite float64, ``timestamp`` int64 nanoseconds since 1970 in UTC.

    Raises:
        ColumnTypeError: the column's type can't be parsed as this kind of time.
    """
    array, _ = flatten(array)
    if kind == "timestamp":
        return _timestamps(array)
    if pa.types.is_temporal(array.type):
        raise ColumnTypeError(
            f"data.time.kind {kind}, received a column of type {array.type}: set data.time.kind: timestamp"
        )
    if kind == "integer":
        return _integers(array)
    values, bad = parse_numbers(array)
    if array.type in (pa.float16(), pa.float32()):  # 0.1 as in text, not the nearest float64
        values = array.to_numpy(zero_copy_only=False).astype(str).astype(np.float64)
    bad = bad | ~np.isfinite(values)
    return np.where(bad, 0.0, values) + 0.0, bad


def _integers(array: Array) -> tuple[np.ndarray, np.ndarray]:
    kind = array.type
    if pa.types.is_integer(kind) and kind != pa.uint64():
        bad = array.is_null().to_numpy(zero_copy_only=False)
        return pc.fill_null(array, 0).cast(pa.int64()).to_numpy(zero_copy_only=False), bad
    if pa.types.is_floating(kind):
        values = array.to_numpy(zero_copy_only=False)
        values = values.astype(np.float32) if kind == pa.float16() else values
        with np.errstate(invalid="ignore"):
            # Beyond this, CSV writers don't write all digits.
            exact = (np.abs(values) < (2**53 if kind == pa.float64() else 2**24)) & (values % 1 == 0)
            found = np.where(exact, values, 0).astype(np.int64)
        rest = ~exact & np.isfinite(values)
        spelled = [str(value) for value in values[rest]]
    elif pa.types.is_string(kind):
        plain = pc.fill_null(pc.match_substring_regex(array, _PLAIN_INTEGER), False)
        found = pc.fill_null(pc.if_else(plain, array, None).cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
        exact = plain.to_numpy(zero_copy_only=False)
        rest = ~exact & array.is_valid().to_numpy(zero_copy_only=False)
        spelled = array.filter(pa.array(rest)).to_pylist()
    elif pa.types.is_boolean(kind) or kind == pa.uint64() or pa.types.is_decimal(kind) or pa.types.is_null(kind):
        found, exact = np.zeros(len(array), np.int64), np.zeros(len(array), bool)
        rest = array.is_valid().to_numpy(zero_copy_only=False)
        spelled = [str(value) for value in array.drop_null().to_pylist()]
    else:
        raise ColumnTypeError(f"whole numbers, received a column of type {kind}")
    if rest.any():
        parsed = [parse_integer(text) for text in spelled]
        found, exact = found.copy(), exact.copy()
        found[rest] = [value or 0 for value in parsed]
        exact[rest] = [value is not None for value in parsed]
    return found, ~exact


def _timestamps(array: Array) -> tuple[np.ndarray, np.ndarray]:
    kind = array.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        unit = _UNITS[kind.unit] if pa.types.is_timestamp(kind) else _DAY if pa.types.is_date32(kind) else _UNITS["ms"]
        bad = array.is_null().to_numpy(zero_copy_only=False)
        plain = array.cast(pa.int32()) if pa.types.is_date32(kind) else array
        values = pc.fill_null(plain.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
        most = _HIGHEST // unit  # beyond it, nanoseconds overflow int64
        bad = bad | (values < -most) | (values > most)
        return np.where(bad, 0, values) * unit, bad
    if pa.types.is_floating(kind):
        array = pa.array([None if value != value else str(value) for value in array.to_numpy(zero_copy_only=False)])
    elif not (
        pa.types.is_string(kind)
        or pa.types.is_null(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
    ):
        raise ColumnTypeError(f"ISO 8601 timestamps, received a column of type {kind}")
    return _timestamps_from_text(array.cast(pa.string()))


def _timestamps_from_text(array: Array) -> tuple[np.ndarray, np.ndarray]:
    """Parse each distinct text once: many series have the same times."""
    encoded = array.dictionary_encode()
    distinct = encoded.dictionary
    if len(distinct) > _MOST_DISTINCT * len(array):
        return _distinct_timestamps(array)
    values, bad = _distinct_timestamps(distinct)
    place = pc.fill_null(encoded.indices, len(distinct)).to_numpy(zero_copy_only=False)
    return np.append(values, 0)[place], np.append(bad, True)[place]


def _distinct_timestamps(array: Array) -> tuple[np.ndarray, np.ndarray]:
    import pandas as pd

    found = pc.extract_regex(pc.utf8_trim_whitespace(array), _MOMENT)
    day = pc.replace_substring_regex(found.field("day"), r"\.0+$", "")
    clock, zone = found.field("clock"), found.field("zone")
    moment = pc.if_else(pc.equal(clock, ""), day, pc.binary_join_element_wise(day, clock, "T"))
    # Without zones: pandas would parse a time without one in the zone of the previous value.
    parsed = pd.to_datetime(pd.Series(moment.to_pylist(), dtype=object), format="ISO8601", errors="coerce")
    stamps = parsed.to_numpy(dtype="datetime64[ns]")
    valid = found.is_valid().to_numpy(zero_copy_only=False)
    bad = np.isnat(stamps) | ~valid
    values = np.where(bad, 0, stamps.astype(np.int64))
    codes, zones = pd.factorize(np.asarray(pc.fill_null(zone, "").to_pylist(), object))
    offsets = [_offset(each) for each in zones]
    bad = bad | np.array([offset is None for offset in offsets], bool)[codes]
    shift = np.array([offset or 0 for offset in offsets], np.int64)[codes]
    bad = bad | ((shift < 0) & (values > _HIGHEST + shift)) | ((shift > 0) & (values < _LOWEST + 1 + shift))
    return np.where(bad, 0, values - np.where(bad, 0, shift)), bad


def has_zone(text: Array) -> np.ndarray:
    """Mask [N] of the ISO 8601 texts that have a zone."""
    zone = pc.extract_regex(pc.utf8_trim_whitespace(text), _MOMENT).field("zone")
    return pc.not_equal(pc.fill_null(zone, ""), "").to_numpy(zero_copy_only=False)


def _offset(zone: str) -> int | None:
    """Return the offset of a zone from UTC in nanoseconds; None for an invalid zone."""
    if zone in ("", "z", "Z"):
        return 0
    hours, minutes = int(zone[1:3]), int(zone[-2:]) if len(zone) > 3 else 0
    if hours > 23 or minutes > 59:
        return None
    return (-1 if zone[0] == "-" else 1) * (hours * 60 + minutes) * 60 * 10**9


def format_times(values: np.ndarray, kind: str) -> list[str]:
    """Format times for sequence ids and reports: ISO 8601 with ``Z`` for timestamps, else numbers."""
    if kind != "timestamp":
        numbers_ = values.astype(float).tolist() if kind == "float" else values.tolist()
        return [_number_text(value) if kind == "float" else str(value) for value in numbers_]
    seconds = np.datetime_as_string(values.astype("datetime64[ns]"), unit="s").tolist()
    return [
        f"{text}.{rest:09d}".rstrip("0") + "Z" if rest else text + "Z"
        for text, rest in zip(seconds, (values % 1_000_000_000).tolist(), strict=True)
    ]


def _number_text(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 2**63 else repr(value)

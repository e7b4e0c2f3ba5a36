"""Arrow columns of any type become numbers, texts or times, with a mask of the values that are none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from noisy_gru.components.sequence_example_gen.arrow import pa, pc

# What stands for "no value" in a column of numbers or times that was read as text.
NULL_TEXTS = ("", "#N/A", "NA", "N/A", "n/a", "NULL", "null", "None", "NaN", "nan", "-NaN", "-nan")
_NUMBER = r"^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$|^[+-]?(?i:inf|infinity)$"
_ZONE = r"(?i)[t ]\d.*(z|[+-]\d{2}(:?\d{2})?)\s*$"
_INTEGER = r"^[+-]?\d{1,18}(\.0*)?$"

Array = Any  # pa.Array or pa.ChunkedArray: pyarrow has no type stubs.


class ColumnTypeError(TypeError):
    """A whole column has a type that can't hold what it should."""


def flat(array: Array) -> Array:
    """One plain array: chunks joined, dictionaries decoded, large and view strings made plain."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
        if isinstance(array, pa.ChunkedArray):  # no chunk at all
            array = pa.array([], array.type)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_large_string(array.type) or array.type == pa.string_view():
        array = array.cast(pa.string())
    return array


def numbers(array: Array) -> tuple[np.ndarray, np.ndarray]:
    """Float64 values [N], NaN where missing or unparsable, and a mask [N] of the unparsable.

    Raises:
        ColumnTypeError: the column's type holds no numbers.
    """
    array = flat(array)
    kind = array.type
    if pa.types.is_null(kind):
        return np.full(len(array), np.nan), np.zeros(len(array), bool)
    if pa.types.is_boolean(kind):
        array = array.cast(pa.uint8())
    elif pa.types.is_string(kind):
        return _numbers_from_text(array)
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise ColumnTypeError(f"numbers, received a column of type {kind}")
    values = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return values, np.zeros(len(values), bool)


def _text_masks(array: Array, pattern: str) -> tuple[Array, np.ndarray, Array]:
    text = pc.utf8_trim_whitespace(array)
    missing = pc.or_(pc.is_null(text), pc.fill_null(pc.is_in(text, pa.array(NULL_TEXTS)), True))
    fits = pc.fill_null(pc.match_substring_regex(text, pattern), False)
    bad = pc.and_not(pc.invert(fits), missing).to_numpy(zero_copy_only=False)
    clean = pc.replace_substring_regex(pc.if_else(fits, text, None), r"^\+", "")
    return clean, bad, missing


def _numbers_from_text(array: Array) -> tuple[np.ndarray, np.ndarray]:
    clean, bad, _ = _text_masks(array, _NUMBER)
    return clean.cast(pa.float64()).to_numpy(zero_copy_only=False), bad


def texts(array: Array) -> Array:
    """Strings, null where missing (null, NaN). A whole number is written without a point, however it is stored.

    Raises:
        ColumnTypeError: the column's type has no canonical text.
    """
    array = flat(array)
    kind = array.type
    if pa.types.is_string(kind):
        return array
    if pa.types.is_null(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return array.cast(pa.string())
    if pa.types.is_floating(kind):
        values = array.cast(pa.float64()).to_numpy(zero_copy_only=False)
        return pa.array([_number_text(value) for value in values.tolist()], pa.string())
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        try:
            return array.cast(pa.string())
        except pa.ArrowInvalid as error:
            raise ColumnTypeError("UTF-8 text, received other bytes") from error
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_decimal(kind):
        return array.cast(pa.string())
    raise ColumnTypeError(f"text, received a column of type {kind}")


def _number_text(value: float) -> str | None:
    if value != value:
        return None
    return str(int(value)) if value.is_integer() and abs(value) < 2**63 else repr(value)


def times(array: Array, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Times [N] and a mask [N] of the missing or unparsable.

    ``integer`` gives int64, ``float`` finite float64, ``timestamp`` int64 nanoseconds since 1970 in UTC.

    Raises:
        ColumnTypeError: the column's type can't be read as this kind of time.
    """
    array = flat(array)
    if kind == "timestamp":
        return _timestamps(array)
    if pa.types.is_temporal(array.type):
        raise ColumnTypeError(f"time.kind {kind}, received a column of type {array.type}: set time.kind: timestamp")
    if kind == "integer":
        return _integers(array)
    values, bad = numbers(array)
    bad = bad | ~np.isfinite(values)
    return np.where(bad, 0.0, values) + 0.0, bad


def _integers(array: Array) -> tuple[np.ndarray, np.ndarray]:
    if pa.types.is_integer(array.type):
        bad = array.is_null().to_numpy(zero_copy_only=False)
        return pc.fill_null(array, 0).cast(pa.int64()).to_numpy(), bad
    if pa.types.is_string(array.type):
        clean, bad, missing = _text_masks(array, _INTEGER)
        whole = pc.replace_substring_regex(clean, r"\.0*$", "").cast(pa.int64())
        return pc.fill_null(whole, 0).to_numpy(zero_copy_only=False), bad | missing.to_numpy(zero_copy_only=False)
    values, bad = numbers(array)
    bad = bad | ~np.isfinite(values) | (np.where(np.isfinite(values), values, 0.5) % 1 != 0)
    return np.where(bad, 0, values).astype(np.int64), bad


def _timestamps(array: Array) -> tuple[np.ndarray, np.ndarray]:
    if pa.types.is_timestamp(array.type) or pa.types.is_date(array.type):
        bad = array.is_null().to_numpy(zero_copy_only=False)
        try:
            stamps = array.cast(pa.timestamp("ns", tz="UTC") if getattr(array.type, "tz", None) else pa.timestamp("ns"))
        except pa.ArrowInvalid as error:
            raise ColumnTypeError("times between the years 1677 and 2262, received others") from error
        return pc.fill_null(stamps.cast(pa.int64()), 0).to_numpy(), bad
    if not (pa.types.is_string(array.type) or pa.types.is_null(array.type)):
        raise ColumnTypeError(f"ISO 8601 timestamps, received a column of type {array.type}")
    text = array.cast(pa.string())
    zoned = pc.fill_null(pc.match_substring_regex(text, _ZONE), False).to_numpy(zero_copy_only=False)
    values = np.asarray(text.to_pandas(), object)
    stamps = np.zeros(len(values), "datetime64[ns]")
    # Apart from each other: in one call, pandas reads a time without a zone in the zone of the value before it.
    for mask in (zoned, ~zoned):
        if mask.any():
            parsed = pd.to_datetime(pd.Series(values[mask]), format="ISO8601", utc=True, errors="coerce")
            stamps[mask] = parsed.dt.tz_localize(None).to_numpy(dtype="datetime64[ns]")
    bad = np.isnat(stamps)
    return np.where(bad, 0, stamps.astype(np.int64)), bad


def time_texts(values: np.ndarray, kind: str) -> list[str]:
    """How times stand in window ids and in the account: ISO 8601 with ``Z`` for timestamps, else the number."""
    if kind != "timestamp":
        return (
            [_number_text(value) or "" for value in values.astype(float).tolist()]
            if kind == "float"
            else [str(value) for value in values.tolist()]
        )
    seconds = np.datetime_as_string(values.astype("datetime64[ns]"), unit="s").tolist()
    return [
        f"{text}.{rest:09d}".rstrip("0") + "Z" if rest else text + "Z"
        for text, rest in zip(seconds, (values % 1_000_000_000).tolist(), strict=True)
    ]

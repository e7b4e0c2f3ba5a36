"""Read columns by the spelling of their cells: `data.csv` says how texts write numbers, Booleans and missing values.

>>> cells = CellReader(CsvConfig(delimiter=";", decimal=",", missing=["-999"]))
>>> cells.numbers(pa.array(["3,14", "-999,0", "3.14"]))
(array([3.14,  nan,  nan]), array([False, False,  True]))

Numbers, Booleans and times that are stored as such are spelled in no way. Where a column in memory mixes types, it
becomes text, and a mask ``native`` says which texts were no texts before.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from noisy_gru.data.arrow import pa, pc
from noisy_gru.data.values.date_parts import named_parts, times_of_parts
from noisy_gru.data.values.parsing import NULL_TEXTS, Array, ColumnTypeError, flatten, parse_number, parse_numbers
from noisy_gru.data.values.parsing import parse_times as parse_plain_times
from noisy_gru.data.values.text_normalization import format_column, normalize_text, parse_texts
from noisy_gru.data.values.time_formats import formatted_times, lacks_zone, localized
from noisy_gru.schema.csv_config import BLANKS, FALSE_TEXTS, TRUE_TEXTS, CsvConfig
from noisy_gru.schema.date_parts import DatePart
from noisy_gru.schema.time_config import EPOCHS, TimeSpelling

_NULLS = pa.array(sorted(NULL_TEXTS))
Native = np.ndarray | None


class CellReader:
    """Read the columns of a data set whose `data.csv` is ``csv``, in files of every format and in memory."""

    def __init__(self, csv: CsvConfig) -> None:
        self._decimal, self._thousands = csv.decimal, csv.thousands
        self._plain = csv.decimal == "." and csv.thousands is None
        if csv.thousands is not None:
            mark = f"[{BLANKS}]" if csv.thousands == " " else f"[{csv.thousands}]"
            fraction = r"\." if csv.decimal == "." else ","
            self._mark = mark
            self._grouped = rf"^[+-]?[0-9]{{1,3}}(?:{mark}[0-9]{{3}})+(?:{fraction}[0-9]*)?(?:[eE][+-]?[0-9]+)?$"
        markers = [text.strip() for text in csv.missing]
        self._missing = pa.array(sorted(set(markers)), pa.string())
        self._missing_texts = pa.array(sorted({*markers, *map(normalize_text, markers)}), pa.string())
        self._missing_numbers = np.unique(
            [number for text in markers if (number := self._number(text)) is not None and number == number]
        ).astype(np.float64)
        self._booleans = {
            **dict.fromkeys(NULL_TEXTS, np.nan),
            **dict.fromkeys(TRUE_TEXTS, 1.0),
            **dict.fromkeys(FALSE_TEXTS, 0.0),
            **dict.fromkeys((text.strip().lower() for text in csv.true), 1.0),
            **dict.fromkeys((text.strip().lower() for text in csv.false), 0.0),
        }

    def _number(self, text: str) -> float | None:
        """Return the number that a marker is, in the spelling of the cells or in Python's; None if it is none."""
        plain = self._plainly(pa.array([text]))[0].as_py()
        found = parse_number(plain)
        return parse_number(text) if found is None else found

    def numbers(self, array: Array, native: Native = None) -> tuple[np.ndarray, np.ndarray]:
        """Return float64 values [N], NaN where missing or unparsable, and a mask [N] of the unparsable.

        Raises:
            ColumnTypeError: the column's type holds no numbers.
        """
        if self._plain and not len(self._missing):
            return parse_numbers(array)
        array, undecoded = flatten(array)
        values, bad = parse_numbers(self._as_python_spells(array, native))
        marked = self._is_marker(values, array)
        return np.where(marked, np.nan, values), bad | undecoded

    def booleans(self, array: Array, native: Native = None) -> tuple[np.ndarray, np.ndarray]:
        """Return 1, 0 or NaN (missing or unparsable) as float64 [N], and a mask [N] of the unparsable.

        Raises:
            ColumnTypeError: the column's type holds no Booleans.
        """
        array, undecoded = flatten(array)
        if not pa.types.is_string(array.type):
            values, bad = self.numbers(array)
            wrong = ~np.isin(values, (0.0, 1.0)) & ~np.isnan(values)
            return np.where(wrong, np.nan, values), bad | wrong
        encoded = array.dictionary_encode()
        found = [self._boolean(text) for text in encoded.dictionary.to_pylist()]
        place = pc.fill_null(encoded.indices, len(found)).to_numpy(zero_copy_only=False)
        values = np.array([np.nan if value is None else value for value in found] + [np.nan])[place]
        return values, np.array([value is None for value in found] + [False])[place] | undecoded

    def _boolean(self, text: str) -> float | None:
        text = text.strip()
        if len(self._missing) and pc.is_in(pa.scalar(text), self._missing).as_py():
            return np.nan
        if (known := self._booleans.get(text.lower())) is not None:
            return known
        number = parse_number(text)  # 1.0 and 0.0, as pandas writes a column with missing values
        if number is not None and number in self._missing_numbers:
            return np.nan
        return number if number in (0.0, 1.0) else None

    def texts(self, array: Array) -> tuple[Array, np.ndarray]:
        """Return normalized strings, null where missing, and a mask [N] of the cells that aren't UTF-8.

        Raises:
            ColumnTypeError: the column's type has no text form.
        """
        text, bad = parse_texts(array)
        if len(self._missing):
            text = pc.if_else(pc.is_in(pc.utf8_trim_whitespace(text), self._missing_texts), None, text)
        return text, bad

    def times(
        self, arrays: Sequence[Array], kind: str, spelling: TimeSpelling, natives: Sequence[Native] = (None,)
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return times [N] of one column, or of a date's several, and a mask [N] of the missing or unparsable.

        ``integer`` gives int64, ``float`` finite float64, ``timestamp`` int64 nanoseconds since 1970 in UTC.

        Raises:
            ColumnTypeError: a column's type can't be parsed as this kind of time.
        """
        if spelling.parts:
            given = [natives[place] if len(natives) == len(arrays) else None for place in range(len(arrays))]
            parts = dict(zip(spelling.parts, map(self._part, arrays, spelling.parts, given), strict=True))
            values, bad = times_of_parts(parts)
            return (values, bad) if spelling.zone is None else localized(values, bad, ~bad, spelling)
        if len(arrays) > 1:
            joined = _joined(arrays)
            any_native = None if all(each is None for each in natives) else np.ones(len(joined), bool)
            stored = any(not pa.types.is_string(flatten(array)[0].type) for array in arrays)
            return self._timestamps(joined, spelling, np.ones(len(joined), bool) if stored else any_native)
        (array,), (native,) = arrays, natives
        if kind == "timestamp":
            return self._timestamps(array, spelling, native)
        if self._plain and not len(self._missing):
            return parse_plain_times(array, kind)
        array, _ = flatten(array)
        values, bad = parse_plain_times(self._as_python_spells(array, native), kind)
        return values, bad | self._is_marker(values.astype(np.float64), array)

    def _part(self, array: Array, part: DatePart, native: Native) -> np.ndarray:
        """Return the numbers of a part of dates, float64 [N]; NaN where there is none."""
        values, bad = self.numbers(array, native)
        array, _ = flatten(array)
        if bad.any() and part in ("month", "quarter") and pa.types.is_string(array.type):
            values = np.where(bad, named_parts(array, part), values)
        return values

    def _timestamps(self, array: Array, spelling: TimeSpelling, native: Native) -> tuple[np.ndarray, np.ndarray]:
        array, _ = flatten(array)
        values, bad = self._as_written(array, spelling, native)
        if spelling.zone is None:
            return values, bad
        return localized(values, bad, lacks_zone(array, spelling.format, native), spelling)

    def _as_written(self, array: Array, spelling: TimeSpelling, native: Native) -> tuple[np.ndarray, np.ndarray]:
        if len(self._missing) and not pa.types.is_temporal(array.type):
            text, _ = self.texts(array)
            array = pc.if_else(text.is_valid(), array, None)
        if spelling.format is None:
            return parse_plain_times(array, "timestamp")
        if spelling.format in EPOCHS and pa.types.is_string(array.type):
            array = self._as_python_spells(array, native)
        return formatted_times(array, spelling.format, native)

    def _is_marker(self, values: np.ndarray, array: Array) -> np.ndarray:
        """Mask [N] of the numbers that mark a missing value; a float32 is compared in its own precision."""
        numbers = self._missing_numbers
        if array.type in (pa.float32(), pa.float16()):
            return np.isin(values.astype(np.float32), numbers.astype(np.float32))
        return np.isin(values, numbers)

    def _as_python_spells(self, array: Array, native: Native) -> Array:
        """Return texts with the decimal point and no groups, null where a marker is; another type as it is."""
        if not pa.types.is_string(array.type):
            return array
        if len(self._missing):
            array = pc.if_else(pc.is_in(pc.utf8_trim_whitespace(array), self._missing), None, array)
        if self._plain:
            return array
        plain = self._plainly(array)
        return plain if native is None else pc.if_else(pa.array(native), array, plain)

    def _plainly(self, array: Array) -> Array:
        """Replace the marks; what isn't in this spelling gets an apostrophe, which no number has."""
        text = pc.utf8_trim_whitespace(array)
        text = pc.if_else(pc.is_in(pc.utf8_lower(text), _NULLS), None, text)
        if self._thousands is not None:
            grouped = pc.match_substring_regex(text, self._grouped)
            text = pc.if_else(grouped, pc.replace_substring_regex(text, self._mark, ""), text)
        if self._decimal == ",":
            if self._thousands != ".":
                text = pc.replace_substring(text, ".", "'")
            else:
                text = pc.if_else(pc.fill_null(grouped, False), text, pc.replace_substring(text, ".", "'"))
            text = pc.replace_substring(text, ",", ".")
        return text


def _joined(arrays: Sequence[Array]) -> Array:
    """Join a date and a clock by a blank; null where one of them is missing."""
    parts = []
    for place, each in enumerate(arrays):
        array, _ = flatten(each)
        if place == 0 and pa.types.is_timestamp(array.type):  # pandas has no type for dates alone
            array = array.cast(pa.date32(), safe=False)
        if pa.types.is_floating(array.type):
            array = pa.array(array.to_pandas().astype("Int64"))
        if pa.types.is_nested(array.type):
            raise ColumnTypeError(f"dates and times of day, received a column of type {array.type}")
        text = pc.utf8_trim_whitespace(format_column(array))
        parts.append(pc.if_else(pc.equal(text, ""), None, text))
    return pc.binary_join_element_wise(*parts, " ")

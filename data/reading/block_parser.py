"""Parse blocks of raw rows into canonical columns, and quarantine the rows with unusable values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from noisy_gru.data.arrow import pa, pc
from noisy_gru.data.columns import ONE_SERIES, Columns
from noisy_gru.data.reading.csv_records import REPEATED_HEADER, Malformed
from noisy_gru.data.reading.tables import STEP, Block, Source
from noisy_gru.data.report.quarantine import Quarantine, Record, plain
from noisy_gru.data.sequences.chunks import CATEGORICAL, NUMERIC
from noisy_gru.data.values.cells import CellReader
from noisy_gru.data.values.entity_names import join_names
from noisy_gru.data.values.parsing import ColumnTypeError, with_plain_layouts
from noisy_gru.data.values.precision import sample_distinct
from noisy_gru.data.values.spelling_advice import SpellingAdvice
from noisy_gru.data.values.text_normalization import format_column, fractional_texts, normalize_text
from noisy_gru.schema.config import SPLITS, ColumnSplitConfig, DatasetConfig
from noisy_gru.schema.errors import DataError

UNPARSABLE, INFINITE, MISSING = "unparsable_value", "infinite_value", "missing_value"
UNKNOWN_SPLIT = "unknown_split"
EMPTY_CELL = "empty_cell"  # of a wide table


@dataclass
class _Flags:
    """The first problem of each row: an index into ``causes``, or -1."""

    size: int
    causes: list[tuple[str, str, str, str]] = field(default_factory=list)  # action, reason, column, expectation
    first: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.first = np.full(self.size, -1, np.int32)

    def mark(self, mask: np.ndarray, action: str, reason: str, column: str, expected: str) -> None:
        new = mask & (self.first < 0)
        if new.any():
            self.first[new] = len(self.causes)
            self.causes.append((action, reason, column, expected))


class BlockParser:
    """Parse blocks into tables of canonical columns by the row policies of a data set.

    With ``prediction`` there is neither label nor split, and rows with only columns that are known in advance are the
    future: their other columns may be empty.
    """

    def __init__(self, dataset: DatasetConfig, *, prediction: bool = False) -> None:
        self._columns = Columns.of(dataset, prediction=prediction)
        self._policies = dataset.data.policies
        self._offsets = {feature.name: feature.offset for feature in dataset.data.features if feature.offset}
        self._codes = {each.name: each.missing_codes for each in dataset.data.features if each.missing_codes}
        self._prediction = prediction
        self._cells = CellReader(dataset.data.csv)
        self._advice = SpellingAdvice(dataset.data.csv)
        self._splits: dict[str, int] = {}
        if isinstance(dataset.splits, ColumnSplitConfig):
            for split, values in dataset.splits.values.items():
                for value in map(normalize_text, values):
                    if self._splits.setdefault(value, SPLITS.index(split)) != SPLITS.index(split):
                        raise DataError(f"splits.values: {value!r} stands for {split} and for another split")

    def parse(self, block: Block, source: Source, quarantine: Quarantine) -> Any:
        """Return the usable rows as a table of canonical columns (pa.Table); quarantine the others.

        Raises:
            DataError: a column's type contradicts the configuration.
        """
        raw, columns = block.table, self._columns
        size = len(block.rows)
        quarantine.report.rows_read += size + len(block.malformed) + block.skipped
        quarantine.report.files[source.name] += size + len(block.malformed) + block.skipped
        self._malformed(block, source, quarantine)
        quarantine.rows("drop", EMPTY_CELL, block.skipped, list)
        flags = _Flags(size)
        out: dict[str, Any] = {}

        names = []
        for name in columns.entity:
            text, _ = self._texts(block, name, source)
            flags.mark(_empty(text), self._row_action(UNPARSABLE), UNPARSABLE, name, "an entity id")
            names.append(text)
        out["entity"] = join_names(names) if names else pa.array([ONE_SERIES] * size, pa.string())
        self._time(block, source, flags, out)
        if columns.split is not None:
            self._split(block, source, flags, out)
        elif source.split is not None:
            out["split"] = pa.array(np.full(size, SPLITS.index(source.split), np.int8))
        if columns.label is not None:
            self._label(block, source, flags, out, quarantine)
        self._features(block, source, flags, out, quarantine)
        if not self._prediction:
            for name in columns.texts:
                quarantine.report.add_spellings(name, fractional_texts(raw[name]))
        out["row"] = pa.array(block.rows)

        table = pa.table(out)
        if (flags.first >= 0).any():
            self._quarantine_flagged(flags, block, source, quarantine)
            table = table.filter(pa.array(flags.first < 0))
        return table

    def _read(self, parse: Callable[[], Any], column: str, source: Source) -> Any:
        try:
            return parse()
        except ColumnTypeError as error:
            raise DataError(f"{source.name}, column {column}: expected {error}. Correct the column or data") from error

    def _texts(self, block: Block, column: str, source: Source) -> Any:
        return self._read(lambda: self._cells.texts(block.table[column]), column, source)

    def _numbers(self, block: Block, column: str, source: Source) -> Any:
        read = self._cells.booleans if column in self._columns.booleans else self._cells.numbers
        array, native = block.table[column], block.native.get(column)
        values, bad = self._read(lambda: read(array, native), column, source)
        if codes := self._codes.get(column):
            # A Boolean's code is neither true nor false.
            number = self._cells.numbers(array, native)[0] if column in self._columns.booleans else values
            is_code = np.isin(number, np.array(codes, np.float64))
            if array.type in (pa.float32(), pa.float16()):
                is_code |= np.isin(_as_float32(number), _as_float32(np.array(codes, np.float64)))
            values, bad = np.where(is_code, np.nan, values), bad & ~is_code
        return values, bad

    def _row_action(self, policy: str) -> str:
        action = getattr(self._policies, policy)
        return "quarantine" if action == "impute" else action

    def _time(self, block: Block, source: Source, flags: _Flags, out: dict[str, Any]) -> None:
        columns, raw, names = self._columns, block.table, self._columns.time_columns
        if not names:
            out["time"] = raw[STEP] if STEP in raw.column_names else pa.array(np.arange(len(block.rows)))
            return
        arrays, natives = [raw[name] for name in names], [block.native.get(name) for name in names]
        time, bad = self._read(
            lambda: self._cells.times(arrays, columns.time_kind, columns.times, natives), " and ".join(names), source
        )
        expected = {"integer": "a whole number", "float": "a finite number", "timestamp": columns.times.expected}
        flags.mark(bad, self._row_action(UNPARSABLE), UNPARSABLE, names[0], expected[columns.time_kind])
        out["time"] = pa.array(time)
        if columns.times.ambiguous == "infer":
            again, _ = self._cells.times(arrays, columns.time_kind, replace(columns.times, ambiguous="later"), natives)
            out["repeat"] = pa.array(np.where(bad, 0, again - time))

    def _split(self, block: Block, source: Source, flags: _Flags, out: dict[str, Any]) -> None:
        name = self._columns.split or ""
        split, _ = self._texts(block, name, source)
        known = pa.array(list(self._splits))
        place = pc.index_in(split, known)
        indexes = np.array([*self._splits.values(), -1], np.int8)[pc.fill_null(place, -1).to_numpy()]
        flags.mark(indexes < 0, "quarantine", UNKNOWN_SPLIT, name, f"one of {', '.join(self._splits)}")
        out["split"] = pa.array(indexes)

    def _label(self, block: Block, source: Source, flags: _Flags, out: dict[str, Any], quarantine: Quarantine) -> None:
        name = self._columns.label or ""
        if self._columns.label_is_class:
            label, bad = self._texts(block, name, source)
            flags.mark(bad, self._row_action(UNPARSABLE), UNPARSABLE, name, "UTF-8 text")
            out["label"] = pc.if_else(pc.equal(label, ""), None, label)
            return
        values, bad = self._numbers(block, name, source)
        quarantine.report.sample_values(name, sample_distinct(values))
        bad = bad | np.isinf(_as_float32(values))
        flags.mark(bad, self._row_action(UNPARSABLE), UNPARSABLE, name, "a finite number (float32)")
        # In float32: 0.1 in a CSV file and 0.1 stored as float32 are the same label.
        out["label"] = pa.array(_as_float32(values).astype(np.float64))

    def _features(
        self, block: Block, source: Source, flags: _Flags, out: dict[str, Any], quarantine: Quarantine
    ) -> None:
        columns, raw = self._columns, block.table
        missing: dict[str, np.ndarray] = {}
        infinite: dict[str, np.ndarray] = {}
        for name in columns.numeric:
            if name not in raw.column_names:  # predicting: a target that is no feature, or a static value sent before
                out[NUMERIC + name] = pa.array(np.full(len(raw), np.nan, np.float32))
                continue
            wide, bad = self._numbers(block, name, source)
            wide = wide - self._offsets.get(name, 0.0)
            values = _as_float32(wide)
            if not self._prediction:
                quarantine.report.sample_values(name, sample_distinct(wide))
            expected = "true or false" if name in columns.booleans else "a number"
            self._bad(UNPARSABLE, bad, name, expected, flags, quarantine)
            infinite[name] = np.isinf(values)
            if infinite[name].any():
                values = np.where(infinite[name], np.float32(np.nan), values)
            missing[name] = np.isnan(values) & ~bad & ~infinite[name]
            out[NUMERIC + name] = pa.array(values)
        for name, mask in infinite.items():
            self._bad(INFINITE, mask, name, "a finite number (float32)", flags, quarantine)
        for name in columns.categorical:
            if name not in raw.column_names:  # predicting: a static value sent before
                out[CATEGORICAL + name] = pa.array([""] * len(raw), pa.string())
                continue
            text, bad = self._texts(block, name, source)
            if codes := self._codes.get(name):
                spelled = [code if isinstance(code, str) else f"{code:.15g}" for code in codes]
                text = pc.if_else(pc.is_in(text, pa.array(spelled, pa.string())), None, text)
            self._bad(UNPARSABLE, bad, name, "UTF-8 text", flags, quarantine)
            missing[name] = _empty(text) & ~bad
            out[CATEGORICAL + name] = pc.fill_null(text, "")
        future = self._future(missing, len(raw))
        features = (*columns.numeric_features, *columns.categorical)
        for name in features:
            if name in columns.static:  # another row may have the value
                continue
            mask = missing[name] if name in columns.known_in_advance else missing[name] & ~future
            self._bad(MISSING, mask, name, "a value", flags, quarantine)

    def _future(self, missing: dict[str, np.ndarray], size: int) -> np.ndarray:
        """Mask [N] of the rows of a prediction's input with only columns that are known in advance."""
        past_only = self._columns.past_only(missing)
        if not self._prediction or self._columns.future != "rows" or not past_only:
            return np.zeros(size, bool)
        return np.logical_and.reduce([missing[name] for name in past_only])

    def _bad(
        self, reason: str, mask: np.ndarray, name: str, expected: str, flags: _Flags, quarantine: Quarantine
    ) -> None:
        if not mask.any():
            return
        action = getattr(self._policies, reason)
        if action == "impute":
            quarantine.report.count_imputed(reason, name, int(mask.sum()))
        else:
            flags.mark(mask, action, reason, name, expected)

    def _quarantine_flagged(self, flags: _Flags, block: Block, source: Source, quarantine: Quarantine) -> None:
        for cause, (action, reason, column, expected) in enumerate(flags.causes):
            which = np.flatnonzero(flags.first == cause)

            def records(
                which: np.ndarray = which, column: str = column, expected: str = expected, reason: str = reason
            ) -> list[Record]:
                values = _python(with_plain_layouts(block.table).take(pa.array(which)))
                return [
                    {
                        "file": source.name,
                        "row": int(block.rows[place]),
                        **({} if block.lines is None else {"line": int(block.lines[place])}),
                        "column": column,
                        **_file_column(block, column, int(place)),
                        "value": plain(found[column]),
                        "problem": f"expected {expected}, received {self._received(column, reason, found)}",
                        "values": {key: plain(value) for key, value in found.items()},
                    }
                    for place, found in zip(which, values, strict=True)
                ]

            quarantine.rows(action, reason, len(which), records, file=source.name)

    def _received(self, column: str, reason: str, found: dict[str, Any]) -> str:
        """Return what a row has in a column (of the time: in its columns), and the option that would read it."""
        columns = self._columns
        is_time = column in columns.time_columns
        names = columns.time_columns if is_time else (column,)
        shown = " and ".join(_shown(found[name]) for name in names)
        value = found[column]
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        if reason != UNPARSABLE or not isinstance(text, str) or not text.strip():
            return shown
        if is_time:
            joined = " ".join(str(found[name]) for name in names) if len(names) > 1 else text
            return shown + self._advice.time(joined, columns.time_kind, columns.times)
        if column in columns.booleans:
            return shown + self._advice.boolean(text)
        is_number = column in columns.numeric or (column == columns.label and not columns.label_is_class)
        return shown + (self._advice.number(text) if is_number else "")

    def _malformed(self, block: Block, source: Source, quarantine: Quarantine) -> None:
        headers = [each for each in block.malformed if each.reason == REPEATED_HEADER]
        others = [each for each in block.malformed if each.reason is None]
        # Repeated headers lose no data: they are recorded, and don't count against the file.
        quarantine.rows("quarantine", REPEATED_HEADER, len(headers), lambda: _records(headers, source))
        action = self._row_action(UNPARSABLE)
        quarantine.rows(action, UNPARSABLE, len(others), lambda: _records(others, source), file=source.name)


def _file_column(block: Block, column: str, place: int) -> dict[str, str]:
    names = block.file_columns.get(column)
    return {} if names is None else {"file_column": names[place].as_py()}


def _records(malformed: list[Malformed], source: Source) -> list[Record]:
    return [
        {
            "file": source.name,
            "row": each.row,
            **({} if each.line is None else {"line": each.line}),
            "problem": each.problem,
        }
        for each in malformed
    ]


def _python(table: Any) -> list[dict[str, Any]]:
    """Return the rows of a table; times as text, since Python has neither a year 10000 nor nanoseconds."""
    for place, field_ in enumerate(table.schema):
        if pa.types.is_timestamp(field_.type) or pa.types.is_date(field_.type) or pa.types.is_time(field_.type):
            table = table.set_column(place, field_.name, format_column(table[place]))
    return table.to_pylist()


def _as_float32(values: np.ndarray) -> np.ndarray:
    """Cast float64 to float32; values beyond its range become infinite."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _empty(text: Any) -> np.ndarray:
    """Mask [N] of the texts that are null or empty."""
    return pc.equal(pc.fill_null(text, ""), "").to_numpy(zero_copy_only=False)


def _shown(value: Any) -> str:
    return "nothing" if value is None or value == "" else repr(value)

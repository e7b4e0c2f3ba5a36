"""Wide tables: a column for each series, or a column for each step, read as if each cell were a row.

    time        shop_1  shop_2            time        shop    units
    2026-01-01  5       7           ->    2026-01-01  shop_1  5
                                          2026-01-01  shop_2  7

Rows keep the numbers of the file's rows, and the quarantine names the file's columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from noisy_gru.data.arrow import pa
from noisy_gru.data.columns import Columns
from noisy_gru.data.reading.csv_records import Malformed
from noisy_gru.data.reading.tables import Block, Source, case_name, check_columns
from noisy_gru.data.values.cells import CellReader
from noisy_gru.data.values.parsing import with_plain_layouts
from noisy_gru.data.values.text_normalization import format_column
from noisy_gru.schema.config import DatasetConfig, LayoutConfig
from noisy_gru.schema.errors import DataError

BLOCK_CELLS = 1 << 18


def is_long(names: Sequence[str], dataset: DatasetConfig) -> bool:
    """Whether a table has the column that the layout would make: it is long already."""
    layout, time = dataset.data.layout, dataset.data.time
    made = dataset.data.entity if layout is not None and layout.kind == "wide_series" else time and time.columns[0]
    return layout is None or made in names


class WideTable:
    """The value columns of one wide source.

    Args:
        dataset: with a ``data.layout``.
        required: columns of the long table that have to be there.
        prediction: whether label and split are left out.
    """

    def __init__(self, dataset: DatasetConfig, required: Sequence[str], *, prediction: bool = False) -> None:
        layout, time = dataset.data.layout, dataset.data.time
        if layout is None or time is None:
            raise ValueError("a wide table needs data.layout and data.time")
        self._layout: LayoutConfig = layout
        self._time = time.columns[0]
        # Of a layout that makes the entity's column, there is one.
        self._entity = ", ".join(dataset.data.entity_columns)
        made = {layout.value}
        if layout.kind == "wide_series":
            made.add(self._entity)
        else:
            made.add(self._time)
            if layout.entity == "row":
                made.add(self._entity)
        self._made = made
        every = Columns.of(dataset)
        self._named = [*every.wanted(), *dict.fromkeys(layout.first_columns)]
        self._wanted = set(Columns.of(dataset, prediction=prediction).wanted())
        self._required = [name for name in required if name not in made]
        self._is_boolean, self._is_number = layout.value in every.booleans, layout.value in every.numeric
        self._cells = CellReader(dataset.data.csv)
        self._new_names: list[str] = []
        self._values: list[str] = []

    def choose(self, names: Sequence[str], source: Source) -> list[str]:
        """Return the columns of a file to read: those that the configuration names, and the value columns.

        Raises:
            DataError: a column is missing, has no name or is there twice, or the table is long already.
        """
        first = self._layout.first_columns
        if len(names) <= len(first):
            raise DataError(
                f"{source.name}: expected {len(first)} columns ({', '.join(first)}) and the value columns, received "
                f"{len(names)}: {', '.join(names)}. Correct data.layout.first_columns, or data.csv.delimiter"
            )
        new = [*first, *names[len(first) :]]
        if made := sorted(self._made & set(new)):
            raise DataError(
                f"{source.name}: has the column {', '.join(made)}, which data.layout makes of a wide table. Leave "
                "data.layout out if the table is long, or choose another name in the configuration"
            )
        check_columns(new, self._required, source)
        values = self._value_columns(new, source)
        chosen = [place for place, name in enumerate(new) if name in self._wanted or name in values]
        self._new_names = [new[place] for place in chosen]
        self._values = [name for name in self._new_names if name in values]
        twice = sorted({name for name in self._new_names if self._new_names.count(name) > 1})
        if twice:
            raise DataError(f"{source.name}: has the column {', '.join(twice)} more than once; keep one")
        return [names[place] for place in chosen]

    def _value_columns(self, names: Sequence[str], source: Source) -> set[str]:
        patterns = self._layout.columns
        others = [name for name in names if name not in self._named]
        if patterns is None:
            found = others
            if nameless := [place for place, name in enumerate(names, start=1) if not name.strip() and name in others]:
                raise DataError(
                    f"{source.name}: column {nameless[0]} has no name, so it may be an index and not values. Give the "
                    "value columns in data.layout.columns, or remove the column"
                )
        else:
            unmatched = [each for each in patterns if not any(fnmatchcase(name, each) for name in others)]
            if unmatched:
                raise DataError(
                    f"{source.name}: data.layout.columns: {', '.join(unmatched)} matches no column of "
                    f"{', '.join(names)}. Correct it"
                )
            found = [name for name in others if any(fnmatchcase(name, each) for each in patterns)]
        if not found:
            raise DataError(
                f"{source.name}: expected value columns beside {', '.join(names)}, received none: a wide table has one "
                "for each series or step. Leave data.layout out if the table is long"
            )
        return set(found)

    def long(self, block: Block, source: Source) -> Iterator[Block]:
        """Yield the cells of a block as rows."""
        table = with_plain_layouts(block.table).rename_columns(self._new_names)
        size = max(1, BLOCK_CELLS // len(self._values))
        for start in range(0, max(len(block.rows), 1), size):
            part = Block(
                table.slice(start, size),
                block.rows[start : start + size],
                block.malformed if start == 0 else [],
                None if block.lines is None else block.lines[start : start + size],
                {name: mask[start : start + size] for name, mask in block.native.items()},
            )
            yield self._melted(part, source)

    def _melted(self, block: Block, source: Source) -> Block:
        names, count, width = self._values, len(block.rows), len(self._values)
        # Cells row by row.
        order = pa.array((np.arange(count)[:, None] + count * np.arange(width)[None, :]).ravel())
        values, native = _joined([block.table[name] for name in names], [block.native.get(name) for name in names])
        values, native = values.take(order), native[order.to_numpy()]
        missing = self._missing(values, native).reshape(count, width)
        malformed = list(block.malformed)
        if self._layout.kind == "wide_steps":
            lengths = width - np.argmin(missing[:, ::-1], axis=1)
            lengths[missing.all(axis=1)] = 0
            keep = np.arange(width)[None, :] < lengths[:, None]
            malformed += [
                Malformed(
                    int(block.rows[place]),
                    f"expected a value in one of the {width} columns {names[0]} to {names[-1]}, received none",
                    None if block.lines is None else int(block.lines[place]),
                )
                for place in np.flatnonzero(lengths == 0)
            ]
        else:
            keep = ~missing if self._layout.empty_cells == "skip" else np.ones_like(missing)
        row, column = np.nonzero(keep)
        rows, of_row = pa.array(row), block.rows[row]
        table = {name: block.table[name].take(rows) for name in self._new_names if name not in names}
        column_names = pa.DictionaryArray.from_arrays(pa.array(column, pa.int32()), pa.array(names, pa.string()))
        if self._layout.kind == "wide_series":
            table[self._entity] = column_names
        else:
            by_name = self._layout.steps == "name"
            table[self._time] = column_names if by_name else pa.array(column + self._layout.first_step, pa.int64())
            if self._layout.entity == "row":
                cases = pa.array([case_name(source, int(number)) for number in block.rows], pa.string())
                table[self._entity] = pa.DictionaryArray.from_arrays(rows.cast(pa.int32()), cases)
        table[self._layout.value] = values.filter(pa.array(keep.ravel()))
        kept_native = {name: mask[row] for name, mask in block.native.items() if name in table}
        if native.any():
            kept_native[self._layout.value] = native[keep.ravel()]
        return Block(
            pa.table(table),
            of_row,
            malformed,
            None if block.lines is None else block.lines[row],
            kept_native,
            {self._layout.value: column_names},
            int((~keep).sum()) - (len(malformed) - len(block.malformed)),
        )

    def _missing(self, values: Any, native: np.ndarray) -> np.ndarray:
        """Mask [N] of the cells without a value."""
        if self._is_boolean or self._is_number:
            read = self._cells.booleans if self._is_boolean else self._cells.numbers
            numbers, bad = read(values, native if native.any() else None)
            return np.isnan(numbers) & ~bad
        texts, bad = self._cells.texts(values)
        return np.array([not text for text in texts.to_pylist()], bool) & ~bad


def _joined(columns: Sequence[Any], natives: Sequence[np.ndarray | None]) -> tuple[Any, np.ndarray]:
    """Join columns one after the other, and return a mask [N] of the cells that became text, as `Block.native`."""
    parts = [_plain(column) for column in columns]
    kinds = {part.type for part in parts if not pa.types.is_null(part.type)}
    native = [np.zeros(len(part), bool) if mask is None else mask for part, mask in zip(parts, natives, strict=True)]
    if len(kinds) > 1 and all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in kinds):
        parts = [part.cast(pa.float64(), safe=False) for part in parts]
    elif len(kinds) > 1:
        # Stored values beside texts: all become text, each as in a CSV file.
        native = [
            mask if pa.types.is_string(part.type) else np.ones(len(part), bool)
            for part, mask in zip(parts, native, strict=True)
        ]
        parts = [part if pa.types.is_string(part.type) else format_column(part) for part in parts]
    elif kinds:
        (kind,) = kinds
        parts = [part.cast(kind) for part in parts]
    return pa.concat_arrays(parts), np.concatenate(native)


def _plain(column: Any) -> Any:
    array = column.combine_chunks()
    array = pa.array([], array.type) if isinstance(array, pa.ChunkedArray) else array
    array = array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
    return array.cast(pa.string()) if pa.types.is_large_string(array.type) else array

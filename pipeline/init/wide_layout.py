"""Detect wide tables in a sample, and melt it: a column for each series, or a column for each step.

>>> wide = detect_layout(frame, header=True)  # doctest: +SKIP
>>> wide.options, wide.melted(table)  # doctest: +SKIP
({'kind': 'wide_series', 'value': 'value', 'columns': ['shop_*']}, Table(...))
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from noisy_gru.data.values.cell_detection import Finding
from noisy_gru.pipeline.init.columns import TIME_NAMES, is_entity_name, is_timestamp, named
from noisy_gru.pipeline.init.roles import Table
from noisy_gru.schema.errors import ConfigError

LAYOUTS = ("none", "wide_series", "wide_steps")
_LEAST_STEPS = 12  # of files without a header, whose columns could be anything
_LEAST_NAMED_STEPS = 8
_LEAST_SERIES = 3
_MOST_NAMES = 50
_MOST_CELLS = 200_000
_NUMBERED = re.compile(r"(.*?)[ _-]?0*(\d+|[A-Z]{1,2})")


@dataclass
class Wide:
    """A wide table: the options of ``data.layout``, its value columns, and the columns that melting makes.

    ``label`` is the class in UCR's files; ``times`` are those of the value columns, if they become the time.
    """

    options: dict[str, Any]
    values: list[str]
    entity: str
    time: str
    finding: Finding
    label: str | None = None
    times: list[Any] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)

    def codes_of_cells(self, codes: dict[str, list[float]]) -> dict[str, list[float]]:
        """Return the codes of missing values by column of the rows, of which the value has those of all cells."""
        rest = {name: each for name, each in codes.items() if name not in self.values}
        cells = sorted({code for name, each in codes.items() if name in self.values for code in each})
        return {**rest, **({str(self.options["value"]): cells} if cells else {})}

    def melted(self, table: Table) -> Table:
        """Return the cells of the sample as rows, of rows spread over all where there are many."""
        frame, part = table.frame.rename(columns=self.renamed), table.part
        size = max(1, _MOST_CELLS // len(self.values))
        if len(frame) > size and self.options["kind"] == "wide_steps":
            places = np.unique(np.linspace(0, len(frame) - 1, size).astype(int))
            frame, part = frame.iloc[places], part[places]
        frame = frame.head(size).reset_index(drop=True)
        part = part[: len(frame)]
        values = [self.renamed.get(name, name) for name in self.values]
        rest = [name for name in frame.columns if name not in values]
        cells = frame[values].to_numpy(float, na_value=np.nan)
        known = ~np.isnan(cells)
        if self.options["kind"] == "wide_steps":  # the empty cells at a row's end are no steps
            known = np.cumsum(known[:, ::-1], axis=1)[:, ::-1] > 0
        row, column = np.nonzero(known)
        long = frame[rest].iloc[row].reset_index(drop=True)
        if self.options["kind"] == "wide_series":
            long[self.entity] = np.array(values, object)[column]
        else:
            long[self.time] = pd.Series(self.times)[column].to_numpy()
            if self.options.get("entity") == "row":
                long[self.entity] = [f"{each}-{number + 1}" for each, number in zip(part[row], row, strict=True)]
        long[self.options["value"]] = cells[row, column]
        return Table(long, part[row], table.is_cut)


def detect_layout(frame: pd.DataFrame, *, header: bool, layout: str | None = None) -> Wide | None:
    """Return the layout of a wide table; None if the table is long.

    Args:
        frame: typed sample.
        header: whether its column names are those of the files.
        layout: one of `LAYOUTS`, if it is known.

    Raises:
        ConfigError: ``layout`` doesn't fit the table.
    """
    if layout not in (None, *LAYOUTS):
        raise ConfigError(f"--layout: expected {', '.join(LAYOUTS)}, received {layout}")
    if layout == "none":
        return None
    names = [str(name) for name in frame.columns]
    numbers = [name for name in names if _is_number(frame[name])]
    found = None
    if layout != "wide_series":
        found = _named_steps(frame, names, numbers) if header else _ucr(frame, names, numbers)
    if found is None and layout != "wide_steps":
        found = _series(frame, names, numbers, requested=layout is not None)
    if layout is not None and found is None:
        raise ConfigError(
            f"--layout {layout}: expected "
            + ("a time column with one row for each time, and a column of numbers for each series"
               if layout == "wide_series" else "a row for each sequence, and columns named t1, t2, … or by dates")
            + f", received the columns {', '.join(names[:12])}"
        )  # fmt: skip
    if layout is not None and found is not None:
        found.finding = Finding(found.finding.what, "given")
    return found


def _is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _free(name: str, names: Sequence[str]) -> str:
    while name in names:
        name += "_"
    return name


def _ucr(frame: pd.DataFrame, names: list[str], numbers: list[str]) -> Wide | None:
    """A file without a header whose first column is a class and whose other columns are steps."""
    if len(numbers) < len(names) or len(names) <= _LEAST_STEPS or len(frame) < 4:
        return None
    first = frame[names[0]].dropna()
    cells = frame[names[1:]].to_numpy(float)
    # A number of the row or step within each first value is that of a long table.
    counts = any((frame[name].groupby(frame[names[0]]).diff().dropna() == 1).mean() > 0.9 for name in names[1:4])
    if (first % 1 != 0).any() or first.nunique() > min(100, 0.5 * len(frame)) or counts or not _is_smooth(cells):
        return None
    return Wide(
        {"kind": "wide_steps", "value": "value", "entity": "row", "first_columns": ["class"]},
        names[1:],
        "case",
        "step",
        Finding(
            "layout wide_steps",
            f"no header, {first.nunique()} classes in the first column and {len(names) - 1} steps in the others, as in "
            "UCR's files",
        ),
        "class",
        list(range(len(names) - 1)),
        {names[0]: "class"},
    )


def _is_smooth(cells: np.ndarray) -> bool:
    """Whether neighbouring columns [N, T] are nearer to each other than any two cells, or all are of one scale."""
    spread = np.nanstd(cells)
    rough = np.nanmean(np.abs(np.diff(cells, axis=1))) / spread if spread > 0 else np.inf
    scales = np.nanstd(cells, axis=0)
    alike = scales.min() > 0.1 * scales.max() and np.nanstd(np.nanmean(cells, axis=0)) < scales.max()
    return bool(rough < 0.6 or alike)


def _named_steps(frame: pd.DataFrame, names: list[str], numbers: list[str]) -> Wide | None:
    """A table with columns named by dates, or by one name and numbers that rise by one."""
    dates = [name for name in numbers if re.fullmatch(r"\d{4}-\d{2}(-\d{2})?([ T]\d{2}:\d{2}(:\d{2})?)?", name)]
    times: list[Any]
    if len(dates) >= _LEAST_NAMED_STEPS:
        values, times = dates, list(pd.to_datetime(dates, format="ISO8601"))
        options: dict[str, Any] = {"steps": "name"}
        what = f"columns are named by dates, {dates[0]} to {dates[-1]}"
    else:
        groups: dict[str, list[tuple[int, str]]] = {}
        for name in numbers:
            if match := re.fullmatch(r"(.*?)(\d+)", name):
                groups.setdefault(match[1], []).append((int(match[2]), name))
        best = max(groups.values(), key=len, default=[])
        rise = np.diff([number for number, _ in best])
        if len(best) < _LEAST_NAMED_STEPS or (rise != 1).any():
            return None
        values, times = [name for _, name in best], [number for number, _ in best]
        options = {"first_step": best[0][0]} if best[0][0] else {}
        what = f"columns {values[0]} to {values[-1]} count steps"
    rest = [name for name in names if name not in values]
    if any(is_timestamp(frame[name]) or named(name, TIME_NAMES) for name in rest):
        return None  # a time in each row: the columns are sensors
    unique = [name for name in rest if frame[name].notna().all() and frame[name].is_unique]
    unique.sort(key=lambda name: not is_entity_name(name))
    unique = [name for name in unique if not pd.api.types.is_float_dtype(frame[name])]
    time = _free("time" if "steps" in options else "step", names)
    by_row = {} if unique else {"entity": "row"}
    entity = unique[0] if unique else _free("case", names)
    others = _columns(values, [name for name in names if name != entity])
    options = {"kind": "wide_steps", "value": _free("value", names), **others, **by_row, **options}
    return Wide(options, values, entity, time, Finding("layout wide_steps", what, "steps" in options), times=times)


def _series(frame: pd.DataFrame, names: list[str], numbers: list[str], *, requested: bool) -> Wide | None:
    """A table with one row for each time, and columns that are named alike."""
    times = [name for name in names if is_timestamp(frame[name])]
    times = times or [name for name in numbers if named(name, TIME_NAMES)]
    times = [name for name in times if frame[name].is_unique]
    if len(times) != 1:
        return None
    others = [name for name in numbers if name != times[0]]
    groups: dict[str, list[str]] = {}
    for name in others:
        match = _NUMBERED.fullmatch(name)
        groups.setdefault(match[1] if match else name, []).append(name)
    values = max(groups.values(), key=len, default=[])
    if requested and len(values) < max(_LEAST_SERIES, len(others)):
        values = others
    if len(values) < (2 if requested else _LEAST_SERIES):
        return None
    options = {"kind": "wide_series", "value": _free("value", names), **_columns(values, names)}
    why = f"one row for each {times[0]}, and {len(values)} columns are named alike: {', '.join(values[:3])}, …"
    why += "; or they are features of one series: --layout none"
    return Wide(options, values, _free("series", names), times[0], Finding("layout wide_series", why, False))


def _columns(values: list[str], names: list[str]) -> dict[str, list[str]]:
    """Return the value columns as one pattern or by their names; nothing where all others are or they are many."""
    prefix = values[0]
    while not all(name.startswith(prefix) for name in values):
        prefix = prefix[:-1]
    if prefix and not set("*?[]") & set(prefix) and [name for name in names if name.startswith(prefix)] == values:
        return {"columns": [f"{prefix}*"]}
    return {"columns": values} if len(values) <= _MOST_NAMES else {}

"""Preview of a table: counts, lengths, gaps, missing values, first rows, and some sequences drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from noisy_gru.pipeline.init.columns import moments
from noisy_gru.pipeline.init.roles import Roles, Table
from noisy_gru.pipeline.init.time_structure import IRREGULAR, TimeStructure
from noisy_gru.pipeline.schema_file.data_profile import Measures

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 60
_MOST_DRAWN = 3  # in a terminal
_MOST_PICTURES = 6
_FIRST_ROWS = 10
_SHOWN_ROWS = 4
_MOST_COLUMNS = 8
_MOST_CELL = 20


@dataclass(frozen=True)
class Picture:
    """The numbers of a sequence in the order of time, by column, the one that is predicted first."""

    name: str
    columns: dict[str, np.ndarray]


@dataclass(frozen=True)
class Preview:
    """What a table looks like.

    Attributes:
        facts: counts, lengths and gaps, by name.
        missing: missing values by column, the most first.
        lengths: steps of each sequence, int64 [S], rising.
        rows: the first rows as they were read.
        pictures: some sequences, if there are numbers to draw.
    """

    facts: dict[str, str]
    missing: dict[str, int]
    lengths: np.ndarray
    rows: pd.DataFrame
    pictures: list[Picture]

    def lines(self) -> list[str]:
        """Return the lines that a terminal shows."""
        (_, counts), *more = self.facts.items()
        lines = [counts, *(f"{name}: {text}" for name, text in more)]
        if self.missing:
            shown = [f"{_short(name)} {number:,}" for name, number in list(self.missing.items())[:_MOST_COLUMNS]]
            lines.append(f"missing values: {', '.join(shown)}{' …' if len(self.missing) > _MOST_COLUMNS else ''}")
        drawn = []
        for each in self.pictures[:_MOST_DRAWN]:
            values = next(iter(each.columns.values()))
            drawn.append(f"{sparkline(values)}  {_short(each.name)}{_range(values)}")
        return [*lines, "", *_first_rows(self.rows), "", *drawn]


def preview_of(
    table: Table, roles: Roles, answers: Sequence[str], structure: TimeStructure | None, measures: Measures
) -> Preview:
    """Return the preview of a table.

    Args:
        table: sampled rows.
        roles: columns by role.
        answers: label or targets.
        structure: how times follow each other, if they do.
        measures: the profile of all rows.
    """
    lengths = np.array(sorted(measures.steps.values()) or [0])
    number = f"{len(measures.steps):,} sequence{'s' if len(measures.steps) != 1 else ''}"
    count = "one series" if roles.entity is None else f"{number} (by {roles.entity})"
    some = "" if measures.complete else " (the first ones; more were not read)"
    facts = {"rows": f"{measures.rows:,} rows{some}, {count}"}
    if len(lengths) > 1:
        facts["steps of a sequence"] = f"{lengths[0]:,} to {lengths[-1]:,}, median {int(np.median(lengths)):,}"
    if structure is not None:
        facts["step"] = f"{structure.name}{_gaps(structure)}"
    missing = {name: found.missing for name, found in measures.ranges.items() if found.missing}
    most = dict(sorted(missing.items(), key=lambda each: -each[1]))
    return Preview(facts, most, lengths, table.frame.head(_FIRST_ROWS), _pictures(table, roles, answers))


def _gaps(structure: TimeStructure) -> str:
    found = []
    if structure.holes > 0 and structure.name != IRREGULAR:
        found.append(f"{structure.holes:.2%} of the steps missing")
    if structure.irregular >= 0.01:
        found.append(f"{structure.irregular:.0%} of the times off a common grid")
    return f" ({', '.join(found)})" if found else ""


def _short(value: object) -> str:
    text = " ".join(str(value).split())
    text = "".join(each if each.isprintable() else "?" for each in text)
    return text if len(text) <= _MOST_CELL else text[: _MOST_CELL - 1] + "…"


def _first_rows(frame: pd.DataFrame) -> list[str]:
    columns = list(frame.columns[:_MOST_COLUMNS])
    cells = [[_short(name) for name in columns]]
    first = frame[columns].head(_SHOWN_ROWS).to_numpy(object)
    cells += [["" if pd.isna(cell) else _short(cell) for cell in row] for row in first]
    widths = [max(len(row[place]) for row in cells) for place in range(len(columns))]
    more = f"  … {frame.shape[1] - len(columns)} more" if frame.shape[1] > len(columns) else ""
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return [lines[0] + more, *lines[1:]]


def _pictures(table: Table, roles: Roles, answers: Sequence[str]) -> list[Picture]:
    frame = table.frame
    drawn = [name for name in dict.fromkeys([*answers, *roles.others]) if _is_drawable(frame, roles, name)]
    if not drawn:
        return []
    series = table.series(roles.entity)
    when = moments(frame[roles.time], roles.time_kind)
    found = []
    for number in pd.unique(series[series >= 0])[:_MOST_PICTURES]:
        mine = np.flatnonzero(series == number)
        mine = mine[np.argsort(when[mine], kind="stable")]
        name = drawn[0] if roles.entity is None else f"{drawn[0]} of {frame[roles.entity].iloc[mine[0]]}"
        columns = {each: frame[each].iloc[mine].to_numpy(float, na_value=np.nan) for each in drawn[:_MOST_COLUMNS]}
        found.append(Picture(name, columns))
    return found


def _is_drawable(frame: pd.DataFrame, roles: Roles, name: str) -> bool:
    column = frame[name]
    return name in roles.others and pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _range(values: np.ndarray) -> str:
    known = values[np.isfinite(values)]
    return f", {known.min():.4g} to {known.max():.4g}" if len(known) else ""


def sparkline(values: np.ndarray, width: int = _WIDTH) -> str:
    """Draw values [n] in one line of at most ``width`` characters, each the mean of its part; a space where none is."""
    parts = np.array_split(values, min(width, len(values))) if len(values) else []
    means = np.array([part[np.isfinite(part)].mean() if np.isfinite(part).any() else np.nan for part in parts])
    known = means[np.isfinite(means)]
    if not len(known):
        return " " * len(means)
    low, high = float(known.min()), float(known.max())
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((mean - low) * scale)] if np.isfinite(mean) else " " for mean in means)

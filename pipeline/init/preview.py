"""Preview of a table in the terminal: counts, lengths, gaps, missing values, first rows, and some sequences drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from noisy_gru.pipeline.init.columns import moments
from noisy_gru.pipeline.init.roles import Roles, Table
from noisy_gru.pipeline.init.time_structure import IRREGULAR, TimeStructure
from noisy_gru.pipeline.schema_file.data_profile import Measures

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 60
_MOST_DRAWN = 3
_MOST_COLUMNS = 8
_MOST_CELL = 20


def preview_lines(
    table: Table, roles: Roles, answers: Sequence[str], structure: TimeStructure | None, measures: Measures
) -> list[str]:
    """Return the lines of a preview.

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
    lines = [f"{measures.rows:,} rows{some}, {count}"]
    if len(lengths) > 1:
        lines.append(f"steps of a sequence: {lengths[0]:,} to {lengths[-1]:,}, median {int(np.median(lengths)):,}")
    if structure is not None:
        lines.append(f"step: {structure.name}{_gaps(structure)}")
    missing = {name: found.missing for name, found in measures.ranges.items() if found.missing}
    if missing:
        most = sorted(missing.items(), key=lambda each: -each[1])
        shown = ", ".join(f"{_short(name)} {number:,}" for name, number in most[:_MOST_COLUMNS])
        lines.append(f"missing values: {shown}{' …' if len(most) > _MOST_COLUMNS else ''}")
    return [*lines, "", *_first_rows(table.frame), "", *_pictures(table, roles, answers)]


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
    cells += [
        ["" if pd.isna(cell) else _short(cell) for cell in row] for row in frame[columns].head(4).to_numpy(object)
    ]
    widths = [max(len(row[place]) for row in cells) for place in range(len(columns))]
    more = f"  … {frame.shape[1] - len(columns)} more" if frame.shape[1] > len(columns) else ""
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return [lines[0] + more, *lines[1:]]


def _pictures(table: Table, roles: Roles, answers: Sequence[str]) -> list[str]:
    frame = table.frame
    drawn = next((name for name in [*answers, *roles.others] if _is_drawable(frame, roles, name)), None)
    if drawn is None:
        return []
    series = table.series(roles.entity)
    when = moments(frame[roles.time], roles.time_kind)
    lines = []
    for number in pd.unique(series[series >= 0])[:_MOST_DRAWN]:
        mine = np.flatnonzero(series == number)
        mine = mine[np.argsort(when[mine], kind="stable")]
        values = frame[drawn].iloc[mine].to_numpy(float, na_value=np.nan)
        name = drawn if roles.entity is None else f"{drawn} of {frame[roles.entity].iloc[mine[0]]}"
        lines.append(f"{sparkline(values)}  {_short(name)}{_range(values)}")
    return lines


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

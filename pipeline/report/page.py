"""The page of an account: one HTML file that needs nothing else.

>>> run_page(account)[:15]  # doctest: +SKIP
'<!DOCTYPE html>'
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from noisy_gru.pipeline.report.blocks import Block, Section, Table
from noisy_gru.pipeline.report.data_sections import data_blocks, feature_blocks
from noisy_gru.pipeline.report.importance_sections import importance_blocks
from noisy_gru.pipeline.report.model_sections import evaluation_blocks, slice_blocks, training_blocks, worst_blocks
from noisy_gru.pipeline.report.predictions_sections import prediction_blocks
from noisy_gru.pipeline.report.run_sections import (
    comparison_blocks,
    gate_blocks,
    lineage_blocks,
    outcome_blocks,
    reference_blocks,
    resource_blocks,
)
from noisy_gru.pipeline.report.tuning import tuning_blocks

_TEMPLATES = Path(__file__).parent / "templates"
_UNDRAWABLE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)
_DIGITS = 4
# Title, the part of the account, and what makes blocks of it. No blocks: the section is left out.
_SECTIONS: dict[str, tuple[str, str, Callable[[dict[str, Any]], list[Block]]]] = {
    "comparisons": ("Comparisons and baselines", "outcome", comparison_blocks),
    "predictions": ("Predictions", "predictions", prediction_blocks),
    "data": ("Data", "data", data_blocks),
    "features": ("Features and drift", "features", feature_blocks),
    "tuning": ("Tuning", "tuning", tuning_blocks),
    "training": ("Training", "training", training_blocks),
    "evaluation": ("Evaluation", "evaluation", evaluation_blocks),
    "slices": ("Slices", "evaluation", slice_blocks),
    "worst": ("Worst cases", "worst", worst_blocks),
    "importance": ("What the answers depend on", "importance", importance_blocks),
    "reference": ("Reference set", "reference", reference_blocks),
    "gate": ("Serving gate", "gate", gate_blocks),
    "lineage": ("Versions and lineage", "lineage", lineage_blocks),
    "resources": ("Time and memory", "resources", resource_blocks),
}


def run_page(account: dict[str, Any]) -> str:
    """Return the page of an account from ``run_account``."""
    top = _section("outcome", "Outcome", account, "outcome", outcome_blocks)
    sections = [_section(key, title, account, part, build) for key, (title, part, build) in _SECTIONS.items()]
    return sections_page(account, top, sections)


def sections_page(account: dict[str, Any], top: Section, sections: Sequence[Section]) -> str:
    """Return a page of sections, without those that are empty.

    Args:
        account: its `run` and `outcome` are the page's head; all of it is in the page as JSON.
        top: the blocks above the sections.
        sections: in their order.
    """
    shown = [each for each in sections if each.blocks or each.note]
    outcome = account.get("outcome") or {"status": "unknown", "headline": "The record of this run can't be read"}
    return (
        page_environment()
        .get_template("report.html.j2")
        .render(run=account["run"], outcome=outcome, top=top, sections=shown, account=embedded(account))
    )


def embedded(account: Any) -> Markup:
    """Return JSON for a script element: without a character that could end it."""
    text = json.dumps(account, ensure_ascii=True, allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def shown_number(value: float) -> str:
    """Return a number for people: whole ones with commas, others with four digits."""
    if not math.isfinite(value):
        return str(value)
    if isinstance(value, int) or (value == math.floor(value) and abs(value) < 1e15):
        return f"{int(value):,}"
    return f"{value:,.{_DIGITS}g}"


def numeric_columns(table: Table) -> set[int]:
    """Return the places of the columns that hold numbers, or nothing."""
    columns = ({type(cell) for cell in cells if cell is not None} for cells in zip(*table.rows, strict=True))
    return {place for place, types in enumerate(columns) if types and types <= {int, float}}


def _section(
    key: str, title: str, account: dict[str, Any], part: str, build: Callable[[dict[str, Any]], list[Block]]
) -> Section:
    content = account.get(part)
    if content is None:
        # A part that two sections show says once why it isn't there.
        notes = account.get("notes", {}).get(part, "") if key in (part, "outcome") else ""
        return Section(key, title, note=notes)
    try:
        return Section(key, title, build(content))
    except _UNDRAWABLE as error:
        return Section(key, title, note=f"This part of the record can't be shown: {type(error).__name__}: {error}")


@functools.cache
def page_environment(*folders: Path) -> jinja2.Environment:
    """Return the templates of pages: those of ``folders``, then the report's, whose blocks and style they share."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, _TEMPLATES]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["number"] = shown_number
    environment.filters["markup"] = Markup
    environment.filters["numeric_columns"] = numeric_columns
    return environment

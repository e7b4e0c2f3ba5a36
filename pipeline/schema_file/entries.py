"""Entries of a curated schema.pbtxt, with bounds inferred from the data.

    >>> proposed_schema(dataset, measure(dataset))  # doctest: +SKIP

They say what values may be. Types, lengths and environments are derived from the configuration.
"""

from __future__ import annotations

import math
from typing import Any

from google.protobuf import text_encoding

from noisy_gru.pipeline.schema_file.data_profile import Measures, Range
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.derivation import curated_columns
from noisy_gru.schema.loading import Column

MOST_CATEGORIES = 200
MOST_NAMED = 8
MOST_SHOWN = 40


def proposed_schema(dataset: DatasetConfig, measures: Measures) -> str:
    """Return the text of a schema that admits the values seen, with a margin."""
    lines = [
        "# Proposed by `noisy-gru init` from your files; every run validates the sequences against it.",
        f"# Bounds: the range of {measures.rows:,} rows, with half of it as a margin on both sides. Correct them to "
        "what",
        "# is possible. NaN (a missing value) is allowed, because the pipeline imputes it.",
        "# Lengths, calendar features, targets and baselines follow from config.yaml; after a change of its columns:",
        "# noisy-gru schema update config.yaml",
    ]
    for column in curated_columns(dataset):
        lines += ["", *entry(column, dataset, measures)]
    return "\n".join(lines) + "\n"


def entry(column: Column, dataset: DatasetConfig, measures: Measures) -> list[str]:
    """Return the lines of a column's entry: a comment with what was seen, and a domain where it is known."""
    comment, domain = inferred_domain(column, dataset, measures)
    lines = [f"# {' '.join(comment.splitlines())}", "feature {", f"  name: {_quoted(column.name)}"]
    return [*lines, *([f"  {domain}"] if domain else []), "}"]


def inferred_domain(column: Column, dataset: DatasetConfig, measures: Measures) -> tuple[str, str]:
    """Return a comment with the values seen, and the domain that admits them; empty where none is known."""
    if column.type == "FLOAT":
        is_label = column.meaning == "label"
        seen = measures.label_range if is_label else measures.ranges.get(column.name, Range())
        offset = next((each.offset for each in dataset.data.features if each.name == column.name), 0.0)
        meaning = f"{column.meaning} less its offset of {offset:.17g}" if offset else column.meaning
        return _bounds(meaning, seen, measures.complete)
    is_label = not column.is_feature
    values = sorted(measures.labels if is_label else measures.categories.get(column.name, set()))
    comment = f"{column.meaning}; {len(values)} values seen: {', '.join(map(_shortened, values[:MOST_NAMED]))}"
    comment += " ..." if len(values) > MOST_NAMED else ""
    if not measures.complete or not 0 < len(values) <= MOST_CATEGORIES:
        return comment, ""
    listed = [*values, *([] if is_label else [""])]
    return comment, "string_domain { " + " ".join(f"value: {_quoted(value)}" for value in listed) + " }"


def _quoted(text: str) -> str:
    """Return a string in protobuf's text format, which has no surrogate pairs as JSON has."""
    escape: Any = text_encoding.CEscape  # its stub takes bytes alone
    return f'"{escape(text, as_utf8=True)}"'


def _shortened(text: str) -> str:
    return text if len(text) <= MOST_SHOWN else text[:MOST_SHOWN] + "…"


def _bounds(meaning: str, seen: Range, complete: bool) -> tuple[str, str]:
    if seen.low > seen.high:
        return f"{meaning}; no value seen", "float_domain { disallow_inf: true }"
    missing = f", {seen.missing:,} missing" if seen.missing else ""
    comment = f"{meaning}; seen: {seen.low:.6g} to {seen.high:.6g}{missing}"
    if not complete:
        return f"{comment} (not all rows were read, so it has no bounds)", "float_domain { disallow_inf: true }"
    room = (seen.high - seen.low) / 2 or abs(seen.high) / 2 or 1.0
    low = 0.0 if seen.low >= 0 and seen.low - room < 0 else _outwards(seen.low - room, -1)
    high = 0.0 if seen.high <= 0 and seen.high + room > 0 else _outwards(seen.high + room, 1)
    return comment, f"float_domain {{ min: {low!r} max: {high!r} disallow_inf: true }}"


def _outwards(value: float, sign: int) -> float:
    """Round to two significant digits, outwards."""
    if value == 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    return float(f"{sign * math.ceil(sign * value / unit) * unit:.6g}")

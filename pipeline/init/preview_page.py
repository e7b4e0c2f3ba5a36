"""The preview of `noisy-gru init` as a page: one HTML file that needs nothing else, drawn as the report of a run is.

>>> preview_page(propose(["sales.csv"], out=Path()))[:15]  # doctest: +SKIP
'<!DOCTYPE html>'
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from noisy_gru.pipeline.init.preview import Picture, Preview
from noisy_gru.pipeline.init.proposal import Proposal
from noisy_gru.pipeline.init.roles import Guess
from noisy_gru.pipeline.report.blocks import Block, Chart, Facts, Section, Sentences, Table, columns_table
from noisy_gru.pipeline.report.charts import histogram
from noisy_gru.pipeline.report.data_sections import sequence_chart
from noisy_gru.pipeline.report.page import sections_page
from noisy_gru.pipeline.runs.run_record import timestamp

FORMAT = 1
_MOST_COLUMNS = 40
_MOST_TEXT = 200
_MOST_POINTS = 1000
_BINS = 30


def preview_page(proposal: Proposal, now: datetime | None = None) -> str:
    """Return the page of a proposal: what was guessed, counts, lengths, missing values, first rows, sequences.

    Args:
        proposal: from ``propose``.
        now: the time that the page says; None: that of the clock.
    """
    preview, guesses = proposal.preview, proposal.inferred
    unsure = sum(not guess.sure for guess in guesses)
    headline = f"{unsure} of {len(guesses)} guesses are not sure" if unsure else "The data, as it was read"
    account = {
        "format": FORMAT,
        "run": {
            "run_id": "init",
            "command": "noisy-gru init",
            "pipeline": proposal.name,
            "started": timestamp(now or datetime.now(UTC)),
            "seconds": None,
        },
        "outcome": {"status": "data", "headline": headline},
        "facts": preview.facts,
        "guesses": [
            {"guess": each.what, "why": each.why, "sure": each.sure, "option": each.option, "others": list(each.others)}
            for each in guesses
        ],
        "missing": preview.missing,
        "lengths": preview.lengths.tolist() if len(preview.lengths) <= _MOST_POINTS else None,
    }
    sections = [
        Section("guesses", "Guesses", _guess_blocks(guesses)),
        Section("lengths", "Steps of a sequence", _length_blocks(preview.lengths)),
        Section("missing", "Missing values", _missing_blocks(preview)),
        Section("rows", "First rows", [_rows_table(preview.rows)]),
        Section("sequences", "Sequences", [_drawn(picture) for picture in preview.pictures]),
    ]
    return sections_page(account, Section("outcome", "Outcome", [Facts(list(preview.facts.items()))]), sections)


def _guess_blocks(guesses: Sequence[Guess]) -> list[Block]:
    unsure = [str(guess) for guess in guesses if not guess.sure]
    table = Table("All guesses", ["guess", "why", "sure"], [(each.what, each.why, each.sure) for each in guesses])
    return [*([Sentences(unsure, "Not sure", "warning")] if unsure else []), table]


def _length_blocks(lengths: np.ndarray) -> list[Block]:
    if len(lengths) < 2:
        return []
    if lengths[0] == lengths[-1]:
        return [Sentences([f"All {len(lengths):,} sequences have {lengths[0]:,} steps."])]
    most = min(_BINS, int(lengths[-1] - lengths[0]) + 1)
    counts, edges = np.histogram(lengths, most)
    svg = histogram(edges.tolist(), counts.tolist(), x="steps", y="sequences")
    numbers = columns_table("Numbers", {"from": edges[:-1].tolist(), "to": edges[1:].tolist(), "n": counts.tolist()})
    return [Chart("Lengths", f"{len(lengths):,} sequences by their steps.", svg, numbers)]


def _missing_blocks(preview: Preview) -> list[Block]:
    if not preview.missing:
        return []
    rows = int(preview.lengths.sum())
    cells = [(_text(name), count, count / rows if rows else None) for name, count in preview.missing.items()]
    return [Table("Missing values by column", ["column", "missing", "part of the rows"], cells)]


def _rows_table(frame: pd.DataFrame) -> Table:
    shown = frame.iloc[:, :_MOST_COLUMNS]
    more = frame.shape[1] - shown.shape[1]
    cells = [[_cell(each) for each in row] for row in shown.to_numpy(object)]
    return Table("As they were read", [_text(name) for name in shown], cells, f"{more} more columns." if more else "")


def _cell(value: Any) -> str | int | float | bool | None:
    if value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and not np.isfinite(value)):
        return None
    if isinstance(value, np.generic):
        return _cell(value.item())
    return value if isinstance(value, bool | int | float) else _text(value)


def _text(value: object) -> str:
    text = str(value)
    return text if len(text) <= _MOST_TEXT else text[: _MOST_TEXT - 1] + "…"


def _drawn(picture: Picture) -> Chart:
    steps = max(map(len, picture.columns.values()))
    width = -(-steps // _MOST_POINTS)
    columns = {_text(name): _points(values, width) for name, values in picture.columns.items()}
    sequence = {"columns": columns, "columns_left_out": 0, "label": None, "steps": steps}
    return sequence_chart(
        _text(picture.name), sequence, f"Each point is the mean of {width} steps." if width > 1 else ""
    )


def _points(values: np.ndarray, width: int) -> list[float | None]:
    """Return means of ``width`` values each; None where none is known."""
    known = np.isfinite(values)
    starts = np.arange(0, len(values), width)
    count = np.add.reduceat(known, starts) if len(values) else np.zeros(0)
    total = np.add.reduceat(np.where(known, values, 0.0), starts) if len(values) else np.zeros(0)
    return [float(each) / int(of) if of else None for each, of in zip(total, count, strict=True)]

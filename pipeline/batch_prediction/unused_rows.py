"""Report rows and sequences that a prediction could not use."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from noisy_gru.data.reading.block_parser import EMPTY_CELL
from noisy_gru.data.sequences.duplicates import EXACT
from noisy_gru.serving.client.errors import Refused

EXAMPLES_SHOWN = 5


def report_unused(unused: Counter[str], unusable: Sequence[dict[str, Any]], refused: Sequence[Refused] = ()) -> int:
    """Print the reasons with their number of rows and first rows; return the number of rows and refused sequences."""
    counts = unused.copy()
    # Exact duplicates of a row lose nothing, and an empty cell of a wide table is no row.
    counts.pop(EXACT, None)
    counts.pop(EMPTY_CELL, None)
    for reason, count in sorted(counts.items()):
        print(f"not used: {count} row{'s' if count > 1 else ''}: {reason}", file=sys.stderr)
        for line in [line for line in unusable if line.get("reason") == reason][:EXAMPLES_SHOWN]:
            keys = ("file", "row", "column", "file_column", "sequence_id")
            place = ", ".join(f"{key} {line[key]}" for key in keys if key in line)
            physical = f" (line {line['line']})" if "line" in line else ""
            print(f"  {place}: {line.get('problem', '')}{physical}", file=sys.stderr)
    if refused:
        print(f"refused by the server: {len(refused)} sequence{'s' if len(refused) > 1 else ''}", file=sys.stderr)
        for each in refused[:EXAMPLES_SHOWN]:
            print(f"  sequence_id {each.sequence_id}: {each.reason}", file=sys.stderr)
    return counts.total() + len(refused)

"""Read the outputs that the Evaluator recorded for each test sequence; `recorded_outputs.py` writes them.

>>> read_answers(evaluation / ANSWERS)["label"]  # doctest: +SKIP
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from noisy_gru.components.evaluation.interval_metrics import CRPS

ANSWERS = "answers"  # folder of the `evaluation` artifact
PROBABILITIES = "candidate_probabilities"
INTERVAL = "candidate_interval"  # of each number the lowest quantile, then the highest


def read_answers(folder: Path) -> dict[str, Any]:
    """Read the recorded outputs of a folder: lists `sequence_id` and `slices`, arrays of everything else.

    Without the columns of `published` on a first run. Sorted by the sequences' names, so that the order in which Beam
    wrote them decides nothing.
    """
    import pyarrow.parquet

    arrow: Any = pyarrow
    files = sorted(folder.glob("*.parquet"))
    table = arrow.concat_tables([arrow.parquet.read_table(file) for file in files]).sort_by("sequence_id")
    # tf.Examples from elsewhere may have no name: each is an entity by itself.
    names = [name or f"sequence {number}" for number, name in enumerate(table["sequence_id"].to_pylist())]
    found: dict[str, Any] = {"sequence_id": names, "slices": table["slices"].to_pylist()}
    # A model whose answers are no classes at all is there, too: it has losses, which are NaN.
    witness = "published_loss" if "published_loss" in table.column_names else "published"
    absent = (
        {"published", "published_loss", f"published_{CRPS}"} if table[witness].null_count == table.num_rows else set()
    )
    absent |= {PROBABILITIES, INTERVAL}  # decide nothing: the run report alone reads them
    for name in table.column_names:
        column = table[name]
        if name in found or name in absent:
            continue
        if arrow.types.is_list(column.type):
            flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False).astype(np.float64)
            found[name] = flat.reshape(table.num_rows, -1) if table.num_rows else flat
        elif arrow.types.is_binary(column.type):
            found[name] = np.array(column.to_pylist(), dtype=object)
        else:
            found[name] = column.to_numpy().astype(np.float64)
    return found

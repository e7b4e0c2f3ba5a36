"""The models' answers for each test sequence, as the Evaluator recorded them, in the order of the sequences' names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from noisy_gru.components.evaluation.recorded_answers import ANSWERS, INTERVAL, PROBABILITIES, read_answers
from noisy_gru.pipeline.report.artifacts import AbsentError, Artifacts
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.interval_config import levels_of


@dataclass(frozen=True)
class Answers:
    """Answers of the test split.

    Attributes:
        ids: names of the sequences.
        columns: `label`, `candidate`, `published` and the naive answers, as ``read_answers`` gives them.
        dataset: of the run.
        probabilities: of each class [N, C], by ``classes``; None where they weren't recorded.
        classes: in the model's order; empty where it isn't known.
        interval: of each number the lowest and the highest quantile [N, ..., 2]; None where there are none.
    """

    ids: list[str]
    columns: dict[str, Any]
    dataset: DatasetConfig
    probabilities: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    interval: np.ndarray | None = None

    @property
    def coverage(self) -> float:
        """The share of the numbers that the interval should cover."""
        levels = levels_of(self.dataset.task)
        return round(levels[-1] - levels[0], 6)


def load_answers(artifacts: Artifacts) -> Answers:
    """Return the answers of a run.

    Raises:
        AbsentError: the run ended before the Evaluator did, or its artifact is gone, or it is of an earlier release.
    """
    folder = artifacts.folder("Evaluator", "evaluation") / ANSWERS
    dataset = artifacts.config().dataset
    if not any(folder.glob("*.parquet")):
        raise AbsentError(f"Nothing to show: {folder} holds no answers; an earlier release recorded none.")
    columns = read_answers(folder)
    ids = columns.pop("sequence_id")
    del columns["slices"]
    if not ids:
        raise AbsentError("Nothing to show: the test split has no sequences.")
    probabilities = _lists(artifacts, ids, PROBABILITIES)
    interval = _lists(artifacts, ids, INTERVAL)
    classes = _classes(artifacts) if probabilities is not None else ()
    if probabilities is not None and len(classes) != probabilities.shape[1]:
        probabilities, classes = None, ()
    if interval is not None:
        interval = interval.reshape(len(ids), -1, 2)
    return Answers(ids, columns, dataset, probabilities, classes, interval)


def _lists(artifacts: Artifacts, ids: list[str], name: str) -> np.ndarray | None:
    """Return a column of lists, float64 [N, …], in the order of ``ids``; None where it wasn't recorded."""
    import pyarrow
    import pyarrow.parquet

    arrow: Any = pyarrow
    files = sorted((artifacts.folder("Evaluator", "evaluation") / ANSWERS).glob("*.parquet"))
    if name not in arrow.parquet.read_schema(files[0]).names:
        return None
    wanted = ["sequence_id", name]
    tables = [arrow.parquet.read_table(file, columns=wanted) for file in files]
    column = arrow.concat_tables(tables).sort_by("sequence_id")[name]
    if column.null_count:
        return None
    return column.combine_chunks().flatten().to_numpy(zero_copy_only=False).astype(np.float64).reshape(len(ids), -1)


def _classes(artifacts: Artifacts) -> tuple[str, ...]:
    try:
        record = artifacts.json("Trainer", "model", "Format-Keras/transform.json")
    except AbsentError:
        return ()
    return tuple(map(str, record.get("labels") or ()))

"""What the ingestion read, kept and rejected: counts, lengths, times, and some sequences as they were cut."""

from __future__ import annotations

from typing import Any

from noisy_gru.pipeline.report.artifacts import AbsentError, Artifacts
from noisy_gru.pipeline.report.sequences import first_sequences
from noisy_gru.schema.task_config import is_per_step

_KEPT = ("rows", "sequences", "targets_masked", "steps_filled", "rows_merged", "entities", "entities_in_several_splits")
_ORDER = ("train", "eval", "test")
_SEQUENCES_SHOWN = 4
_EXAMPLES_SHOWN = 3


def data_account(artifacts: Artifacts, examples: bool) -> dict[str, Any]:
    """Return the ingestion's counts by reason and split, lengths and times; with ``examples`` rejected rows, too.

    Raises:
        AbsentError: the run ended before the ingestion did, or its report is gone.
    """
    report = artifacts.json("SequenceExampleGen", "ingestion_report", "ingestion_report.json")
    found: dict[str, Any] = {key: report.get(key) for key in _KEPT}
    found |= {key: report.get(key) or {} for key in ("imputed", "labels", "lengths", "time", "boundaries")}
    found["spans"] = [
        {"span": span["span"], "rows": span.get("rows"), "files": len(span.get("files", []))}
        for span in report.get("spans") or []
    ]
    found["labels_of"] = "steps" if _is_per_step(artifacts) else "sequences"
    if examples:
        found["precision"] = report.get("precision") or []  # quotes values
        found["rejected"] = {reason: rows[:_EXAMPLES_SHOWN] for reason, rows in (report.get("examples") or {}).items()}
        found["cut"] = _cut(artifacts)
    return found


def _is_per_step(artifacts: Artifacts) -> bool:
    try:
        return is_per_step(artifacts.config().dataset.task)
    except AbsentError:
        return False


def _cut(artifacts: Artifacts) -> list[dict[str, Any]]:
    """Return the first sequences of each split as they were cut."""
    try:
        folder = artifacts.folder("SequenceExampleGen", "examples")
        dataset = artifacts.config().dataset
    except AbsentError:
        return []
    splits = [split for split in _ORDER if (folder / f"Split-{split}").is_dir()]
    return [
        {"split": split, **sequence}
        for split in splits
        for sequence in first_sequences(folder, split, dataset, _SEQUENCES_SHOWN // len(splits))
    ]

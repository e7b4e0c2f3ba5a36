"""The report of a run as people and programs read it, and the errors that end a run."""

from __future__ import annotations

from typing import Any

import numpy as np

from noisy_gru.data.reading.csv_records import REPEATED_HEADER
from noisy_gru.data.reading.files import FILES
from noisy_gru.data.report.ingestion_report import IngestionReport
from noisy_gru.data.sequences.splits import Boundaries
from noisy_gru.data.values.parsing import format_times
from noisy_gru.data.values.precision import check_precision, precision_losses
from noisy_gru.data.values.text_normalization import ambiguous_spellings
from noisy_gru.schema.config import SPLITS, DatasetConfig, EntitySplitConfig, TimeSplitConfig
from noisy_gru.schema.errors import DataError
from noisy_gru.schema.splits import has_eval_split

POLICY_OF = {"off_grid": "unparsable_value", "duplicate_step_across_splits": "duplicate_step"}
QUANTILES = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)


def _by_reason(counts: dict[str, int]) -> dict[str, int]:
    return {"total": sum(counts.values()), **dict(sorted(counts.items()))}


def _lengths(report: IngestionReport) -> dict[str, Any]:
    """Length quantiles, and what padding every sequence to the longest would cost."""
    if not report.lengths:
        return {}
    pairs = sorted((int(length), count) for length, count in report.lengths.items())
    lengths, counts = np.array(pairs).T
    total, ends = int(counts.sum()), np.cumsum(counts)
    places = [int(np.searchsorted(ends, part * (total - 1), side="right")) for part in QUANTILES]
    steps = int((lengths * counts).sum())
    return {
        "quantiles": {f"{part:g}": int(lengths[place]) for part, place in zip(QUANTILES, places, strict=True)},
        "mean": steps / total,
        "steps": steps,
        "padded_to_longest": {"steps": int(lengths[-1]) * total, "padding": 1 - steps / (int(lengths[-1]) * total)},
    }


def report_summary(report: IngestionReport, dataset: DatasetConfig, at: Boundaries | None) -> dict[str, Any]:
    """What stands in ``ingestion_report.json`` besides ``lineage``; docs/data-formats.md describes it."""
    time = dataset.data.time
    kind = time.kind if time else "integer"

    def shown(values: list[Any]) -> list[str | int | float]:
        array = np.array(values, float if kind == "float" else np.int64)
        return list(format_times(array, kind)) if kind == "timestamp" else array.tolist()

    return {
        "version": 1,
        "rows": {
            "read": report.rows_read,
            "kept": report.rows_kept,
            "quarantined": _by_reason(report.quarantined),
            "dropped": _by_reason(report.dropped),
        },
        "imputed": {reason: dict(sorted(cells.items())) for reason, cells in sorted(report.imputed.items())},
        "steps_filled": report.steps_filled,
        "entities": report.entities,
        "entities_in_several_splits": report.entities_in_several_splits,
        "sequences": {
            "total": report.sequences.total(),
            "by_split": {split: report.sequences[split] for split in SPLITS if report.sequences[split]},
            "quarantined": _by_reason(report.sequences_quarantined),
            "dropped": _by_reason(report.sequences_dropped),
        },
        "labels": {split: dict(sorted(counts.items())) for split, counts in sorted(report.labels.items())},
        "lengths": _lengths(report),
        "time": {name: shown(span) for name, span in sorted(report.time_ranges.items()) if time and name != "read"},
        "boundaries": dict(zip(("eval", "test"), shown([at.eval, at.test]), strict=True)) if at else {},
        "examples": dict(sorted(report.examples.items())),
        "precision": [str(each) for each in precision_losses(report.value_samples)],
    }


def format_record(record: dict[str, Any]) -> str:
    """A line of the quarantine in words: where the row or sequence is, and what is wrong with it."""
    if "file" not in record:
        return f"sequence {record.get('sequence_id')}: {record['problem']}"
    column = f", column {record['column']}" if "column" in record else ""
    line = f" (line {record['line']})" if "line" in record else ""
    return f"{record['file']}, row {record['row']}{column}: {record['problem']}{line}"


def _examples(report: IngestionReport, reasons: dict[str, int], what: str) -> str:
    lines = []
    for reason, count in sorted(reasons.items(), key=lambda item: (-item[1], item[0])):
        lines.append(f"  {reason}: {count:,} {what}, for example")
        lines += [f"    {format_record(record)}" for record in report.examples.get(reason, [])]
    return "\n".join(lines)


def check_errors(report: IngestionReport, where: str = "") -> None:
    """Raise DataError where files can't be used, or a policy that is ``error`` has found a case."""
    if report.file_errors:
        raise DataError("\n".join(report.file_errors))
    if report.errors:
        policies = ", ".join(sorted({f"policies.{POLICY_OF.get(reason, reason)}" for reason in report.errors}))
        raise DataError(
            f"{report.errors.total():,} rows or windows can't be used, and {policies} says error:\n"
            f"{_examples(report, report.errors, 'cases')}\nCorrect the data, or choose another policy.{where}"
        )


def check_report(report: IngestionReport, dataset: DatasetConfig, where: str = "") -> None:
    """End the run where the data or a policy asks for it.

    Args:
        report: of the whole run.
        dataset: the configuration.
        where: how to find the quarantined rows, for the message.

    Raises:
        DataError: files can't be used, a policy is ``error``, too many rows are quarantined, float32 leaves nothing
            of a column, or a split is empty.
        RuntimeError: the report doesn't balance, which is a bug.
    """
    check_errors(report, where)
    _check_spellings(report)  # before what follows from it: rows that are taken for others' duplicates
    check_rows(report, dataset, where)
    check_precision(report.value_samples, dataset)
    _check_splits(report, dataset)


def check_rows(report: IngestionReport, dataset: DatasetConfig, where: str = "", key: str = FILES) -> None:
    """Check the rows alone, for data that need not fill every split; messages name its ``key``."""
    check_errors(report, where)
    if report.unbalanced:
        raise RuntimeError(
            f"{report.unbalanced} of {report.rows_read} rows read are neither kept, quarantined nor dropped: "
            f"this is a bug of ingestion, please report it. {report.to_json()}"
        )
    most = dataset.data.policies.max_quarantined_fraction
    quarantined = report.quarantined.total() - report.quarantined[REPEATED_HEADER]
    if quarantined > most * report.rows_read:
        raise DataError(
            f"{quarantined:,} of {report.rows_read:,} rows ({quarantined / report.rows_read:.1%}) are quarantined, "
            f"more than data.policies.max_quarantined_fraction ({most:.1%}):\n"
            f"{_examples(report, report.quarantined, 'rows')}\n"
            f"Correct the rows, choose other policies, or raise the fraction.{where}"
        )
    if not report.rows_read:
        raise DataError(f"{key}: {', '.join(sorted(report.files)) or 'the files'} hold no rows")


def _check_spellings(report: IngestionReport) -> None:
    for column, spelled in sorted(report.spellings.items()):
        if several := ambiguous_spellings(spelled):
            found = "; ".join(" and ".join(map(repr, group)) for group in several[:3])
            raise DataError(
                f"column {column}: expected one spelling of a number, received {found}, which would be one value. "
                "Spell it alike; or if they are no numbers but names, such as versions, write v1.1 and v1.10"
            )


def _check_splits(report: IngestionReport, dataset: DatasetConfig) -> None:
    needed = [split for split in SPLITS if split != "eval" or has_eval_split(dataset)]
    empty = [split for split in needed if not report.sequences[split]]
    if not empty:
        return
    advice = "Correct data.files"
    if isinstance(dataset.splits, EntitySplitConfig):
        advice = f"There are {report.entities} entities: bring more, choose another seed, or split by time"
    elif isinstance(dataset.splits, TimeSplitConfig):
        advice = "Choose other parts or times in splits, or a shorter embargo or window"
    found = ", ".join(f"{split} {report.sequences[split]}" for split in SPLITS)
    lost = _by_reason(report.sequences_quarantined + report.sequences_dropped)
    raise DataError(
        f"no sequence for {' and '.join(empty)} (sequences: {found}; windows or sequences left out: {lost}; rows "
        f"quarantined: {_by_reason(report.quarantined)}). {advice}"
    )

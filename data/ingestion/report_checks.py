"""Checks of the ingestion report: the errors that end a run."""

from __future__ import annotations

from typing import Any

from noisy_gru.data.ingestion.report_summary import counts_by_reason
from noisy_gru.data.ingestion.resolved_input import ResolvedInput
from noisy_gru.data.reading.csv_records import REPEATED_HEADER
from noisy_gru.data.reading.files import FILES
from noisy_gru.data.report.ingestion_report import IngestionReport
from noisy_gru.data.sequences.alignment import SAME_STEP
from noisy_gru.data.sequences.sequences import TOO_SHORT
from noisy_gru.data.sequences.windows import MISSING_TARGET, NO_READINGS
from noisy_gru.data.values.precision import check_precision
from noisy_gru.data.values.text_normalization import ambiguous_spellings
from noisy_gru.schema.config import (
    SPLITS,
    DataConfig,
    DatasetConfig,
    EntitySplitConfig,
    ForecastingConfig,
    TimeSplitConfig,
)
from noisy_gru.schema.errors import DataError
from noisy_gru.schema.span_patterns import SpanPattern

# More rows of one step than one that is kept are no jitter: they are many readings of a step.
MOST_SAME_STEP = 0.5
POLICY_OF = {
    "off_grid": "unparsable_value",
    "ambiguous_time": "unparsable_value",
    "duplicate_step_across_splits": "duplicate_step",
}
_REMEDIES = {
    "embargo": "they end within splits.embargo before the next split: make the splits longer, or the furthest horizon "
    "nearer",
    "across_split_boundary": "they lie in two splits: split by entity",
    NO_READINGS: "no measured feature has a value in them: correct data.features, or set data.time.fill_limit",
}


def format_record(record: dict[str, Any]) -> str:
    """Format a quarantine record for people: file, row and column, and the problem."""
    if "file" not in record:
        return f"sequence {record.get('sequence_id')}: {record['problem']}"
    column = f", column {record.get('file_column', record['column'])}" if "column" in record else ""
    line = f" (line {record['line']})" if "line" in record else ""
    return f"{record['file']}, row {record['row']}{column}: {record['problem']}{line}"


def _examples(report: IngestionReport, reasons: dict[str, int], what: str) -> str:
    lines = []
    for reason, count in sorted(reasons.items(), key=lambda item: (-item[1], item[0])):
        lines.append(f"  {reason}: {count:,} {what}, for example")
        lines += [f"    {format_record(record)}" for record in report.examples.get(reason, [])]
    return "\n".join(lines)


def check_errors(report: IngestionReport, where: str = "") -> None:
    """Raise DataError if files can't be used, or an ``error`` policy applied."""
    if report.file_errors:
        raise DataError("\n".join(report.file_errors))
    if report.errors:
        policies = ", ".join(sorted({f"policies.{POLICY_OF.get(reason, reason)}" for reason in report.errors}))
        raise DataError(
            f"{report.errors.total():,} rows or windows can't be used, and {policies} is error:\n"
            f"{_examples(report, report.errors, 'cases')}\nCorrect the data, or choose another policy.{where}"
        )


def check_report(report: IngestionReport, dataset: DatasetConfig, where: str = "") -> None:
    """Raise an error where the data or a policy requires it.

    Args:
        report: of the whole run.
        dataset: the configuration.
        where: location of the quarantined rows, appended to messages.

    Raises:
        DataError: files can't be used, an ``error`` policy applied, too many rows are quarantined, float32 can't
            represent a column, or a split is empty.
        RuntimeError: the row counts don't add up, which is a bug.
    """
    check_errors(report, where)
    _check_spellings(report)  # first, since they cause false duplicates
    check_rows(report, dataset, where)
    check_precision(report.value_samples, dataset)
    _check_splits(report, dataset)


def check_spans(report: IngestionReport, data: DataConfig, resolved: ResolvedInput, where: str = "") -> None:
    """Raise an error if one span of the window is unusable, however many rows the others have.

    Args:
        report: the whole run's.
        data: the data set's files.
        resolved: the input of the run.
        where: location of the quarantined rows, appended to messages.

    Raises:
        DataError: a span has no rows, a file that can't be read, or too many invalid rows.
    """
    # The rows of a query have neither patterns nor spans.
    name_of = SpanPattern(data.patterns[0]).span_name if data.patterns else str
    if report.file_errors:
        of_file = {name: name_of(span.number) for span in resolved.spans for name in resolved.names_of(span)}
        messages = [(message.partition(": ")[0], message) for message in report.file_errors]
        raise DataError("\n".join(f"{of_file[name]}: {text}" if name in of_file else text for name, text in messages))
    if report.errors:
        return  # `check_report` names file and row
    most = data.policies.max_quarantined_fraction
    for span in resolved.spans:
        names = resolved.names_of(span)
        rows = sum(report.files[name] for name in names)
        bad = sum(report.quarantined_files[name] for name in names)
        if not rows:
            raise DataError(
                f"{name_of(span.number)} is empty: "
                f"{', '.join(names)} {'hold' if len(names) > 1 else 'holds'} no rows. Write it again, or remove it"
            )
        if bad > most * rows:
            raise DataError(
                f"{name_of(span.number)}: {bad:,} of its {rows:,} rows ({bad / rows:.1%}) can't be read, more than "
                f"data.policies.max_quarantined_fraction ({most:.1%}), which holds for every span: {', '.join(names)}. "
                f"Write it again, or remove it.{where}"
            )


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
            + (f"{short:,} rows are {_short(dataset)}.\n" if (short := report.quarantined[TOO_SHORT]) else "")
            + f"Correct the rows, choose other policies, or raise the fraction.{where}"
        )
    if (lost := report.dropped[SAME_STEP]) > report.rows_read * MOST_SAME_STEP:
        time = dataset.data.time
        raise DataError(
            f"data.time.align: {time.align if time else ''} keeps one row of each step, and leaves out {lost:,} of "
            f"{report.rows_read:,} rows ({lost / report.rows_read:.0%}): set data.resample to aggregate them instead, "
            f"or a shorter data.time.frequency (it is {time.frequency if time else ''}).{where}"
        )
    if not report.rows_read:
        raise DataError(f"{key}: {', '.join(sorted(report.files)) or 'the files'} hold no rows")


def _check_spellings(report: IngestionReport) -> None:
    for column, spelled in sorted(report.spellings.items()):
        if several := ambiguous_spellings(spelled):
            found = "; ".join(" and ".join(map(repr, group)) for group in several[:3])
            raise DataError(
                f"column {column}: expected one spelling of a number, received {found}, which would become one value. "
                "Use one spelling; if they are names, such as versions, write v1.1 and v1.10"
            )


def _check_splits(report: IngestionReport, dataset: DatasetConfig) -> None:
    needed = [split for split in SPLITS if split != "eval" or dataset.has_eval_split]
    empty = [split for split in needed if not report.sequences[split]]
    if not empty:
        return
    found = ", ".join(f"{split} {report.sequences[split]}" for split in SPLITS)
    lost = counts_by_reason(report.sequences_quarantined + report.sequences_dropped)
    raise DataError(
        f"no sequence for {' and '.join(empty)} (sequences: {found}; windows or sequences left out: {lost}; rows "
        f"quarantined: {counts_by_reason(report.quarantined)}). {_advice(report, dataset)}"
    )


def _advice(report: IngestionReport, dataset: DatasetConfig) -> str:
    """Return what to do about an empty split: the most frequent cause of lost windows first, then the splits."""
    windows = report.sequences_quarantined + report.sequences_dropped
    advice = []
    for reason, count in windows.most_common():
        remedy = _REMEDIES.get(reason)
        if reason == MISSING_TARGET:
            remedy = (
                "none of their targets is known: correct task.targets or task.horizons"
                if dataset.data.policies.missing_target == "mask"
                else "a target is missing: data.policies.missing_target: mask keeps windows with one that is known"
            )
        if remedy is not None:
            advice.append(f"{count:,} windows or sequences are left out for {reason}: {remedy}")
    if short := report.quarantined[TOO_SHORT] + report.dropped[TOO_SHORT]:
        advice.append(f"{short:,} rows are {_short(dataset)}")
    if isinstance(dataset.splits, EntitySplitConfig):
        advice.append(f"There are {report.entities} entities: add data, choose another seed, or split by time")
    elif isinstance(dataset.splits, TimeSplitConfig):
        advice.append("Choose other parts or times in splits, or a shorter embargo or window")
    else:
        advice.append("Correct data.files")
    return ". ".join(advice)


def _short(dataset: DatasetConfig) -> str:
    """Return what too short parts are too short for, and what makes them longer."""
    time, task = dataset.data.time, dataset.task
    if isinstance(task, ForecastingConfig):
        needed, options = task.input_length + task.max_horizon, "task.input_length and task.horizons"
    else:
        needed, options = dataset.data.min_length, "data.min_length"
    if time is not None and time.cuts_at_gaps:
        fill = "set data.time.gaps: fill" if time.gaps == "split" else "raise data.time.fill_limit"
        return f"in parts between gaps with fewer than {needed} steps: {fill}, or lower {options}"
    return f"of entities with fewer than {needed} steps: lower {options}, or bring more data"

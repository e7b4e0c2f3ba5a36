"""Sequences of a bucket's rows: whole series for classification and regression, windows for forecasting."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from noisy_gru.data.columns import Columns
from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.data.sequences.alignment import align_rows
from noisy_gru.data.sequences.calendar_features import add_calendar_features
from noisy_gru.data.sequences.duplicates import drop_duplicates
from noisy_gru.data.sequences.elapsed_features import add_elapsed_features
from noisy_gru.data.sequences.gaps import Series, regularize
from noisy_gru.data.sequences.labels import MISSING, resolve_labels, resolve_targets
from noisy_gru.data.sequences.repeated_hours import infer_repeated_hours
from noisy_gru.data.sequences.resampling import count_filled_as_zero, resample_rows
from noisy_gru.data.sequences.rows import Rows
from noisy_gru.data.sequences.sequence_ids import sequence_ids
from noisy_gru.data.sequences.splits import (
    ACROSS_BOUNDARY,
    EMBARGO,
    Boundaries,
    splits_of_ranges,
    splits_of_series,
)
from noisy_gru.data.sequences.static_values import KnownValues, resolve_static
from noisy_gru.data.values.entity_names import names_by_column
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.task_config import has_several_targets

TOO_SHORT, TOO_LONG = "too_short", "too_long"


@dataclass(frozen=True)
class Sequences:
    """M sequences of the same rows.

    ``start`` and ``stop`` int64 [M] bound their input steps, ``split`` int8 [M] indexes SPLITS. For forecasting,
    ``horizon_values`` holds float32 [M, horizons] by tf.Example key (targets and naive forecasts); for a regression of
    several targets float32 [M, 1] of each. ``series`` are those that windows are cut from.
    """

    rows: Rows
    start: np.ndarray
    stop: np.ndarray
    split: np.ndarray
    ids: list[str]
    horizon_values: dict[str, np.ndarray] = field(default_factory=dict)
    series: Series | None = None

    def __len__(self) -> int:
        return len(self.start)

    def take(self, which: np.ndarray) -> Sequences:
        """Select sequences by an index or a mask, in its order."""
        return Sequences(
            self.rows,
            self.start[which],
            self.stop[which],
            self.split[which],
            np.array(self.ids, object)[which].tolist(),
            {name: values[which] for name, values in self.horizon_values.items()},
            self.series,
        )


def regular_series(
    rows: Rows,
    dataset: DatasetConfig,
    quarantine: Quarantine,
    *,
    prediction: bool = False,
    are_steps: bool = False,
    known_static: KnownValues | None = None,
) -> tuple[Series, np.ndarray]:
    """Clean a bucket's rows to regular series with one label each; also return the split of each series [S].

    Rows that ``are_steps`` went through ``resolve_static`` and ``steps_of_rows`` before. ``known_static`` are static
    values that are known of entities already, whose rows may leave them out.
    """
    columns = Columns.of(dataset, prediction=prediction)
    # First, so that copies of a row of which one leaves a static value out are exact; of steps all is counted already.
    counts = Quarantine() if are_steps else quarantine
    rows = infer_repeated_hours(rows, dataset, quarantine)
    rows, static = resolve_static(rows, columns, dataset.data.policies, counts, known_static)
    rows = rows.sorted() if are_steps else steps_of_rows(rows, dataset, quarantine, prediction=prediction)
    series = regularize(rows, dataset.data.time, _off_grid_action(dataset), quarantine)
    count_filled_as_zero(series.rows, dataset)
    series = add_elapsed_features(series, dataset.data.numeric)
    series = replace(series, rows=with_computed_features(static.set(series.rows), dataset))
    starts = series.starts
    if prediction:
        return series, np.zeros(len(starts) - 1, np.int8)
    entity = series.rows.entity[starts[:-1]]
    quarantine.report.entities += len(np.unique(entity))
    quarantine.report.entities_in_several_splits += int((np.unique(entity, return_counts=True)[1] > 1).sum())
    return series, splits_of_series(series.rows, starts, dataset)


def steps_of_rows(rows: Rows, dataset: DatasetConfig, quarantine: Quarantine, *, prediction: bool = False) -> Rows:
    """Return the steps that a bucket's rows are, sorted: without duplicates, labelled, aligned or resampled."""
    policies, time = dataset.data.policies, dataset.data.time
    kind = Columns.of(dataset, prediction=prediction).time_kind
    resample = dataset.data.resample is not None
    columns = Columns.of(dataset, prediction=prediction)
    targets = () if prediction else columns.step_targets  # which a request leaves out
    rows = replace(rows, label_per_step=columns.label_per_step, step_targets=targets)
    rows = drop_duplicates(rows, policies.duplicate_step, kind, quarantine, are_readings=resample).sorted()
    rows = resolve_labels(rows, policies, kind, quarantine)
    if has_several_targets(dataset.task) and not prediction:
        rows = resolve_targets(rows, dataset.task.targets, policies, kind, quarantine)
    if time is not None:
        rows = align_rows(rows, time, _off_grid_action(dataset), quarantine)
    return resample_rows(rows, dataset, quarantine, prediction=prediction)


def _off_grid_action(dataset: DatasetConfig) -> str:
    policy = dataset.data.policies.unparsable_value
    return "quarantine" if policy == "impute" else policy


def with_computed_features(rows: Rows, dataset: DatasetConfig) -> Rows:
    """Set what is known of every step, also of those that are in no file: calendars, and the entity as a feature."""
    rows = add_calendar_features(rows, dataset.data)
    columns = dataset.data.entity_columns
    if not any(name in rows.categorical for name in columns):
        return rows
    categorical = dict(rows.categorical)
    for name, texts in names_by_column(rows.entities, columns).items():
        if name in categorical:
            distinct, codes = np.unique(np.array(texts, object), return_inverse=True)
            categorical[name] = (codes.astype(np.int32)[rows.entity], distinct.tolist())
    return replace(rows, categorical=categorical)


def whole_sequences(
    series: Series, split: np.ndarray, at: Boundaries | None, dataset: DatasetConfig, quarantine: Quarantine
) -> Sequences:
    """Return one sequence per series (per segment if gaps cut), within the data set's limits of length."""
    data, rows = dataset.data, series.rows
    kind = data.time.kind if data.time else "integer"
    start, stop = series.segments[:-1], series.segments[1:]
    there = _known_at_steps(rows, dataset)
    known = np.concatenate([[0], np.cumsum(np.logical_or.reduce([*there.values()]))]) if there else None
    lengths = stop - start
    short = lengths < data.min_length
    quarantine_ranges(
        rows,
        start[short],
        stop[short],
        data.policies.too_short,
        TOO_SHORT,
        kind,
        quarantine,
        f"expected a sequence of at least {data.min_length} steps (data.min_length)",
    )
    long = lengths > data.max_length
    latest = np.where(long, stop - data.max_length, start)
    if data.policies.too_long == "truncate":
        for first, last in zip(start[long].tolist(), latest[long].tolist(), strict=True):
            quarantine.report.dropped[TOO_LONG] += int((rows.row[first:last] > 0).sum())
        start, keep = latest, ~short
    else:
        quarantine_ranges(
            rows,
            start[long],
            stop[long],
            data.policies.too_long,
            TOO_LONG,
            kind,
            quarantine,
            f"expected a sequence of at most {data.max_length} steps (data.max_length)",
        )
        keep = ~short & ~long
    split = split[np.searchsorted(series.starts, start, side="right") - 1]
    start, stop, split = start[keep], stop[keep], split[keep]
    if known is not None:
        unlabelled = known[stop] == known[start]
        quarantine_ranges(
            rows,
            start[unlabelled],
            stop[unlabelled],
            data.policies.missing_label,
            MISSING,
            kind,
            quarantine,
            "expected a sequence with a label at one step at least (task.per_step)",
            np.zeros(int(unlabelled.sum()), np.int64),
        )
        start, stop, split = start[~unlabelled], stop[~unlabelled], split[~unlabelled]
    count_kept(rows, start, stop, quarantine)
    ids = sequence_ids(rows, start, stop, dataset)
    if at is not None:
        split = splits_of_ranges(rows.time[start], rows.time[stop - 1], at, dataset)
    found = drop_outside_splits(Sequences(rows, start, stop, split, ids), quarantine)
    if has_several_targets(dataset.task):
        found = replace(found, horizon_values=_targets(series, found, dataset.task.targets))
        for name, values in found.horizon_values.items():
            quarantine.report.count_masked(name, int(np.isnan(values).sum()))
    for name, own in there.items():
        counted = np.concatenate([[0], np.cumsum(own)])
        masked = (found.stop - found.start) - (counted[found.stop] - counted[found.start])
        quarantine.report.count_masked(name, int(masked.sum()))
    return found


def _known_at_steps(rows: Rows, dataset: DatasetConfig) -> dict[str, np.ndarray]:
    """Return by column whether each row has the label, or a target, of its step, bool [N]; empty without `per_step`."""
    if rows.label_per_step and isinstance(rows.label, tuple):
        return {str(Columns.of(dataset).label): rows.label[0] >= 0}
    return {name: ~np.isnan(rows.numeric[name]) for name in rows.step_targets}


def _targets(series: Series, found: Sequences, targets: list[str]) -> dict[str, np.ndarray]:
    """Return the numbers of a regression of several targets, float32 [M, 1] each; filled steps have none of them."""
    owner = np.searchsorted(series.starts, found.start, side="right") - 1
    if not len(owner):
        return {name: np.zeros((0, 1), np.float32) for name in targets}
    of_series = {name: np.fmax.reduceat(series.rows.numeric[name], series.starts[:-1]) for name in targets}
    return {name: values[owner][:, np.newaxis] for name, values in of_series.items()}


def quarantine_ranges(
    rows: Rows,
    start: np.ndarray,
    stop: np.ndarray,
    action: str,
    reason: str,
    kind: str,
    quarantine: Quarantine,
    problem: str,
    received: np.ndarray | None = None,
) -> None:
    """Reject ranges of rows; the problem ends with the number of steps ``received``, by default the range's."""
    counts = stop - start if received is None else received
    for first, last, count in zip(start.tolist(), stop.tolist(), counts.tolist(), strict=True):
        which = np.arange(first, last)[rows.row[first:last] > 0]
        text = f"{problem}, received {count}"
        quarantine.rows(action, reason, len(which), lambda which=which, text=text: rows.records(which, kind, text))


def count_kept(rows: Rows, start: np.ndarray, stop: np.ndarray, quarantine: Quarantine) -> None:
    """Count ranges of rows as kept."""
    if not len(start):
        return
    given = np.concatenate([[0], np.cumsum(rows.row > 0)])
    quarantine.report.rows_kept += int((given[stop] - given[start]).sum())
    first, last = rows.time[start].min().item(), rows.time[stop - 1].max().item()
    quarantine.report.widen_time_range("rows", first, last)


def drop_outside_splits(sequences: Sequences, quarantine: Quarantine) -> Sequences:
    """Return the sequences that are in a split; count the others as dropped."""
    for code, reason in ((EMBARGO, "embargo"), (ACROSS_BOUNDARY, "across_split_boundary")):
        count = int((sequences.split == code).sum())
        if count:
            quarantine.report.sequences_dropped[reason] += count
    return sequences.take(sequences.split >= 0)

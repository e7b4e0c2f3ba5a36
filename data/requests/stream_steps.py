"""New steps of running streams, as inputs of the signature `serving_step`.

A stream is an entity whose earlier steps the model has read already. Parsing and policies are those of training; every
usable row is a step, however few there are. Columns known in advance are not read. By `data.time.gaps`, a gap since the
previous step is filled, or restarts the stream. Rows that `data.time.align` or `data.resample` puts into a step that
was sent before are late: send all rows of a step at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from noisy_gru.data.columns import Columns
from noisy_gru.data.ingestion.report_checks import check_errors
from noisy_gru.data.reading.tables import Source
from noisy_gru.data.report.ingestion_report import IngestionReport
from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.data.requests.origins import step_times_of
from noisy_gru.data.requests.prediction_input import input_order, read_rows
from noisy_gru.data.sequences.repeated_hours import infer_repeated_hours
from noisy_gru.data.sequences.rows import Rows
from noisy_gru.data.sequences.sequences import Sequences, count_kept, regular_series, steps_of_rows
from noisy_gru.data.sequences.static_values import KnownValues, resolve_static
from noisy_gru.data.values.parsing import format_times
from noisy_gru.saved_model.tensor_names import STATIC_FEATURES, static_tensor_names, tensor_names
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import DataError

LATE = "late_step"

Time = int | float


@dataclass(frozen=True)
class StreamSteps:
    """New steps of N streams.

    ``tensors`` are `features` float32 [N, T, F], `lengths` int64 [N] and an object array [N, T] of bytes for each
    categorical feature; of static features `static_features` float32 [N, S], and an object array [N] for each
    categorical one. ``static`` holds their values by column, None where missing. ``times`` are the times of each
    stream's last step (None without `data.time`), in the unit of the data set's times (nanoseconds for timestamps);
    ``restarted`` bool [N] is True where a gap restarts the stream.
    ``unusable`` and ``report`` are as in ``PredictionInput``, and ``step_times`` as in ``Origins``.
    """

    ids: list[str]
    tensors: dict[str, np.ndarray]
    times: list[Time | None]
    restarted: np.ndarray
    report: IngestionReport
    unusable: list[dict[str, Any]]
    static: list[dict[str, float | str | None]] = field(default_factory=list)
    step_times: list[np.ndarray] | None = None


def read_stream_steps(
    sources: Sequence[Source],
    dataset: DatasetConfig,
    last_times: Mapping[str, Time | None],
    channels: Sequence[str],
    known_static: KnownValues | None = None,
) -> StreamSteps:
    """Read new steps of streams.

    Args:
        sources: files or tables of rows; without `data.time` the rows of an entity are in order.
        dataset: the configuration.
        last_times: the time of the last step that was sent of each known stream.
        channels: numeric features in the order of the model's channels.
        known_static: the static values of each known stream, which rows may leave out; rows with others conflict.

    Returns:
        The steps of each entity that has any. Rows not later than their stream's last step are unusable.

    Raises:
        DataError: a source can't be read or lacks a column, or an ``error`` policy applied.
    """
    check_streamable(dataset)
    quarantine = Quarantine()
    rows = read_rows(sources, dataset, quarantine, static_optional=True)
    return steps_of_stream_rows(rows, sources, dataset, last_times, channels, known_static, quarantine)


def check_streamable(dataset: DatasetConfig) -> None:
    """Raise DataError for features that need steps which a stream doesn't keep."""
    if uncounted := [each.name for each in dataset.data.numeric if each.elapsed == "steps_since_observed"]:
        raise DataError(
            f"{', '.join(uncounted)} (elapsed: steps_since_observed) counts back over steps that were sent before, "
            "which a stream doesn't keep: send whole sequences with predict, or remove the feature and train again"
        )


def steps_of_stream_rows(
    rows: Rows | None,
    sources: Sequence[Source],
    dataset: DatasetConfig,
    last_times: Mapping[str, Time | None],
    channels: Sequence[str],
    known_static: KnownValues | None,
    quarantine: Quarantine,
) -> StreamSteps:
    """Return the new steps of streams that rows of ``sources`` are (None: no rows); see ``read_stream_steps``.

    Raises:
        DataError: an ``error`` policy applied.
    """
    if rows is None:
        check_errors(quarantine.report)
        return StreamSteps([], {}, [], np.zeros(0, bool), quarantine.report, quarantine.lines)
    sequences, restarted = _steps(rows, dataset, last_times, quarantine, known_static)
    check_errors(quarantine.report)
    order = input_order(sequences, sources)
    sequences = sequences.take(order)
    last = sequences.rows.time[sequences.stop - 1].tolist()
    times: list[Any] = last if dataset.data.time else [None] * len(sequences)
    tensors = pad_sequences(sequences, dataset, channels)
    static = [static_values_of(sequences.rows, place, dataset) for place in sequences.start.tolist()]
    return StreamSteps(
        sequences.ids,
        tensors,
        times,
        restarted[order],
        quarantine.report,
        quarantine.lines,
        static,
        step_times_of(sequences, dataset),
    )


def static_values_of(rows: Rows, place: int, dataset: DatasetConfig) -> dict[str, float | str | None]:
    """Return the static values of a row by column; None where missing."""
    found: dict[str, float | str | None] = {}
    for feature in dataset.data.static_numeric:
        value = float(rows.numeric[feature.name][place])
        found[feature.name] = None if np.isnan(value) else value
    for feature in dataset.data.static_categorical:
        codes, texts = rows.categorical[feature.name]
        found[feature.name] = (texts[codes[place]] or None) if codes[place] >= 0 else None
    return found


def _steps(
    rows: Rows,
    dataset: DatasetConfig,
    last_times: Mapping[str, Time | None],
    quarantine: Quarantine,
    known_static: KnownValues | None,
) -> tuple[Sequences, np.ndarray]:
    columns = Columns.of(dataset, prediction=True)
    known = {name: time for name, time in last_times.items() if time is not None} if dataset.data.time else {}
    rows = infer_repeated_hours(rows, dataset, quarantine, known)
    if dataset.data.has_steps_of_its_own:
        rows, _ = resolve_static(rows, columns, dataset.data.policies, quarantine, known_static)
        rows = steps_of_rows(rows, dataset, quarantine, prediction=True)
    rows = _drop_late(rows, known, columns, quarantine)
    gaps = dataset.data.time.gaps if dataset.data.time else "ignore"
    if gaps != "ignore" or columns.elapsed:
        rows = _with_anchors(rows, known)
    series, _ = regular_series(
        rows,
        dataset,
        quarantine,
        prediction=True,
        are_steps=dataset.data.has_steps_of_its_own,
        known_static=known_static,
    )
    rows, start, stop = series.rows, series.starts[:-1], series.starts[1:]
    # Anchors are the known last steps: not new ones.
    anchored = rows.row[start] == 0
    # Only the last segment without a gap is in the stream's state.
    segment = series.segments[np.searchsorted(series.segments, stop - 1, side="right") - 1]
    restarted = segment > start
    first = np.maximum(start + anchored, segment)
    good = stop > first
    count_kept(rows, start[good], stop[good], quarantine)
    ids = [rows.entities[code] for code in rows.entity[start].tolist()]
    return Sequences(rows, first, stop, np.zeros(len(start), np.int8), ids).take(good), restarted[good]


def _drop_late(rows: Rows, known: Mapping[str, Time], columns: Columns, quarantine: Quarantine) -> Rows:
    """Quarantine rows that are not later than the last step of their stream."""
    if not any(name in known for name in rows.entities):
        return rows
    kind = columns.time_kind
    lowest = np.iinfo(np.int64).min if np.issubdtype(rows.time.dtype, np.integer) else -np.inf
    last = np.array([known.get(name, lowest) for name in rows.entities], rows.time.dtype)
    late = rows.time <= last[rows.entity]
    for code in np.unique(rows.entity[late]).tolist():
        which = np.flatnonzero(late & (rows.entity == code))
        text = format_times(last[code : code + 1], kind)[0]
        problem = f"expected a time after {text}, the stream's last step"
        quarantine.rows(
            "quarantine",
            LATE,
            len(which),
            lambda which=which, problem=problem: rows.records(which, kind, problem),
        )
    return rows.take(~late)


def _with_anchors(rows: Rows, known: Mapping[str, Time]) -> Rows:
    """Prepend to the rows of each known stream one at the time of its last step, without values and row number."""
    present = np.unique(rows.entity).tolist()
    anchors = [code for code in present if rows.entities[code] in known]
    if not anchors:
        return rows
    copies = rows.take(np.array([int(np.flatnonzero(rows.entity == code)[0]) for code in anchors], np.int64))
    count = len(anchors)
    none = np.full(count, np.nan, np.float32)

    def joined(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.concatenate([first, second.astype(first.dtype)])

    return replace(
        rows,
        entity=joined(rows.entity, copies.entity),
        time=joined(rows.time, np.array([known[rows.entities[code]] for code in anchors], rows.time.dtype)),
        file=joined(rows.file, copies.file),
        row=joined(rows.row, np.zeros(count, np.int64)),
        numeric={name: joined(values, none) for name, values in rows.numeric.items()},
        categorical={
            name: (joined(codes, np.full(count, -1)), texts) for name, (codes, texts) in rows.categorical.items()
        },
    )


def pad_sequences(sequences: Sequences, dataset: DatasetConfig, channels: Sequence[str]) -> dict[str, np.ndarray]:
    """Pad sequences to the tensors of `serving_tensors`, with zeros and empty strings."""
    rows, lengths = sequences.rows, (sequences.stop - sequences.start).astype(np.int64)
    axis = max(int(lengths.max(initial=0)), 1)
    features = np.zeros((len(sequences), axis, len(channels)), np.float32)
    result: dict[str, np.ndarray] = {"features": features, "lengths": lengths}
    # Of every step: its sequence, its index in it, and its row.
    sequence = np.repeat(np.arange(len(lengths)), lengths)
    step = np.arange(len(sequence)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    row = np.repeat(sequences.start, lengths) + step
    for channel, name in enumerate(channels):
        features[sequence, step, channel] = rows.numeric[name][row]
    for name, tensor in tensor_names(dataset.data).items():
        codes, texts = rows.categorical[name]
        values = np.full((len(sequences), axis), b"", object)
        values[sequence, step] = np.array([*(text.encode() for text in texts), b""], object)[codes[row]]
        result[tensor] = values
    return {**result, **static_tensors(sequences, dataset)}


def static_tensors(sequences: Sequences, dataset: DatasetConfig) -> dict[str, np.ndarray]:
    """Return the tensors of static features: float32 [N, S], NaN where missing, and object arrays [N] of texts."""
    rows, data = sequences.rows, dataset.data
    result: dict[str, np.ndarray] = {}
    if data.static_numeric:
        columns = [rows.numeric[feature.name][sequences.start] for feature in data.static_numeric]
        result[STATIC_FEATURES] = np.stack(columns, axis=1).astype(np.float32)
    for name, tensor in static_tensor_names(data).items():
        codes, texts = rows.categorical[name]
        result[tensor] = np.array([*(text.encode() for text in texts), b""], object)[codes[sequences.start]]
    return result

"""Prediction requests: files or rows as tf.Examples, with the parsing and policies of training.

>>> request = read_for_prediction([Path("new.csv")], dataset)  # doctest: +SKIP
>>> stub.predict(request.examples)  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from noisy_gru.data.columns import Columns
from noisy_gru.data.ingestion.report_checks import check_errors
from noisy_gru.data.reading.files import sources_to_predict
from noisy_gru.data.reading.reader import Reader
from noisy_gru.data.reading.tables import Source
from noisy_gru.data.report.ingestion_report import IngestionReport
from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.data.requests.actual_windows import Counting, actual_of, windows_with_actual
from noisy_gru.data.requests.origins import Origins, origins_of
from noisy_gru.data.sequences.chunks import pack, unpack
from noisy_gru.data.sequences.encoding import Encoder
from noisy_gru.data.sequences.future_steps import append_future
from noisy_gru.data.sequences.gaps import Series
from noisy_gru.data.sequences.rows import Rows
from noisy_gru.data.sequences.sequence_ids import sequence_ids
from noisy_gru.data.sequences.sequences import (
    TOO_SHORT,
    Sequences,
    count_kept,
    quarantine_ranges,
    regular_series,
    whole_sequences,
)
from noisy_gru.data.sequences.static_values import KnownValues
from noisy_gru.schema.config import DatasetConfig, ForecastingConfig

NO_FUTURE = "future_missing"


@dataclass(frozen=True)
class PredictionInput:
    """Ids and serialized tf.Examples of the sequences to predict, in the order of the files.

    ``unusable`` are the rejected rows, with reason, file and row; ``report`` counts them. ``origins`` are the entities
    and the times to predict; None without any sequence. ``actual`` is what came at each horizon, float32 [N, H, K], NaN
    where it isn't known; None unless it was asked for.
    """

    ids: list[str]
    examples: list[bytes]
    report: IngestionReport
    unusable: list[dict[str, Any]]
    origins: Origins | None = None
    actual: np.ndarray | None = None


def read_for_prediction(paths: Sequence[Path], dataset: DatasetConfig) -> PredictionInput:
    """Read files of the training formats; see ``read_sources``."""
    names = list(dict.fromkeys(str(path) for path in paths))
    return read_sources(sources_to_predict(names, dataset.data), dataset)


def read_sources(
    sources: Sequence[Source], dataset: DatasetConfig, counting: Counting | None = None
) -> PredictionInput:
    """Read files or in-memory tables, which need neither labels nor splits, nor targets that aren't features.

    Forecasting uses one window per entity, the latest. Rows at the end of an entity with only columns known in advance
    are its future, and must reach the furthest horizon. Where only calendars are known in advance and
    `data.time.frequency` says when the next steps are, they are computed: all rows are the past.

    With ``counting`` a forecast has all windows whose targets have come, too, by these rows (``actual_windows``).

    Raises:
        DataError: a source can't be read or lacks a column, or an ``error`` policy applied.
    """
    quarantine = Quarantine()
    rows = read_rows(sources, dataset, quarantine)
    sequences = sequences_of_rows(rows, dataset, quarantine, counting=counting) if rows is not None else None
    check_errors(quarantine.report)
    if sequences is None:
        return PredictionInput([], [], quarantine.report, quarantine.lines)
    sequences = sequences.take(input_order(sequences, sources))
    encode = Encoder(sequences, dataset, prediction=True)
    examples = list(encode.examples())
    origins = origins_of(sequences, dataset)
    return PredictionInput(
        sequences.ids, examples, quarantine.report, quarantine.lines, origins, actual_or_none(sequences, dataset)
    )


def read_rows(
    sources: Sequence[Source], dataset: DatasetConfig, quarantine: Quarantine, *, static_optional: bool = False
) -> Rows | None:
    """Read the usable rows of all sources, without label and split; None if there are none.

    With ``static_optional`` static columns may be absent; their values are missing then.
    """
    reader = Reader(dataset, prediction=True, static_optional=static_optional)
    chunks: list[bytes] = []
    for source in sources:
        for table in reader.tables(source, quarantine):
            chunks += [chunk for _, chunk in pack(table, source.name, 1)]
    return unpack(chunks) if chunks else None


def input_order(sequences: Sequences, sources: Sequence[Source]) -> np.ndarray:
    """Return the indices of the sequences in the order of their first rows in the sources."""
    rows = sequences.rows
    given = source_places(rows, sources)
    return np.lexsort((rows.row[sequences.start], given[rows.file[sequences.start]]))


def source_places(rows: Rows, sources: Sequence[Source]) -> np.ndarray:
    """Return the index of the source of each of the rows' files, int64 [files]."""
    places: dict[str, int] = {}
    for place, source in enumerate(sources):
        places.setdefault(source.name, place)
    return np.array([places[name] for name in rows.file_names], np.int64)


def actual_or_none(sequences: Sequences, dataset: DatasetConfig) -> np.ndarray | None:
    """Return what came after each window, if that was asked for; see `PredictionInput`."""
    is_known = isinstance(dataset.task, ForecastingConfig) and bool(sequences.horizon_values)
    return actual_of(sequences, dataset.task) if is_known else None  # type: ignore[arg-type]


def sequences_of_rows(
    rows: Rows,
    dataset: DatasetConfig,
    quarantine: Quarantine,
    known_static: KnownValues | None = None,
    *,
    counting: Counting | None = None,
) -> Sequences:
    """Return the sequences to predict of rows without label and split: of forecasting the latest windows.

    ``known_static`` are static values that are known of entities already, whose rows may leave them out. With
    ``counting`` also the windows whose targets have come; see `read_sources`.
    """
    series, split = regular_series(rows, dataset, quarantine, prediction=True, known_static=known_static)
    if isinstance(dataset.task, ForecastingConfig):
        return _latest_windows(series, dataset, dataset.task, quarantine, counting)
    return whole_sequences(series, split, None, dataset, quarantine)


def _future_steps(series: Series, columns: Columns, horizon: int) -> np.ndarray:
    """Count the rows at the end of each series, int64 [S], with only columns known in advance.

    Without measured features and targets in the file, it is the furthest horizon.
    """
    rows = series.rows
    measured = np.zeros(len(rows), bool)
    for name in columns.past_only(columns.numeric):
        measured |= ~np.isnan(rows.numeric[name])
    for name in columns.past_only(columns.categorical):
        codes, texts = rows.categorical[name]
        measured |= np.array([bool(text) for text in texts] + [False])[codes]
    counts = []
    features = columns.past_only([*columns.numeric_features, *columns.categorical])
    for start, stop in zip(series.starts[:-1].tolist(), series.starts[1:].tolist(), strict=True):
        past = measured[start:stop]
        if past.any():
            counts.append(int(past[::-1].argmax()))
        else:
            counts.append(stop - start if features else horizon)
    return np.array(counts, np.int64)


def _held_in_advance(dataset: DatasetConfig) -> str:
    features = [feature for feature in dataset.data.features if feature.known_in_advance]
    if columns := [feature.name for feature in features if feature.calendar is None]:
        return f"only the columns known in advance ({', '.join(columns)})"
    names = ", ".join(feature.name for feature in features)
    return (
        f"only the entity and the time, for the calendars known in advance ({names}; data.time.frequency with gaps: "
        "fill or split would compute these times)"
    )


def _latest_windows(
    series: Series,
    dataset: DatasetConfig,
    task: ForecastingConfig,
    quarantine: Quarantine,
    counting: Counting | None = None,
) -> Sequences:
    """Cut one window per series: the last ``input_length`` steps before its future, without a gap.

    With ``counting`` also all windows whose targets have come.
    """
    columns = Columns.of(dataset, prediction=True)
    horizon = task.max_horizon if columns.future is not None else 0
    if columns.future == "computed":
        series = append_future(series, horizon, dataset)
    rows, start, stop = series.rows, series.starts[:-1], series.starts[1:]
    future = _future_steps(series, columns, horizon) if columns.future == "rows" else np.full(len(start), horizon)
    end = stop - future
    # The segment in which the past ends; without any past row the series is too short anyway.
    place = np.searchsorted(series.segments, np.maximum(end - 1, start), side="right") - 1
    past = end - np.maximum(series.segments[place], start)
    ahead = np.minimum(series.segments[place + 1], stop) - end

    windows = None
    is_answered = np.zeros(len(start), bool)
    if counting is not None:
        windows = windows_with_actual(series, end, task, horizon, counting(rows))
        is_answered[windows.owner] = True
    lacking = (ahead < horizon) & ~is_answered
    quarantine_ranges(
        rows,
        start[lacking],
        stop[lacking],
        "quarantine",
        NO_FUTURE,
        columns.time_kind,
        quarantine,
        f"expected {horizon} rows without a gap at the end (the furthest of task.horizons) that hold "
        f"{_held_in_advance(dataset)}",
        ahead[lacking],
    )
    short = ~lacking & ~is_answered & (past < task.input_length)
    quarantine_ranges(
        rows,
        start[short],
        stop[short],
        dataset.data.policies.too_short,
        TOO_SHORT,
        columns.time_kind,
        quarantine,
        f"expected at least {task.input_length} steps without a gap (task.input_length)",
        past[short],
    )
    good = ~lacking & ~short
    count_kept(rows, start[good], (end if columns.future == "computed" else stop)[good], quarantine)
    first, last, values = end[good] - task.input_length, end[good], {}
    if windows is not None:
        first, last, values = windows.first, windows.stop, windows.values
    ids = sequence_ids(rows, first, last, dataset)
    return Sequences(rows, first, last, np.zeros(len(first), np.int8), ids, values)

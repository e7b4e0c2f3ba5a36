"""Tables of the steps that windows of a forecast are cut from: each step is stored once, however many windows hold it.

A file holds windows of a split as Parquet: a row for each step, in the order of series and time, of which ``window``
says whether a window ends there. Reading it cuts the windows: their tf.Examples, and the order of these, are what the
file is for.

    for split, number, content in encode_tables(windows, dataset, report):
        (folder / split / f"{number}.parquet").write_bytes(content)
    for example in read_windows(pa.BufferReader(content)):  # bytes, a serialized tf.Example
        ...
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from noisy_gru.data.arrow import pa, pa_parquet
from noisy_gru.data.report.ingestion_report import IngestionReport
from noisy_gru.data.sequences.chunks import CATEGORICAL, NUMERIC, to_numpy
from noisy_gru.data.sequences.encoding import Encoder
from noisy_gru.data.sequences.gaps import Series
from noisy_gru.data.sequences.rows import Coded, Rows
from noisy_gru.data.sequences.sequence_ids import sequence_ids
from noisy_gru.data.sequences.sequences import Sequences
from noisy_gru.data.sequences.shards import WINDOWS_TOGETHER, count_sequences, shuffled_order
from noisy_gru.data.sequences.windows import horizon_values, seasonal_rows
from noisy_gru.schema.config import SPLITS, DatasetConfig, ForecastingConfig
from noisy_gru.schema.errors import DataError

ENDING = ".parquet"
# A reader holds the steps of one file: 2**18 windows that begin at each step are about as many rows.
WINDOWS_OF_FILE = 1 << 18
# Columns besides the features and targets, which are named as in chunks.
_ENTITY, _TIME, _GRID, _OBSERVED, _WINDOW = "entity", "time", "grid", "observed", "window"
_DATASET = b"dataset"


def encode_tables(
    windows: Sequences, dataset: DatasetConfig, report: IngestionReport, most: int = WINDOWS_OF_FILE
) -> Iterator[tuple[str, int, bytes]]:
    """Yield split, number and bytes of each file; a split without windows has none.

    Args:
        windows: of a bucket, with the series that they are cut from.
        dataset: the configuration, which the file holds.
        report: receives the counts.
        most: windows of a file.
    """
    for code, split in enumerate(SPLITS):
        chosen = np.flatnonzero(windows.split == code)
        if not len(chosen):
            continue
        count_sequences(windows, chosen, split, report)
        chosen = chosen[np.argsort(windows.stop[chosen], kind="stable")]
        for number, first in enumerate(range(0, len(chosen), most)):
            yield split, number, encode_table(windows.take(chosen[first : first + most]), dataset)


def encode_table(windows: Sequences, dataset: DatasetConfig) -> bytes:
    """Return the file of some windows: the same windows give the same bytes."""
    series, task = windows.series, _task(dataset)
    if series is None:
        raise ValueError("expected windows with the series that they are cut from, received none")
    ends = np.sort(windows.stop - 1)
    kept = _steps_of(series, ends, task)
    rows = series.rows.take(kept)
    is_end = np.zeros(len(series.rows), bool)
    is_end[ends] = True
    columns: dict[str, Any] = {
        _ENTITY: _dictionary((rows.entity.astype(np.int32), rows.entities)),
        _TIME: rows.time,
        _GRID: series.grid[kept],
        _OBSERVED: rows.row > 0,
        _WINDOW: is_end[kept],
    }
    columns |= {NUMERIC + name: np.ascontiguousarray(values, np.float32) for name, values in rows.numeric.items()}
    columns |= {CATEGORICAL + name: _dictionary(coded) for name, coded in rows.categorical.items()}
    table = pa.table(columns).replace_schema_metadata({_DATASET: dataset.model_dump_json().encode()})
    encodings = {name: "BYTE_STREAM_SPLIT" for name in columns if name.startswith(NUMERIC)}
    encodings |= {name: "DELTA_BINARY_PACKED" for name in (_TIME, _GRID) if pa.types.is_integer(table[name].type)}
    sink = pa.BufferOutputStream()
    # Bytes of a place together compress the exponents of floats; a dictionary would hold each float once more, and
    # knows one NaN alone.
    pa_parquet.write_table(
        table,
        sink,
        compression="zstd",
        compression_level=1,
        use_dictionary=[name for name in columns if name == _ENTITY or name.startswith(CATEGORICAL)],
        column_encoding=encodings,
        write_statistics=False,
    )
    return sink.getvalue().to_pybytes()


def read_windows(source: Any, only: Container[str] | None = None) -> Iterator[bytes]:
    """Yield the serialized tf.Examples of a file's windows: blocks of neighbours, in the order of a hash.

    Args:
        source: a path, or a file that is open for reading; PyArrow's or Python's.
        only: the ids to yield; None: all.
    """
    windows, series, dataset = _read_table(source)
    order = shuffled_order(windows, WINDOWS_TOGETHER)
    if only is not None:
        order = [place for place in order if windows.ids[place] in only]
    chosen = windows.take(np.array(order, np.int64))
    answers = horizon_values(series, chosen.stop - 1, _task(dataset))
    return Encoder(replace(chosen, horizon_values=answers), dataset).examples()


def read_ids(source: Any) -> list[str]:
    """Return the ids of a file's windows, in the order of ``read_windows``."""
    windows, _, _ = _read_table(source)
    return [windows.ids[place] for place in shuffled_order(windows, WINDOWS_TOGETHER)]


def _read_table(source: Any) -> tuple[Sequences, Series, DatasetConfig]:
    """Return the windows of a file, in the order of series and time, their series, and the data set's configuration.

    They have no ``horizon_values``: only windows that are encoded need them.

    Raises:
        DataError: the file is none of ingestion's, or damaged.
    """
    try:
        table = pa_parquet.read_table(source)
        dataset = DatasetConfig.model_validate_json(table.schema.metadata[_DATASET])
    except (OSError, KeyError, TypeError, pa.ArrowException) as error:
        raise DataError(f"{source}: expected a table of windows as ingestion writes it, received {error}") from error
    task = _task(dataset)
    table = table.unify_dictionaries().combine_chunks()
    columns = {name: to_numpy(table[name]) for name in table.column_names}
    entity, entities = columns[_ENTITY]
    empty = np.zeros(len(entity), np.int32)
    rows = Rows(
        entities=entities,
        entity=entity.astype(np.int64),
        time=columns[_TIME],
        file_names=[""],
        file=empty,
        row=columns[_OBSERVED].astype(np.int64),
        numeric={name[2:]: column for name, column in columns.items() if name.startswith(NUMERIC)},
        categorical={name[2:]: column for name, column in columns.items() if name.startswith(CATEGORICAL)},
    )
    starts = rows.starts()
    series = Series(rows, starts, starts, columns[_GRID])
    ends = np.flatnonzero(columns[_WINDOW])
    start = ends - task.input_length + 1
    ids = sequence_ids(rows, start, ends + 1, dataset)
    return Sequences(rows, start, ends + 1, np.zeros(len(ends), np.int8), ids, series=series), series, dataset


def without_windows(source: Any, names: Iterable[str]) -> tuple[bytes | None, int]:
    """Return the file without the windows of these ids, None if none are left, and how many are."""
    windows, _, dataset = _read_table(source)
    dropped = {*names}
    kept = windows.take(np.array([name not in dropped for name in windows.ids], bool))
    return (encode_table(kept, dataset) if len(kept) else None), len(kept)


def _steps_of(series: Series, ends: np.ndarray, task: ForecastingConfig) -> np.ndarray:
    """Return the rows that windows ending at these read, their answers and naive forecasts included; int64, rising."""
    count = len(series.rows)
    change = np.zeros(count + 1, np.int64)
    # One row more: the first row of a series counts as a reading, which it need not be in the middle of one.
    owner = np.searchsorted(series.starts, ends, side="right") - 1
    np.add.at(change, np.maximum(ends - task.input_length, series.starts[owner]), 1)
    np.add.at(change, ends + task.max_horizon + 1, -1)
    is_read = np.cumsum(change[:-1]) > 0
    if task.season_length:
        before = seasonal_rows(series, ends, np.array(task.horizons), task.season_length)
        is_read[before[before >= 0]] = True
    return np.flatnonzero(is_read)


def _task(dataset: DatasetConfig) -> ForecastingConfig:
    if not isinstance(dataset.task, ForecastingConfig):
        raise TypeError(f"expected windows of forecasting, received the task {dataset.task.kind}")
    return dataset.task


def _dictionary(coded: Coded) -> Any:
    codes, texts = coded
    return pa.DictionaryArray.from_arrays(
        pa.array(codes, pa.int32(), mask=codes < 0), pa.array(texts, pa.string()), safe=False
    )

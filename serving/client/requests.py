"""Build batched prediction requests from files and tables, using the training reader."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from noisy_gru.data.arrow import pa
from noisy_gru.data.columns import Columns
from noisy_gru.data.reading.files import sources_to_predict
from noisy_gru.data.reading.in_memory_tables import arrow_source, frame_source, rows_source
from noisy_gru.data.reading.sql_query import QUERY_ENDING, query_result
from noisy_gru.data.reading.tables import Source
from noisy_gru.data.reading.wide_tables import is_long
from noisy_gru.data.requests.actual_windows import Counting
from noisy_gru.data.requests.prediction_input import PredictionInput, read_sources
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import ConfigError, DataError
from noisy_gru.serving.client.calls import PredictCall
from noisy_gru.storage.object_stores import is_remote

_EXPECTED = (
    "expected files, a pandas DataFrame, a pyarrow Table, or rows as mappings of column name to value (serialized "
    "tf.Examples go to predict_examples)"
)


def sources_of(data: Any, dataset: DatasetConfig) -> list[Source]:
    """Return the sources of data to predict.

    Args:
        data: a file or several, in a format of training, or `.sql` with a query for `data.sql`; a DataFrame; a
            pyarrow Table or RecordBatch; or rows.
        dataset: the configuration.

    Raises:
        DataError: the data is none of these.
    """
    if isinstance(data, str | os.PathLike):
        data = [data]
    columns = Columns.of(dataset, prediction=True).wanted()

    def wanted(names: Iterable[Any]) -> list[str] | None:
        return columns if is_long([str(name) for name in names], dataset) else None  # of a wide table all

    if isinstance(data, pa.Table | pa.RecordBatch):
        return [arrow_source(data, wanted(data.schema.names))]
    if _is_frame(data):
        return [frame_source(data, wanted([*data.index.names, *data.columns]))]
    if isinstance(data, Mapping | bytes) or not isinstance(data, Iterable):
        raise DataError(f"{_EXPECTED}, received {type(data).__name__}")
    if isinstance(data, Sequence) and data and all(isinstance(each, str | os.PathLike) for each in data):
        paths = list(
            dict.fromkeys(each if isinstance(each, str) and is_remote(each) else str(Path(each)) for each in data)
        )
        paths = [_result_of(path, dataset) if path.lower().endswith(QUERY_ENDING) else path for path in paths]
        return sources_to_predict(paths, dataset.data)
    if isinstance(data, Sequence) and data and isinstance(data[0], bytes):
        raise DataError(f"{_EXPECTED}, received a list of bytes")
    if dataset.data.layout is not None:
        data = list(data)
        return [rows_source(data, wanted({name for row in data if isinstance(row, Mapping) for name in row}))]
    return [rows_source(data, columns)]


def _result_of(path: str, dataset: DatasetConfig) -> str:
    """Run the query of a file on the connection of the configuration, and return the file with its result."""
    sql = dataset.data.sql
    if sql is None:
        raise DataError(f"{path}: a query needs data.sql.connection in the configuration: add it, or give other files")
    try:
        query = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: can't be read as a query in UTF-8: {error}") from error
    return str(query_result(sql, Path(sql.results) / "predict", query))


def _is_frame(data: Any) -> bool:
    # Whoever has a DataFrame has imported pandas; others need not wait for that.
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(data, pandas.DataFrame)


def prediction_input(data: Any, dataset: DatasetConfig, counting: Counting | None = None) -> PredictionInput:
    """Read and group what ``sources_of`` takes, as training does; ``counting`` is that of ``read_sources``.

    Raises:
        DataError: it can't be read, or a policy that says ``error`` has found a case.
    """
    return read_sources(sources_of(data, dataset), dataset, counting)


def serialized(examples: Iterable[Any]) -> list[bytes]:
    """Serialize tf.Examples, which may be bytes already.

    Raises:
        DataError: something is neither message nor bytes.
    """
    if isinstance(examples, bytes | str | Mapping) or not isinstance(examples, Iterable):
        raise DataError(f"expected tf.Examples, one for each sequence, received {type(examples).__name__}")
    found = []
    for place, each in enumerate(examples):
        if not isinstance(each, bytes):
            write = getattr(each, "SerializeToString", None)
            if write is None:
                raise DataError(
                    f"example {place}: expected a tf.Example, serialized or not, received {type(each).__name__}"
                )
            each = write()
        found.append(each)
    return found


def batches(call: PredictCall, most: int, largest: int) -> Iterator[tuple[int, PredictCall]]:
    """Cut a call into batches of at most ``most`` sequences and ``largest`` bytes; a larger sequence goes alone.

    Yields:
        The place of a batch's first sequence, and the batch.
    """
    sizes = sum(_sizes(values) for values in call.inputs.values())
    ends = np.cumsum(np.broadcast_to(sizes, len(call.ids)))
    start, before = 0, 0
    while start < len(call.ids):
        stop = int(np.searchsorted(ends, before + largest, side="right"))
        stop = min(max(stop, start + 1), start + most)
        yield start, call.part(start, stop)
        start, before = stop, int(ends[stop - 1])


def _sizes(values: Any) -> np.ndarray | int:
    """Return about how many bytes each sequence takes in an input."""
    if not isinstance(values, np.ndarray):
        return np.fromiter(map(len, values), np.int64, len(values))
    if not len(values):
        return 0
    if values.dtype == object:
        return np.array([sum(map(len, row)) for row in values.reshape(len(values), -1).tolist()], np.int64)
    return values.nbytes // len(values)


def check_batches(batch_size: int, concurrency: int, largest_request: int) -> None:
    """Raise ConfigError for numbers below 1."""
    given = {"batch_size": batch_size, "concurrency": concurrency, "largest_request": largest_request}
    for name, value in given.items():
        if value < 1:
            raise ConfigError(f"{name}: expected at least 1, received {value}")

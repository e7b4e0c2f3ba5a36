"""Files of ingestion's examples: shards of tf.Examples, or tables of the steps that windows are cut from.

for file in example_files(folder / "Split-train"):
    for example in read_examples(file):  # bytes, a serialized tf.Example
        ...
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from noisy_gru.data.arrow import pa
from noisy_gru.data.columns import SEQUENCE_ID
from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.data.sequences import series_tables
from noisy_gru.data.sequences.chunks import unpack
from noisy_gru.data.sequences.encoding import Encoder
from noisy_gru.data.sequences.series_tables import ENDING, encode_tables, read_windows
from noisy_gru.data.sequences.shards import build_sequences, encode_shards
from noisy_gru.data.sequences.splits import Boundaries
from noisy_gru.schema.config import DatasetConfig, ForecastingConfig
from noisy_gru.storage.object_stores import open_file

# Of the files in the folder of a split; one that is still being written begins with a dot.
FILES = "data_*"


def stores_series(dataset: DatasetConfig) -> bool:
    """Whether the files hold the steps of series, each once, in place of tf.Examples."""
    return isinstance(dataset.task, ForecastingConfig) and dataset.data.windows == "cut"


def with_windows(dataset: DatasetConfig, windows: Literal["cut", "stored"]) -> DatasetConfig:
    """Return the configuration with another ``data.windows``."""
    return dataset.model_copy(update={"data": dataset.data.model_copy(update={"windows": windows})})


def bucket_files(
    chunks: Iterable[bytes], at: Boundaries | None, dataset: DatasetConfig, quarantine: Quarantine
) -> Iterator[tuple[str, int, bytes]]:
    """Yield split, number and content of each file of a bucket; see ``build_sequences``."""
    sequences = build_sequences(unpack(chunks), at, dataset, quarantine)
    if stores_series(dataset):
        yield from encode_tables(sequences, dataset, quarantine.report)
    else:
        yield from encode_shards(sequences, Encoder(sequences, dataset), quarantine.report)


def file_name(dataset: DatasetConfig, bucket: int, buckets: int, number: int) -> str:
    """Return the name of a file of ``bucket_files``."""
    place = f"{bucket:05d}-of-{buckets:05d}-{number:03d}"
    return f"data_series-{place}{ENDING}" if stores_series(dataset) else f"data_tfrecord-{place}.gz"


def example_files(folder: Path | str) -> list[str]:
    """Return the files in the folder of a split, in order."""
    return sorted(str(file) for file in Path(folder).glob(FILES))


def read_examples(file: str, only: Container[str] | None = None) -> Iterator[bytes]:
    """Yield the serialized tf.Examples of a file, in the order in which every reader finds them.

    Args:
        file: its path.
        only: the ids to yield; None: all.

    Raises:
        DataError: a table of windows is damaged.
    """
    if file.endswith(ENDING):
        yield from read_windows(_opened(file), only)
        return
    for record in _records(file):
        if only is None or _id(record) in only:
            yield record


def read_ids(file: str) -> Iterator[str]:
    """Yield the ids of a file's sequences, in the order of ``read_examples``."""
    if file.endswith(ENDING):
        yield from series_tables.read_ids(_opened(file))
    else:
        yield from map(_id, _records(file))


def _opened(file: str) -> Any:
    with open_file(file) as stream:
        return pa.BufferReader(stream.read())


def _records(file: str) -> Iterator[bytes]:
    import tensorflow as tf

    records: Any = tf.data.TFRecordDataset(file, compression_type="GZIP")
    return map(bytes, records.as_numpy_iterator())


def _id(record: bytes) -> str:
    import tensorflow as tf

    return tf.train.Example.FromString(record).features.feature[SEQUENCE_ID].bytes_list.value[0].decode()

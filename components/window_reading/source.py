"""A Beam source of the windows of series tables, and TFX's executors that read by it.

with windows_of(input_dict) as inputs:
    super().Do(inputs, output_dict, exec_properties)
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import apache_beam as beam
from apache_beam.io.filebasedsource import FileBasedSource
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.iobase import Read

from noisy_gru.compat.tfxio import examples_read_by
from noisy_gru.data.arrow import pa
from noisy_gru.data.sequences.series_tables import ENDING, read_windows
from noisy_gru.schema.file_patterns import escape

EXAMPLES = "examples"
# Properties of the artifact, by TFX's names.
TABLES, TFRECORDS = "FILE_FORMAT_PARQUET", "tfrecords_gzip"


class WindowSource(FileBasedSource):
    """Read files of `series_tables` as serialized tf.Examples, a file at a time."""

    def __init__(self, pattern: str) -> None:
        super().__init__(pattern, compression_type=CompressionTypes.UNCOMPRESSED, splittable=False, validate=False)

    def read_records(self, file_name: str, offset_range_tracker: Any) -> Iterator[bytes]:
        """Yield the windows of a file."""
        if not offset_range_tracker.try_claim(offset_range_tracker.start_position()):
            return
        with self.open_file(file_name) as stream:
            content = stream.read()
        yield from read_windows(pa.BufferReader(content))


class ReadWindows(beam.PTransform):
    """Read the windows of all files of some patterns."""

    def __init__(self, patterns: list[str]) -> None:
        super().__init__()
        self._patterns = patterns

    def expand(self, input_or_inputs: Any) -> Any:
        """Return a collection of serialized tf.Examples."""
        parts = [
            input_or_inputs | f"Read{number}" >> Read(WindowSource(pattern)).with_output_types(bytes)
            for number, pattern in enumerate(self._patterns)
        ]
        return parts | beam.Flatten()


@contextmanager
def windows_of(input_dict: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Give the inputs of one of TFX's executors, for which tables of series are windows as tf.Examples."""
    from tfx.components.util import examples_utils
    from tfx.dsl.io import fileio
    from tfx.proto import example_gen_pb2

    found = list(input_dict[EXAMPLES])
    # Not by its properties, which an artifact may lose on its way through a backend.
    if not any(fileio.glob(f"{escape(each.uri)}/Split-*/*{ENDING}") for each in found):
        yield dict(input_dict)
        return
    # TFX's executors decide by these properties how they read, and Transform how it writes.
    as_read = [copy.deepcopy(each) for each in found]
    for each in as_read:
        examples_utils.set_payload_format(each, vars(example_gen_pb2)["FORMAT_TF_EXAMPLE"])
        examples_utils.set_file_format(each, TFRECORDS)
    with examples_read_by(ReadWindows):
        yield {**input_dict, EXAMPLES: as_read}

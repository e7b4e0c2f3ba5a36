"""TFX's readers find the same windows in a table of series as in TFRecords of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pandas as pd
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from noisy_gru.components.sequence_example_gen.in_process import IN_PROCESS
from noisy_gru.components.window_reading.source import TABLES, ReadWindows, windows_of
from noisy_gru.data.arrow import pa
from noisy_gru.data.report.ingestion_report import IngestionReport
from noisy_gru.data.sequences.encoding import Encoder
from noisy_gru.data.sequences.example_files import example_files, read_examples, read_ids
from noisy_gru.data.sequences.series_tables import encode_tables
from noisy_gru.data.sequences.shards import encode_shards
from tests.data.conftest import configured, ingest

__all__ = ["configured", "ingest"]
# TFX warns of a name of its own when it is imported.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:DEFAULT_FILE_NAME will be deprecated")]
TASK = {"kind": "forecasting", "targets": ["x"], "input_length": 5, "horizons": [1, 2]}


@pytest.fixture
def folders(ingest, tmp_path, configured) -> dict[str, Path]:
    """Folders of one split: `tables` and `records`."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"id": np.repeat(["a", "b"], 60), "t": np.tile(np.arange(60), 2)})
    frame["x"] = random.standard_normal(len(frame)).round(2)
    frame["kind"] = random.choice(["", "p", "q"], len(frame))
    frame.to_csv(tmp_path / "rows.csv", index=False)
    dataset = configured(
        task=TASK,
        features=["x", {"name": "kind", "kind": "categorical"}],
        splits={"by": "entity", "eval": 0, "test": 1e-9},
    )
    (windows,) = ingest(dataset, [tmp_path / "rows.csv"], buckets=1).parts
    found = {name: tmp_path / name / "Split-train" for name in ("tables", "records")}
    for folder in found.values():
        folder.mkdir(parents=True)
    ((_, _, table),) = encode_tables(windows, dataset, IngestionReport())
    (found["tables"] / "data_series-0.parquet").write_bytes(table)
    ((_, _, shard),) = encode_shards(windows, Encoder(windows, dataset), IngestionReport())
    (found["records"] / "data_tfrecord-0.gz").write_bytes(shard)
    return found


def rows_of(folder: Path, **options: Any) -> Any:
    """What TFX's function reads, as one Arrow table."""
    from tfx.components.util import tfxio_utils
    from tfx.proto import example_gen_pb2

    source = tfxio_utils.make_tfxio(
        file_pattern=f"{folder}/*",
        telemetry_descriptors=["test"],
        payload_format=vars(example_gen_pb2)["FORMAT_TF_EXAMPLE"],
        **options,
    )
    output = folder.with_suffix(".arrow")

    def write(batches: list[Any]) -> None:
        with pa.OSFile(str(output), "wb") as sink, pa.ipc.new_file(sink, batches[0].schema) as writer:
            for batch in batches:
                writer.write_batch(batch)

    with beam.Pipeline(options=PipelineOptions(list(IN_PROCESS))) as pipeline:
        _ = pipeline | source.BeamSource(batch_size=1_000) | beam.combiners.ToList() | beam.Map(write)
    return pa.ipc.open_file(pa.memory_map(str(output))).read_all()


def artifact(folder: Path, file_format: str) -> Any:
    from tfx.components.util import examples_utils
    from tfx.types import standard_artifacts

    found = standard_artifacts.Examples()
    found.uri = str(folder.parent)
    examples_utils.set_file_format(found, file_format)
    return found


def test_tfx_reads_tables_as_the_records_of_their_windows(folders) -> None:
    from tfx.components.util import examples_utils

    column = {"raw_record_column_name": "raw"}
    expected = rows_of(folders["records"], **column)
    given = {"examples": [artifact(folders["tables"], TABLES)], "schema": ["as it is"]}
    with windows_of(given) as inputs:
        assert inputs["schema"] == given["schema"]
        assert examples_utils.get_file_format(inputs["examples"][0]) == "tfrecords_gzip"
        found = rows_of(folders["tables"], **column)
    # Bytes, as NaN equals nothing.
    assert found.num_rows == expected.num_rows == 108
    assert found["raw"].to_pylist() == expected["raw"].to_pylist()
    assert found.schema == expected.schema
    assert examples_utils.get_file_format(given["examples"][0]) == TABLES


def test_records_are_read_as_ever(folders) -> None:
    given = {"examples": [artifact(folders["records"], "tfrecords_gzip")]}
    with windows_of(given) as inputs:
        assert inputs == given
        assert rows_of(folders["records"]).num_rows == 108


def test_readers_of_files_find_the_same(folders) -> None:
    (table,), (records,) = (example_files(folders[name]) for name in ("tables", "records"))
    examples = list(read_examples(table))
    assert examples == list(read_examples(records))
    ids = list(read_ids(table))
    assert ids == list(read_ids(records))
    assert list(read_examples(table, {ids[3]})) == list(read_examples(records, {ids[3]})) == [examples[3]]


def test_no_files_are_no_windows(tmp_path) -> None:
    with beam.Pipeline(options=PipelineOptions(list(IN_PROCESS))) as pipeline:
        count = pipeline | ReadWindows([f"{tmp_path}/none-*"]) | beam.combiners.Count.Globally()
        _ = count | beam.Map(lambda found: (tmp_path / "count").write_text(str(found)))
    assert (tmp_path / "count").read_text() == "0"

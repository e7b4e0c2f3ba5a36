"""Predict files with Beam: entities are grouped into buckets, and each bucket becomes a part of the output folder.

>>> report = run_beam_prediction(dataset, sources, folder=folder, model=version_folder, …)  # doctest: +SKIP

The model is loaded once in each worker process, in a Session as TF Serving does. Each bucket's sequences are predicted
in batches of similar length, which saves padding, and written in the order of the files.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.io.filesystems import FileSystems
from apache_beam.utils.shared import Shared

from noisy_gru.components.sequence_example_gen.beam_transforms import (
    INGESTION_REPORT,
    PlanReads,
    ReadChunks,
    WriteText,
    merged,
    write_bytes,
)
from noisy_gru.data.ingestion.report_checks import check_errors
from noisy_gru.data.reading.tables import Source
from noisy_gru.data.report.ingestion_report import IngestionReport
from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.data.requests.actual_windows import every_row
from noisy_gru.data.requests.origins import origins_of
from noisy_gru.data.requests.prediction_input import actual_or_none, input_order, sequences_of_rows
from noisy_gru.data.sequences.chunks import unpack
from noisy_gru.data.sequences.encoding import Encoder
from noisy_gru.data.sequences.sequences import Sequences
from noisy_gru.pipeline.batch_prediction.output_files import write_predictions
from noisy_gru.pipeline.batch_prediction.published_model import BATCH
from noisy_gru.saved_model.session import SessionModel
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.serving.client.anomalies import read_scores, with_p_values
from noisy_gru.serving.client.prediction_columns import Part
from noisy_gru.serving.client.predictions import Predictions

# Bytes of tf.Examples of a batch, of which long sequences fill a smaller one.
BATCH_BYTES = 32 << 20
# Sequences that are in memory with their outputs, before they are written in order.
_BLOCK = 16 * BATCH


class PredictBucket(beam.DoFn):
    """A bucket's chunks to a file of predictions, and its report.

    Args:
        dataset: DatasetConfig as JSON.
        names: of the files, in the order that predictions have.
        model: folder of the SavedModel, which all workers see.
        folder: receives the file.
        format_: `csv`, `jsonl` or `parquet`.
        layout: see ``prediction_table``.
        anomalies: with p-values of what came.
    """

    def __init__(
        self,
        dataset: str,
        names: Sequence[str],
        model: str,
        folder: str,
        format_: str,
        layout: Any,
        anomalies: bool = False,
    ) -> None:
        self._dataset, self._names, self._model = dataset, list(names), model
        self._folder, self._format, self._layout = folder, format_, layout
        self._anomalies = anomalies
        self._shared = Shared()

    def setup(self) -> None:
        self._config = DatasetConfig.model_validate_json(self._dataset)
        self._scores = read_scores(self._model) if self._anomalies else None

    def process(self, bucket: tuple[int, Iterable[bytes]]) -> Iterator[bytes]:
        number, chunks = bucket
        quarantine = Quarantine(lines_kept=0)
        sequences = sequences_of_rows(
            unpack(chunks), self._config, quarantine, counting=every_row if self._anomalies else None
        )
        sequences = sequences.take(input_order(sequences, [Source(name, name, "") for name in self._names]))
        # An error policy ends the run after all buckets, with the rows of all of them: nothing of it is kept.
        if len(sequences) and not quarantine.report.errors:
            quarantine.report.sequences["predicted"] = len(sequences)
            path = FileSystems.join(self._folder, part_name(number, self._format))
            if not FileSystems.exists(path):
                # One for a process, whatever the number of its threads and bundles.
                model = self._shared.acquire(lambda: SessionModel(self._model), tag=self._model)
                with tempfile.TemporaryDirectory(prefix="noisy-gru-predict-") as scratch:
                    partial = Path(scratch) / "part"
                    predictions = self._predictions(model, sequences)
                    write_predictions(predictions, partial, self._format, self._layout, Path(path))
                    write_bytes(path, partial.read_bytes())
        yield quarantine.report.to_json().encode()

    def _predictions(self, model: SessionModel, sequences: Sequences) -> Iterator[Predictions]:
        encode = Encoder(sequences, self._config, prediction=True)
        version = int(Path(self._model).name)
        for start in range(0, len(sequences), _BLOCK):
            block = sequences.take(np.arange(start, min(start + _BLOCK, len(sequences))))
            examples = list(encode.examples(start + np.arange(len(block))))
            outputs = predict_by_length(model, examples, block.stop - block.start)
            outputs = with_p_values(outputs, actual_or_none(block, self._config), self._scores)
            places = {name: place for place, name in enumerate(block.ids)}
            part = Part(block.ids, outputs, version)
            yield Predictions(self._config.task, [part], origins=origins_of(block, self._config), places=places)


def predict_by_length(model: Any, examples: Sequence[bytes], lengths: np.ndarray) -> dict[str, np.ndarray]:
    """Return a model's outputs for tf.Examples, in their order, computed in batches of similar length.

    Args:
        model: a SessionModel.
        examples: N serialized tf.Examples.
        lengths: steps of each, [N].

    Raises:
        ModelError: the model fails.
    """
    parts: list[tuple[np.ndarray, dict[str, np.ndarray]]] = []
    for batch in batches_by_length(lengths, [len(example) for example in examples]):
        chosen = [examples[place] for place in batch.tolist()]
        parts.append((batch, model.run("serving_default", {"examples": chosen})))
    joined = {}
    for name, first in (parts[0][1] if parts else {}).items():
        # Answers at each step have as many steps as the longest sequence of their batch.
        shape = np.max([outputs[name].shape[1:] for _, outputs in parts], axis=0).astype(int).tolist()
        joined[name] = np.full((len(examples), *shape), b"" if first.dtype == object else 0, first.dtype)
        for batch, outputs in parts:
            values = outputs[name]
            joined[name][(batch, *(slice(size) for size in values.shape[1:]))] = values
    return joined


def batches_by_length(lengths: np.ndarray, sizes: Sequence[int]) -> Iterator[np.ndarray]:
    """Yield the indices of batches of at most BATCH sequences and about BATCH_BYTES, the shortest sequences first."""
    order = np.argsort(lengths, kind="stable")
    first = size = 0
    for place, index in enumerate(order.tolist()):
        if place > first and (place - first == BATCH or size + sizes[index] > BATCH_BYTES):
            yield order[first:place]
            first, size = place, 0
        size += sizes[index]
    if first < len(order):
        yield order[first:]


def part_name(bucket: int, format_: str) -> str:
    """Return the name of a bucket's file."""
    return f"part-{bucket:05d}.{format_}"


def run_beam_prediction(
    dataset: DatasetConfig,
    sources: Sequence[Source],
    *,
    folder: Path,
    work: Path,
    model: Path,
    buckets: int,
    format_: str,
    layout: str,
    anomalies: bool = False,
    arguments: Sequence[str],
) -> IngestionReport:
    """Run the Beam pipeline; parts that are there already are not computed again.

    Args:
        dataset: the configuration.
        sources: files to predict.
        folder: receives the parts.
        work: folder for the report.
        model: folder of the SavedModel.
        buckets: number of groups of entities.
        format_: `csv`, `jsonl` or `parquet`.
        layout: see ``prediction_table``.
        anomalies: with p-values of what came.
        arguments: of Beam, see ``beam_arguments``.

    Returns:
        The report of all rows; ``sequences`` counts the predicted ones.

    Raises:
        DataError: as ``read_sources``.
    """
    config, report = dataset.model_dump_json(), work / "report.json"
    names = [source.name for source in sources]
    with beam.Pipeline(argv=list(arguments)) as pipeline:
        files = pipeline | "Files" >> beam.Create(list(sources), reshuffle=False)
        plans = files | "Plan" >> beam.ParDo(PlanReads(config, prediction=True)).with_outputs(
            INGESTION_REPORT, main="parts"
        )
        read = (
            plans.parts
            | "Spread" >> beam.Reshuffle()
            | "Read"
            >> beam.ParDo(ReadChunks(config, buckets, None, prediction=True)).with_outputs(
                INGESTION_REPORT, main="chunks"
            )
        )
        predicted = (
            read.chunks
            | "Group" >> beam.GroupByKey()
            | "Predict" >> beam.ParDo(PredictBucket(config, names, str(model), str(folder), format_, layout, anomalies))
        )
        _ = (
            (plans[INGESTION_REPORT], read[INGESTION_REPORT], predicted)
            | "Reports" >> beam.Flatten()
            | "Merge" >> beam.CombineGlobally(merged)
            | "WriteReport" >> beam.ParDo(WriteText(str(report)))
        )
    found = IngestionReport.from_json(report.read_bytes())
    check_errors(found)
    return found

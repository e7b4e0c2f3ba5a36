"""The sequences of ``evaluation.reference``: read as training reads them, and never trained on."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from noisy_gru.components.evaluation.config import REFERENCE_FILES, ReferenceConfig
from noisy_gru.components.sequence_example_gen.in_process import ingest_in_process, read_examples
from noisy_gru.data.ingestion.report_checks import check_rows
from noisy_gru.data.ingestion.resolved_input import resolve_input
from noisy_gru.data.ingestion.spans import LATEST
from noisy_gru.data.reading.file_hashes import hash_files
from noisy_gru.data.reading.tables import Opener
from noisy_gru.data.sequences.splits import without_splits
from noisy_gru.schema.config import DatasetConfig, SpansConfig
from noisy_gru.schema.errors import DataError


def reference_dataset(dataset: DatasetConfig, reference: ReferenceConfig) -> DatasetConfig:
    """Return the configuration that reads the reference files: columns and policies of the data set, without spans."""
    data = dataset.data.model_copy(update={"files": list(reference.files), "spans": SpansConfig(), "sql": None})
    return without_splits(dataset.model_copy(update={"data": data}))


def read_reference(
    dataset: DatasetConfig,
    reference: ReferenceConfig,
    *,
    base: str,
    trained_on: Mapping[str, Any],
    glob: Callable[[str], Sequence[str]],
    opener: Opener,
) -> list[bytes]:
    """Return the serialized tf.Examples of the reference set, in an order that is the same each time.

    Args:
        dataset: the configuration, patterns relative to ``base``.
        reference: the reference files, likewise.
        base: folder of the patterns.
        trained_on: the ingestion's report, with the hashes of the files that the model was trained on.
        glob: the paths that a pattern matches.
        opener: opens one of them.

    Raises:
        DataError: a file is missing or can't be used, gives no sequence, or was trained on.
    """
    alone = reference_dataset(dataset, reference)
    found = resolve_input(base, alone.data, LATEST, glob, REFERENCE_FILES)
    known = {
        file["sha256"]: file["name"]
        for part in [trained_on, *trained_on.get("spans", [])]
        for file in part.get("files", [])
    }
    for name, (_, digest) in hash_files(found.sources, opener).items():
        if digest in known:
            raise DataError(
                f"{REFERENCE_FILES}: {name} has the content of {known[digest]}, which the model was trained "
                "on. Take it out of one of both: a reference set must never be trained on"
            )
    with tempfile.TemporaryDirectory(prefix="noisy-gru-reference-") as name:
        report = ingest_in_process(found.sources, alone, Path(name))
        check_rows(report, alone, key=REFERENCE_FILES)
        examples = read_examples(Path(name))
    if not examples:
        raise DataError(f"{REFERENCE_FILES}: no sequence came of {', '.join(reference.files)}")
    return examples

"""Training record of a published version, below ``assets.extra/retraining/``: for warm start, comparison and lineage.

    >>> record = read_training_record(Path("serving/vowels/1795625257"))  # doctest: +SKIP
    >>> record.run_id, [span.number for span in record.spans], record.sequences  # doctest: +SKIP
    ('20260401-030000-114270', [3, 4], {'train': 270, 'test': 370})

TF Serving reads nothing there, and the files are no part of the model's fingerprint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from noisy_gru.data.sequences.value_sample import VALUES_FILE
from noisy_gru.registry.published_versions import EXTRA_ASSETS
from noisy_gru.schema.errors import PublishError
from noisy_gru.trainer.export.artifact_files import (
    CALIBRATION_FILE,
    DECISION_FILE,
    MODEL_FILE,
    SCORES_FILE,
    SETTINGS_FILE,
    TRANSFORM_FILE,
)

RETRAINING = f"{EXTRA_ASSETS}retraining"
# As in the Trainer's Format-Keras.
KERAS_FILES = (MODEL_FILE, SETTINGS_FILE, TRANSFORM_FILE, DECISION_FILE, CALIBRATION_FILE, SCORES_FILE)
DATA_FILE = "data.json"
RUN_FILE = "run.json"
FORMAT = 1
# Not its `examples` of odd rows: a server's folder is no place for the data itself.
KEPT_OF_REPORT = ("spans", "files", "window", "rows", "sequences", "labels", "lengths", "time", "boundaries")


@dataclass(frozen=True)
class DataFile:
    """A file of the training data; None for what the ingestion didn't record."""

    name: str
    bytes: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class SpanFiles:
    """A span of the training data, with its version (None: without versions) and its files."""

    number: int
    version: int | None
    files: tuple[DataFile, ...]


@dataclass(frozen=True)
class TrainingRecord:
    """Training record of a published version.

    Attributes:
        folder: that holds the files.
        run_id: of the run that published it; empty if TFX knew none.
        pipeline: its name.
        seed: of the training.
        config_hash: as in the report of the run.
        fingerprint: of the package's source.
        packages: versions of the packages below it.
        spans: read together, rising; empty for data without spans.
        files: all of them, of the spans too; empty if the ingestion's report was not kept.
        rows: the report's counts of rows.
        sequences: by split.
        data_hash: one name for all the data; equal files give an equal one. Empty without a report.
        metrics: of the test split, by name; empty if they were not kept.
        warm_start: what the Trainer says of its base model; empty if it was not asked to start from one.
        values: sample of the train split's values, which drift is measured against; None if not kept.
        keras_folder: holds ``KERAS_FILES``, as Format-Keras does; None if not kept.
    """

    folder: Path
    run_id: str = ""
    pipeline: str = ""
    seed: int | None = None
    config_hash: str = ""
    fingerprint: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)
    spans: tuple[SpanFiles, ...] = ()
    files: tuple[DataFile, ...] = ()
    rows: Mapping[str, Any] = field(default_factory=dict)
    sequences: Mapping[str, int] = field(default_factory=dict)
    data_hash: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    warm_start: Mapping[str, Any] = field(default_factory=dict)
    values: Path | None = None
    keras_folder: Path | None = None


def read_training_record(version_folder: Path) -> TrainingRecord | None:
    """Return the record of a published version; None for one that was published without.

    Raises:
        PublishError: it can't be read.
    """
    folder = version_folder / RETRAINING
    if not folder.is_dir():
        return None
    run = _json(folder / RUN_FILE)
    if run.get("format") != FORMAT:
        raise PublishError(
            f"{folder / RUN_FILE} has the format {run.get('format')}; this version of noisy-gru reads {FORMAT}. "
            "Update it."
        )
    data = _json(folder / DATA_FILE) if (folder / DATA_FILE).exists() else {}
    values = folder / VALUES_FILE
    try:
        spans = tuple(_span(each) for each in data.get("spans", []))
        files = _files(data.get("files", ())) or tuple(file for span in spans for file in span.files)
        return TrainingRecord(
            folder=folder,
            run_id=run["run_id"],
            pipeline=run["pipeline"],
            seed=run["seed"],
            config_hash=run["config_hash"],
            fingerprint=run["fingerprint"],
            packages=run["packages"],
            spans=spans,
            files=files,
            rows=data.get("rows", {}),
            sequences=data.get("sequences", {}).get("by_split", {}),
            data_hash=data_hash(data) if data else "",
            metrics=run.get("metrics", {}),
            warm_start=run["warm_start"],
            values=values if values.exists() else None,
            keras_folder=folder if (folder / MODEL_FILE).exists() else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PublishError(
            f"{folder} can't be read as the record of a training ({type(error).__name__}: {error}). Restore the files, "
            "or withdraw the version: noisy-gru runs rollback."
        ) from error


def data_hash(report: Mapping[str, Any]) -> str:
    """Return a hash of the data of an ingestion report (``ingestion_report.json``), whatever the order of its files.

    Of the files' names and contents, where the report has their hashes; otherwise of all its counts.
    """
    spans = [_span(each) for each in report.get("spans", [])]
    files = [*_files(report.get("files", ())), *(file for span in spans for file in span.files)]
    # With the names: what is one split's file and another's, or a span's and the next one's, depends on them.
    hashes = sorted({(file.name, file.sha256) for file in files if file.sha256})
    content = hashes or {key: report.get(key) for key in KEPT_OF_REPORT}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PublishError(
            f"{file} can't be read as part of the record of a training: {error}. Restore the file, or withdraw the "
            "version: noisy-gru runs rollback."
        ) from error
    if not isinstance(content, dict):
        raise PublishError(f"{file}: expected a JSON object. Received: {type(content).__name__}")
    return content


def _span(content: Mapping[str, Any]) -> SpanFiles:
    version = content.get("version")
    return SpanFiles(int(content["span"]), None if version is None else int(version), _files(content.get("files", ())))


def _files(content: Any) -> tuple[DataFile, ...]:
    """Return files as a list of records, or as the names and rows of a report that kept no hashes."""
    if isinstance(content, Mapping):
        return tuple(DataFile(name) for name in content)
    return tuple(DataFile(each["name"], each.get("bytes"), each.get("sha256")) for each in content)

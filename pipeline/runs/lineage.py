"""Trace a published version to its run, configuration, spans and input files with their hashes.

>>> lineage = trace(Path("runs/vowels/serving"), "vowels", 1795625257)  # doctest: +SKIP
>>> [(file.name, file.state) for file in lineage.files]  # doctest: +SKIP
[('train.csv.gz', 'same'), ('test.csv.gz', 'changed')]
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from noisy_gru.pipeline.runs.input_files import InputFile, base_of, check_files
from noisy_gru.pipeline.runs.run_record import RunRecord
from noisy_gru.registry.labels import version_status
from noisy_gru.registry.published_versions import (
    WITHDRAWN,
    changed_files,
    published_versions,
    read_publication,
    withdrawn_versions,
)
from noisy_gru.registry.training_record import TrainingRecord, read_training_record
from noisy_gru.schema.errors import PublishError


@dataclass(frozen=True)
class Lineage:
    """The origin of a published version.

    Attributes:
        model: name of the model.
        version: number of the version.
        state: `published` or `withdrawn`.
        labels: labels that point to it now.
        published: time of publication.
        fingerprint: fingerprint of the model's files.
        files_state: its files that were `changed`, `gone` or `added` since, by path; empty if unchanged.
        run_id: id of the run that published it; empty if unknown.
        run_record: record of that run, if it is under the root that was searched.
        artifact: URI of the model artifact that it is a copy of, and whether that exists.
        seed: seed of the training.
        config_hash: hash of the configuration.
        source: fingerprint of the package's source.
        packages: package versions.
        spans: spans that it was trained on, ascending; empty for data without spans.
        sequences: number of sequences by split.
        files: input files.
        warm_start: the version that training started from, or why it was refused; empty without a warm start.
    """

    model: str
    version: int
    state: str
    labels: tuple[str, ...]
    published: str
    fingerprint: str
    files_state: dict[str, str]
    run_id: str
    run_record: RunRecord | None
    artifact: tuple[str, bool]
    seed: int | None
    config_hash: str
    source: str
    packages: dict[str, str]
    spans: list[int] = field(default_factory=list)
    sequences: dict[str, int] = field(default_factory=dict)
    files: list[InputFile] = field(default_factory=list)
    warm_start: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the object that ``runs lineage --json`` prints, with the configuration in place of the run record."""
        content = {**asdict(self), "artifact": {"uri": self.artifact[0], "present": self.artifact[1]}}
        content["config"] = None if self.run_record is None else self.run_record.config
        content["config_path"] = None if self.run_record is None else self.run_record.config_path
        del content["run_record"]
        return content


def version_folder(serving_dir: Path, model: str, version: int) -> Path:
    """Return the folder of a published or withdrawn version.

    Raises:
        PublishError: there is none, or noisy-gru didn't publish it.
    """
    model_dir = serving_dir / model
    present, withdrawn = published_versions(model_dir), withdrawn_versions(model_dir)
    if version in present:
        return model_dir / str(version)
    if version in withdrawn:
        return model_dir / f"{WITHDRAWN}{version}"
    known = ", ".join([*map(str, present), *(f"{each} (withdrawn)" for each in withdrawn)]) or "none"
    raise PublishError(
        f"{model_dir}: expected a published or withdrawn version, received {version}; versions here: {known}"
    )


def publishing_run(folder: Path) -> str:
    """Return the id of the run that published the version in ``folder``; empty if unknown."""
    return read_publication(folder).lineage.get("run", "")


def trace(
    serving_dir: Path, model: str, version: int, run_record: RunRecord | None = None, base: str | None = None
) -> Lineage:
    """Trace a version, and hash its own files and its input files anew.

    Args:
        serving_dir: folder that holds a folder for each model.
        model: name of the model.
        version: published or withdrawn version.
        run_record: record of the run that published it, if available.
        base: folder that the names of input files are relative to; None: that of the record's configuration.

    Raises:
        PublishError: there is no such version, or its records can't be read.
    """
    folder = version_folder(serving_dir, model, version)
    publication, record = read_publication(folder), read_training_record(folder) or TrainingRecord(folder)
    state = version_status(serving_dir / model, version)
    inputs = _inputs(record) or ({} if run_record is None else run_record.inputs)
    if base is None and run_record is not None:
        base = base_of(run_record.config)
    spans = [span.number for span in record.spans]
    return Lineage(
        model=model,
        version=version,
        state="" if state is None else state.state,
        labels=() if state is None else state.labels,
        published=publication.published,
        fingerprint=publication.fingerprint,
        files_state=changed_files(folder, publication),
        run_id=record.run_id or publication.lineage.get("run", ""),
        run_record=run_record,
        artifact=(publication.model_uri, bool(publication.model_uri) and Path(publication.model_uri).is_dir()),
        seed=record.seed if run_record is None else run_record.seed,
        config_hash=record.config_hash or (run_record.config_hash if run_record else ""),
        source=record.fingerprint or (run_record.fingerprint if run_record else ""),
        packages=dict(record.packages) or (run_record.packages if run_record else {}),
        spans=spans or ([span["span"] for span in run_record.spans] if run_record else []),
        sequences=dict(record.sequences) or (run_record.sequences if run_record else {}),
        files=check_files(inputs, base),
        warm_start=dict(record.warm_start) or ((run_record.warm_start or {}) if run_record else {}),
    )


def _inputs(record: TrainingRecord) -> dict[str, dict[str, Any]]:
    spans = {file.name: span.number for span in record.spans for file in span.files}
    return {file.name: {"sha256": file.sha256, "span": spans.get(file.name)} for file in record.files}

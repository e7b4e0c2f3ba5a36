"""Choose the published model of a warm start: the newest that wasn't trained on the same data."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from noisy_gru.registry.integrity import check_record
from noisy_gru.registry.latest_version import copy_keras, find_latest
from noisy_gru.registry.published_versions import RECORD, WITHDRAWN, read_publication
from noisy_gru.registry.training_record import read_training_record


@dataclass(frozen=True)
class WarmStartVersion:
    """A version of the model and its fingerprint, both None if there is none to go on from, and a sentence about it."""

    version: int | None
    fingerprint: str | None
    note: str

    @property
    def identity(self) -> str:
        """The inputs that a training's result depends on."""
        return "none" if self.version is None else f"{self.version} {self.fingerprint}"

    def to_json(self) -> str:
        """Return the content of the artifact, for the Trainer."""
        return json.dumps(asdict(self), indent=1) + "\n"


def choose_warm_start_version(serving_dir: Path, model_name: str, data: str) -> WarmStartVersion:
    """Return the version that a training on some data starts from.

    If the newest version was trained on the same data, it is the one that this version itself was given: so a run with
    nothing new is given what the run before was given, and its training comes from the cache.

    Args:
        serving_dir: folder that holds a folder for each model.
        model_name: name of the model's folder.
        data: `data_hash` of the report of this run's ingestion.

    Raises:
        PublishError: the newest version isn't what was published any more, or a record can't be read.
    """
    latest = find_latest(serving_dir, model_name)
    publication = latest.publication
    if publication is None:
        return WarmStartVersion(None, None, latest.note)
    check_record(serving_dir / model_name, publication.version)
    record = read_training_record(serving_dir / model_name / str(publication.version))
    if record is not None and record.data_hash == data:
        given = record.warm_start.get("base", {})
        same = f"version {publication.version} was trained on the same data"
        if given.get("version") is None:
            return WarmStartVersion(None, None, f"{same}, and started anew")
        return WarmStartVersion(
            int(given["version"]), str(given["fingerprint"]), f"{same}, and was given version {given['version']}"
        )
    return WarmStartVersion(publication.version, publication.fingerprint, latest.note)


def copy_warm_start_version(
    base: WarmStartVersion, serving_dir: Path, model_name: str, target: Path
) -> WarmStartVersion:
    """Copy the Keras file of the chosen version into an artifact.

    Returns:
        The base; with what speaks against it in its note, if there is no Keras file to copy.
    """
    if base.version is None:
        return base
    for name in (str(base.version), f"{WITHDRAWN}{base.version}"):
        folder = serving_dir / model_name / name
        if (folder / RECORD).exists() and (publication := read_publication(folder)).fingerprint == base.fingerprint:
            missing = copy_keras(publication, folder, target)
            return WarmStartVersion(base.version, base.fingerprint, missing or base.note)
    return WarmStartVersion(base.version, base.fingerprint, f"{base.note}, which is gone")

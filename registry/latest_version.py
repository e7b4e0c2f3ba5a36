"""Choose the published model to compare with, and copy it into an artifact."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from noisy_gru.registry.candidate import Candidate
from noisy_gru.registry.integrity import altered_files, check_version, served_files
from noisy_gru.registry.model_identity import model_identity
from noisy_gru.registry.published_versions import (
    COMPARED_WITH,
    EXTRA_ASSETS,
    RECORD,
    Publication,
    hash_file,
    latest_publication,
    read_publication,
)
from noisy_gru.registry.training_record import KERAS_FILES, RETRAINING, read_training_record
from noisy_gru.trainer.export.artifact_files import KERAS_FOLDER, SERVING_FOLDER

_NONE = "none"


@dataclass(frozen=True)
class BaselineVersion:
    """The published model to compare with, None if there is none, and a sentence about it."""

    publication: Publication | None
    note: str

    @property
    def identity(self) -> str:
        """The inputs that a comparison's result depends on."""
        return _NONE if self.publication is None else f"{self.publication.version} {self.publication.fingerprint}"


def find_latest(serving_dir: Path, model_name: str) -> BaselineVersion:
    """Return the newest version in ``<serving_dir>/<model_name>`` that noisy-gru published.

    Raises:
        PublishError: it isn't what was published any more, or its record can't be read.
    """
    model_dir = serving_dir / model_name
    publication = latest_publication(model_dir)
    if publication is None:
        return BaselineVersion(None, f"no published model in {model_dir}: a first run")
    check_version(model_dir, publication.version)
    return BaselineVersion(publication, f"version {publication.version} of {publication.published}")


def choose_baseline(saved_model: Path, serving_dir: Path, model_name: str) -> BaselineVersion:
    """Return the newest version; but if that is the model itself, what this was compared with before it was published.

    So a run with nothing new is given what the run before was given, and its evaluation comes from the cache.

    Args:
        saved_model: the new model's SavedModel.
        serving_dir: folder that holds a folder for each model.
        model_name: name of the model's folder.

    Raises:
        PublishError: a record can't be read.
    """
    latest = find_latest(serving_dir, model_name)
    if latest.publication is None:
        return latest
    folder = serving_dir / model_name / str(latest.publication.version)
    if not Candidate(saved_model, model_identity).is_in(folder, latest.publication):
        return latest
    given = latest.publication.lineage.get(COMPARED_WITH, "")
    same = f"version {latest.publication.version} is this very model"
    if given == _NONE:
        return BaselineVersion(None, f"{same}, and was not compared with another")
    version, _, its_fingerprint = given.partition(" ")
    folder = serving_dir / model_name / version
    if version and (folder / RECORD).exists():
        before = read_publication(folder)
        if before.fingerprint == its_fingerprint and not served_files(altered_files(folder)):
            return BaselineVersion(before, f"{same}, and was compared with version {version}")
    return latest


def copy_version(publication: Publication, serving_dir: Path, target: Path) -> str:
    """Copy the published model to ``target`` as a model artifact; return what is missing.

    With the Keras file for a warm start, if the version carries it. Without the requests that warm a server up: they
    aren't the model's.

    Args:
        publication: the record of the version.
        serving_dir: folder that holds a folder for each model.
        target: folder of the new artifact.
    """
    version = serving_dir / publication.model_name / str(publication.version)
    shutil.copytree(version, target / SERVING_FOLDER, ignore=shutil.ignore_patterns(RECORD, EXTRA_ASSETS.rstrip("/")))
    return copy_keras(publication, version, target)


def copy_keras(publication: Publication, version_folder: Path, target: Path) -> str:
    """Copy a version's files for a warm start to ``target``'s Format-Keras; return why they aren't complete.

    Args:
        publication: the record of the version.
        version_folder: the version's, or where it is while it is withdrawn.
        target: folder of a model artifact.
    """
    cut_off = f"version {publication.version} can be compared with, but not trained further"
    damaged = sorted(
        name for name in _retraining_files(publication) if not _is_intact(version_folder, name, publication)
    )
    if damaged:
        return f"{cut_off}: {damaged[0]} isn't what was published"
    record = read_training_record(version_folder)
    if record is None or record.keras_folder is None:
        return f"{cut_off}: it carries no Keras file"
    (target / KERAS_FOLDER).mkdir(parents=True)
    for name in KERAS_FILES:
        if (record.keras_folder / name).is_file():
            shutil.copyfile(record.keras_folder / name, target / KERAS_FOLDER / name)
    return ""


def _retraining_files(publication: Publication) -> list[str]:
    return [name for name in publication.files if name.startswith(f"{RETRAINING}/")]


def _is_intact(folder: Path, name: str, publication: Publication) -> bool:
    return (folder / name).is_file() and hash_file(folder / name) == publication.files[name]

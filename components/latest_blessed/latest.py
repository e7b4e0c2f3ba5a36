"""Brings the newest published model, which both blessings let pass, into an artifact of this run."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from noisy_gru.components.pusher.published import (
    EXTRA_ASSETS,
    RECORD,
    Publication,
    fingerprint,
    hash_files,
    latest_publication,
)

_SERVING = "Format-Serving"


@dataclass(frozen=True)
class Latest:
    """The newest published model, None if there is none, and a sentence about it."""

    publication: Publication | None
    note: str


def find_latest(serving_dir: Path, model_name: str) -> Latest:
    """The newest version in ``<serving_dir>/<model_name>`` that noisy-gru published.

    Raises:
        PublishError: if its record can't be read.
    """
    model_dir = serving_dir / model_name
    publication = latest_publication(model_dir)
    if publication is None:
        return Latest(None, f"no published model in {model_dir}: a first run")
    folder = model_dir / str(publication.version)
    gone = sorted(name for name in publication.files if not (folder / name).is_file())
    if gone:
        return Latest(
            None,
            f"version {publication.version} was published on {publication.published}, but {len(gone)} of its files are "
            f"gone (such as {gone[0]} in {folder}): a new model is not compared with it",
        )
    return Latest(publication, f"version {publication.version} of {publication.published}")


def copy_latest(publication: Publication, serving_dir: Path, target: Path) -> str:
    """Copies the published model to ``target`` as a model artifact; says if something is missing.

    The whole artifact that was published, with the Keras file for a warm start, if it still stands where it did;
    otherwise the published files alone. Without the requests that warm a server up: they aren't the model's.

    Args:
        publication: the record of the version.
        serving_dir: folder that holds a folder for each model.
        target: folder of the new artifact.
    """
    artifact = Path(publication.model_uri) if publication.model_uri else None
    # Under a root that was emptied and used again, another model may stand at the same place.
    if artifact is not None and fingerprint(hash_files(artifact / _SERVING)) == publication.fingerprint:
        for child in artifact.iterdir():
            if child.is_dir() and child.name != _SERVING:
                shutil.copytree(child, target / child.name)
        note = ""
    else:
        # A step on Kubeflow is given no more of an object store than its inputs.
        where = "is in an object store" if "://" in publication.model_uri else "is gone"
        note = f"its model artifact {publication.model_uri} {where}: it can be compared with, but not trained further"
    version = serving_dir / publication.model_name / str(publication.version)
    shutil.copytree(version, target / _SERVING, ignore=shutil.ignore_patterns(RECORD, EXTRA_ASSETS.rstrip("/")))
    return note

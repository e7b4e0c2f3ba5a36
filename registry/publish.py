"""Publish a SavedModel as a version: copy it aside, sync it to disk, then rename it in one step.

A kill at any moment leaves either no new version or a whole one; the next push finishes the rest. Models are compared
by what they compute, not by their files: another export of the newest version is not published again.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from noisy_gru.registry.candidate import Candidate
from noisy_gru.registry.config import PublishingConfig
from noisy_gru.registry.history import blocked_models, read_history
from noisy_gru.registry.labels import Labels
from noisy_gru.registry.published_versions import (
    INCOMING,
    RECORD,
    WITHDRAWN,
    Publication,
    files_identity,
    hash_files,
    versions,
)
from noisy_gru.registry.training_record_writer import TrainingFiles
from noisy_gru.registry.version_store import LOCK_SECONDS, Step, VersionStore, no_step, open_store
from noisy_gru.schema.errors import PublishError
from noisy_gru.storage.atomic_files import sync_tree


class WithdrawnError(PublishError):
    """The model was published before and withdrawn; only a restore brings it back."""


@dataclass(frozen=True)
class PublishResult:
    """Result of a push.

    Attributes:
        publication: the record of the version that holds the model.
        folder: of that version.
        is_new: whether this push made it.
        labels: which versions are stable and canary now.
        removed: older versions that it removed.
        left_alone: server files that it didn't write, because a person edits them.
    """

    publication: Publication
    folder: Path
    is_new: bool
    labels: Labels
    removed: list[int]
    left_alone: list[str]


def publish(
    source: Path,
    serving_dir: Path,
    model_name: str,
    *,
    settings: PublishingConfig | None = None,
    model_uri: str = "",
    lineage: dict[str, str] | None = None,
    training_files: TrainingFiles | None = None,
    identify: Callable[[Path], str] = files_identity,
    clock: Callable[[], float] = time.time,
    at: Step = no_step,
    lock_seconds: float = LOCK_SECONDS,
) -> PublishResult:
    """Publish the SavedModel in ``source`` as ``<serving_dir>/<model_name>/<version>``.

    The version is the time in seconds since 1970, or one more than the newest version if that isn't older. The newest
    version's model is not published again, whatever bytes its export has. Afterwards the files that a server is started
    with are written, and old versions removed.

    Args:
        source: folder of the SavedModel.
        serving_dir: folder that holds a folder for each model.
        model_name: name of the model's folder.
        settings: versions to keep, labels and batching; None: the defaults.
        model_uri: of the model artifact, for the record.
        lineage: for the record.
        training_files: what the next training needs of this one; None: the version can't be trained further.
        identify: returns the identity of a SavedModel; the Pusher's is ``model_identity``.
        clock: seconds since 1970.
        at: called with the name of each step before it runs; for tests.
        lock_seconds: how long to wait for another change of the same model.

    Raises:
        WithdrawnError: if the model was published before and withdrawn.
        PublishError: if ``source`` is no SavedModel, another change holds the lock, or the disk fails.
    """
    if not (source / "saved_model.pb").is_file():
        raise PublishError(f"Nothing to publish: {source} holds no saved_model.pb.")
    with open_store(serving_dir, model_name, clock=clock, at=at, lock_seconds=lock_seconds, create=True) as store:
        # Before the settings change: a killed push is finished with its own.
        store.repair()
        at("settings")
        store.save_settings(settings or PublishingConfig())
        candidate = Candidate(source, identify)
        publication, is_new = _bring_in(candidate, store, model_uri, lineage or {}, training_files)
        if is_new:
            at("history")
            before = _before(store.published, publication.version)
            store.record("publish", publication.version, previous=before, identity=publication.identity)
        left_alone = store.write_server_files()
        removed = store.prune(identify)
        store.update_mirror()
        at("done")
        folder = store.model_dir / str(publication.version)
        done = PublishResult(publication, folder, is_new, store.labels, removed, left_alone)
    store.clear_pending()
    return done


def _bring_in(
    candidate: Candidate,
    store: VersionStore,
    model_uri: str,
    lineage: dict[str, str],
    training_files: TrainingFiles | None,
) -> tuple[Publication, bool]:
    """Return the record of the version that holds the model, and whether it is new."""
    model_dir, at, source, files = store.model_dir, store.at, candidate.saved_model, candidate.files
    present, withdrawn = versions(model_dir), store.withdrawn
    if present and (same := candidate.published_in(model_dir / str(present[-1]))):
        return same, False
    if reason := _withdrawn(candidate, store):
        if store.published:
            store.write_server_files()
        store.clear_pending()
        raise WithdrawnError(reason)
    version = max(int(store.clock()), *(number + 1 for number in [*present, *withdrawn, 0]))
    incoming = model_dir / f"{INCOMING}{version}"
    at("copy")
    shutil.copytree(source, incoming)
    at("check")
    if hash_files(incoming) != files:
        raise PublishError(
            f"The copy of {source} differs from it; it changed meanwhile, or the disk fails. Push again."
        )
    if training_files is not None:
        at("retraining")
        files = files | training_files.write(incoming)
    publication = Publication(
        version=version,
        model_name=model_dir.name,
        published=datetime.fromtimestamp(store.clock(), UTC).isoformat(timespec="seconds"),
        files=files,
        fingerprint=candidate.fingerprint,
        model_uri=model_uri,
        lineage=lineage,
        identity=candidate.identity,
    )
    at("record")
    (incoming / RECORD).write_text(publication.to_json())
    at("sync")
    sync_tree(incoming)
    at("rename")
    store.move(incoming.name, str(version))
    return publication, True


def _before(present: list[int], version: int) -> int | None:
    older = [each for each in present if each < version]
    return older[-1] if older else None


def _withdrawn(candidate: Candidate, store: VersionStore) -> str:
    """Return why a withdrawn model isn't published; empty if it wasn't withdrawn."""
    for version in store.withdrawn:
        if candidate.published_in(store.model_dir / f"{WITHDRAWN}{version}"):
            return (
                f"this model was published as version {version} and withdrawn, so it isn't published again. "
                f"To serve it nevertheless: noisy-gru runs restore {version}"
            )
    if (version := blocked_models(read_history(store.model_dir)).get(candidate.identity)) is not None:
        return (
            f"this model was published as version {version}, withdrawn, and removed since, so it isn't published "
            f"again. To publish it all the same: noisy-gru runs restore {version}, then run it again"
        )
    return ""

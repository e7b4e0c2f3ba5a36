"""Publishes a SavedModel as a version: copied aside, synced to disk, then renamed in one step.

A kill at any moment leaves either no new version or a whole one; what it leaves aside is removed by the next push.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from noisy_gru.components.pusher.published import (
    RECORD,
    WITHDRAWN,
    Publication,
    fingerprint,
    hash_files,
    read_publication,
    versions,
    withdrawn_versions,
)
from noisy_gru.schema.errors import PublishError

_INCOMING = "incoming-"
_LOCK = ".lock"


@dataclass(frozen=True)
class Published:
    """What a push did: the version that is now served, and whether this push made it."""

    publication: Publication
    folder: Path
    is_new: bool


def publish(
    source: Path,
    serving_dir: Path,
    model_name: str,
    *,
    model_uri: str = "",
    lineage: dict[str, str] | None = None,
    clock: Callable[[], float] = time.time,
    at: Callable[[str], None] = lambda step: None,
    lock_seconds: float = 60.0,
) -> Published:
    """Publishes the SavedModel in ``source`` as ``<serving_dir>/<model_name>/<version>``.

    The version is the time in seconds since 1970, or one more than the newest version if that isn't older. A model
    whose files equal the newest version's is not published again.

    Args:
        source: folder of the SavedModel.
        serving_dir: folder that holds a folder for each model.
        model_name: name of the model's folder.
        model_uri: of the model artifact, for the record.
        lineage: for the record.
        clock: seconds since 1970.
        at: is told each step before it is done; for tests.
        lock_seconds: how long to wait for another push of the same model.

    Raises:
        PublishError: if ``source`` is no SavedModel, was withdrawn before, another push goes on, or the disk fails.
    """
    if not (source / "saved_model.pb").is_file():
        raise PublishError(f"Nothing to publish: {source} holds no saved_model.pb.")
    # A Path has made one slash of two.
    if re.match(r"[a-z0-9]{2,}:/", str(serving_dir)):
        raise PublishError(
            f"The serving directory must be a path on this machine or a mounted volume; received {serving_dir}. "
            "Object stores can't rename a folder in one step."
        )
    model_dir = serving_dir / model_name
    try:
        model_dir.mkdir(parents=True, exist_ok=True)
        with _locked(model_dir, lock_seconds):
            return _publish(source, model_dir, model_uri, lineage or {}, clock, at)
    except OSError as error:
        raise PublishError(f"Could not publish to {model_dir}: {error}. What TF Serving sees is unchanged.") from error


def _publish(
    source: Path,
    model_dir: Path,
    model_uri: str,
    lineage: dict[str, str],
    clock: Callable[[], float],
    at: Callable[[str], None],
) -> Published:
    at("clean")
    for leftover in model_dir.glob(f"{_INCOMING}*"):
        shutil.rmtree(leftover)
    files = hash_files(source)
    digest = fingerprint(files)
    present, withdrawn = versions(model_dir), withdrawn_versions(model_dir)
    if present and (same := _same(model_dir / str(present[-1]), digest)):
        return Published(same, model_dir / str(present[-1]), is_new=False)
    for version in withdrawn:
        if _same(model_dir / f"{WITHDRAWN}{version}", digest):
            raise PublishError(
                f"This model was published as version {version} and withdrawn, so it isn't published again. "
                f"To publish it all the same, delete {model_dir / f'{WITHDRAWN}{version}'}."
            )
    version = max(int(clock()), *(number + 1 for number in [*present, *withdrawn, 0]))
    publication = Publication(
        version=version,
        model_name=model_dir.name,
        published=datetime.fromtimestamp(clock(), UTC).isoformat(timespec="seconds"),
        files=files,
        fingerprint=digest,
        model_uri=model_uri,
        lineage=lineage,
    )
    incoming, target = model_dir / f"{_INCOMING}{version}", model_dir / str(version)
    at("copy")
    shutil.copytree(source, incoming)
    at("check")
    if hash_files(incoming) != files:
        raise PublishError(
            f"The copy of {source} differs from it; it changed meanwhile, or the disk fails. Push again."
        )
    at("record")
    (incoming / RECORD).write_text(publication.to_json())
    at("sync")
    _sync(incoming)
    at("rename")
    incoming.rename(target)
    at("sync folder")
    _sync_one(model_dir)
    at("done")
    return Published(publication, target, is_new=True)


def _same(folder: Path, digest: str) -> Publication | None:
    """The record of the version in ``folder``, if it has this fingerprint."""
    if not (folder / RECORD).exists():
        return None
    publication = read_publication(folder)
    return publication if publication.fingerprint == digest else None


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync(folder: Path) -> None:
    for path in folder.rglob("*"):
        _sync_one(path)
    _sync_one(folder)


@contextmanager
def _locked(model_dir: Path, seconds: float) -> Iterator[None]:
    """Holds the model's lock, which the system releases when the process ends, however that happens."""
    deadline = time.monotonic() + seconds
    with (model_dir / _LOCK).open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise PublishError(
                        f"Another push to {model_dir} has gone on for {seconds:g} s. Wait for it, then push again."
                    ) from None
                time.sleep(0.05)
        yield

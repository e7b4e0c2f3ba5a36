"""The versions of one model, locked for one change at a time: list, move, record, repair and prune them.

>>> with open_store(Path("serving"), "vowels") as store:  # doctest: +SKIP
...     store.repair()
...     store.published
[100, 200]
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from noisy_gru.registry.config import PublishingConfig
from noisy_gru.registry.history import Action, Event, append_event, last_actions, read_history
from noisy_gru.registry.labels import SETTINGS, Labels, choose_labels, read_settings
from noisy_gru.registry.mirror import update_mirror
from noisy_gru.registry.pending_change import PendingChange, pending_changes
from noisy_gru.registry.published_versions import (
    INCOMING,
    RECORD,
    REMOVED,
    WITHDRAWN,
    files_identity,
    published_versions,
    read_publication,
    removed_versions,
    withdrawn_versions,
)
from noisy_gru.registry.server_files import write_server_files
from noisy_gru.schema.errors import PublishError
from noisy_gru.storage.atomic_files import sync, write_atomically
from noisy_gru.storage.locks import exclusive_lock

Step = Callable[[str], None]
LOCK_SECONDS = 60.0


def no_step(name: str) -> None:
    """Ignore the step; tests pass something else."""


class VersionStore:
    """Versions of one model, whose lock is held; made by ``open_store``.

    Args:
        model_dir: the model's folder, whose lock is held.
        clock: seconds since 1970.
        at: called with the name of each step before it runs; for tests.
    """

    def __init__(self, model_dir: Path, *, clock: Callable[[], float], at: Step) -> None:
        self.model_dir = model_dir
        self.settings = read_settings(model_dir)
        self.at = at
        self.clock = clock
        # Whether what a server sees was changed, for the message of a failure.
        self.changed = False
        # Applied, and not reported yet.
        self._applied: list[PendingChange] = []

    @property
    def published(self) -> list[int]:
        """Published versions in place, ascending."""
        return published_versions(self.model_dir)

    @property
    def withdrawn(self) -> list[int]:
        """Withdrawn versions, ascending."""
        return withdrawn_versions(self.model_dir)

    @property
    def labels(self) -> Labels:
        """The labels; there has to be a published version."""
        return choose_labels(self.published, read_history(self.model_dir), self.settings)

    def now(self) -> str:
        """Return the time, in ISO 8601, UTC."""
        return datetime.fromtimestamp(self.clock(), UTC).isoformat(timespec="seconds")

    def save_settings(self, settings: PublishingConfig) -> None:
        """Write the settings of a push, which later changes use without the model's configuration."""
        if not (self.model_dir / SETTINGS).exists() or settings != self.settings:
            write_atomically(self.model_dir / SETTINGS, settings.model_dump_json(indent=2) + "\n")
        self.settings = settings

    def record(
        self,
        action: Action,
        version: int,
        *,
        previous: int | None,
        reason: str = "",
        at: str | None = None,
        stable: int | None = None,
        identity: str = "",
    ) -> Event:
        """Append a change to the history, with the newest and the stable version after it."""
        present = self.published
        if stable is None and present:
            stable = self.labels.stable
        newest = present[-1] if present else None
        event = Event(at or self.now(), action, version, previous, newest, stable, reason, identity)
        append_event(self.model_dir, event)
        return event

    def apply(self, change: PendingChange, wait: Callable[[], None] = lambda: None) -> None:
        """Apply a pending change, or the rest of it; call ``clear_pending`` once it is reported.

        Args:
            change: written already.
            wait: called after ``models.config`` no longer names the versions, before they are withdrawn.
        """
        last = last_actions(read_history(self.model_dir))
        leaving = [version for version in change.versions if version in self.published]
        # The version to go back to may be gone since: the last version is never withdrawn.
        if change.action == "rollback" and leaving and set(leaving) != set(self.published):
            self.write_server_files(without=leaving)
            wait()
            for version in leaving:
                self.at("withdraw")
                self.move(str(version), f"{WITHDRAWN}{version}")
        if change.action == "restore":
            for version in set(change.versions).intersection(self.withdrawn).difference(self.published):
                self.at("restore")
                self.move(f"{WITHDRAWN}{version}", str(version))
        self.at("history")
        now = self.withdrawn if change.action == "rollback" else self.published
        for version in change.versions:
            if change.action == "promote":
                if version in now and self.labels.stable != version:
                    self.record("promote", version, previous=change.previous, reason=change.reason, stable=version)
            elif version in now and (version not in last or last[version].action != change.action):
                self.record(change.action, version, previous=change.previous, reason=change.reason)
        self._applied.append(change)

    def clear_pending(self) -> None:
        """Remove the pending changes that are applied: a command's last step, after the lock is released."""
        while self._applied:
            self.at("clear pending")
            self._applied.pop().remove(self.model_dir)

    def repair(
        self, reason: str = "", wait: Callable[[], None] = lambda: None
    ) -> tuple[list[PendingChange], list[Event]]:
        """Finish what a kill left undone: pending changes and removals; record the versions that the history lacks.

        Args:
            reason: to record for a version that is found withdrawn.
            wait: as in ``apply``.

        Returns:
            The changes that were pending, and the other events that it added to the history.

        Raises:
            PublishError: if the record of a version that the history doesn't know can't be read.
        """
        self.at("clean")
        for leftover in self.model_dir.glob(f"{INCOMING}*"):
            shutil.rmtree(leftover)
        pending = pending_changes(self.model_dir)
        for change in pending:
            self.apply(change, wait)
        last = last_actions(read_history(self.model_dir))
        added, before = [], None
        for version in self.published:
            if version not in last:
                found = read_publication(self.model_dir / str(version))
                added.append(
                    self.record("publish", version, previous=before, at=found.published, identity=found.identity)
                )
            elif last[version].action in ("rollback", "prune"):
                added.append(self.record("restore", version, previous=before, reason="found in place"))
            before = version
        for version in reversed(self.withdrawn):
            if version not in last or last[version].action != "rollback":
                reason = reason or "found withdrawn"
                added.append(self.record("rollback", version, previous=version, reason=reason))
        return pending, [*added, *self.finish_removing()]

    def move(self, name: str, new_name: str) -> None:
        """Rename a folder in one step, and sync it."""
        (self.model_dir / name).rename(self.model_dir / new_name)
        self.changed = True
        sync(self.model_dir)

    def prune(self, identify: Callable[[Path], str]) -> list[int]:
        """Remove the versions beyond those that the settings keep; never the stable one, nor a foreign one.

        Args:
            identify: returns the identity of a SavedModel; the history keeps that of a withdrawn one.

        Returns:
            The published versions that were removed, ascending.
        """
        keep = self.settings.versions.keep
        if keep is None:
            return []
        stable = self.labels.stable
        old = [version for version in self.published[:-keep] if version != stable]
        for folder, version in [(str(version), version) for version in old] + [
            (f"{WITHDRAWN}{version}", version) for version in self.withdrawn[:-keep]
        ]:
            self.at("retire")
            self.move(folder, f"{REMOVED}{version}")
        self.finish_removing(identify)
        return old

    def finish_removing(self, identify: Callable[[Path], str] = files_identity) -> list[Event]:
        """Delete the folders set aside for removal, which no server sees, and record it."""
        last, added = last_actions(read_history(self.model_dir)), []
        for version in removed_versions(self.model_dir):
            if version not in last or last[version].action != "prune":
                self.at("record removal")
                newest = self.published[-1] if self.published else None
                reason = f"the newest {self.settings.versions.keep} are kept"
                identity = self._identity(self.model_dir / f"{REMOVED}{version}", identify)
                added.append(self.record("prune", version, previous=newest, reason=reason, identity=identity))
            self.at("remove")
            shutil.rmtree(self.model_dir / f"{REMOVED}{version}")
        return added

    def _identity(self, folder: Path, identify: Callable[[Path], str]) -> str:
        """Return the identity of a removed model; empty if a kill left too few of its files."""
        if not (folder / RECORD).is_file():
            return ""
        return read_publication(folder).identity or identify(folder)

    def write_server_files(self, without: Collection[int] = ()) -> list[str]:
        """Write the files that start a server; return the names of those that a person edits, which are left alone.

        Args:
            without: versions of this model to leave out, which are about to be withdrawn.
        """
        self.at("server files")
        with _lock(self.model_dir.parent, LOCK_SECONDS):
            return write_server_files(
                self.model_dir.parent, self.settings.batching, without={self.model_dir.name: without}, at=self.at
            )

    def update_mirror(self) -> None:
        """Copy the versions to the object store of the settings, if there is one."""
        if self.settings.mirror is not None:
            self.at("mirror")
            update_mirror(self.model_dir, self.settings.mirror)


@contextmanager
def open_store(
    serving_dir: Path,
    model_name: str,
    *,
    clock: Callable[[], float] = time.time,
    at: Step = no_step,
    lock_seconds: float = LOCK_SECONDS,
    create: bool = False,
) -> Iterator[VersionStore]:
    """Lock the versions of a model.

    Args:
        serving_dir: folder that holds a folder for each model.
        model_name: name of the model's folder.
        clock: seconds since 1970.
        at: called with the name of each step before it runs; for tests.
        lock_seconds: how long to wait for another change of the same model.
        create: whether to make a missing folder.

    Raises:
        PublishError: if the folder can't be used, or is in use for too long.
    """
    # A Path has made one slash of two.
    if re.match(r"[a-z0-9]{2,}:/", str(serving_dir)):
        raise PublishError(
            f"The serving directory must be a path on this machine or a mounted volume; received {serving_dir}. "
            "Object stores can't rename a folder in one step; serving.mirror copies the versions to one."
        )
    if not re.fullmatch(r"[A-Za-z0-9_-]+", model_name):
        raise PublishError(
            f"The name of a model may hold letters, digits, _ and -, as it is part of paths; received {model_name!r}."
        )
    model_dir = serving_dir / model_name
    store = None
    try:
        if create:
            model_dir.mkdir(parents=True, exist_ok=True)
        if not model_dir.is_dir():
            raise PublishError(f"{model_dir}: no such model. Run the pipeline first, or name another folder.")
        with _lock(model_dir, lock_seconds):
            store = VersionStore(model_dir, clock=clock, at=at)
            yield store
    except OSError as error:
        done = store is not None and store.changed
        after = (
            "The versions were changed, but not all that follows was done: do the same again to finish it."
            if done
            else "What TF Serving loads is unchanged."
        )
        raise PublishError(f"Could not publish to {model_dir}: {error}. {after}") from error


def _lock(folder: Path, seconds: float) -> AbstractContextManager[None]:
    advice = "Wait for it, then try again."
    return exclusive_lock(folder / ".lock", "a push or rollback", advice, seconds=seconds, error=PublishError)

"""The versions of one model, held for one change at a time: what is there, what was cut off before, what is recorded.

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
    """Does nothing at a step; tests do something."""


class VersionStore:
    """See the module's docstring; made by ``open_store``.

    Args:
        model_dir: the model's folder, whose lock is held.
        clock: seconds since 1970.
        at: is told each step before it is done; for tests.
    """

    def __init__(self, model_dir: Path, *, clock: Callable[[], float], at: Step) -> None:
        self.model_dir = model_dir
        self.settings = read_settings(model_dir)
        self.at = at
        self.clock = clock
        # Whether what a server sees was changed: said when something fails.
        self.changed = False
        # What was asked for and is done, but isn't answered yet.
        self._done: list[PendingChange] = []

    @property
    def published(self) -> list[int]:
        """Versions of noisy-gru in place, rising."""
        return published_versions(self.model_dir)

    @property
    def withdrawn(self) -> list[int]:
        """Withdrawn versions, rising."""
        return withdrawn_versions(self.model_dir)

    @property
    def labels(self) -> Labels:
        """The labels, as of now; there has to be a published version."""
        return choose_labels(self.published, read_history(self.model_dir), self.settings)

    def now(self) -> str:
        """The time, in ISO 8601, UTC."""
        return datetime.fromtimestamp(self.clock(), UTC).isoformat(timespec="seconds")

    def adopt(self, settings: PublishingConfig) -> None:
        """Keeps the settings for whoever changes the versions next, without the model's configuration."""
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
        """Adds a change to the history, with the newest and the stable version that there are after it."""
        present = self.published
        if stable is None and present:
            stable = self.labels.stable
        newest = present[-1] if present else None
        event = Event(at or self.now(), action, version, previous, newest, stable, reason, identity)
        append_event(self.model_dir, event)
        return event

    def carry_out(self, intent: PendingChange, wait: Callable[[], None] = lambda: None) -> None:
        """Does what was asked for, or the rest of it; ``answered`` has to follow when the person knows.

        Args:
            intent: on disk already.
            wait: is called between telling servers that versions go, and withdrawing them.
        """
        last = last_actions(read_history(self.model_dir))
        leaving = [version for version in intent.versions if version in self.published]
        # Somebody may have taken away, since, what was to be gone back to: the last version is never withdrawn.
        if intent.action == "rollback" and leaving and set(leaving) != set(self.published):
            self.write_server_files(without=leaving)
            wait()
            for version in leaving:
                self.at("withdraw")
                self.move(str(version), f"{WITHDRAWN}{version}")
        if intent.action == "restore":
            for version in set(intent.versions).intersection(self.withdrawn).difference(self.published):
                self.at("restore")
                self.move(f"{WITHDRAWN}{version}", str(version))
        self.at("history")
        now = self.withdrawn if intent.action == "rollback" else self.published
        for version in intent.versions:
            if intent.action == "promote":
                if version in now and self.labels.stable != version:
                    self.record("promote", version, previous=intent.previous, reason=intent.reason, stable=version)
            elif version in now and (version not in last or last[version].action != intent.action):
                self.record(intent.action, version, previous=intent.previous, reason=intent.reason)
        self._done.append(intent)

    def answered(self) -> None:
        """Forgets what was asked for and is done; the last thing that a command does, when the lock is released."""
        while self._done:
            self.at("answered")
            self._done.pop().remove(self.model_dir)

    def repair(
        self, reason: str = "", wait: Callable[[], None] = lambda: None
    ) -> tuple[list[PendingChange], list[Event]]:
        """Finishes what a kill cut off: what was asked for and what was being removed; records what has no record.

        Args:
            reason: recorded for a version that is found withdrawn.
            wait: as in ``carry_out``.

        Returns:
            What had been asked for, and what it added to the history besides.

        Raises:
            PublishError: if the record of a version that the history doesn't know can't be read.
        """
        self.at("clean")
        for leftover in self.model_dir.glob(f"{INCOMING}*"):
            shutil.rmtree(leftover)
        asked = pending_changes(self.model_dir)
        for intent in asked:
            self.carry_out(intent, wait)
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
        return asked, [*added, *self.finish_removing()]

    def move(self, name: str, new_name: str) -> None:
        """Renames a folder in one step, which is on disk when this returns."""
        (self.model_dir / name).rename(self.model_dir / new_name)
        self.changed = True
        sync(self.model_dir)

    def prune(self, identify: Callable[[Path], str]) -> list[int]:
        """Removes the versions beyond those that the settings keep; never the stable one, nor one of somebody else.

        Args:
            identify: the identity of a SavedModel: of a withdrawn one it outlives the files.

        Returns:
            The published versions that were removed, rising.
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
        """Deletes what was set aside to be deleted, which no server sees any more, and records it."""
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
        """Of a model on its way out, which is remembered by it; a kill may have left anything of its files."""
        if not (folder / RECORD).is_file():
            return ""
        return read_publication(folder).identity or identify(folder)

    def write_server_files(self, without: Collection[int] = ()) -> list[str]:
        """Writes what a server is started with; names the files that are left alone, because a person took them over.

        Args:
            without: versions of this model to leave out, because they are about to be withdrawn.
        """
        self.at("server files")
        with _lock(self.model_dir.parent, LOCK_SECONDS):
            return write_server_files(
                self.model_dir.parent, self.settings.batching, without={self.model_dir.name: without}, at=self.at
            )


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
    """Holds the versions of a model.

    Args:
        serving_dir: folder that holds a folder for each model.
        model_name: name of the model's folder.
        clock: seconds since 1970.
        at: is told each step before it is done; for tests.
        lock_seconds: how long to wait for another change of the same model.
        create: whether the folder is made if it isn't there.

    Raises:
        PublishError: if the folder can't be used, or is in use for too long.
    """
    # A Path has made one slash of two.
    if re.match(r"[a-z0-9]{2,}:/", str(serving_dir)):
        raise PublishError(
            f"The serving directory must be a path on this machine or a mounted volume; received {serving_dir}. "
            "Object stores can't rename a folder in one step."
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
            else "What TF Serving sees is unchanged."
        )
        raise PublishError(f"Could not publish to {model_dir}: {error}. {after}") from error


def _lock(folder: Path, seconds: float) -> AbstractContextManager[None]:
    advice = "Wait for it, then try again."
    return exclusive_lock(folder / ".lock", "a push or rollback", advice, seconds=seconds, error=PublishError)

"""Takes a published version back, brings it back, or makes the canary the stable version; each recorded.

    >>> rollback(Path("runs/vowels/serving"), "vowels", reason="too many alarms").text  # doctest: +SKIP
    'version 200 is withdrawn; version 100 is current'

All of it is renaming and small files, so it takes no time and needs no TensorFlow. Doing the same again after a kill,
at whatever moment, finishes it, and does nothing when it is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from noisy_gru.registry.history import blocked_models, read_history
from noisy_gru.registry.integrity import altered_files, check_version
from noisy_gru.registry.pending_change import PendingChange
from noisy_gru.registry.published_versions import WITHDRAWN, versions
from noisy_gru.registry.version_store import LOCK_SECONDS, Step, VersionStore, no_step, open_store
from noisy_gru.schema.errors import PublishError


@dataclass(frozen=True)
class VersionChange:
    """What was done, in words, and the versions that are current and stable now."""

    text: str
    newest: int
    stable: int
    left_alone: list[str]


Notify = Callable[[VersionChange], None]


def no_notification(change: VersionChange) -> None:
    """Tells nobody of a change: who called reads it."""


def rollback(
    serving_dir: Path,
    model_name: str,
    *,
    to: int | None = None,
    reason: str = "",
    wait: float = 0.0,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
    at: Step = no_step,
    notify: Notify = no_notification,
    lock_seconds: float = LOCK_SECONDS,
) -> VersionChange:
    """Withdraws the newest version, or all that are newer than one.

    What is asked for is written down first. Then servers get the places of the labels (``models.config``), and the
    folders are renamed, the newest first; so at every moment the newest version in place is a published one.

    Args:
        serving_dir: folder that holds a folder for each model.
        model_name: name of the model's folder.
        to: version that becomes current; None: the one before the newest.
        reason: for the record.
        wait: seconds between the two, for servers to read where the labels go; the lock is held meanwhile.
        clock: seconds since 1970.
        sleep: waits.
        at: is told each step before it is done; for tests.
        notify: called with the change. Until it returns, the same call is taken for this rollback, and goes no further.
        lock_seconds: how long to wait for another change of the same model.

    Raises:
        PublishError: if there is no version to go back to, or the newest one isn't noisy-gru's.
    """

    def wait_for_servers() -> None:
        if wait:
            at("wait")
            sleep(wait)

    with open_store(serving_dir, model_name, clock=clock, at=at, lock_seconds=lock_seconds) as store:
        asked, found = store.repair(reason, wait_for_servers)
        begun = [version for intent in asked if intent.action == "rollback" for version in intent.versions]
        finished = [version for version in begun if version in store.withdrawn]
        finished += [event.version for event in found if event.action == "rollback"]
        present = _present(store)
        if to is None and finished:
            text = f"the withdrawal of version {', '.join(map(str, finished))}, which was begun before, is finished"
            change = _finish(store, f"{text}; version {present[-1]} is current. To go back further, do it again")
        else:
            leaving = _leaving(store, present, to)
            if leaving:
                _ask(store, PendingChange("rollback", leaving, present[-1], reason), wait_for_servers)
                names, several = ", ".join(map(str, reversed(leaving))), len(leaving) > 1
                text = f"version{'s' * several} {names} {'are' if several else 'is'} withdrawn; "
                change = _finish(store, f"{text}version {store.published[-1]} is current")
            else:
                change = _finish(store, f"version {present[-1]} is current already")
    return _answer(store, change, notify)


def restore(
    serving_dir: Path,
    model_name: str,
    version: int,
    *,
    reason: str = "",
    clock: Callable[[], float] = time.time,
    at: Step = no_step,
    notify: Notify = no_notification,
    lock_seconds: float = LOCK_SECONDS,
) -> VersionChange:
    """Brings a withdrawn version back: the undoing of a rollback. Arguments as those of ``rollback``.

    Of a version whose files were removed since, only the withdrawal is undone: a run may publish this model again.

    Raises:
        PublishError: if it isn't withdrawn, or its files aren't those that were published.
    """
    with open_store(serving_dir, model_name, clock=clock, at=at, lock_seconds=lock_seconds) as store:
        store.repair()
        present = store.published
        folder = store.model_dir / f"{WITHDRAWN}{version}"
        if version in present:
            change = _finish(store, f"version {version} is in place already; version {present[-1]} is current")
        elif version in store.withdrawn:
            if (store.model_dir / str(version)).exists():
                raise PublishError(
                    f"{store.model_dir / str(version)} is in the way: it isn't noisy-gru's. Move it away."
                )
            if found := altered_files(folder):
                names = ", ".join(found)
                raise PublishError(f"{folder}: {names}: not what was published; it stays withdrawn.")
            _ask(store, PendingChange("restore", [version], present[-1] if present else None, reason))
            change = _finish(store, f"version {version} is back; version {store.published[-1]} is current")
        elif version in blocked_models(read_history(store.model_dir)).values():
            _present(store)
            store.record("allow", version, previous=present[-1], reason=reason)
            text = f"the files of version {version} were removed, so it can't come back; a run may publish it again"
            change = _finish(store, f"{text}; version {present[-1]} is current")
        else:
            raise PublishError(
                f"{store.model_dir}: version {version} isn't withdrawn. {_told_withdrawn(store) or 'None is. '}"
                f"In place are {', '.join(map(str, present)) or 'none'}."
            )
    return _answer(store, change, notify)


def promote(
    serving_dir: Path,
    model_name: str,
    *,
    reason: str = "",
    clock: Callable[[], float] = time.time,
    at: Step = no_step,
    notify: Notify = no_notification,
    lock_seconds: float = LOCK_SECONDS,
) -> VersionChange:
    """Gives the label `stable` to the canary, the newest version. Arguments as those of ``rollback``.

    Raises:
        PublishError: if the rollout is `direct`, where every version is stable at once.
    """
    with open_store(serving_dir, model_name, clock=clock, at=at, lock_seconds=lock_seconds) as store:
        store.repair()
        present = _present(store)
        if store.settings.versions.rollout != "canary":
            raise PublishError(
                f"{store.model_dir}: its rollout is `direct`, so a new version is stable at once and nothing waits to "
                "be promoted. For a canary, set serving.versions.rollout: canary and run the pipeline."
            )
        labels = store.labels
        if labels.stable == labels.canary:
            change = _finish(store, f"version {labels.stable} is stable already")
        else:
            check_version(store.model_dir, labels.canary)
            _ask(store, PendingChange("promote", [labels.canary], labels.stable, reason))
            change = _finish(store, f"version {present[-1]} is stable now; before, {labels.stable} was")
    return _answer(store, change, notify)


def _leaving(store: VersionStore, present: list[int], to: int | None) -> list[int]:
    """The versions that a rollback withdraws, newest first."""
    if to is None and len(present) < 2:
        raise PublishError(
            f"{store.model_dir}: version {present[-1]} is the only one, so there is none to go back to. "
            f"{_told_withdrawn(store)}A version that is replaced has to be published first."
        )
    target = present[-2] if to is None else to
    if target not in present:
        raise PublishError(
            f"{store.model_dir}: version {target} isn't there to go back to; there are "
            f"{', '.join(map(str, present))}. {_told_withdrawn(store)}"
        )
    check_version(store.model_dir, target)
    return [version for version in reversed(present) if version > target]


def _ask(store: VersionStore, intent: PendingChange, wait: Callable[[], None] = lambda: None) -> None:
    # What was asked for before is done, and may not be done again after this.
    store.answered()
    store.at("intent")
    intent.write(store.model_dir)
    store.carry_out(intent, wait)


def _answer(store: VersionStore, change: VersionChange, notify: Notify) -> VersionChange:
    notify(change)
    store.answered()
    return change


def _present(store: VersionStore) -> list[int]:
    """The published versions, of which the newest is the newest of all."""
    present = store.published
    if not present:
        raise PublishError(f"{store.model_dir}: noisy-gru has no version here. {_told_withdrawn(store)}".rstrip())
    newest = versions(store.model_dir)[-1]
    if newest != present[-1]:
        raise PublishError(
            f"{store.model_dir}: the newest version, {newest}, isn't noisy-gru's, so servers would go on with it. "
            "Move it away first."
        )
    return present


def _told_withdrawn(store: VersionStore) -> str:
    names = ", ".join(map(str, store.withdrawn))
    return f"Withdrawn are {names}: noisy-gru runs restore VERSION brings one back. " if names else ""


def _finish(store: VersionStore, text: str) -> VersionChange:
    left_alone = store.write_server_files()
    store.at("done")
    labels = store.labels
    return VersionChange(text, labels.canary, labels.stable, left_alone)

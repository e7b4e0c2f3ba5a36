"""Roll back, restore and promote published versions; each change is recorded.

    >>> rollback(Path("runs/vowels/serving"), "vowels", reason="too many alarms").text  # doctest: +SKIP
    'version 200 is withdrawn; version 100 is current'

All of it is renaming and small files, so it takes no time and needs no TensorFlow. The same call after a kill at any
moment finishes the change, and does nothing when it is finished.
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
    """Result of a change: a description, the newest and the stable version, and server files that were left alone."""

    text: str
    newest: int
    stable: int
    left_alone: list[str]


Notify = Callable[[VersionChange], None]


def no_notification(change: VersionChange) -> None:
    """Notify nobody: the caller has the result."""


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
    """Withdraw the newest version, or all that are newer than ``to``.

    The pending change is written first. Then ``models.config`` gets the new labels, and the folders are renamed, the
    newest first; so at every moment the newest version in place is a published one.

    Args:
        serving_dir: folder that holds a folder for each model.
        model_name: name of the model's folder.
        to: version that becomes current; None: the one before the newest.
        reason: for the record.
        wait: seconds between the two, for servers to read the new labels; the lock is held meanwhile.
        clock: seconds since 1970.
        sleep: sleeps for some seconds.
        at: called with the name of each step before it runs; for tests.
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
        pending, added = store.repair(reason, wait_for_servers)
        begun = [version for change in pending if change.action == "rollback" for version in change.versions]
        finished = [version for version in begun if version in store.withdrawn]
        finished += [event.version for event in added if event.action == "rollback"]
        present = _present(store)
        if to is None and finished:
            text = f"the withdrawal of version {', '.join(map(str, finished))}, which was begun before, is finished"
            change = _finish(store, f"{text}; version {present[-1]} is current. To go back further, do it again")
        else:
            leaving = _leaving(store, present, to)
            if leaving:
                _apply(store, PendingChange("rollback", leaving, present[-1], reason), wait_for_servers)
                names, several = ", ".join(map(str, reversed(leaving))), len(leaving) > 1
                text = f"version{'s' * several} {names} {'are' if several else 'is'} withdrawn; "
                change = _finish(store, f"{text}version {store.published[-1]} is current")
            else:
                change = _finish(store, f"version {present[-1]} is current already")
    return _report(store, change, notify)


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
    """Bring a withdrawn version back. Arguments as those of ``rollback``.

    If its files were removed since, only the withdrawal is undone: a run may publish this model again.

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
                raise PublishError(f"{folder}: {names} changed since the version was published; it stays withdrawn.")
            _apply(store, PendingChange("restore", [version], present[-1] if present else None, reason))
            change = _finish(store, f"version {version} is back; version {store.published[-1]} is current")
        elif version in blocked_models(read_history(store.model_dir)).values():
            _present(store)
            store.record("allow", version, previous=present[-1], reason=reason)
            text = f"the files of version {version} were removed, so it can't come back; a run may publish it again"
            change = _finish(store, f"{text}; version {present[-1]} is current")
        else:
            raise PublishError(
                f"{store.model_dir}: version {version} isn't withdrawn. {_withdrawn_text(store) or 'None is. '}"
                f"In place are {', '.join(map(str, present)) or 'none'}."
            )
    return _report(store, change, notify)


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
    """Move the label `stable` to the canary, the newest version. Arguments as those of ``rollback``.

    Raises:
        PublishError: if the rollout is `direct`, where every version is stable at once.
    """
    with open_store(serving_dir, model_name, clock=clock, at=at, lock_seconds=lock_seconds) as store:
        store.repair()
        present = _present(store)
        if store.settings.versions.rollout != "canary":
            raise PublishError(
                f"{store.model_dir}: its rollout is `direct`, so a new version is stable at once and there is no "
                "canary to promote. For a canary, set serving.versions.rollout: canary and run the pipeline."
            )
        labels = store.labels
        if labels.stable == labels.canary:
            change = _finish(store, f"version {labels.stable} is stable already")
        else:
            check_version(store.model_dir, labels.canary)
            _apply(store, PendingChange("promote", [labels.canary], labels.stable, reason))
            change = _finish(store, f"version {present[-1]} is stable now; before, {labels.stable} was")
    return _report(store, change, notify)


def _leaving(store: VersionStore, present: list[int], to: int | None) -> list[int]:
    """Return the versions that a rollback withdraws, newest first."""
    if to is None and len(present) < 2:
        raise PublishError(
            f"{store.model_dir}: version {present[-1]} is the only one, so there is none to go back to. "
            f"{_withdrawn_text(store)}Publish another version first."
        )
    target = present[-2] if to is None else to
    if target not in present:
        raise PublishError(
            f"{store.model_dir}: version {target} isn't there to roll back to; existing: "
            f"{', '.join(map(str, present))}. {_withdrawn_text(store)}"
        )
    check_version(store.model_dir, target)
    return [version for version in reversed(present) if version > target]


def _apply(store: VersionStore, change: PendingChange, wait: Callable[[], None] = lambda: None) -> None:
    # Earlier changes are applied, and must not be applied again after this one.
    store.clear_pending()
    store.at("pending")
    change.write(store.model_dir)
    store.apply(change, wait)


def _report(store: VersionStore, change: VersionChange, notify: Notify) -> VersionChange:
    notify(change)
    store.clear_pending()
    return change


def _present(store: VersionStore) -> list[int]:
    """Return the published versions, and check that the newest of all is among them."""
    present = store.published
    if not present:
        raise PublishError(f"{store.model_dir}: noisy-gru has no version here. {_withdrawn_text(store)}".rstrip())
    newest = versions(store.model_dir)[-1]
    if newest != present[-1]:
        raise PublishError(
            f"{store.model_dir}: the newest version, {newest}, isn't noisy-gru's, so servers would keep loading it. "
            "Move it away first."
        )
    return present


def _withdrawn_text(store: VersionStore) -> str:
    names = ", ".join(map(str, store.withdrawn))
    return f"Withdrawn are {names}: noisy-gru runs restore VERSION brings one back. " if names else ""


def _finish(store: VersionStore, text: str) -> VersionChange:
    left_alone = store.write_server_files()
    store.update_mirror()
    store.at("done")
    labels = store.labels
    return VersionChange(text, labels.canary, labels.stable, left_alone)

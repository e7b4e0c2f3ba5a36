"""History of a model's versions: a line of JSON for each change, in ``history.jsonl`` beside them.

Lines are only appended. The folders decide which versions there are; the history records when and why. A line that a
kill cut off is skipped, and the next change adds one that is missing (`version_store.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from noisy_gru.storage.json_lines import append_record, read_records

HISTORY = "history.jsonl"
Action = Literal["publish", "rollback", "restore", "promote", "prune", "allow"]


@dataclass(frozen=True)
class Event:
    """One change of the versions.

    Attributes:
        at: when, in ISO 8601, UTC.
        action: `publish`; `rollback` withdraws a version and `restore` undoes that; `promote` gives the label `stable`;
            `prune` removes the files; `allow` undoes the withdrawal of a version whose files were removed.
        version: of the model.
        previous: the newest version before the change; for `promote` the one that was stable. None: there was none.
        newest: the newest version after the change.
        stable: the version labelled stable after the change.
        reason: given by a person, or the cause.
        identity: of the model, where known: a withdrawn one is not published again, even if its files are gone.
    """

    at: str
    action: Action
    version: int
    previous: int | None = None
    newest: int | None = None
    stable: int | None = None
    reason: str = ""
    identity: str = ""


def read_history(model_dir: Path) -> list[Event]:
    """Read the changes, oldest first; skip lines that are no event."""
    return read_records(model_dir / HISTORY, Event)


def append_event(model_dir: Path, event: Event) -> None:
    """Append an event and sync it; a line that was cut off stays by itself."""
    append_record(model_dir / HISTORY, event)


def last_actions(events: list[Event]) -> dict[int, Event]:
    """Return the last event of each version that moved it; a promotion doesn't."""
    return {event.version: event for event in events if event.action not in ("promote", "allow")}


def blocked_models(events: list[Event]) -> dict[str, int]:
    """Return the versions that were withdrawn and then removed, by model identity: they are not published again."""
    identities = {event.version: event.identity for event in events if event.identity}
    withdrawn: dict[int, bool] = {}
    for event in events:
        if event.action in ("rollback", "restore", "allow"):
            withdrawn[event.version] = event.action == "rollback"
    removed = {version for version, event in last_actions(events).items() if event.action == "prune"}
    return {identities[each]: each for each in removed if withdrawn.get(each) and each in identities}

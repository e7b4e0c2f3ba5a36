"""What was done to a model's versions, a line of JSON each, in ``history.jsonl`` beside them.

Lines are only ever added. The folders are the truth, and the history says when and why: a line that a kill cut off, or
that an action didn't come to write, is passed over, and the next change adds what is missing (`store.py`).
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
    """One change.

    Attributes:
        at: when, in ISO 8601, UTC.
        action: `publish`; `rollback` withdraws a version and `restore` undoes that; `promote` gives the label `stable`;
            `prune` removes the files; `allow` undoes the withdrawal of a version whose files were removed.
        version: of the model.
        previous: the newest version before the change; for `promote` the one that was stable. None: there was none.
        newest: the newest version after the change.
        stable: the version labelled stable after the change.
        reason: a person's, or the cause.
        identity: of the model, where it is known: what is withdrawn stays so when its files are gone.
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
    """The changes, oldest first; what isn't a line of a history is left out."""
    return read_records(model_dir / HISTORY, Event)


def append_event(model_dir: Path, event: Event) -> None:
    """Adds a line, on disk when this returns; after a line that was cut off, on a new one."""
    append_record(model_dir / HISTORY, event)


def last_actions(events: list[Event]) -> dict[int, Event]:
    """The last change of each version that says where it is; a promotion doesn't."""
    return {event.version: event for event in events if event.action not in ("promote", "allow")}


def blocked_models(events: list[Event]) -> dict[str, int]:
    """The versions that were withdrawn and then removed, by their models' identities: not to be published again."""
    identities = {event.version: event.identity for event in events if event.identity}
    withdrawn: dict[int, bool] = {}
    for event in events:
        if event.action in ("rollback", "restore", "allow"):
            withdrawn[event.version] = event.action == "rollback"
    removed = {version for version, event in last_actions(events).items() if event.action == "prune"}
    return {identities[each]: each for each in removed if withdrawn.get(each) and each in identities}

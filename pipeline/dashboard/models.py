"""A published model: its versions, what serves now, changes and retrainings."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from noisy_gru.registry.history import Event, read_history
from noisy_gru.registry.labels import read_settings, served_versions
from noisy_gru.registry.published_versions import published_versions, withdrawn_versions
from noisy_gru.registry.retraining_attempts import Outcome, outcomes, read_attempts
from noisy_gru.schema.errors import PublishError


@dataclass(frozen=True, kw_only=True)
class VersionRow:
    """A version: its state (published, withdrawn, removed or gone), its labels, and when and why it changed last."""

    version: int
    state: str
    labels: tuple[str, ...] = ()
    published: str = ""
    changed: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelState:
    """A model at this moment; ``problem`` says what of it can't be read.

    Attributes:
        name: of the model's folder.
        stable: version of the label; None if none is published.
        canary: version of the label, the newest one.
        rollout: direct or canary.
        versions: newest first.
        events: changes of the versions, oldest first.
        attempts: retrainings with their ends, oldest first.
        problem: empty if all can be read.
    """

    name: str
    stable: int | None = None
    canary: int | None = None
    rollout: str = ""
    versions: list[VersionRow] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    attempts: list[Outcome] = field(default_factory=list)
    problem: str = ""

    @property
    def serves(self) -> str:
        """What serves now, in words."""
        if self.stable is None:
            return "nothing"
        if self.stable == self.canary:
            return f"version {self.stable}"
        return f"stable {self.stable}, canary {self.canary}"

    @property
    def back_to(self) -> int | None:
        """The version that a rollback makes current; None if there is none."""
        present = [each.version for each in self.versions if each.state == "published"]
        return present[1] if len(present) > 1 else None

    @property
    def can_promote(self) -> bool:
        """Whether there is a canary that isn't stable."""
        return self.stable is not None and self.rollout == "canary" and self.stable != self.canary


def model_state(serving_dir: Path, name: str) -> ModelState:
    """Return a model as its folder has it; a part that can't be read is in ``problem``."""
    folder = serving_dir / name
    try:
        events, attempts = read_history(folder), outcomes(read_attempts(folder))
        present, withdrawn = published_versions(folder), withdrawn_versions(folder)
    except (OSError, ValueError) as error:
        return ModelState(name=name, problem=f"{folder}: can't be read: {error}")
    problem, served, rollout = "", None, ""
    try:
        served = served_versions(folder)
        rollout = read_settings(folder).versions.rollout
    except (PublishError, OSError) as error:
        problem = str(error)
    labels: dict[int, tuple[str, ...]] = {}
    if served is not None:
        for label in ("stable", "canary"):
            version = getattr(served.labels, label)
            labels[version] = (*labels.get(version, ()), label)
    return ModelState(
        name=name,
        stable=served.labels.stable if served else None,
        canary=served.labels.canary if served else None,
        rollout=rollout,
        versions=_versions(events, present, withdrawn, labels),
        events=events,
        attempts=attempts,
        problem=problem,
    )


def _versions(
    events: list[Event], present: list[int], withdrawn: list[int], labels: dict[int, tuple[str, ...]]
) -> list[VersionRow]:
    published = {event.version: event.at for event in events if event.action == "publish"}
    last = {event.version: event for event in events}
    moved = {event.version: event.action for event in events if event.action not in ("promote", "allow")}
    rows = []
    for version in sorted({*published, *present, *withdrawn}, reverse=True):
        state = "removed" if moved.get(version) == "prune" else "gone"
        state = "withdrawn" if version in withdrawn else "published" if version in present else state
        event = last.get(version)
        changed = event is not None and event.action != "publish"
        rows.append(
            VersionRow(
                version=version,
                state=state,
                labels=labels.get(version, ()),
                published=published.get(version, ""),
                changed=f"{event.action} {event.at}" if event is not None and changed else "",
                reason=event.reason if event is not None and changed else "",
            )
        )
    return rows

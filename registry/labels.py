"""Versions that a server loads, and the versions of the labels `stable` and `canary`.

Read from the folders, the history and the settings of the last push, so that any model in a serving directory can be
asked, without its configuration.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from noisy_gru.registry.config import BatchingConfig, PublishingConfig, VersionsConfig
from noisy_gru.registry.history import Event, last_actions, read_history
from noisy_gru.registry.published_versions import published_versions, versions, withdrawn_versions
from noisy_gru.schema.errors import PublishError

SETTINGS = "publishing.json"
_Settings = TypeVar("_Settings", VersionsConfig, BatchingConfig)


@dataclass(frozen=True)
class Labels:
    """The version of each label; both are published and in place."""

    stable: int
    canary: int


@dataclass(frozen=True)
class ServedVersions:
    """A model in the server's configuration: name, labels, and how many of the newest versions to load."""

    name: str
    labels: Labels
    num_versions: int


def read_settings(model_dir: Path) -> PublishingConfig:
    """Return the settings of the last push of a model; the defaults if there are none.

    Raises:
        PublishError: if they can't be read.
    """
    file = model_dir / SETTINGS
    if not file.exists():
        return PublishingConfig()
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return PublishingConfig(
            versions=_known(VersionsConfig, content.get("versions", {})),
            batching=_known(BatchingConfig, content.get("batching", {})),
            mirror=content.get("mirror"),
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise PublishError(
            f"{file} can't be read as the settings of a push: {error}. Delete it: the next push writes it anew."
        ) from error


def _known(section: type[_Settings], content: dict[str, Any]) -> _Settings:
    """Drop keys of a section that only a later noisy-gru knows: a rollback must not fail for them."""
    return section(**{name: value for name, value in content.items() if name in section.model_fields})


def choose_labels(present: Sequence[int], events: Sequence[Event], settings: PublishingConfig) -> Labels:
    """Return the labels of a model.

    With the rollout `direct` both mean the newest version. With `canary`, `stable` is the version that last was stable
    and is still there (a promotion makes it so), else the oldest.

    Args:
        present: published versions in place, rising; at least one.
        events: the model's history.
        settings: of the model.
    """
    newest = present[-1]
    if settings.versions.rollout == "direct":
        return Labels(newest, newest)
    stable = next((event.stable for event in reversed(events) if event.stable in present), None)
    return Labels(present[0] if stable is None else stable, newest)


def served_versions(model_dir: Path, without: Collection[int] = ()) -> ServedVersions | None:
    """Return the server's configuration of the model in ``model_dir``; None if noisy-gru has no version there.

    A server loads a new version before it may be given a label, and loads by the rule it knows. So the rule is "the
    newest ones, as many as reach down to the stable one, and one more": it still holds when the next version comes.

    Args:
        model_dir: the model's folder.
        without: versions to leave out, because they are about to be withdrawn.
    """
    present = [version for version in published_versions(model_dir) if version not in without]
    if not present:
        return None
    labels = choose_labels(present, read_history(model_dir), read_settings(model_dir))
    newer = [version for version in versions(model_dir) if version > labels.stable and version not in without]
    return ServedVersions(model_dir.name, labels, len(newer) + 2)


def all_served_versions(serving_dir: Path, without: Mapping[str, Collection[int]]) -> list[ServedVersions]:
    """Return every model that noisy-gru published in a serving directory, by name; ``without`` as above, by model."""
    folders = sorted(child for child in serving_dir.iterdir() if child.is_dir())
    found = (served_versions(folder, without.get(folder.name, ())) for folder in folders)
    return [model for model in found if model is not None]


@dataclass(frozen=True)
class VersionStatus:
    """Status of a version.

    Attributes:
        state: `published`, `withdrawn`, `removed` (its files were, to keep few versions), or `gone` (nobody said why).
        labels: those that mean this version.
        event: the change that brought it there, None if there is no record of it.
    """

    state: str
    labels: tuple[str, ...] = ()
    event: Event | None = None


def version_status(model_dir: Path, version: int) -> VersionStatus | None:
    """Return the status of a version of the model in ``model_dir``; None if there is no such folder."""
    if not model_dir.is_dir():
        return None
    event = last_actions(read_history(model_dir)).get(version)
    if version in published_versions(model_dir) and (model := served_versions(model_dir)) is not None:
        labels = {"stable": model.labels.stable, "canary": model.labels.canary}
        return VersionStatus("published", tuple(name for name, each in labels.items() if each == version), event)
    if version in withdrawn_versions(model_dir):
        return VersionStatus("withdrawn", (), event if event is not None and event.action == "rollback" else None)
    if event is not None and event.action == "prune":
        return VersionStatus("removed", (), event)
    return VersionStatus("gone")

"""Load states of a model's versions, and the version folders under a base path."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensorflow_serving.apis import get_model_status_pb2

from noisy_gru.serving.local_server.configuration import ServedModelConfig
from noisy_gru.serving.local_server.errors import RequestError
from noisy_gru.serving.local_server.loaded_version import LoadedVersion

_States = get_model_status_pb2.ModelVersionStatus
LOADING = _States.LOADING
AVAILABLE = _States.AVAILABLE
UNLOADING = _States.UNLOADING
END = _States.END


@dataclass
class VersionLoadState:
    """The load state of a version.

    Attributes:
        state: of ``ModelVersionStatus``.
        loaded: the version, while it is in memory.
        error: why it failed to load, else None.
        ended: whether its process ended, so that it is reloaded.
        stamp: of the folder at the last load, which is not repeated before the folder changes.
    """

    state: int
    loaded: LoadedVersion | None = None
    error: RequestError | None = None
    ended: bool = False
    stamp: Any = None

    def to_proto(self, version: int) -> Any:
        """The ``ModelVersionStatus``."""
        status = get_model_status_pb2.ModelVersionStatus(version=version, state=self.state)
        # Set also where it is OK, as in TF Serving.
        status.status.SetInParent()
        if self.error is not None:
            status.status.error_code = self.error.number
            status.status.error_message = self.error.message
        return status


def find_versions(base_path: Path) -> dict[int, Path] | None:
    """Return the version folders under a base path, by number; None if the path can't be read.

    As for TF Serving a version is whatever has a number for a name, so a half-copied folder must not have one.
    """
    try:
        children = list(base_path.iterdir())
    except OSError:
        return None
    numbered = {int(child.name): child for child in children if re.fullmatch(r"[0-9]{1,19}", child.name)}
    return {number: numbered[number] for number in sorted(numbered) if number < 1 << 63}


def folder_stamp(folder: Path) -> Any:
    """Return a stamp that changes with the content of a folder, also where a file grows in place (a slow copy)."""
    stamps = []
    for path in (folder, *sorted(folder.rglob("*"))):
        try:
            status = path.stat()
        except OSError:
            stamps.append((path, None))
        else:
            stamps.append((path, (status.st_ino, status.st_mtime_ns, status.st_size)))
    return stamps


def no_version_message(served: ServedModelConfig, found: Mapping[int, Path] | None) -> str:
    """Return the log line for a model without a version to serve.

    Args:
        served: the model.
        found: the versions under its base path; None if that can't be read.
    """
    if found is None:
        return f"{served.name}: Could not find base path {served.base_path} for servable {served.name}; waiting for it."
    if found:
        return f"{served.name}: the policy selects none of the versions {sorted(found)} under {served.base_path}."
    return (
        f"{served.name}: No versions of servable {served.name} found under base path {served.base_path}. Did you "
        "forget to name your leaf directory as a number (eg. '/1/')? Waiting for one."
    )

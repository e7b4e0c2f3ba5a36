"""The versions of one model: where each of them is on its way from a folder to memory and back."""

# pyright: reportAttributeAccessIssue=false
# Protocol buffers' classes are made when they are imported.

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensorflow_serving.apis import get_model_status_pb2

from noisy_gru.serving.local_server.errors import RequestError
from noisy_gru.serving.local_server.loaded_version import LoadedVersion

_States = get_model_status_pb2.ModelVersionStatus
LOADING = _States.LOADING
AVAILABLE = _States.AVAILABLE
UNLOADING = _States.UNLOADING
END = _States.END


@dataclass
class VersionLoadState:
    """Where a version is.

    Attributes:
        state: of ``ModelVersionStatus``.
        loaded: what is in memory, while it is.
        error: why it ended, if that was an error.
        ended: whether its process ended, so that it is loaded again.
        stamp: of the folder that was loaded, or failed to: it is not tried again before the folder changes.
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


def found_versions(base_path: Path) -> dict[int, Path] | None:
    """The versions under a base path with their folders; None if it can't be read, which says nothing about them.

    As for TF Serving a version is whatever has a number for a name, so a half-copied folder must not have one.
    """
    try:
        children = list(base_path.iterdir())
    except OSError:
        return None
    numbered = {int(child.name): child for child in children if re.fullmatch(r"[0-9]{1,19}", child.name)}
    return {number: numbered[number] for number in sorted(numbered) if number < 1 << 63}


def stamp_of(folder: Path) -> Any:
    """What changes when the content of a version's folder does, also where a file grows in place (a slow copy)."""
    stamps = []
    for path in (folder, *sorted(folder.rglob("*"))):
        try:
            status = path.stat()
        except OSError:
            stamps.append((path, None))
        else:
            stamps.append((path, (status.st_ino, status.st_mtime_ns, status.st_size)))
    return stamps

"""A folder that behaves as an object store does: it holds files by URI, and no empty folders."""

from __future__ import annotations

import glob
import shutil
from pathlib import Path

from noisy_gru.kubeflow.emulator.errors import TaskError

# What the launcher calls the folders that it copies to and from.
_FOLDERS = {"minio": "minio", "s3": "s3", "gs": "gcs"}


def local_path(uri: str, machine: Path) -> Path:
    """Return the launcher's path of a URI on a machine whose root is ``machine``.

    Raises:
        TaskError: the launcher knows no such scheme.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme not in _FOLDERS:
        raise TaskError(f"the launcher can't copy {uri!r}: it knows minio://, s3:// and gs://")
    return machine / _FOLDERS[scheme] / rest


class ObjectStore:
    """All buckets of all schemes, below one folder."""

    def __init__(self, folder: Path):
        self._folder = folder

    def path(self, uri: str) -> Path:
        """Return the path of an object."""
        return local_path(uri, self._folder)

    def upload(self, machine: Path, uri: str) -> bool:
        """Upload a machine's files of a URI; return False if there are none, which is allowed."""
        source = local_path(uri, machine)
        if not source.exists():
            return False
        _copy_files(source, self.path(uri))
        return True

    def download(self, uri: str, machine: Path, *, siblings: bool) -> None:
        """Copy an object, or all below a prefix; nothing if there is nothing.

        Args:
            uri: of the artifact.
            machine: gets the copies.
            siblings: whether all whose key begins with the artifact's come along, see ``Backend.brings_siblings``.
        """
        kept = self.path(uri)
        _copy_files(kept, local_path(uri, machine))
        if siblings and kept.parent.is_dir():
            for other in kept.parent.glob(f"{glob.escape(kept.name)}?*"):
                _copy_files(other, local_path(uri, machine).parent / other.name)


def _copy_files(source: Path, target: Path) -> None:
    if source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        return
    for file in sorted(source.rglob("*")):
        if file.is_file():
            copy = target / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)

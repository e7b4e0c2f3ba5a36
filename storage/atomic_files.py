"""Changes to a folder that outlive a kill or a crash: files that appear whole, folders synced, one change at a time."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from noisy_gru.schema.errors import PublishError

_LOCK = ".lock"
_PARTIAL = ".partial-"


def sync(path: Path) -> None:
    """Has a file, or a folder's list of names, written to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Has a folder and all in it written to disk."""
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)


def write_atomically(path: Path, text: str) -> None:
    """Writes a file that readers see whole or as it was; what a kill leaves is overwritten the next time.

    Only for one writer at a time. The file can be read by everyone, as a server runs as another user.
    """
    partial = path.with_name(f"{_PARTIAL}{path.name}")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.chmod(0o644)
    partial.replace(path)
    sync(path.parent)


def append_line(path: Path, content: dict[str, Any]) -> None:
    """Adds a line of JSON to a file, on disk when this returns; after a line that was cut off, on a new one."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        line = ("\n" if torn else "") + json.dumps(content, ensure_ascii=False) + "\n"
        os.write(descriptor, line.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(folder: Path, seconds: float) -> Iterator[None]:
    """Holds a folder's lock, which the system releases when the process ends, however that happens.

    Raises:
        PublishError: if another process holds it for longer than ``seconds``.
    """
    deadline = time.monotonic() + seconds
    with (folder / _LOCK).open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise PublishError(
                        f"Another push to {folder}, or a rollback, has gone on for {seconds:g} s. "
                        "Wait for it, then try again."
                    ) from None
                time.sleep(0.05)
        yield

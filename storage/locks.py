"""Locks that the kernel lets go of when their process ends, however it ends: none is ever left behind.

>>> with held_lock(root / ".lock", "a run", "Wait for it."):  # doctest: +SKIP
...     ...
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from noisy_gru.schema.errors import BusyError, UserError


@contextmanager
def held_lock(path: Path, what: str, advice: str) -> Iterator[None]:
    """Holds a lock in the block.

    Args:
        path: the lock's file, in a folder that exists. Who holds it is written there for people; the lock is the
            kernel's.
        what: holds it, such as ``a run``, for who finds it held.
        advice: what to do then.

    Raises:
        BusyError: another process holds it, in words; nobody is waited for.
        UserError: the lock's file can't be opened.
    """
    try:
        opened = path.open("a+")
    except OSError as error:
        raise UserError(f"{path.parent}: can't be written: {error.strerror}") from error
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise BusyError(f"{path.parent}: in use by {holder}. {advice}") from None
        _write(
            path,
            f"process {os.getpid()} on {socket.gethostname()}: {what}, since {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        )
        try:
            yield
        finally:
            file.truncate(0)


def _write(path: Path, holder: str) -> None:
    """Says who holds a lock; where the disk is full nobody is told, and the lock is held all the same."""
    with suppress(OSError):
        path.write_text(holder)

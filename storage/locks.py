"""Locks between processes, which the kernel releases when their process ends: none is ever left behind.

>>> with exclusive_lock(root / ".lock", "a run", "Wait for it."):  # doctest: +SKIP
...     ...
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from noisy_gru.schema.errors import BusyError, UserError

_POLL_SECONDS = 0.05


@contextmanager
def exclusive_lock(
    path: Path, holder: str, advice: str, *, seconds: float = 0.0, error: type[UserError] = BusyError
) -> Iterator[None]:
    """Hold a lock in the block.

    Args:
        path: the lock's file, in a folder that exists. The holder is written there for people to read; the lock itself
            is the kernel's.
        holder: name of the work that holds it, such as ``a run``, shown to others that find it held.
        advice: what they should do then.
        seconds: how long to wait for another holder.
        error: raised where another process holds it for longer.

    Raises:
        UserError: ``error``; or the lock's file can't be opened.
    """
    try:
        file = path.open("a+")
    except OSError as failure:
        raise UserError(f"{path.parent}: can't be written: {failure.strerror}") from failure
    deadline = time.monotonic() + seconds
    with file:
        while not _acquired(file.fileno()):
            if time.monotonic() >= deadline:
                file.seek(0)
                waited = f", after {seconds:g} s of waiting" if seconds else ""
                raise error(f"{path.parent}: in use by {file.read().strip() or 'another process'}{waited}. {advice}")
            time.sleep(_POLL_SECONDS)
        since = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        with suppress(OSError):  # a full disk: the lock is held all the same, without a name
            path.write_text(f"process {os.getpid()} on {socket.gethostname()}: {holder}, since {since}")
        try:
            yield
        finally:
            file.truncate(0)


def _acquired(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

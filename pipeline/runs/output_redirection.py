"""Redirect the output of libraries to a log, and keep the terminal for live progress.

TFX and Beam log through Python, TensorFlow's C++ writes to file descriptor 2, some libraries print, and subprocesses
inherit descriptors: so the descriptors themselves are redirected.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

FORMAT = "%(asctime)s %(levelname).1s %(name)s: %(message)s"


@contextmanager
def output_to(log: Path) -> Iterator[tuple[TextIO, TextIO]]:
    """Redirect standard output and error to ``log`` in the block; yield the original (output, error).

    Python's logging goes to the file as well, at INFO. Everything is restored at the end, also after an error.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    file = _text(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644))
    handler = logging.StreamHandler(file)
    handler.setFormatter(logging.Formatter(FORMAT))
    # A logger below the root may let more through, for the terminal.
    handler.setLevel(logging.INFO)
    root = logging.getLogger()
    previous = root.handlers[:], root.level, sys.stdout, sys.stderr
    out, err = (_text(os.dup(descriptor)) for descriptor in saved)
    try:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        # The old objects may not write to the descriptors (in a test, a notebook). The new ones don't own them, because
        # a library may keep one and write to it later.
        sys.stdout, sys.stderr = _text(1, closefd=False), _text(2, closefd=False)
        root.handlers = [handler]
        root.setLevel(logging.INFO)
        yield out, err
    finally:
        for stream in (out, err, sys.stdout, sys.stderr):
            _flush(stream)
        os.dup2(saved[0], 1)
        os.dup2(saved[1], 2)
        root.handlers, level, sys.stdout, sys.stderr = previous
        root.setLevel(level)
        for descriptor in saved:
            os.close(descriptor)
        for stream in (out, err, file):
            _flush(stream)
            with suppress(OSError):
                stream.close()
        handler.close()


def _flush(stream: TextIO) -> None:
    """Flush; on a full disk drop the output, which must neither block the restoring nor reach the terminal."""
    try:
        stream.flush()
    except OSError:
        # Drops what it holds.
        with suppress(OSError):
            stream.close()


def _text(descriptor: int, *, closefd: bool = True) -> TextIO:
    return os.fdopen(descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=closefd)

"""Chunks on disk between reading and writing, for a runner that would hold all of them in memory.

>>> with SpilledChunks(folder) as spill: reference = spill.add(chunk)  # doctest: +SKIP
>>> read_chunk(reference) == chunk  # doctest: +SKIP

Beam's in-process runner keeps what it groups in its process. It groups references of some bytes here, and the chunks of
a bucket are read when its turn comes.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from types import TracebackType
from typing import BinaryIO


class SpilledChunks:
    """Append chunks to a new file of a folder; the file is made with the first one."""

    def __init__(self, folder: str) -> None:
        self._path = Path(folder) / f"{uuid.uuid4().hex}.chunks"
        self._stream: BinaryIO | None = None

    def __enter__(self) -> SpilledChunks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()

    def add(self, chunk: bytes) -> bytes:
        """Write a chunk, and return its reference.

        Raises:
            OSError: the disk is full.
        """
        if self._stream is None:
            self._stream = self._path.open("wb")
        begin = self._stream.tell()
        self._stream.write(chunk)
        # The runner may read it before the file is closed.
        self._stream.flush()
        return json.dumps([str(self._path), begin, len(chunk)]).encode()


def read_chunk(reference: bytes) -> bytes:
    """Return the chunk of a reference."""
    path, begin, size = json.loads(reference)
    with Path(path).open("rb") as stream:
        stream.seek(begin)
        return stream.read(size)

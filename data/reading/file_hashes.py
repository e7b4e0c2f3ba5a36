"""What input files hold, as size and SHA-256: the one notion of "the same data", for the planner as for ingestion.

    with remembered(root / "inputs" / "hashes.json"):
        content_of("data/day-1.csv", local_open)  # (48213, '9f86d0…'), read once for as long as the file isn't touched

A hash is remembered by the file's size, its times and its inode. The time of its last change of state (ctime) is the
one that no program can set: a corrected file of the same size, whose modification time was set back, is read again. As
in Git's index, what changed just now isn't remembered: it may change again within the same tick of the clock.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from noisy_gru.data.reading.tables import Opener, Source
from noisy_gru.schema.errors import DataError

# Bytes and SHA-256 by name of a file.
FileHashes = Mapping[str, tuple[int, str]]
State = tuple[int, int, int, int]
_BLOCK = 1 << 20
_THREADS = 8
# Of network file systems that keep whole seconds, and one to spare.
_TICK_NS = 3 * 10**9
logger = logging.getLogger(__name__)


class _Memory:
    """Hashes by path, of this process or kept in a file; ``used`` are those that were asked for."""

    def __init__(self, known: dict[str, tuple[State, str]]) -> None:
        self.known = known
        self.used: set[str] = set()


_memory = [_Memory({})]


def hash_file(path: str, opener: Opener) -> tuple[int, str]:
    """Size in bytes and SHA-256 of a file; read only if it may have changed since it was. Remote files are always read.

    Raises:
        OSError: it can't be read.
    """
    if "://" in path:
        return _read(path, opener)
    memory, place, before = _memory[-1], str(Path(path).absolute()), _state(path)
    memory.used.add(place)
    if place in memory.known and memory.known[place][0] == before:
        return before[0], memory.known[place][1]
    size, digest = _read(path, opener)
    if _state(path) == before and time.time_ns() - before[2] > _TICK_NS:
        memory.known[place] = before, digest
    else:
        memory.known.pop(place, None)
    return size, digest


def hash_files(sources: Iterable[Source], opener: Opener, *, read_later: bool = False) -> FileHashes:
    """``hash_file`` each of some files, by their names.

    Args:
        sources: the files.
        opener: opens one of them.
        read_later: whether what can't be read is left to whoever reads the rows, who says so with the span and all
            others of its kind; it has the hash "" then.

    Raises:
        DataError: one of them is gone, or can't be read.
    """
    files = list(sources)
    # Hashing lets other threads run, and so does reading.
    with ThreadPoolExecutor(_THREADS) as pool:
        found = [(source, pool.submit(hash_file, source.path, opener)) for source in files]
    contents = {}
    for source, content in found:
        try:
            contents[source.name] = content.result()
        except FileNotFoundError as error:
            raise DataError(f"{source.name}: was there, and is gone. Run it again") from error
        except OSError as error:
            if read_later:
                contents[source.name] = 0, ""
                continue
            told = f"{source.name}: can't be read: {error}. Make it readable, or leave it out"
            raise DataError(told) from error
    return contents


def forget_hashes(sources: Iterable[Source]) -> None:
    """Has some files read again, because what is remembered of one of them proved wrong."""
    for source in sources:
        _memory[-1].known.pop(str(Path(source.path).absolute()), None)


@contextmanager
def hash_cache(file: Path, *, keep: bool = True) -> Iterator[None]:
    """Hashes are looked up in a file, and kept there afterwards; inside another of its kind it does nothing.

    Args:
        file: a cache: one that is damaged or gone is made anew, and one that can't be written is done without.
        keep: whether it is written.
    """
    if len(_memory) > 1:
        yield
        return
    before = _load(file)
    _memory.append(_Memory(dict(before)))
    try:
        yield
    finally:
        memory = _memory.pop()
        now = {place: each for place, each in memory.known.items() if place in memory.used}
        if keep and memory.used and now != before:
            _save(file, now)


def _state(path: str) -> State:
    """Size, times of the last change of content and of state in ns, and inode."""
    found = os.stat(path)  # noqa: PTH116 (paths are text, as remote ones are)
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _read(path: str, opener: Opener) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with opener(path) as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()


def _load(file: Path) -> dict[str, tuple[State, str]]:
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["sha256"] != _digest(content["files"]):
            raise ValueError("its checksum is another one")
        return {
            place: ((size, changed, touched, inode), str(digest))
            for place, (size, changed, touched, inode, digest) in content["files"].items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        logger.warning("%s can't be read (%s): all files are hashed anew", file, error)
        return {}


def _save(file: Path, known: Mapping[str, tuple[State, str]]) -> None:
    files = {place: [*state, digest] for place, (state, digest) in sorted(known.items())}
    try:
        descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                json.dump({"files": files, "sha256": _digest(files)}, stream)
            Path(temporary).replace(file)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        logger.warning("%s can't be written (%s): files are hashed anew the next time", file, error)


def _digest(files: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()

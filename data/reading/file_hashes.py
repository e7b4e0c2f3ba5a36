"""Size and SHA-256 of input files, which identify the data for the retraining planner and for ingestion.

    with hash_cache(root / "inputs" / "hashes.json"):
        hash_file("data/day-1.csv", open_file)  # (48213, '9f86d0…'), computed once until the file changes

A hash is cached by the file's size, times and inode. No program can set the change time (ctime), so a file that was
corrected in place is read again even if size and modification time are the same. As in Git's index, a file that
changed just now isn't cached: it may change again within the same tick of the clock. An object's ETag is in the inode's
place: with it, what is in an object store is read once, and asked for one request each time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from noisy_gru.data.reading.tables import Opener, Source
from noisy_gru.schema.errors import DataError
from noisy_gru.storage.atomic_files import write_atomically
from noisy_gru.storage.object_stores import file_state, is_remote

# Bytes and SHA-256 by file name.
FileHashes = Mapping[str, tuple[int, str]]
State = tuple[int, int, int, int | str]
_BLOCK = 1 << 20
_THREADS = 8
# Some network file systems keep whole seconds; one second to spare.
_TICK_NS = 3 * 10**9
logger = logging.getLogger(__name__)


class _Cache:
    """Hashes by path, of this process or kept in a file; ``used`` are the paths that were looked up."""

    def __init__(self, known: dict[str, tuple[State, str]]) -> None:
        self.known = known
        self.used: set[str] = set()


_caches = [_Cache({})]


def hash_file(path: str, opener: Opener) -> tuple[int, str]:
    """Return size in bytes and SHA-256 of a file, from the cache unless it may have changed.

    Raises:
        OSError: the file can't be read.
    """
    cache, place, before = _caches[-1], _place(path), _state(path)
    cache.used.add(place)
    if place in cache.known and cache.known[place][0] == before:
        return before[0], cache.known[place][1]
    size, digest = read_hash(path, opener)
    if _state(path) == before and (is_remote(path) or time.time_ns() - before[2] > _TICK_NS):
        cache.known[place] = before, digest
    else:
        cache.known.pop(place, None)
    return size, digest


def hash_files(sources: Iterable[Source], opener: Opener, *, read_later: bool = False) -> FileHashes:
    """Return size and SHA-256 of files, by name.

    Args:
        sources: the files.
        opener: opens a file.
        read_later: give files that can't be read the hash "", since reading the rows reports them all, with spans.

    Raises:
        DataError: a file was deleted, or can't be read.
    """
    files = list(sources)
    # Hashing and reading release the GIL.
    with ThreadPoolExecutor(_THREADS) as pool:
        found = [(source, pool.submit(hash_file, source.path, opener)) for source in files]
    contents = {}
    for source, content in found:
        try:
            contents[source.name] = content.result()
        except FileNotFoundError as error:
            raise DataError(f"{source.name}: was deleted in the meantime. Run it again") from error
        except OSError as error:
            if read_later:
                contents[source.name] = 0, ""
                continue
            message = f"{source.name}: can't be read: {error}. Make it readable, or leave it out"
            raise DataError(message) from error
    return contents


def forget_hashes(sources: Iterable[Source]) -> None:
    """Drop the cached hashes of files, because one proved wrong."""
    for source in sources:
        _caches[-1].known.pop(_place(source.path), None)


@contextmanager
def hash_cache(file: Path, *, keep: bool = True) -> Iterator[None]:
    """Look hashes up in a file in the block, and write them there afterwards; does nothing in another ``hash_cache``.

    Args:
        file: the cache: rebuilt if it is damaged or missing, and skipped if it can't be written.
        keep: whether to write it; hold the root's lock then.
    """
    if len(_caches) > 1:
        yield
        return
    before = _load(file)
    _caches.append(_Cache(dict(before)))
    try:
        yield
    finally:
        cache = _caches.pop()
        now = {place: each for place, each in cache.known.items() if place in cache.used}
        if keep and cache.used and now != before:
            _save(file, now)


def _place(path: str) -> str:
    return path if is_remote(path) else str(Path(path).absolute())


def _state(path: str) -> State:
    """Return size, mtime and ctime in ns, and inode; an object's tag in place of the last."""
    if is_remote(path):
        remote = file_state(path)
        return remote.size, remote.changed_ns, 0, remote.tag
    found = os.stat(path)  # noqa: PTH116 (paths are text, as remote ones are)
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def read_hash(path: str, opener: Opener) -> tuple[int, str]:
    """Read a file, and return its size in bytes and SHA-256; raise OSError if it can't be read."""
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
            raise ValueError("its checksum doesn't match")
        return {
            place: ((size, changed, touched, inode), str(digest))
            for place, (size, changed, touched, inode, digest) in content["files"].items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        logger.warning("%s can't be read (%s): all files are hashed again", file, error)
        return {}


def _save(file: Path, known: Mapping[str, tuple[State, str]]) -> None:
    files = {place: [*state, digest] for place, (state, digest) in sorted(known.items())}
    try:
        write_atomically(file, json.dumps({"files": files, "sha256": _digest(files)}))
    except OSError as error:
        logger.warning("%s can't be written (%s): files are hashed again next time", file, error)


def _digest(files: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()

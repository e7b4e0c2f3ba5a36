"""Files in object stores, ``s3://bucket/key`` and ``gs://bucket/object``, beside local ones: find, open, identify.

    >>> glob_files("s3://bucket/rows/*/x.csv")  # doctest: +SKIP
    ['s3://bucket/rows/2026-07-30/x.csv', 's3://bucket/rows/2026-07-31/x.csv']
    >>> with open_file("s3://bucket/rows/2026-07-30/x.csv") as stream:  # doctest: +SKIP
    ...     stream.read()

One layer for all of it: pyarrow's file systems, which its wheel holds and every installation has (docs/decisions/0045).
Credentials come from the environment as the clients of both stores take them; see docs/object-stores.md.
"""

from __future__ import annotations

import fnmatch
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from noisy_gru.schema.errors import ConfigError, DataError
from noisy_gru.schema.file_patterns import is_literal, local_glob, unescape
from noisy_gru.storage.object_store_clients import SCHEMES, client_of

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
# pathlib joins the slashes of a URI: s3://bucket becomes s3:/bucket.
_FLAT_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
_BLOCK = 1 << 20
# Requests to a store wait for it, not for this machine.
_THREADS = 16


class StoreError(DataError):
    """An object store refuses, or can't be reached."""


@dataclass(frozen=True)
class FileState:
    """A file without its content: bytes, time of the last change in ns, and what identifies the content.

    ``tag`` is an object's ETag (on gs:// its generation), another one after each write; empty for a local file.
    """

    size: int
    changed_ns: int
    tag: str = ""


def is_remote(path: str) -> bool:
    """Whether a path or pattern is a URI."""
    return "://" in path


def scheme_of_folder(path: Path | str) -> str | None:
    """Return the scheme of what was meant as a URI, from which pathlib may have taken a slash; None for a path."""
    match = _FLAT_URI.match(str(path))
    return match[1] if match else None


def location_problem(uri: str) -> str | None:
    """Return why a URI can't be read, and what to do; None if it may be."""
    match = _URI.fullmatch(uri)
    scheme = match[1] if match else ""
    if scheme == "file":
        return f"{uri}: expected a path, or s3:// or gs://, received file://. Write the path alone: {uri[7:]}"
    if match is None or scheme not in SCHEMES:
        return (
            f"{uri}: expected a path, s3:// or gs://, received {scheme or 'no scheme'}://. Copy the files to one of "
            "them, or mount them and write the path"
        )
    bucket, _, key = match[2].partition("/")
    if not bucket or not is_literal(bucket) or not key:
        return f"{uri}: expected {scheme}://BUCKET/PATH with a bucket's name, without wildcards or placeholders in it"
    return None


def open_file(path: str) -> BinaryIO:
    """Open a local file, or an object, for reading; seekable.

    Raises:
        OSError: a local file can't be read; FileNotFoundError also for an object that isn't there.
        StoreError: the store refuses, or can't be reached.
    """
    if not is_remote(path):
        return Path(path).open("rb")
    system, key = located(path)
    with explained(path):
        return cast(BinaryIO, io.BufferedReader(_ObjectStream(system.open_input_file(key), path), _BLOCK))


def glob_files(pattern: str) -> list[str]:
    """Return the local paths, or objects, that a pattern matches, sorted; ``**`` matches any number of folders.

    Objects match as files in folders would. A pattern with a wildcard in a folder's name lists all below the folders
    before it; one with wildcards in the last name lists that folder alone: 1000 objects a request.

    Raises:
        StoreError: the store refuses, or can't be reached.
    """
    if not is_remote(pattern):
        return local_glob(pattern)
    scheme, _, rest = pattern.partition("://")
    if is_literal(rest):
        system, key = located(path := unescape(pattern))
        with explained(path):
            return [path] if system.get_file_info(key).is_file else []
    parts = rest.split("/")
    fixed = next(place for place, part in enumerate(parts) if not is_literal(part))
    folder = unescape("/".join(parts[:fixed]))
    wanted = [_part(part) for part in parts[fixed:]]
    system, key = located(f"{scheme}://{folder}")
    with explained(f"{scheme}://{folder}"):
        listed = list_objects(system, key, deep=len(wanted) > 1 or None in wanted)
    return sorted(
        f"{scheme}://{info.path}"
        for info in listed
        if info.is_file and _is_match(wanted, info.path[len(key) + 1 :].split("/"))
    )


def file_state(path: str) -> FileState:
    """Return what tells whether a file is the same: one request for an object.

    Raises:
        OSError: a local file can't be read; FileNotFoundError also for an object that isn't there.
        StoreError: the store refuses, or can't be reached.
    """
    if not is_remote(path):
        found = Path(path).stat()
        return FileState(found.st_size, found.st_mtime_ns)
    system, key = located(path)
    with explained(path), system.open_input_file(key) as stream:
        headers = {name.lower(): value.decode() for name, value in (stream.metadata() or {}).items()}
        tag = headers.get("generation") or headers.get("etag") or ""
        changed = headers.get("updated") or headers.get("last-modified") or ""
        return FileState(stream.size(), _time(changed), f"{tag} {changed}")


def file_states(paths: Iterable[str]) -> dict[str, FileState]:
    """Return the states of many files, by path; raise as `file_state`."""
    files = list(dict.fromkeys(paths))
    with ThreadPoolExecutor(_THREADS) as pool:
        return dict(zip(files, pool.map(file_state, files), strict=True))


def _time(text: str) -> int:
    """Return the ns of a time that a store wrote; 0 for none. The tag holds its text, too."""
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    if not text:
        return 0
    found = datetime.fromisoformat(text) if text[:4].isdigit() else parsedate_to_datetime(text)
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000) * 10**6


def located(uri: str) -> tuple[Any, str]:
    """Return the file system of a URI, and the bucket and key in it."""
    scheme, _, key = uri.partition("://")
    if problem := location_problem(f"{scheme}://{key.split('/', 1)[0]}/-"):
        raise ConfigError(problem)
    return client_of(scheme, key.split("/", 1)[0]), key


def list_objects(system: Any, folder: str, *, deep: bool) -> list[Any]:
    """Return pyarrow's FileInfo of what is in a bucket's folder; none if it isn't there. Call within `explained`."""
    from pyarrow import fs

    # With allow_not_found a bucket that isn't there is an empty folder.
    if "/" in folder and system.get_file_info(folder.split("/", 1)[0]).type == fs.FileType.NotFound:
        raise OSError("NO_SUCH_BUCKET")
    return system.get_file_info(fs.FileSelector(folder, recursive=deep, allow_not_found="/" in folder))


# A part of a pattern, which a name has to match; None: `**`, any number of folders.
_Part = re.Pattern[str] | None


def _part(part: str) -> _Part:
    if part == "**":
        return None
    # As `glob`: a wildcard matches no leading dot.
    return re.compile(("" if part.startswith(".") else r"(?!\.)") + fnmatch.translate(part))


def _is_match(parts: Sequence[_Part], names: Sequence[str]) -> bool:
    if not parts:
        return not names
    if parts[0] is not None:
        return bool(names) and parts[0].match(names[0]) is not None and _is_match(parts[1:], names[1:])
    below = range(len(names) + 1)
    folders = next((place for place in below if place < len(names) and names[place].startswith(".")), len(names))
    if len(parts) == 1:
        return folders == len(names)
    return any(_is_match(parts[1:], names[skipped:]) for skipped in range(folders + 1))


class _ObjectStream(io.RawIOBase):
    """An object as a stream of Python's, whose failures name it."""

    def __init__(self, stream: Any, path: str) -> None:
        self._stream, self._path = stream, path

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with explained(self._path):
            return self._stream.readinto(buffer)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with explained(self._path):
            return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()


_REASONS = (
    (
        r"NO_SUCH_BUCKET|[Bb]ucket .* does not exist|bucket .* not found",
        "there is no such bucket. Correct its name, or make it",
    ),
    (
        r"ACCESS_DENIED|INVALID_ACCESS_KEY|SIGNATURE|HTTP status 40[13]|PERMISSION_DENIED|UNAUTHENTICATED|OAuth2"
        r"|credentials",
        "the store denies access. Set credentials that may list and read it in the environment: AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; for gs:// GOOGLE_APPLICATION_CREDENTIALS",
    ),
    (
        r"SLOW_DOWN|SERVICE_UNAVAILABLE|INTERNAL_FAILURE|HTTP status 5\d\d|UNAVAILABLE|status code: 5\d\d",
        "the store is overloaded or fails, after several attempts. Run it again later",
    ),
    (
        r"NETWORK_CONNECTION|curlCode|REQUEST_TIMEOUT|[Tt]imeout|DEADLINE|[Cc]ould not connect|resolve host",
        "the store can't be reached. Check the network and its address (AWS_ENDPOINT_URL for a store other than AWS)",
    ),
)


@contextmanager
def explained(path: str) -> Iterator[None]:
    """Turn the failures of a store into errors that name the URI, the reason and the remedy."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(error.errno, "there is no such object", path) from error
    except OSError as error:
        detail = " ".join(str(error).split())
        reason = next((text for pattern, text in _REASONS if re.search(pattern, detail)), None)
        advice = reason or "the store answers with an error. Run it again"
        raise StoreError(f"{path}: {advice} ({detail[:300]})") from error

"""Versions of a serving directory, and the publication record of each.

A version is a folder with an integer as its name, as TF Serving wants it. It holds ``publication.json``, so that one
rename publishes the model and its record at once and nothing beside it has to agree with it (docs/decisions).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from noisy_gru.schema.errors import PublishError

RECORD = "publication.json"
WITHDRAWN = "withdrawn-"
# Of a publication's lineage: what the model was compared with before, as LatestBlessed's `identity` has it.
COMPARED_WITH = "compared_with"
# Names that no server loads: on its way in, and on its way out.
INCOMING = "incoming-"
REMOVED = "removed-"
# What the ServingGate adds to a copy of the model: requests to warm a server up with.
EXTRA_ASSETS = "assets.extra/"
_FORMAT = 1
_CHECKSUM = "checksum"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Publication:
    """The record of a published version.

    Attributes:
        version: name of the folder.
        model_name: the name TF Serving knows the model by.
        published: when, in ISO 8601, UTC.
        files: sha256 of every file of the version, by path within it.
        fingerprint: sha256 of the model's own files, without the requests that warm a server up.
        model_uri: the model artifact it is a copy of.
        lineage: where it comes from: pipeline, run, blessings, what it was compared with.
        identity: of the model (``identity.py``), the same for every export of it; empty in a record of before.
    """

    version: int
    model_name: str
    published: str
    files: dict[str, str]
    fingerprint: str
    model_uri: str
    lineage: dict[str, str] = field(default_factory=dict)
    identity: str = ""

    def to_json(self) -> str:
        """Return the content of ``publication.json``, with a checksum of itself."""
        content = {"format": _FORMAT, **asdict(self)}
        return json.dumps({**content, _CHECKSUM: _checksum(content)}, indent=2, sort_keys=True) + "\n"


def read_publication(folder: Path) -> Publication:
    """Return the record of the version in ``folder``.

    Raises:
        PublishError: if there is none, or it can't be read.
    """
    file = folder / RECORD
    try:
        content = json.loads(file.read_text())
        checksum = content.pop(_CHECKSUM, None)  # records of before have none
        expected = _checksum(content)
        written = content.pop("format")
        if written != _FORMAT:
            raise PublishError(
                f"{file} has the format {written}; this version of noisy-gru reads {_FORMAT}. Update it."
            )
        publication = Publication(**content)
        if checksum not in (None, expected):
            raise ValueError(f"it was changed after it was written: its checksum is {expected}, and was {checksum}")
        return publication
    except FileNotFoundError as error:
        raise PublishError(f"{folder} was not published by noisy-gru: it holds no {RECORD}.") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise PublishError(
            f"{file} can't be read as a record of a published model: {error}. Restore the file from a copy; without "
            "one, move the version's folder away."
        ) from error


def versions(model_dir: Path) -> list[int]:
    """Return the versions that TF Serving sees, ascending; empty if the folder isn't there."""
    if not model_dir.is_dir():
        return []
    return sorted(int(child.name) for child in model_dir.iterdir() if _is_number(child.name) and child.is_dir())


def published_versions(model_dir: Path) -> list[int]:
    """Return the versions that noisy-gru published, ascending."""
    return [version for version in versions(model_dir) if (model_dir / str(version) / RECORD).exists()]


def withdrawn_versions(model_dir: Path) -> list[int]:
    """Return the withdrawn versions, which TF Serving doesn't see."""
    return _numbered(model_dir, WITHDRAWN)


def removed_versions(model_dir: Path) -> list[int]:
    """Return the versions whose deletion was interrupted."""
    return _numbered(model_dir, REMOVED)


def latest_publication(model_dir: Path) -> Publication | None:
    """Return the record of the newest version that noisy-gru published; None if there is none.

    Raises:
        PublishError: if its record can't be read.
    """
    present = published_versions(model_dir)
    return read_publication(model_dir / str(present[-1])) if present else None


def hash_file(file: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def hash_files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file under ``folder`` but the record, by path with forward slashes."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file != folder / RECORD)
    return {file.relative_to(folder).as_posix(): hash_file(file) for file in files}


def fingerprint(files: dict[str, str]) -> str:
    """Return a model's fingerprint: SHA-256 of its files' names and hashes, without warm-up requests."""
    own = {name: digest for name, digest in files.items() if not name.startswith(EXTRA_ASSETS)}
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()


def changed_files(folder: Path, publication: Publication) -> dict[str, str]:
    """Return the files of a version that differ from its record: ``gone``, ``added`` or ``changed``, by path."""
    now = hash_files(folder)
    return {
        name: "gone" if name not in now else "added" if name not in publication.files else "changed"
        for name in sorted(now.keys() | publication.files.keys())
        if now.get(name) != publication.files.get(name)
    }


def files_identity(saved_model: Path) -> str:
    """Return an identity from files alone: another export counts as another model."""
    return f"files:{fingerprint(hash_files(saved_model))}"


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()


def _numbered(model_dir: Path, prefix: str) -> list[int]:
    if not model_dir.is_dir():
        return []
    names = (child.name.removeprefix(prefix) for child in model_dir.iterdir() if child.name.startswith(prefix))
    return sorted(int(name) for name in names if _is_number(name))

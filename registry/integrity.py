"""Whether the published versions are what was published: every file's hash against the version's record.

    >>> check_served(Path("serving/vowels"))  # doctest: +SKIP
    PublishError: serving/vowels/200/variables/variables.data-00000-of-00001: other bytes than were published. …

A damaged version that servers load ends a run before it begins: it may answer anything, a comparison with it would let
any model pass, and a disk that changes bytes needs a person.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from noisy_gru.data.sequences.value_sample import VALUES_FILE
from noisy_gru.registry.labels import served_versions
from noisy_gru.registry.published_versions import (
    RECORD,
    WITHDRAWN,
    Publication,
    changed_files,
    hash_file,
    published_versions,
    read_publication,
    withdrawn_versions,
)
from noisy_gru.registry.training_record import DATA_FILE, RETRAINING, RUN_FILE
from noisy_gru.schema.errors import PublishError
from noisy_gru.trainer.export.artifact_files import SERVING_FOLDER

_WORDS = {"changed": "other bytes than were published", "gone": "the file is gone"}
# What a decision to train rests on; a warm start sees to its own files.
_RECORDS = tuple(f"{RETRAINING}/{name}" for name in (DATA_FILE, RUN_FILE, VALUES_FILE))


def altered_files(folder: Path) -> dict[str, str]:
    """What a version isn't any more: ``gone`` or ``changed`` by path of a file. Files that were added do no harm.

    Raises:
        PublishError: its record can't be read.
    """
    publication = read_publication(folder)
    if folder.name.isdecimal() and publication.version != int(folder.name):
        return {RECORD: f"that of version {publication.version}"}
    return {name: what for name, what in changed_files(folder, publication).items() if what != "added"}


def served_files(found: Iterable[str]) -> list[str]:
    """Those of some files that a server reads, not only the next training."""
    return sorted(name for name in found if not name.startswith(f"{RETRAINING}/"))


def check_served(model_dir: Path) -> list[str]:
    """Hashes all versions of a model.

    Returns:
        What is damaged, in words, of what no server loads: older and withdrawn versions, and what only the next
        training reads.

    Raises:
        PublishError: a version that servers load is damaged, or a record can't be read.
    """
    model = served_versions(model_dir)
    present = published_versions(model_dir)
    loaded = set(present[-model.num_versions :]) if model else set()
    warnings = []
    for version in present:
        warnings += check_version(model_dir, version) if version in loaded else _notes(model_dir / str(version))
    for version in withdrawn_versions(model_dir):
        warnings += _notes(model_dir / f"{WITHDRAWN}{version}")
    return warnings


def check_version(model_dir: Path, version: int) -> list[str]:
    """Hashes one version in place; what only the next training reads is said, the rest is an error.

    Raises:
        PublishError: a file that a server reads is another one, or gone; or the record can't be read.
    """
    found = altered_files(model_dir / str(version))
    _refuse(model_dir, version, found)
    return _said(model_dir / str(version), found)


def _refuse(model_dir: Path, version: int, found: dict[str, str]) -> None:
    folder, served = model_dir / str(version), served_files(found)
    if not served:
        return
    name, others = served[0], f" (and {len(served) - 1} more of its files)" if len(served) > 1 else ""
    raise PublishError(
        f"{folder / name}{others}: {_WORDS.get(found[name], found[name])}, so version {version} isn't the model that "
        f"was published, and nothing is compared with it or published after it. {_remedy(model_dir, version, name)}"
    )


def check_record(model_dir: Path, version: int) -> None:
    """``check_version``, and what the version says of its training, which it is to be judged by.

    Raises:
        PublishError: the version or its training's record isn't what was published.
    """
    folder = model_dir / str(version)
    found = altered_files(folder)
    _refuse(model_dir, version, found)
    for name in _RECORDS:
        if name in found:
            raise PublishError(
                f"{folder / name}: {_WORDS[found[name]]}, so what version {version} was trained on isn't known. "
                f"{_remedy(model_dir, version, name)}"
            )


def _notes(folder: Path) -> list[str]:
    return _said(folder, altered_files(folder))


def _said(folder: Path, found: dict[str, str]) -> list[str]:
    return [f"{folder / name}: {_WORDS.get(what, what)}" for name, what in sorted(found.items())]


def _remedy(model_dir: Path, version: int, name: str) -> str:
    folder = model_dir / str(version)
    source = _source(folder, name)
    back = f"Bring it back: cp {source} {folder / name}" if source else "Bring the file back from a copy"
    present = published_versions(model_dir)
    if len(present) > 1 and version == present[-1]:
        return f"{back}; or withdraw the version: noisy-gru runs rollback."
    return f"{back}; or move {folder} out of {model_dir}, and the version isn't served any more."


def _source(folder: Path, name: str) -> Path | None:
    """The file that a version's was copied from, if it is there and whole."""
    publication: Publication = read_publication(folder)
    source = Path(publication.model_uri) / SERVING_FOLDER / name
    there = bool(publication.model_uri) and source.is_file()
    return source if there and hash_file(source) == publication.files.get(name) else None

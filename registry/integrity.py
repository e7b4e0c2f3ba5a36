"""Check the integrity of published versions: the hash of every file against the version's record.

    >>> check_served(Path("serving/vowels"))  # doctest: +SKIP
    PublishError: serving/vowels/200/variables/variables.data-00000-of-00001 differs from what was published, so …

A run doesn't start while a version that servers load is damaged: its predictions can't be trusted, a comparison with it
would let any model pass, and a disk that changes bytes needs a person.
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

_FAULTS = {"changed": "differs from what was published", "gone": "is missing"}
# Files that the decision to retrain reads; a warm start checks its own.
_RECORDS = tuple(f"{RETRAINING}/{name}" for name in (DATA_FILE, RUN_FILE, VALUES_FILE))


def altered_files(folder: Path) -> dict[str, str]:
    """Return the files of a version that differ from its record: ``gone`` or ``changed`` by path; not added ones.

    Raises:
        PublishError: its record can't be read.
    """
    publication = read_publication(folder)
    if folder.name.isdecimal() and publication.version != int(folder.name):
        return {RECORD: f"is that of version {publication.version}"}
    return {name: what for name, what in changed_files(folder, publication).items() if what != "added"}


def served_files(found: Iterable[str]) -> list[str]:
    """Return those of the files that a server reads; the others are for the next training."""
    return sorted(name for name in found if not name.startswith(f"{RETRAINING}/"))


def check_served(model_dir: Path) -> list[str]:
    """Check all versions of a model.

    Returns:
        A warning for each damaged file that no server loads: of older and withdrawn versions, and of the next
        training.

    Raises:
        PublishError: a version that servers load is damaged, or a record can't be read.
    """
    model = served_versions(model_dir)
    present = published_versions(model_dir)
    loaded = set(present[-model.num_versions :]) if model else set()
    warnings = []
    for version in present:
        warnings += check_version(model_dir, version) if version in loaded else _warnings(model_dir / str(version))
    for version in withdrawn_versions(model_dir):
        warnings += _warnings(model_dir / f"{WITHDRAWN}{version}")
    return warnings


def check_version(model_dir: Path, version: int) -> list[str]:
    """Check one version; return warnings about files that only the next training reads.

    Raises:
        PublishError: a file that a server reads changed or is gone; or the record can't be read.
    """
    found = altered_files(model_dir / str(version))
    _refuse(model_dir, version, found)
    return _warning_lines(model_dir / str(version), found)


def _refuse(model_dir: Path, version: int, found: dict[str, str]) -> None:
    folder, served = model_dir / str(version), served_files(found)
    if not served:
        return
    name, others = served[0], f" (and {len(served) - 1} more of its files)" if len(served) > 1 else ""
    raise PublishError(
        f"{folder / name}{others} {_FAULTS.get(found[name], found[name])}, so version {version} isn't the model that "
        f"was published; no model is compared with it or published after it. {_remedy(model_dir, version, name)}"
    )


def check_record(model_dir: Path, version: int) -> None:
    """Check a version as ``check_version`` does, and its training record as well.

    Raises:
        PublishError: the version or its training's record isn't what was published.
    """
    folder = model_dir / str(version)
    found = altered_files(folder)
    _refuse(model_dir, version, found)
    for name in _RECORDS:
        if name in found:
            raise PublishError(
                f"{folder / name} {_FAULTS[found[name]]}, so the training data of version {version} is unknown. "
                f"{_remedy(model_dir, version, name)}"
            )


def _warnings(folder: Path) -> list[str]:
    return _warning_lines(folder, altered_files(folder))


def _warning_lines(folder: Path, found: dict[str, str]) -> list[str]:
    return [f"{folder / name} {_FAULTS.get(what, what)}" for name, what in sorted(found.items())]


def _remedy(model_dir: Path, version: int, name: str) -> str:
    folder = model_dir / str(version)
    source = _source(folder, name)
    restore = f"Restore it: cp {source} {folder / name}" if source else "Restore the file from a copy"
    present = published_versions(model_dir)
    if len(present) > 1 and version == present[-1]:
        return f"{restore}; or withdraw the version: noisy-gru runs rollback."
    return f"{restore}; or move {folder} out of {model_dir}, so that the version isn't served."


def _source(folder: Path, name: str) -> Path | None:
    """Return the file that a version's file was copied from, if it is there and intact."""
    publication: Publication = read_publication(folder)
    source = Path(publication.model_uri) / SERVING_FOLDER / name
    there = bool(publication.model_uri) and source.is_file()
    return source if there and hash_file(source) == publication.files.get(name) else None

"""Compare the input files of a run, by the hashes in its record, with the files on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from noisy_gru.data.reading.file_hashes import hash_file as hash_content
from noisy_gru.data.reading.files import join_path
from noisy_gru.pipeline.config.input_base import relative_to_base
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.registry.published_versions import hash_file
from noisy_gru.storage.object_stores import StoreError, is_remote, location_problem, open_file

FileState = Literal["same", "changed", "gone", "unknown"]


@dataclass(frozen=True)
class InputFile:
    """An input file of a run.

    Attributes:
        name: path relative to the base folder.
        span: span that it belongs to; None for data without spans.
        sha256: hash of the content that was read; None if the record has none.
        path: path on this machine; None if the base folder is unknown.
        state: the file now. `unknown`: no hash, no path, or its store can't be reached.
    """

    name: str
    span: int | None
    sha256: str | None
    path: str | None
    state: FileState


def check_files(inputs: Mapping[str, Mapping[str, Any]], base: str | None) -> list[InputFile]:
    """Hash the files of a record (``RunRecord.inputs``) anew.

    Args:
        inputs: `sha256` and, for data with spans, `span`, by name.
        base: folder that the names are relative to; None: unknown.
    """
    return [_checked(name, each.get("span"), each.get("sha256"), base) for name, each in inputs.items()]


def base_of(config: Mapping[str, Any]) -> str | None:
    """Return the base folder of a run's files; None if its configuration is of another version of noisy-gru."""
    try:
        return relative_to_base(PipelineConfig.model_validate(config).dataset)[0]
    except ValidationError:
        return None


def _checked(name: str, span: int | None, sha256: str | None, base: str | None) -> InputFile:
    if base is None and not Path(name).is_absolute() and "://" not in name:
        return InputFile(name, span, sha256, None, "unknown")
    path = join_path(base or "", name)
    if is_remote(path):
        return InputFile(name, span, sha256, path, _remote_state(path, sha256))
    if not Path(path).is_file():
        return InputFile(name, span, sha256, path, "gone")
    if sha256 is None:
        return InputFile(name, span, sha256, path, "unknown")
    return InputFile(name, span, sha256, path, "same" if hash_file(Path(path)) == sha256 else "changed")


def _remote_state(path: str, sha256: str | None) -> FileState:
    if sha256 is None or location_problem(path) is not None:
        return "unknown"
    try:
        return "same" if hash_content(path, open_file)[1] == sha256 else "changed"
    except FileNotFoundError:
        return "gone"
    except StoreError:
        return "unknown"

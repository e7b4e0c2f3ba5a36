"""Where a run's artifacts are now, and why one isn't there.

>>> Artifacts(record, root).folder("Trainer", "model_run")  # doctest: +SKIP
PosixPath('/…/artifacts/Trainer/model_run/7')
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.runs.run_record import RunRecord


class AbsentError(Exception):
    """Something that the report shows isn't there; the message says why, for the reader of the page."""


class Artifacts:
    """The artifacts of a run, by step and output.

    Args:
        record: of the run.
        root: the folder that its root is now; it may have been moved since.
    """

    def __init__(self, record: RunRecord, root: Path):
        self.record = record
        self.root = root

    def folder(self, step: str, output: str) -> Path:
        """Return the folder of a step's only artifact of this name.

        Raises:
            AbsentError: there is none.
        """
        uris = self.record.artifacts.get(step, {}).get(output, [])
        if len(uris) != 1:
            status = next((each.status for each in self.record.steps if each.name == step), None)
            reason = f"{step} was {status}" if status else f"the run ended before {step}, or has no such step"
            raise AbsentError(f"Nothing to show: {reason}.")
        folder = self._now(uris[0])
        if not folder.is_dir():
            deleted = f"deleted on {self.record.pruned} (retraining.keep)" if self.record.pruned else "missing"
            raise AbsentError(f"Nothing to show: the artifact {folder} is {deleted}.")
        return folder

    def json(self, step: str, output: str, name: str) -> dict[str, Any]:
        """Return the content of a JSON file in an artifact.

        Raises:
            AbsentError: there is no artifact, or the file can't be read.
        """
        file = self.folder(step, output) / name
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise AbsentError(f"Nothing to show: {file} can't be read: {error}") from error
        if not isinstance(content, dict):
            raise AbsentError(f"Nothing to show: {file}: expected a JSON object, received {type(content).__name__}.")
        return content

    def config(self) -> PipelineConfig:
        """Return the run's configuration.

        Raises:
            AbsentError: it is of another release.
        """
        try:
            return PipelineConfig.model_validate(self.record.config)
        except ValueError as error:
            raise AbsentError(
                "Nothing to show: the run's configuration is of another release of noisy-gru, which this one can't "
                f"read ({str(error).splitlines()[0]})."
            ) from error

    def _now(self, uri: str) -> Path:
        path, before = Path(uri), Path(self.record.root)
        moved = path.is_relative_to(before) and not path.exists()
        return self.root / path.relative_to(before) if moved else path


def plain(value: Any) -> Any:
    """Return a value as JSON has it: NaN and infinity as null, NumPy's values as Python's, bytes as text."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value

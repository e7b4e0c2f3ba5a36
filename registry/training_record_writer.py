"""Write the training record into a version before it is published; `training_record.py` reads it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from noisy_gru.data.sequences.value_sample import VALUES_FILE
from noisy_gru.registry.published_versions import hash_file
from noisy_gru.registry.training_record import (
    DATA_FILE,
    FORMAT,
    KEPT_OF_REPORT,
    KERAS_FILES,
    RETRAINING,
    RUN_FILE,
)
from noisy_gru.schema.errors import PublishError
from noisy_gru.trainer.export.artifact_files import WARM_START_FILE

_UNKNOWN = {"run_id": "", "pipeline": "", "seed": None, "config_hash": "", "fingerprint": "", "packages": {}}


@dataclass(frozen=True)
class TrainingFiles:
    """Where the files of a version's record come from.

    Attributes:
        keras_folder: the Trainer's Format-Keras; files of it that aren't there are left out.
        report: of the ingestion, ``ingestion_report.json``, with the sample of its values beside it; None: not kept.
        run: `run_id`, `pipeline`, `seed`, `config_hash`, `fingerprint`, `packages`, as far as they are known.
    """

    keras_folder: Path
    report: Path | None = None
    run: Mapping[str, Any] = field(default_factory=dict)

    def write(self, version_folder: Path) -> dict[str, str]:
        """Write the record into a version's folder.

        Returns:
            sha256 of each file, by path within the version.

        Raises:
            PublishError: a copy differs from its original.
        """
        target = version_folder / RETRAINING
        target.mkdir(parents=True)
        copies = {name: self.keras_folder / name for name in KERAS_FILES if (self.keras_folder / name).is_file()}
        if self.report is not None and (values := self.report.with_name(VALUES_FILE)).is_file():
            copies[VALUES_FILE] = values
        for name, source in copies.items():
            shutil.copyfile(source, target / name)
            if hash_file(target / name) != hash_file(source):
                raise PublishError(
                    f"The copy of {source} differs from it; it changed meanwhile, or the disk fails. Push again."
                )
        if self.report is not None:
            report = json.loads(self.report.read_text(encoding="utf-8"))
            kept = {key: report[key] for key in KEPT_OF_REPORT if key in report}
            (target / DATA_FILE).write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
        warm_start = self.keras_folder / WARM_START_FILE
        run = {
            "format": FORMAT,
            **_UNKNOWN,
            **self.run,
            "warm_start": json.loads(warm_start.read_text(encoding="utf-8")) if warm_start.is_file() else {},
        }
        (target / RUN_FILE).write_text(json.dumps(run, indent=1, sort_keys=True) + "\n")
        return {f"{RETRAINING}/{file.name}": hash_file(file) for file in sorted(target.iterdir())}

"""Runs `LatestBlessed`: copies the newest published model into an artifact, or marks the artifact as absent."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from noisy_gru.components.latest_blessed.latest import copy_latest, find_latest

MODEL = "model"
SERVING_DIR = "serving_dir"
MODEL_NAME = "model_name"
LATEST = "latest"
PRESENT = "present"
VERSION = "version"
logger = logging.getLogger("noisy_gru.progress")


def is_present(artifact: Any) -> bool:
    """Whether an artifact of `LatestBlessed` holds a model."""
    return artifact.get_int_custom_property(PRESENT) == 1


class Executor(base_executor.BaseExecutor):
    """Executor of `LatestBlessed`."""

    def Do(self, input_dict: dict[str, Any], output_dict: dict[str, Any], exec_properties: dict[str, Any]) -> None:
        """Fills ``model``; its property `present` is 1 if there is a model, and then `version` is its version.

        Raises:
            PublishError: if the newest published version's record can't be read.
        """
        model = artifact_utils.get_single_instance(output_dict[MODEL])
        serving_dir = Path(exec_properties[SERVING_DIR])
        latest = find_latest(serving_dir, exec_properties[MODEL_NAME])
        note = latest.note
        model.set_int_custom_property(PRESENT, int(latest.publication is not None))
        if latest.publication is not None:
            model.set_string_custom_property(VERSION, str(latest.publication.version))
            if missing := copy_latest(latest.publication, serving_dir, Path(model.uri)):
                note = f"{note}; {missing}"
        model.set_string_custom_property("note", note)
        logger.info(note, extra={"event": {"message": note}})

"""Run `LatestBlessed`: copy the published model to compare with into an artifact, or mark it as absent."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from noisy_gru.components.artifacts import IDENTITY, PRESENT, VERSION
from noisy_gru.components.drivers import PropertyDriver
from noisy_gru.registry.latest_version import BaselineVersion, choose_baseline, copy_version

CANDIDATE = "candidate"
MODEL = "model"
SERVING_DIR = "serving_dir"
MODEL_NAME = "model_name"
LATEST = "latest"
logger = logging.getLogger("noisy_gru.progress")


def baseline(input_dict: dict[str, Any], exec_properties: dict[str, Any]) -> BaselineVersion:
    """Return the version to compare the candidate with; see `choose_baseline`."""
    candidate = artifact_utils.get_single_instance(input_dict[CANDIDATE])
    saved_model = Path(path_utils.serving_model_path(candidate.uri))
    return choose_baseline(saved_model, Path(exec_properties[SERVING_DIR]), exec_properties[MODEL_NAME])


class Driver(PropertyDriver):
    """Make the cache depend on the published model, so that a cached output is never out of date."""

    PROPERTY = LATEST

    def value(self, execution_info: Any) -> str:
        """Return the published model's version and fingerprint."""
        return baseline(execution_info.input_dict, execution_info.exec_properties).identity


class Executor(base_executor.BaseExecutor):
    """Executor of `LatestBlessed`."""

    def Do(self, input_dict: dict[str, Any], output_dict: dict[str, Any], exec_properties: dict[str, Any]) -> None:
        """Fill ``model``; its property `present` is 1 if there is a model, and then `version` is its version.

        `identity` says what the candidate is compared with, for the record of its publication.

        Raises:
            PublishError: if the newest published version's record can't be read.
        """
        model = artifact_utils.get_single_instance(output_dict[MODEL])
        latest = baseline(input_dict, exec_properties)
        note = latest.note
        model.set_string_custom_property(IDENTITY, latest.identity)
        model.set_int_custom_property(PRESENT, int(latest.publication is not None))
        if latest.publication is not None:
            model.set_string_custom_property(VERSION, str(latest.publication.version))
            if missing := copy_version(latest.publication, Path(exec_properties[SERVING_DIR]), Path(model.uri)):
                note = f"{note}; {missing}"
        model.set_string_custom_property("note", note)
        logger.info(note, extra={"event": {"message": note}})

"""Run `WarmStartBase`: copy the chosen model's Keras file into an artifact, or record why there is none."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from noisy_gru.components.artifacts import PRESENT
from noisy_gru.components.drivers import PropertyDriver
from noisy_gru.registry.training_record import data_hash
from noisy_gru.registry.warm_start_version import WarmStartVersion, choose_warm_start_version, copy_warm_start_version
from noisy_gru.trainer.export.artifact_files import BASE_FILE, KERAS_FOLDER

INGESTION_REPORT = "ingestion_report"
MODEL = "model"
SERVING_DIR = "serving_dir"
MODEL_NAME = "model_name"
CHOSEN = "chosen"
logger = logging.getLogger("noisy_gru.progress")


def chosen_version(input_dict: dict[str, Any], exec_properties: dict[str, Any]) -> WarmStartVersion:
    """Return the version to start from, for the data of the ingestion report.

    Raises:
        PublishError: a record of a published version can't be read.
    """
    report = Path(artifact_utils.get_single_instance(input_dict[INGESTION_REPORT]).uri) / "ingestion_report.json"
    data = data_hash(json.loads(report.read_text(encoding="utf-8")))
    return choose_warm_start_version(Path(exec_properties[SERVING_DIR]), exec_properties[MODEL_NAME], data)


class Driver(PropertyDriver):
    """Make the cache depend on the version that is chosen."""

    PROPERTY = CHOSEN

    def value(self, execution_info: Any) -> str:
        """Return the chosen version and its fingerprint."""
        return chosen_version(execution_info.input_dict, execution_info.exec_properties).identity


class Executor(base_executor.BaseExecutor):
    """Executor of `WarmStartBase`."""

    def Do(self, input_dict: dict[str, Any], output_dict: dict[str, Any], exec_properties: dict[str, Any]) -> None:
        """Fill ``model``; its property `present` is 1 if it holds a Keras file.

        Raises:
            PublishError: a record of a published version can't be read.
        """
        model = artifact_utils.get_single_instance(output_dict[MODEL])
        target = Path(model.uri)
        base = chosen_version(input_dict, exec_properties)
        base = copy_warm_start_version(base, Path(exec_properties[SERVING_DIR]), exec_properties[MODEL_NAME], target)
        (target / BASE_FILE).write_text(base.to_json(), encoding="utf-8")
        model.set_int_custom_property(PRESENT, int((target / KERAS_FOLDER).is_dir()))
        model.set_string_custom_property("note", base.note)
        logger.info(base.note, extra={"event": {"message": base.note}})

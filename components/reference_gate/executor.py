"""Run the ReferenceGate: ingest the reference files, compute both models' losses, write the blessing."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from noisy_gru.components.artifacts import VERSION, is_present
from noisy_gru.components.evaluation.config import ReferenceConfig
from noisy_gru.components.evaluation.sequence_losses import names, sequence_losses
from noisy_gru.components.reference_gate.comparison import compare
from noisy_gru.components.reference_gate.reference_set import read_reference
from noisy_gru.components.reference_gate.verdict import write_reference_verdict
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.storage.object_stores import glob_files, open_file

MODEL = "model"
PUBLISHED = "published"
INGESTION_REPORT = "ingestion_report"
BLESSING = "blessing"
INPUT_BASE = "input_base"
DATASET = "dataset"
REFERENCE = "reference"
# The names of TFX's Evaluator.
_BLESSED_FILE, _NOT_BLESSED_FILE = "BLESSED", "NOT_BLESSED"
logger = logging.getLogger("noisy_gru.progress")


class Executor(base_executor.BaseExecutor):
    """Executor of `ReferenceGate`."""

    def Do(self, input_dict: dict[str, Any], output_dict: dict[str, Any], exec_properties: dict[str, Any]) -> None:
        """Write ``verdict.json`` and TFX's property `blessed` of ``blessing``.

        Raises:
            DataError: the reference files can't be used, or were trained on.
        """
        model = artifact_utils.get_single_instance(input_dict[MODEL])
        blessing = artifact_utils.get_single_instance(output_dict[BLESSING])
        dataset = DatasetConfig.model_validate_json(exec_properties[DATASET])
        reference = ReferenceConfig.model_validate_json(exec_properties[REFERENCE])
        report = Path(artifact_utils.get_single_uri(input_dict[INGESTION_REPORT])) / "ingestion_report.json"
        examples = read_reference(
            dataset,
            reference,
            base=exec_properties[INPUT_BASE],
            trained_on=json.loads(report.read_text(encoding="utf-8")),
            glob=glob_files,
            opener=open_file,
        )
        published, against = None, "the published model"
        for artifact in input_dict.get(PUBLISHED, []):
            if is_present(artifact):
                published = sequence_losses(Path(path_utils.serving_model_path(artifact.uri)), examples, dataset.task)
                against = f"version {artifact.get_string_custom_property(VERSION)}"
        new = sequence_losses(Path(path_utils.serving_model_path(model.uri)), examples, dataset.task)
        verdict = compare(new, published, names(examples), dataset, reference, against)
        blessing.set_int_custom_property("blessed", int(verdict.accepted))
        blessing.set_int_custom_property("current_model_id", model.id)
        blessing.set_string_custom_property("current_model", model.uri)
        folder = Path(blessing.uri)
        write_reference_verdict(folder, verdict)
        (folder / (_BLESSED_FILE if verdict.accepted else _NOT_BLESSED_FILE)).touch()
        log = logger.info if verdict.accepted else logger.error
        log(verdict.text, extra={"event": {"message": verdict.text, "blessed": verdict.accepted}})

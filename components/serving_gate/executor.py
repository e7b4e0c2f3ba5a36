"""Run the ServingGate on artifacts, and write its blessing and its report."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from noisy_gru.components.serving_gate.gate import judge
from noisy_gru.components.serving_gate.keras_reference import keras_reference
from noisy_gru.components.serving_gate.probe_plan import read_signatures, warmup_requests
from noisy_gru.components.serving_gate.probe_sequences import read_examples
from noisy_gru.components.serving_gate.warmup import stamp
from noisy_gru.registry.config import BudgetsConfig
from noisy_gru.schema.config import DatasetConfig

MODEL = "model"
EXAMPLES = "examples"
TRANSFORM_GRAPH = "transform_graph"
DATASET = "dataset"
BUDGETS = "budgets"
SERVING_STEP = "serving_step"
MODEL_NAME = "model_name"
FINGERPRINT = "fingerprint"
EXPLAIN_SECONDS = "explain_seconds"
BLESSING = "blessing"
REPORT = "report"
_SPLIT = "test"
# The names of TFX's InfraValidator.
_BLESSED_FILE, _NOT_BLESSED_FILE = "INFRA_BLESSED", "INFRA_NOT_BLESSED"
logger = logging.getLogger("noisy_gru.progress")


class Executor(base_executor.BaseExecutor):
    """Executor of `ServingGate`."""

    def Do(self, input_dict: dict[str, Any], output_dict: dict[str, Any], exec_properties: dict[str, Any]) -> None:
        """Judge a copy of the model that has warm-up requests in it.

        ``blessing`` gets TFX's properties `blessed` and `has_model` (0 or 1). With `has_model` it holds that copy, as
        TFX's InfraValidator does (``path_utils.stamped_model_path``), and the Pusher publishes it.
        """
        model = artifact_utils.get_single_instance(input_dict[MODEL])
        blessing = artifact_utils.get_single_instance(output_dict[BLESSING])
        serving_model = path_utils.serving_model_path(model.uri)
        transform_graph = artifact_utils.get_single_uri(input_dict[TRANSFORM_GRAPH])
        examples = [
            example
            for uri in artifact_utils.get_split_uris(input_dict[EXAMPLES], _SPLIT)
            for example in read_examples(Path(uri))
        ]
        dataset = DatasetConfig.model_validate_json(exec_properties[DATASET])
        budgets = BudgetsConfig.model_validate_json(exec_properties[BUDGETS])
        serving_step = bool(exec_properties[SERVING_STEP])

        judged = Path(serving_model)
        if judged.is_dir():
            requests = warmup_requests(
                examples, dataset, budgets.batch_size, read_signatures(judged), serving_step=serving_step
            )
            judged = Path(path_utils.stamped_model_path(blessing.uri))
            stamp(Path(serving_model), judged, requests, exec_properties[MODEL_NAME])
        report = judge(
            judged,
            examples,
            dataset,
            lambda: keras_reference(serving_model, transform_graph),
            budgets=budgets,
            serving_step=serving_step,
            name=serving_model,
            explain_seconds=float(exec_properties.get(EXPLAIN_SECONDS) or 0.0),
        )
        report.write(Path(artifact_utils.get_single_uri(output_dict[REPORT])))
        if not report.blessed and judged != Path(serving_model):
            shutil.rmtree(judged)
        blessing.set_int_custom_property("blessed", int(report.blessed))
        blessing.set_int_custom_property("has_model", int(report.blessed))
        blessing.set_int_custom_property("current_model_id", model.id)
        blessing.set_string_custom_property("current_model", model.uri)
        (Path(blessing.uri) / (_BLESSED_FILE if report.blessed else _NOT_BLESSED_FILE)).touch()
        text = report.summary
        if report.blessed:
            logger.info(text, extra={"event": {"message": text, "blessed": True}})
            return
        logger.error(text, extra={"event": {"message": text, "blessed": False, "problems": report.problems}})

"""Runs the ServingGate on artifacts, and writes its blessing and its report."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from noisy_gru.components.serving_gate.gate import Reference, judge
from noisy_gru.components.serving_gate.sequences import read_examples
from noisy_gru.schema.config import DatasetConfig

MODEL = "model"
EXAMPLES = "examples"
TRANSFORM_GRAPH = "transform_graph"
DATASET = "dataset"
FINGERPRINT = "fingerprint"
BLESSING = "blessing"
REPORT = "report"
_SPLIT = "test"
# The names of TFX's InfraValidator.
_BLESSED_FILE, _NOT_BLESSED_FILE = "INFRA_BLESSED", "INFRA_NOT_BLESSED"
logger = logging.getLogger("noisy_gru.progress")


def keras_reference(serving_model: str, transform_graph: str) -> Reference:
    """The Keras side of a model of the Trainer."""
    import tensorflow as tf

    from noisy_gru.trainer.export import load_for_parity, target_scale

    served = load_for_parity(serving_model, transform_graph)
    scale = target_scale(served)

    def from_examples(examples: list[bytes]) -> dict[str, Any]:
        answers: dict[str, Any] = served.from_examples(tf.constant(examples))
        return {name: tensor.numpy() for name, tensor in answers.items()}

    return Reference(from_examples, served.model.count_params(), 1.0 if scale is None else scale)


class Executor(base_executor.BaseExecutor):
    """Executor of `ServingGate`."""

    def Do(self, input_dict: dict[str, Any], output_dict: dict[str, Any], exec_properties: dict[str, Any]) -> None:
        """Judges the model; ``blessing`` gets TFX's properties `blessed` (0 or 1) and `has_model` (0)."""
        model = artifact_utils.get_single_instance(input_dict[MODEL])
        serving_model = path_utils.serving_model_path(model.uri)
        transform_graph = artifact_utils.get_single_uri(input_dict[TRANSFORM_GRAPH])
        examples = [
            example
            for uri in artifact_utils.get_split_uris(input_dict[EXAMPLES], _SPLIT)
            for example in read_examples(Path(uri))
        ]
        dataset = DatasetConfig.model_validate_json(exec_properties[DATASET])
        report = judge(Path(serving_model), examples, dataset, lambda: keras_reference(serving_model, transform_graph))
        report.write(Path(artifact_utils.get_single_uri(output_dict[REPORT])))
        blessing = artifact_utils.get_single_instance(output_dict[BLESSING])
        blessing.set_int_custom_property("blessed", int(report.blessed))
        blessing.set_int_custom_property("has_model", 0)
        blessing.set_int_custom_property("current_model_id", model.id)
        blessing.set_string_custom_property("current_model", model.uri)
        (Path(blessing.uri) / (_BLESSED_FILE if report.blessed else _NOT_BLESSED_FILE)).touch()
        if report.blessed:
            parity = report.checks[-1]
            text = f"loads as in TF Serving; {parity.name}: {parity.found}"
            logger.info(text, extra={"event": {"message": text, "blessed": True}})
            return
        text = "refused: " + "; ".join(report.problems)
        logger.error(text, extra={"event": {"message": text, "blessed": False, "problems": report.problems}})

"""TFX's Evaluator with this project's configuration, and a baseline that may be absent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tensorflow_model_analysis.proto import config_pb2
from tfx import types
from tfx.components.evaluator import component as tfx_component
from tfx.components.evaluator import executor as tfx_executor
from tfx.dsl.components.base import executor_spec
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import path_utils, proto_utils

from noisy_gru.components.config import EvaluationConfig
from noisy_gru.components.evaluation.config import SPLIT, eval_config, without_comparison
from noisy_gru.components.evaluation.summary import read_evaluation
from noisy_gru.components.latest_blessed.executor import IDENTITY, is_present
from noisy_gru.components.pusher.candidate import Candidate
from noisy_gru.components.pusher.executor import METRICS
from noisy_gru.components.pusher.identity import model_identity
from noisy_gru.components.pusher.published import fingerprint, hash_files
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import PublishError

_BASELINE = "baseline_model"
# Generated code, of which type checkers see nothing.
_proto: Any = config_pb2


class Executor(tfx_executor.Executor):
    """TFX's executor, for what `LatestBlessed` finds.

    A baseline that it marked as absent is as none at all. A model that is published already is measured beside itself,
    but need not be better: a run with nothing new must not be refused.
    """

    def Do(self, input_dict: dict[str, Any], output_dict: dict[str, Any], exec_properties: dict[str, Any]) -> None:
        """Evaluates; see TFX."""
        present = [artifact for artifact in input_dict.get(_BASELINE, []) if is_present(artifact)]
        rest = {key: value for key, value in input_dict.items() if key != _BASELINE}
        for artifact in present:
            _check_copy(artifact)
        if present and _is_same(rest[standard_component_specs.MODEL_KEY][0], present[0]):
            config = _proto.EvalConfig()
            proto_utils.json_to_proto(exec_properties[standard_component_specs.EVAL_CONFIG_KEY], config)
            relaxed = proto_utils.proto_to_json(without_comparison(config))
            exec_properties = exec_properties | {standard_component_specs.EVAL_CONFIG_KEY: relaxed}
        super().Do(rest | ({_BASELINE: present} if present else {}), output_dict, exec_properties)
        # The blessing goes to the Pusher, so that the version carries what it could do when it was published.
        folder = artifact_utils.get_single_uri(output_dict[standard_component_specs.EVALUATION_KEY])
        blessing = artifact_utils.get_single_instance(output_dict[standard_component_specs.BLESSING_KEY])
        blessing.set_string_custom_property(METRICS, json.dumps(read_evaluation(folder).metrics))


def _check_copy(artifact: Any) -> None:
    """The copy may be an earlier run's, from the cache, and lies where nobody looks."""
    copy = Path(path_utils.serving_model_path(artifact.uri))
    version, _, published = artifact.get_string_custom_property(IDENTITY).partition(" ")
    if published and fingerprint(hash_files(copy)) != published:
        raise PublishError(
            f"{copy}: this copy of version {version} isn't what was published any more, so nothing is compared with "
            f"it. Delete {artifact.uri}, and run it again."
        )


def _is_same(one: Any, other: Any) -> bool:
    """Whether two model artifacts hold the same model, however often it was exported."""
    first, second = (Candidate(Path(path_utils.serving_model_path(each.uri)), model_identity) for each in (one, other))
    return first.fingerprint == second.fingerprint or first.identity == second.identity


class Evaluator(tfx_component.Evaluator):
    """TFX's Evaluator, with the executor above."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)


def build_evaluator(
    *,
    examples: types.BaseChannel,
    model: types.BaseChannel,
    dataset: DatasetConfig,
    evaluation: EvaluationConfig,
    baseline_model: types.BaseChannel | None = None,
    schema: types.BaseChannel | None = None,
    fingerprint: str = "",
) -> Evaluator:
    """The step that measures a model on the test split and blesses it or doesn't.

    Args:
        examples: raw examples, with the split `test`.
        model: the candidate.
        dataset: of the model.
        evaluation: what to measure and to ask for.
        baseline_model: the output of `LatestBlessed`.
        schema: of the raw examples.
        fingerprint: of the source, part of TFX's cache key.

    Raises:
        ConfigError: if ``evaluation`` names a metric that the task hasn't.
    """
    compared = evaluation.comparison is not None
    return Evaluator(
        examples=examples,
        model=model,
        baseline_model=baseline_model if compared else None,
        eval_config=eval_config(dataset, evaluation, fingerprint),
        example_splits=[SPLIT],
        schema=schema,
    )

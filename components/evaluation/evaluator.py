"""TFX's Evaluator with this project's configuration, and a baseline that may be absent."""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.components.evaluator import component as tfx_component
from tfx.components.evaluator import executor as tfx_executor
from tfx.dsl.components.base import executor_spec

from noisy_gru.components.config import EvaluationConfig
from noisy_gru.components.evaluation.config import SPLIT, eval_config
from noisy_gru.components.latest_blessed.executor import is_present
from noisy_gru.schema.config import DatasetConfig

_BASELINE = "baseline_model"


class Executor(tfx_executor.Executor):
    """TFX's executor; a baseline that `LatestBlessed` marked as absent is as none at all."""

    def Do(self, input_dict: dict[str, Any], output_dict: dict[str, Any], exec_properties: dict[str, Any]) -> None:
        """Evaluates; see TFX."""
        present = [artifact for artifact in input_dict.get(_BASELINE, []) if is_present(artifact)]
        rest = {key: value for key, value in input_dict.items() if key != _BASELINE}
        super().Do(rest | ({_BASELINE: present} if present else {}), output_dict, exec_properties)


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

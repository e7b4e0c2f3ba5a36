"""The step that decides whether to retrain; the others run only then."""

from __future__ import annotations

from pathlib import Path

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.dsl.placeholder.placeholder_base import Predicate
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from noisy_gru.components.drivers import NONCE, UncachedDriver
from noisy_gru.components.retrain_planner import executor
from noisy_gru.components.retrain_planner.config import RulesConfig
from noisy_gru.data.ingestion.spans import LATEST


class RetrainPlanArtifact(types.Artifact):
    """``plan.json``; custom properties `retrain` (0 or 1), `reason` and `spans`."""

    TYPE_NAME = "noisy_gru.RetrainPlan"


class RetrainPlannerSpec(types.ComponentSpec):
    """Output and properties of `RetrainPlanner`."""

    PARAMETERS = {  # noqa: RUF012
        executor.INPUT_BASE: ExecutionParameter(type=str),
        executor.DATASET: ExecutionParameter(type=str),
        executor.SPAN: ExecutionParameter(type=str),
        executor.SERVING_DIR: ExecutionParameter(type=str),
        executor.MODEL_NAME: ExecutionParameter(type=str),
        executor.RULES: ExecutionParameter(type=str),
        executor.FORCE: ExecutionParameter(type=str),
        NONCE: ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {}  # noqa: RUF012
    OUTPUTS = {executor.PLAN: ChannelParameter(type=RetrainPlanArtifact)}  # noqa: RUF012


class RetrainPlanner(base_component.BaseComponent):
    """Decide by the rules whether retraining is due, and record its start beside the model's versions if it is.

    Steps that run only then stand in a condition:

        planner = RetrainPlanner(...)
        with Cond(planner.is_due):
            ...

    Args:
        input_base: folder that the patterns of ``data.files`` are relative to; or the runtime parameter that names it.
        dataset: DatasetConfig as JSON.
        serving_dir: folder that holds a folder for each model; likewise.
        model_name: the model's folder.
        rules: when to retrain.
        span: the newest span to train on: ``latest``, a number, or a date; likewise.
        force: ``true``: retrain whatever the rules say; likewise.
    """

    SPEC_CLASS = RetrainPlannerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)
    DRIVER_CLASS = UncachedDriver

    def __init__(
        self,
        *,
        input_base: str | RuntimeParameter,
        dataset: str,
        serving_dir: str | Path | RuntimeParameter,
        model_name: str,
        rules: RulesConfig,
        span: str | RuntimeParameter = LATEST,
        force: str | RuntimeParameter = "false",
    ) -> None:
        super().__init__(
            RetrainPlannerSpec(
                input_base=input_base,
                dataset=dataset,
                span=span,
                serving_dir=serving_dir if isinstance(serving_dir, RuntimeParameter) else str(serving_dir),
                model_name=model_name,
                rules=rules.model_dump_json(),
                force=force,
                plan=types.Channel(type=RetrainPlanArtifact),
            )
        )

    @property
    def is_due(self) -> Predicate:
        """The condition that the decision is to retrain."""
        return self.outputs[executor.PLAN].future()[0].custom_property(executor.RETRAIN) == 1

"""The step that chooses the model of a warm start."""

from __future__ import annotations

from pathlib import Path

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from noisy_gru.components.artifacts import IngestionReportArtifact
from noisy_gru.components.warm_start_base import executor


class WarmStartBaseSpec(types.ComponentSpec):
    """Input, output and properties of `WarmStartBase`."""

    PARAMETERS = {  # noqa: RUF012
        executor.SERVING_DIR: ExecutionParameter(type=str),
        executor.MODEL_NAME: ExecutionParameter(type=str),
        executor.CHOSEN: ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {executor.INGESTION_REPORT: ChannelParameter(type=IngestionReportArtifact)}  # noqa: RUF012
    OUTPUTS = {executor.MODEL: ChannelParameter(type=standard_artifacts.Model)}  # noqa: RUF012


class WarmStartBase(base_component.BaseComponent):
    """Choose the published model that the Trainer starts from.

    Not the output of `LatestBlessed`, which depends on the model that the Trainer makes. The output `model` holds
    Format-Keras alone, or nothing (`base.json` says why).

    Args:
        ingestion_report: of this run's ingestion: a model that was trained on the same data is not gone on from.
        serving_dir: folder that holds a folder for each model; or the runtime parameter that names it.
        model_name: the model's folder.
    """

    SPEC_CLASS = WarmStartBaseSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)
    DRIVER_CLASS = executor.Driver

    def __init__(
        self, ingestion_report: types.BaseChannel, serving_dir: str | Path | RuntimeParameter, model_name: str
    ) -> None:
        super().__init__(
            WarmStartBaseSpec(
                ingestion_report=ingestion_report,
                serving_dir=serving_dir if isinstance(serving_dir, RuntimeParameter) else str(serving_dir),
                model_name=model_name,
                model=types.Channel(type=standard_artifacts.Model),
            )
        )

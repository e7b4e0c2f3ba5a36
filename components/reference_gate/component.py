"""The step that compares a model with the published one on sequences that neither was trained on."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from noisy_gru.components.artifacts import IngestionReportArtifact
from noisy_gru.components.drivers import NONCE, UncachedDriver
from noisy_gru.components.evaluation.config import ReferenceConfig
from noisy_gru.components.reference_gate import executor


class ReferenceGateSpec(types.ComponentSpec):
    """Inputs, outputs and properties of `ReferenceGate`."""

    PARAMETERS = {  # noqa: RUF012
        executor.INPUT_BASE: ExecutionParameter(type=str),
        executor.DATASET: ExecutionParameter(type=str),
        executor.REFERENCE: ExecutionParameter(type=str),
        NONCE: ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {  # noqa: RUF012
        executor.MODEL: ChannelParameter(type=standard_artifacts.Model),
        executor.PUBLISHED: ChannelParameter(type=standard_artifacts.Model),
        executor.INGESTION_REPORT: ChannelParameter(type=IngestionReportArtifact),
    }
    OUTPUTS = {executor.BLESSING: ChannelParameter(type=standard_artifacts.ModelBlessing)}  # noqa: RUF012


class ReferenceGate(base_component.BaseComponent):
    """Bless a model that is not worse than the published one on the reference set by more than the margin.

    A refused model doesn't fail the run: `blessing` is negative, its ``verdict.json`` says why, and the Pusher
    publishes nothing.

    Args:
        model: channel of Model.
        published: the output of `LatestBlessed`.
        ingestion_report: of the ingestion: what it read must be no reference file.
        input_base: folder that the patterns are relative to; or the runtime parameter that names it.
        dataset: DatasetConfig as JSON.
        reference: files, margin and confidence.
    """

    SPEC_CLASS = ReferenceGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)
    DRIVER_CLASS = UncachedDriver

    def __init__(
        self,
        model: types.BaseChannel,
        published: types.BaseChannel,
        ingestion_report: types.BaseChannel,
        *,
        input_base: str | RuntimeParameter,
        dataset: str,
        reference: ReferenceConfig,
    ) -> None:
        super().__init__(
            ReferenceGateSpec(
                model=model,
                published=published,
                ingestion_report=ingestion_report,
                input_base=input_base,
                dataset=dataset,
                reference=reference.model_dump_json(),
                blessing=types.Channel(type=standard_artifacts.ModelBlessing),
            )
        )

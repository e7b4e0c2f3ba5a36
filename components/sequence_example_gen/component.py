"""SequenceExampleGen: tables or TFRecords in, one tf.Example per sequence out, and the report of every row."""

from __future__ import annotations

from typing import ClassVar

from tfx import types
from tfx.components.example_gen import component as example_gen
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from noisy_gru.components.artifacts import IngestionReportArtifact
from noisy_gru.components.sequence_example_gen.driver import DATASET_KEY, SPAN_KEY, Driver
from noisy_gru.components.sequence_example_gen.executor import REPORT_KEY, Executor
from noisy_gru.data.ingestion.spans import LATEST
from noisy_gru.schema.config import DatasetConfig

FINGERPRINT_KEY = "fingerprint"


class SequenceExampleGenSpec(types.ComponentSpec):
    """Where the data is, what it means, and which span of it is wanted; examples and the report."""

    PARAMETERS: ClassVar = {
        standard_component_specs.INPUT_BASE_KEY: ExecutionParameter(type=str),
        DATASET_KEY: ExecutionParameter(type=str),
        SPAN_KEY: ExecutionParameter(type=str),
        FINGERPRINT_KEY: ExecutionParameter(type=str),
    }
    INPUTS: ClassVar = {}
    OUTPUTS: ClassVar = {
        **standard_component_specs.FileBasedExampleGenSpec.OUTPUTS,
        REPORT_KEY: ChannelParameter(type=IngestionReportArtifact),
    }


class SequenceExampleGen(example_gen.FileBasedExampleGen):
    """Groups rows by entity, orders them by time, splits them, and writes one tf.Example per sequence.

    Patterns may hold ``{SPAN}``, ``{VERSION}`` or dates; all spans of the window of ``data.spans`` are read at once. It
    is a FileBasedExampleGen by name, since what it reads are files that no cache but its driver's knows of.

        SequenceExampleGen(input_base="examples/japanese_vowels", dataset=config.dataset.model_dump_json())

    Outputs: ``examples`` (Examples: splits train, eval and test as far as they are not empty) and
    ``ingestion_report`` (IngestionReportArtifact).
    """

    SPEC_CLASS = SequenceExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)
    DRIVER_CLASS = Driver

    def __init__(
        self,
        *,
        input_base: str | RuntimeParameter,
        dataset: str,
        fingerprint: str = "",
        span: str | RuntimeParameter = LATEST,
    ) -> None:
        """Make the step.

        Args:
            input_base: folder that the patterns of ``data.files`` are relative to.
            dataset: DatasetConfig as JSON.
            fingerprint: of the package's source: another one means that the cache doesn't hold.
            span: the newest span to read: ``latest``, a number, or a date. Like ``input_base``, it may be a runtime
                parameter.

        Raises:
            pydantic.ValidationError: ``dataset`` is no DatasetConfig.
        """
        DatasetConfig.model_validate_json(dataset)
        spec = SequenceExampleGenSpec(
            **{
                standard_component_specs.INPUT_BASE_KEY: input_base,
                DATASET_KEY: dataset,
                SPAN_KEY: span,
                FINGERPRINT_KEY: fingerprint,
                standard_component_specs.EXAMPLES_KEY: types.Channel(type=standard_artifacts.Examples),
                REPORT_KEY: types.Channel(type=IngestionReportArtifact),
            }
        )
        # FileBasedExampleGen builds a specification of its own, so its constructor is passed over.
        base_beam_component.BaseBeamComponent.__init__(self, spec=spec)

"""SequenceExampleGen: tables or TFRecords in, one tf.Example per sequence out, and the account of every row."""

# pyright: reportAttributeAccessIssue=false
# Protocol buffers' classes are made when they are imported.
from __future__ import annotations

from typing import ClassVar

from tfx import types
from tfx.components.example_gen import component as example_gen
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.proto import example_gen_pb2, range_config_pb2
from tfx.types import standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from noisy_gru.components.sequence_example_gen.artifacts import IngestionAccount
from noisy_gru.components.sequence_example_gen.driver import Driver
from noisy_gru.components.sequence_example_gen.executor import ACCOUNT_KEY, DATASET_KEY, Executor
from noisy_gru.components.sequence_example_gen.files import named_patterns
from noisy_gru.schema.config import DatasetConfig

FINGERPRINT_KEY = "fingerprint"


class SequenceExampleGenSpec(types.ComponentSpec):
    """A file-based ExampleGen's specification, with the data set's configuration and the account."""

    PARAMETERS: ClassVar = {
        **standard_component_specs.FileBasedExampleGenSpec.PARAMETERS,
        DATASET_KEY: ExecutionParameter(type=str),
        FINGERPRINT_KEY: ExecutionParameter(type=str),
    }
    INPUTS: ClassVar = {}
    OUTPUTS: ClassVar = {
        **standard_component_specs.FileBasedExampleGenSpec.OUTPUTS,
        ACCOUNT_KEY: ChannelParameter(type=IngestionAccount),
    }


class SequenceExampleGen(example_gen.FileBasedExampleGen):
    """Groups rows by entity, orders them by time, splits them, and writes one tf.Example per sequence.

    It is a FileBasedExampleGen, so patterns may hold ``{SPAN}``, ``{VERSION}`` or dates, and the Kubeflow runner gives
    it TFX's driver.

        SequenceExampleGen(input_base="examples/japanese_vowels", dataset=config.dataset.model_dump_json())

    Outputs: ``examples`` (Examples: splits train, eval and test as far as they are not empty) and ``account``
    (IngestionAccount).
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
        range_config: range_config_pb2.RangeConfig | RuntimeParameter | None = None,
    ) -> None:
        """Make the step.

        Args:
            input_base: folder that the patterns of ``data.files`` are relative to.
            dataset: DatasetConfig as JSON.
            fingerprint: of the package's source: another one means that the cache doesn't hold.
            range_config: which span to read; the latest by default. Like ``input_base``, it may be a runtime parameter.

        Raises:
            pydantic.ValidationError: ``dataset`` is no DatasetConfig.
        """
        patterns = named_patterns(DatasetConfig.model_validate_json(dataset).data)
        splits = [example_gen_pb2.Input.Split(name=name, pattern=pattern) for name, pattern in patterns]
        spec = SequenceExampleGenSpec(
            **{
                standard_component_specs.INPUT_BASE_KEY: input_base,
                standard_component_specs.INPUT_CONFIG_KEY: example_gen_pb2.Input(splits=splits),
                # Required by the specification; the splits are those of the data set's configuration.
                standard_component_specs.OUTPUT_CONFIG_KEY: example_gen_pb2.Output(),
                standard_component_specs.OUTPUT_DATA_FORMAT_KEY: example_gen_pb2.FORMAT_TF_EXAMPLE,
                standard_component_specs.OUTPUT_FILE_FORMAT_KEY: example_gen_pb2.FORMAT_TFRECORDS_GZIP,
                standard_component_specs.RANGE_CONFIG_KEY: range_config,
                DATASET_KEY: dataset,
                FINGERPRINT_KEY: fingerprint,
                standard_component_specs.EXAMPLES_KEY: types.Channel(type=standard_artifacts.Examples),
                ACCOUNT_KEY: types.Channel(type=IngestionAccount),
            }
        )
        # FileBasedExampleGen builds a specification of its own, so its constructor is passed over.
        base_beam_component.BaseBeamComponent.__init__(self, spec=spec)

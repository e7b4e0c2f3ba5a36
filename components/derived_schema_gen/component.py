"""The step that brings the schema into the pipeline."""

from __future__ import annotations

from typing import ClassVar

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from noisy_gru.components.derived_schema_gen.executor import DATASET, Executor
from noisy_gru.schema.config import DatasetConfig

FINGERPRINT = "fingerprint"


class DerivedSchemaGenSpec(types.ComponentSpec):
    """Properties and output of `DerivedSchemaGen`."""

    PARAMETERS: ClassVar = {
        standard_component_specs.SCHEMA_FILE_KEY: ExecutionParameter(type=str),
        DATASET: ExecutionParameter(type=str),
        FINGERPRINT: ExecutionParameter(type=str),
    }
    INPUTS: ClassVar = {}
    OUTPUTS: ClassVar = {standard_component_specs.SCHEMA_KEY: ChannelParameter(type=standard_artifacts.Schema)}


class DerivedSchemaGen(base_component.BaseComponent):
    """An ImportSchemaGen that derives types, lengths, environments and targets from the configuration.

    Args:
        schema_file: curated schema, or one derived from it: a path, or a URI that TensorFlow reads, such as gs://.
        dataset: columns, lengths and task.
        fingerprint: of the package's source; part of the cache key.
    """

    SPEC_CLASS = DerivedSchemaGenSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, *, schema_file: str, dataset: DatasetConfig, fingerprint: str = "") -> None:
        spec = DerivedSchemaGenSpec(
            **{
                standard_component_specs.SCHEMA_FILE_KEY: schema_file,
                DATASET: dataset.model_dump_json(),
                FINGERPRINT: fingerprint,
                standard_component_specs.SCHEMA_KEY: types.Channel(type=standard_artifacts.Schema),
            }
        )
        super().__init__(spec)

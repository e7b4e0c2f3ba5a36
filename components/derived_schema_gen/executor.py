"""Write the derived schema as the artifact that ExampleValidator, Transform and Evaluator read."""

from __future__ import annotations

from typing import Any

from tfx.components.schema_gen.executor import DEFAULT_FILE_NAME
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_component_specs
from tfx.types.artifact import Artifact

from noisy_gru.components.derived_schema_gen.curated_file import read_curated
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.derivation import check_curated, schema_text

DATASET = "dataset"


class Executor(base_executor.BaseExecutor):
    """Derive the schema from ``schema_file`` and ``dataset``."""

    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Write ``schema.pbtxt``; raise ``ConfigError`` if the curated schema can't be used."""
        source = exec_properties[standard_component_specs.SCHEMA_FILE_KEY]
        dataset = DatasetConfig.model_validate_json(exec_properties[DATASET])
        derivation = check_curated(read_curated(source), source, dataset)
        folder = artifact_utils.get_single_uri(output_dict[standard_component_specs.SCHEMA_KEY])
        fileio.makedirs(folder)
        with fileio.open(f"{folder}/{DEFAULT_FILE_NAME}", "w") as stream:
            stream.write(schema_text(derivation.schema))

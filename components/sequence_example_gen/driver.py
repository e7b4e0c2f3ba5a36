"""Resolve the files of the window's spans before ingestion runs; the same here and on Kubeflow.

TFX's own driver knows one span, and its fingerprint adds up sizes and whole seconds of modification times: a file that
was corrected at the same size and time, or two files that change names, would be served from the cache. Here the hashes
of the files decide, as they do for the planner: what it calls new is read.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from tfx.components.example_gen import driver, utils
from tfx.orchestration import data_types_utils
from tfx.orchestration.portable import data_types
from tfx.proto.orchestration import driver_output_pb2
from tfx.types import standard_component_specs

from noisy_gru.data.ingestion.resolved_input import resolve_input
from noisy_gru.data.reading.file_hashes import hash_files
from noisy_gru.data.reading.tables import Source
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import DataError
from noisy_gru.schema.span_patterns import format_spans
from noisy_gru.storage.object_stores import FileState, file_states, glob_files, open_file

DATASET_KEY = "dataset"
SPAN_KEY = "span"
SPANS_KEY = "spans"
FINGERPRINT_KEY = utils.FINGERPRINT_PROPERTY_NAME


class Driver(driver.FileBasedDriver):
    """Resolve ``span`` (``latest`` or a number) to files; they and their fingerprint are part of the cache's key."""

    def run(self, execution_info: data_types.ExecutionInfo) -> Any:
        """Return the files that the executor reads, and the spans of its artifacts.

        Raises:
            UserError: a span or a file isn't there.
        """
        properties, numbers = resolved_properties(execution_info.exec_properties)
        answer = vars(driver_output_pb2)["DriverOutput"]()
        for name, value in properties.items():
            if value is not None:
                data_types_utils.set_metadata_value(answer.exec_properties[name], value)
        for name, artifacts in execution_info.output_dict.items():
            artifact = copy.deepcopy(artifacts[0].mlmd_artifact)
            artifact.custom_properties[SPAN_KEY].int_value = numbers[-1] if numbers else 0
            artifact.custom_properties[SPANS_KEY].string_value = format_spans(numbers)
            artifact.custom_properties[FINGERPRINT_KEY].string_value = properties[FINGERPRINT_KEY]
            answer.output_artifacts[name].artifacts.append(artifact)
        return answer


def resolved_properties(given: Mapping[str, Any]) -> tuple[dict[str, Any], list[int]]:
    """Return the step's properties as its executor reads them, and the numbers of the spans.

    Raises:
        UserError: a span or a file isn't there.
    """
    dataset = DatasetConfig.model_validate_json(given[DATASET_KEY])
    base = given[standard_component_specs.INPUT_BASE_KEY] or ""
    resolved = resolve_input(base, dataset.data, str(given[SPAN_KEY]), glob_files)
    properties = {
        # The resolved span, so that "latest" and its number are the same to the cache.
        SPAN_KEY: str(resolved.numbers[-1]) if resolved.spans else "",
        SPANS_KEY: resolved.to_json(),
        FINGERPRINT_KEY: resolved.fingerprint(hash_files(resolved.sources, open_file, read_later=True)),
    }
    return {**given, **properties}, resolved.numbers


def states_of(sources: Iterable[Source]) -> dict[str, FileState]:
    """Return the states of files, by name.

    Raises:
        DataError: one of them is gone, or its store can't be reached.
    """
    names = {source.path: source.name for source in sources}
    try:
        return {names[path]: state for path, state in file_states(names).items()}
    except FileNotFoundError as error:
        name = names.get(str(error.filename), error.filename)
        raise DataError(f"{name}: was deleted in the meantime. Run it again") from error

"""Convert KFP's ExecutorInput to TFX's dictionaries, and the results to an ExecutorOutput.

Artifacts come with the launcher's folders as their URIs; those of the ExecutorOutput are URIs again.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils as tfx_utils
from tfx.orchestration.portable import outputs_utils
from tfx.types.artifact import Artifact
from tfx.types.value_artifact import ValueArtifact

from noisy_gru.components.artifacts import ORIGIN
from noisy_gru.kubeflow.step import configuration as configuration_artifact
from noisy_gru.kubeflow.step import parameters as names
from noisy_gru.kubeflow.step.artifact_paths import to_path, to_uri
from noisy_gru.kubeflow.step.page_outputs import PAGE_OUTPUTS, write_page_outputs
from noisy_gru.kubeflow.step.step_pages import PAGES

# Generated code, of which type checkers see nothing.
_proto: Any = pipeline_spec_pb2
# Properties with an artifact's id, which is a number in TFX and a name in KFP.
_IDS = ("current_model_id", "baseline_model_id")

# What the backend writes into the properties of each artifact, and what it wraps lists and mappings in.
_BACKENDS_OWN = ("display_name", "store_session_info")
_WRAPPED = {"list": "list_value", "struct": "struct_value"}

Artifacts = dict[str, list[Artifact]]
ArtifactTypes = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class StepInput:
    """The inputs, outputs and properties of one execution of a step.

    Attributes:
        inputs: artifacts by name, where the launcher has put them.
        outputs: artifacts by name, where the launcher looks for them.
        properties: execution properties.
        output_file: of the ExecutorOutput.
        run_id: of the run; empty if the step doesn't get it.
        names_by_id: KFP's names of artifacts by the numbers that TFX has for them.
        page: where the outputs go that only the page of the run shows.
    """

    inputs: Artifacts
    outputs: Artifacts
    properties: dict[str, Any]
    output_file: Path
    run_id: str
    names_by_id: dict[int, str]
    page: dict[str, Path]


def read_input(executor_input: str, definitions: str, types: ArtifactTypes) -> StepInput:
    """Read the launcher's ExecutorInput.

    Artifacts that the component doesn't declare stay untouched: the launcher's log, what a condition reads.
    Types come from the compiled pipeline, because the driver sends none: ``{"instanceSchema": ""}``.

    Args:
        executor_input: ExecutorInput as JSON.
        definitions: the component's input definitions as JSON, for the types of parameters.
        types: ``inputs`` and ``outputs``: artifact to the path of its class.

    Raises:
        UserError: an artifact has no place on this machine, or a setting is missing.
    """
    given = json_format.Parse(executor_input, _proto.ExecutorInput(), ignore_unknown_fields=True)
    spec = json_format.Parse(definitions, _proto.ComponentInputsSpec(), ignore_unknown_fields=True)
    configuration = next((each.uri for each in given.inputs.artifacts[configuration_artifact.INPUT].artifacts), None)
    page = {
        name: Path(to_path(given.outputs.artifacts[name].artifacts[0].uri))
        for name in PAGE_OUTPUTS
        if name in given.outputs.artifacts and name not in types["outputs"]
    }
    known: dict[int, str] = {}
    found: dict[str, Artifacts] = {}
    for side, artifacts in (("inputs", given.inputs.artifacts), ("outputs", given.outputs.artifacts)):
        for name in [name for name in artifacts if name not in types[side]]:
            del artifacts[name]
        for name, artifact_list in artifacts.items():
            for artifact in artifact_list.artifacts:
                if side == "inputs":
                    _unwrap(artifact.metadata)
                    artifact.metadata[ORIGIN] = artifact.uri
                artifact.uri = to_path(artifact.uri)
                artifact.type.schema_title = types[side][name]
        found[side] = tfx_utils.parse_raw_artifact_dict(artifacts, known)
    properties = tfx_utils.parse_execution_properties(given.inputs.parameter_values, given.inputs.parameters, spec)
    properties.pop(names.IMAGE, None)
    run_id = properties.pop(names.RUN_ID, "")
    folder = Path(to_path(configuration)) if configuration else None
    properties = configuration_artifact.resolve(properties, folder)
    output_file = Path(given.outputs.output_file)
    return StepInput(found["inputs"], found["outputs"], properties, output_file, run_id, known, page)


def _unwrap(metadata: Any) -> None:
    """Remove the backend's own properties, and its wrappers around lists and mappings."""
    for key in _BACKENDS_OWN:
        metadata.fields.pop(key, None)
    for value in metadata.fields.values():
        inside = value.struct_value.fields
        if value.WhichOneof("kind") == "struct_value" and len(inside) == 1:
            ((wrapper, content),) = inside.items()
            if content.WhichOneof("kind") == _WRAPPED.get(wrapper):
                plain = type(value)()
                plain.CopyFrom(content)
                value.CopyFrom(plain)


def clear_outputs(outputs: Artifacts, *, make_folders: bool) -> None:
    """Remove the outputs of an earlier attempt; its half-written files would be taken for this one's.

    Args:
        outputs: of the step.
        make_folders: whether the executor expects the folders of its outputs, as TFX's local launcher makes them.
            TFX's own executors make theirs.
    """
    for artifacts in outputs.values():
        for artifact in artifacts:
            path = Path(artifact.uri)
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            # A value is one file, at its URI.
            if make_folders and not isinstance(artifact, ValueArtifact):
                path.mkdir()


def write_output(step: StepInput, page: str = "") -> None:
    """Write the ExecutorOutput: URIs and metadata of the outputs, and what the page of the run shows.

    Args:
        step: as it was read, with what its executor left in the outputs.
        page: one of ``PAGES``, for a step with outputs that only the page shows.
    """
    outputs_utils.tag_output_artifacts_with_version(step.outputs)
    executor_output = _proto.ExecutorOutput()
    for name, artifacts in step.outputs.items():
        for artifact in artifacts:
            _names_for_ids(artifact, step.names_by_id)
            artifact_proto = tfx_utils.to_runtime_artifact(artifact, {artifact.id: name, **step.names_by_id})
            artifact_proto.name = ""  # KFP has one
            artifact_proto.uri = to_uri(artifact_proto.uri)
            for value in artifact_proto.metadata.fields.values():
                if value.WhichOneof("kind") == "string_value":
                    value.string_value = to_uri(value.string_value)
            executor_output.artifacts[name].artifacts.append(artifact_proto)
    if step.page:
        for name, properties in write_page_outputs(PAGES[page](step), step.page).items():
            shown = executor_output.artifacts[name].artifacts.add(uri=to_uri(str(step.page[name])))
            shown.metadata.update(properties)
    step.output_file.parent.mkdir(parents=True, exist_ok=True)
    step.output_file.write_text(json_format.MessageToJson(executor_output, sort_keys=True))


def _names_for_ids(artifact: Artifact, names_by_id: Mapping[int, str]) -> None:
    for key in _IDS:
        if artifact.has_custom_property(key) and artifact.get_int_custom_property(key) in names_by_id:
            artifact.set_string_custom_property(key, names_by_id[artifact.get_int_custom_property(key)])

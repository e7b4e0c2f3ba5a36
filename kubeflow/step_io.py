"""What a step is told and what it answers: KFP's ExecutorInput as TFX's dictionaries, and these as an ExecutorOutput.

Artifacts come with the launcher's folders as their URIs; those of the answer are URIs again.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils as tfx_utils
from tfx.orchestration.portable import outputs_utils
from tfx.types.artifact import Artifact
from tfx.types.value_artifact import ValueArtifact

from noisy_gru.components.pusher.executor import ORIGIN
from noisy_gru.kubeflow import parameters as names
from noisy_gru.kubeflow.artifact_paths import to_path, to_uri
from noisy_gru.kubeflow.gating import IMPLICIT

# Generated code, of which type checkers see nothing.
_proto: Any = pipeline_spec_pb2
# Properties with an artifact's id, which is a number in TFX and a name in KFP.
_IDS = ("current_model_id", "baseline_model_id")

Artifacts = dict[str, list[Artifact]]


@dataclass(frozen=True)
class StepInput:
    """What a step is told.

    Attributes:
        inputs: artifacts by name, where the launcher has put them.
        outputs: artifacts by name, where the launcher looks for them.
        properties: execution properties.
        output_file: where the answer goes.
        run_id: of the run; empty where the step wasn't told.
        names_by_id: KFP's names of artifacts by the numbers that TFX has for them.
    """

    inputs: Artifacts
    outputs: Artifacts
    properties: dict[str, Any]
    output_file: Path
    run_id: str
    names_by_id: dict[int, str]


def read_input(executor_input: str, definitions: str, classes: Mapping[str, str]) -> StepInput:
    """Reads what the launcher passed.

    Args:
        executor_input: ExecutorInput as JSON.
        definitions: the component's input definitions as JSON, for the types of parameters.
        classes: artifact type to the path of its class, for those that aren't TFX's.
    """
    told = json_format.Parse(executor_input, _proto.ExecutorInput(), ignore_unknown_fields=True)
    spec = json_format.Parse(definitions, _proto.ComponentInputsSpec(), ignore_unknown_fields=True)
    for name in [name for name in told.inputs.artifacts if name.startswith(IMPLICIT)]:
        del told.inputs.artifacts[name]  # the backend has looked at it, and the executor knows nothing of it
    known: dict[int, str] = {}
    found: list[Artifacts] = []
    for artifacts, is_input in ((told.inputs.artifacts, True), (told.outputs.artifacts, False)):
        for artifact_list in artifacts.values():
            for artifact in artifact_list.artifacts:
                if is_input:
                    artifact.metadata[ORIGIN] = artifact.uri
                artifact.uri = to_path(artifact.uri)
                _use_class_path(artifact.type, classes)
        found.append(tfx_utils.parse_raw_artifact_dict(artifacts, known))
    properties = tfx_utils.parse_execution_properties(told.inputs.parameter_values, told.inputs.parameters, spec)
    properties.pop(names.IMAGE, None)
    run_id = properties.pop(names.RUN_ID, "")
    return StepInput(found[0], found[1], properties, Path(told.outputs.output_file), run_id, known)


def _use_class_path(schema: Any, classes: Mapping[str, str]) -> None:
    """TFX finds a class of its own by the title, and takes any other title for the path of a class."""
    title = schema.schema_title
    if schema.WhichOneof("kind") == "instance_schema":
        title = yaml.safe_load(schema.instance_schema).get("title", "")
    if title in classes:
        schema.schema_title = classes[title]


def clear_outputs(outputs: Artifacts, *, make_folders: bool) -> None:
    """Removes what an earlier try left; its half-written files would be taken for this try's.

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


def write_output(step: StepInput) -> None:
    """Writes the answer: URIs and metadata of the outputs."""
    outputs_utils.tag_output_artifacts_with_version(step.outputs)
    answer = _proto.ExecutorOutput()
    for name, artifacts in step.outputs.items():
        for artifact in artifacts:
            _names_for_ids(artifact, step.names_by_id)
            told = tfx_utils.to_runtime_artifact(artifact, {artifact.id: name, **step.names_by_id})
            told.name = ""  # KFP has one
            told.uri = to_uri(told.uri)
            for value in told.metadata.fields.values():
                if value.WhichOneof("kind") == "string_value":
                    value.string_value = to_uri(value.string_value)
            answer.artifacts[name].artifacts.append(told)
    step.output_file.parent.mkdir(parents=True, exist_ok=True)
    step.output_file.write_text(json_format.MessageToJson(answer, sort_keys=True))


def _names_for_ids(artifact: Artifact, names_by_id: Mapping[int, str]) -> None:
    for key in _IDS:
        if artifact.has_custom_property(key) and artifact.get_int_custom_property(key) in names_by_id:
            artifact.set_string_custom_property(key, names_by_id[artifact.get_int_custom_property(key)])

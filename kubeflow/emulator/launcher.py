"""One try of one task: what KFP's launcher does in the pod, in a folder that stands for the pod's file system."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import json_format, struct_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

from noisy_gru.kubeflow.emulator.errors import TaskError
from noisy_gru.kubeflow.emulator.object_store import ObjectStore, local_path

# Generated code, of which type checkers see nothing.
_proto: Any = pipeline_spec_pb2
_struct: Any = struct_pb2
# Where a step finds the launcher's folders if not in the root; read by our entrypoint alone.
LAUNCHER_ROOT = "NOISY_GRU_LAUNCHER_ROOT"
_OUTPUT_FILE = "tmp/kfp_outputs/output_metadata.json"
_OUTPUT_PARAMETERS = "tmp/kfp/outputs"
_LEFT = re.compile(r"\{\{\$.*?\}\}")
_TAIL = 15
_LOOK_SECONDS = 0.5
_STRUCTURED = ('{"IfPresent"', '{"Concat"')


@dataclass(frozen=True)
class Outputs:
    """What a task answered: ``struct_pb2.Value`` and ``RuntimeArtifact`` by name."""

    parameters: dict[str, Any]
    artifacts: dict[str, Any]


def provision_outputs(root: str, task: str, definitions: Any) -> Any:
    """The outputs of an ExecutorInput: a URI for each artifact, the same in every try."""
    outputs = _proto.ExecutorInput.Outputs()
    salt = uuid.uuid4().hex
    for name, definition in definitions.artifacts.items():
        artifact = outputs.artifacts[name].artifacts.add()
        artifact.uri = f"{root}/{task}/{salt}/{name}"
        artifact.type.CopyFrom(definition.artifact_type)
        if definition.HasField("metadata"):
            artifact.metadata.CopyFrom(definition.metadata)
    for name in definitions.parameters:
        outputs.parameters[name].SetInParent()
    return outputs


def launch(
    container: Any, definitions: Any, executor_input: Any, store: ObjectStore, pod: Path, stop: threading.Event
) -> Outputs:
    """Downloads the inputs, runs the container's command, uploads the outputs.

    Args:
        container: ``PipelineContainerSpec``.
        definitions: the component's ``ComponentOutputsSpec``.
        executor_input: with outputs from ``provision_outputs``.
        store: where artifacts are.
        pod: folder that stands for the pod's root; must not be there yet.
        stop: ends the command when it is set.

    Raises:
        TaskError: the command failed, or its answer can't be read.
    """
    told = _proto.ExecutorInput()
    told.CopyFrom(executor_input)
    # On a cluster they are below the pod's own /tmp.
    told.outputs.output_file = str(pod / _OUTPUT_FILE)
    for name, parameter in told.outputs.parameters.items():
        parameter.output_file = str(pod / _OUTPUT_PARAMETERS / name)
    for folder in ("work", "tmp", _OUTPUT_PARAMETERS):
        (pod / folder).mkdir(parents=True, exist_ok=True)
    for artifact_list in told.inputs.artifacts.values():
        for artifact in artifact_list.artifacts:
            if "://" in artifact.uri:
                store.download(artifact.uri, pod)
    for artifact_list in told.outputs.artifacts.values():
        for artifact in artifact_list.artifacts:
            local_path(artifact.uri, pod).parent.mkdir(parents=True, exist_ok=True)
    (pod / "executor_input.json").write_text(json_format.MessageToJson(told, sort_keys=True))
    _run(command_line(container, told, pod), container, pod, stop)
    return _collect(told, definitions, store, pod)


def command_line(container: Any, executor_input: Any, pod: Path) -> list[str]:
    """The container's command and arguments with all placeholders filled in.

    Raises:
        TaskError: it has no command, or a placeholder that isn't known here.
    """
    values = placeholders(executor_input, pod)
    if not container.command:
        raise TaskError(f"the container of image {container.image} has no command, and its image isn't here to ask")
    words = []
    for word in [*container.command, *container.args]:
        if word.startswith(_STRUCTURED):
            raise TaskError(f"arguments that depend on inputs aren't emulated: {word}")
        # What a value holds isn't looked at again.
        filled = _LEFT.sub(lambda match: values.get(match.group(), match.group()), word)
        for left in _LEFT.findall(word):
            if left not in values:
                raise TaskError(f"placeholder {left} isn't known to the launcher or has no value")
        words.append(filled)
    return words


def placeholders(executor_input: Any, pod: Path) -> dict[str, str]:
    """Placeholder to value, as the launcher makes them."""
    values = {"{{$}}": json_format.MessageToJson(executor_input, indent=None)}
    for side, artifacts in (("inputs", executor_input.inputs.artifacts), ("outputs", executor_input.outputs.artifacts)):
        for name, artifact_list in artifacts.items():
            for artifact in artifact_list.artifacts[:1]:
                values[f"{{{{$.{side}.artifacts['{name}'].uri}}}}"] = artifact.uri
                if "://" in artifact.uri:
                    values[f"{{{{$.{side}.artifacts['{name}'].path}}}}"] = str(local_path(artifact.uri, pod))
    for name, value in executor_input.inputs.parameter_values.items():
        values[f"{{{{$.inputs.parameters['{name}']}}}}"] = as_text(value)
    for name, parameter in executor_input.outputs.parameters.items():
        values[f"{{{{$.outputs.parameters['{name}'].output_file}}}}"] = parameter.output_file
    return values


def as_text(value: Any) -> str:
    """A parameter's value on a command line."""
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return value.string_value
    if kind == "number_value":
        number = value.number_value
        return str(int(number)) if number == int(number) else repr(number)
    return json.dumps(json_format.MessageToDict(value), separators=(",", ":"))


def _run(command: list[str], container: Any, pod: Path, stop: threading.Event) -> None:
    environment = {
        # The interpreter that runs this, in place of the image's.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"]),
        "HOME": str(pod / "work"),
        "TMPDIR": str(pod / "tmp"),
        "LANG": "C.UTF-8",
        "KFP_POD_NAME": f"{pod.parent.name}-{pod.name}".lower(),
        LAUNCHER_ROOT: str(pod),
        **{variable.name: variable.value for variable in container.env},
    }
    log = pod / "log.txt"
    with log.open("wb") as stream:
        try:
            process = subprocess.Popen(
                command,
                cwd=pod / "work",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise TaskError(f"{command[0]} can't be started: {error.strerror}") from error
        code = _wait(process, stop)
    if code is None:
        raise TaskError("was interrupted")
    if code:
        raise TaskError(f"ended with {code}. {_last_words(log)}")


def _wait(process: subprocess.Popen[bytes], stop: threading.Event) -> int | None:
    """The exit code; None if the process and all that it started had to be ended."""
    while True:
        try:
            return process.wait(_LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            if stop.is_set():
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return None


def _last_words(log: Path) -> str:
    """What the step says went wrong, else the end of its log."""
    lines = log.read_text(errors="replace").rstrip().splitlines()
    told = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    return "\n".join(lines[told[-1] :] if told else lines[-_TAIL:])


def _collect(told: Any, definitions: Any, store: ObjectStore, pod: Path) -> Outputs:
    answer = _proto.ExecutorOutput()
    file = Path(told.outputs.output_file)
    if file.exists():
        try:
            json_format.Parse(file.read_text(), answer)
        except json_format.ParseError as error:
            raise TaskError(f"wrote an output file that is no ExecutorOutput: {error}") from error
    parameters = dict(answer.parameter_values)
    for name, parameter in told.outputs.parameters.items():
        if name not in parameters:
            parameters[name] = _parameter(
                name, Path(parameter.output_file), definitions.parameters[name].parameter_type
            )
    artifacts = {}
    for name, artifact_list in told.outputs.artifacts.items():
        (artifact,) = artifact_list.artifacts
        for said in answer.artifacts[name].artifacts[:1] if name in answer.artifacts else ():
            artifact.uri = said.uri or artifact.uri
            for key, value in said.metadata.fields.items():
                if value.WhichOneof("kind") in (None, "null_value"):
                    raise TaskError(f"output {name}: the property {key} is null, which ML Metadata can't keep")
                artifact.metadata.fields[key].CopyFrom(value)
        store.upload(pod, artifact.uri)
        artifacts[name] = artifact
    return Outputs(parameters, artifacts)


def _parameter(name: str, file: Path, kind: int) -> Any:
    try:
        text = file.read_text()
    except OSError as error:
        raise TaskError(f"output parameter {name} was not written: {error.strerror}") from error
    types = _proto.ParameterType
    if kind == types.STRING:
        return _struct.Value(string_value=text)
    try:
        return json_format.ParseDict(json.loads(text.strip()), _struct.Value())
    except (ValueError, json_format.ParseError) as error:
        raise TaskError(
            f"output parameter {name}: expected a {types.ParameterTypeEnum.Name(kind)}. Received: {text!r}"
        ) from error

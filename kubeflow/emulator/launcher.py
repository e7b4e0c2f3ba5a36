"""Run one attempt of a task as KFP's launcher does, in a folder that stands for the pod's file system."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import json_format, struct_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

from noisy_gru.kubeflow.emulator.arguments import (
    as_json,
    check_arguments,
    command_line,
    expanded_message,
)
from noisy_gru.kubeflow.emulator.backends import (
    LOG_OUTPUT,
    LOG_TYPE,
    OUTPUT_FILE,
    OUTPUT_PARAMETERS,
    Backend,
)
from noisy_gru.kubeflow.emulator.errors import TaskError
from noisy_gru.kubeflow.emulator.object_store import ObjectStore, local_path

# Generated code, of which type checkers see nothing.
_proto: Any = pipeline_spec_pb2
_struct: Any = struct_pb2
# Where a step finds the launcher's folders if not in the root; read by our entrypoint alone.
LAUNCHER_ROOT = "NOISY_GRU_LAUNCHER_ROOT"
_TAIL = 15
_LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Outputs:
    """The outputs of a task: ``struct_pb2.Value`` and ``RuntimeArtifact`` by name."""

    parameters: dict[str, Any]
    artifacts: dict[str, Any]


def provision_outputs(root: str, task: str, definitions: Any, backend: Backend) -> Any:
    """Return the outputs of an ExecutorInput as the driver makes them: a URI per artifact, equal in every attempt."""
    outputs = _proto.ExecutorInput.Outputs()
    task_root = f"{root.rstrip('/')}/{task}/{uuid.uuid4()}"
    types = {name: (each.artifact_type, each.metadata) for name, each in definitions.artifacts.items()}
    types[LOG_OUTPUT] = (_proto.ArtifactTypeSchema(schema_title=LOG_TYPE), None)
    for name, (kind, metadata) in types.items():
        artifact = outputs.artifacts[name].artifacts.add(uri=f"{task_root}/{name}", type=kind)
        if backend.output_file_in_task_root:
            artifact.name = name
        if metadata:
            artifact.metadata.CopyFrom(metadata)
    for name in definitions.parameters:
        outputs.parameters[name].output_file = f"{OUTPUT_PARAMETERS}/{name}"
    outputs.output_file = OUTPUT_FILE
    if backend.output_file_in_task_root:
        outputs.output_file = str(local_path(f"{task_root}/output_metadata.json", Path("/")))
    return outputs


def launch(
    container: Any,
    component: Any,
    executor_input: Any,
    store: ObjectStore,
    pod: Path,
    stop: threading.Event,
    backend: Backend,
    *,
    attempt: int,
) -> Outputs:
    """Download the inputs, run the container's command, upload the outputs.

    Args:
        container: ``PipelineContainerSpec``.
        component: its ``ComponentSpec``.
        executor_input: with outputs from ``provision_outputs``.
        store: where artifacts are.
        pod: folder that stands for the pod's root; must not be there yet.
        stop: ends the command when it is set.
        backend: the release.
        attempt: number of the try, from 1.

    Raises:
        TaskError: the command failed, or its ExecutorOutput can't be read.
    """
    executor_input = in_pod(executor_input, pod, backend, attempt=attempt)
    check_arguments({"--executor_input": as_json(executor_input), "--component_spec": as_json(component)})
    variables = _variables(container, pod)
    executor_input, container = (expanded_message(each, variables) for each in (executor_input, container))
    command = command_line(container, executor_input, pod, backend, component)
    for folder in ("work", "tmp"):
        (pod / folder).mkdir(parents=True, exist_ok=True)
    for artifact_list in executor_input.inputs.artifacts.values():
        for artifact in artifact_list.artifacts:
            if "://" in artifact.uri:
                store.download(artifact.uri, pod, siblings=backend.brings_siblings)
    for parameter in executor_input.outputs.parameters.values():
        Path(parameter.output_file).parent.mkdir(parents=True, exist_ok=True)
    for artifact_list in executor_input.outputs.artifacts.values():
        for artifact in artifact_list.artifacts:
            local_path(artifact.uri, pod).parent.mkdir(parents=True, exist_ok=True)
    (pod / "executor_input.json").write_text(json_format.MessageToJson(executor_input, sort_keys=True))
    log = local_path(executor_input.outputs.artifacts[LOG_OUTPUT].artifacts[0].uri, pod)
    try:
        _run(command, variables, pod, log, stop)
    finally:
        if log.exists():
            shutil.copyfile(log, pod / "log.txt")
    return _collect(executor_input, component.output_definitions, store, pod)


def in_pod(executor_input: Any, pod: Path, backend: Backend, *, attempt: int = 1) -> Any:
    """Return the ExecutorInput with the places of files below the folder that stands for the pod's root."""
    placed = _proto.ExecutorInput()
    placed.CopyFrom(executor_input)
    placed.outputs.output_file = str(pod / placed.outputs.output_file.lstrip("/"))
    for parameter in placed.outputs.parameters.values():
        parameter.output_file = str(pod / parameter.output_file.lstrip("/"))
    if backend.logs_by_try:
        (log,) = placed.outputs.artifacts[LOG_OUTPUT].artifacts
        log.uri = f"{log.uri}-{attempt - 1}"
    return placed


def _variables(container: Any, pod: Path) -> dict[str, str]:
    """Return the variables that a pod declares."""
    return {
        "KFP_POD_NAME": f"{pod.parent.name}-{pod.name}".lower(),
        **{variable.name: variable.value for variable in container.env},
    }


def _run(command: list[str], variables: Mapping[str, str], pod: Path, log: Path, stop: threading.Event) -> None:
    environment = {
        # The interpreter that runs this, in place of the image's.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"]),
        "HOME": str(pod / "work"),
        "TMPDIR": str(pod / "tmp"),
        "LANG": "C.UTF-8",
        LAUNCHER_ROOT: str(pod),
        **variables,
    }
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
    """Return the exit code; None if the process and all that it started had to be ended."""
    while True:
        try:
            return process.wait(_LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            if stop.is_set():
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return None


def _last_words(log: Path) -> str:
    """Return the step's error message, else the end of its log."""
    lines = log.read_text(errors="replace").rstrip().splitlines()
    errors = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    return "\n".join(lines[errors[-1] :] if errors else lines[-_TAIL:])


def _collect(executor_input: Any, definitions: Any, store: ObjectStore, pod: Path) -> Outputs:
    executor_output = _proto.ExecutorOutput()
    file = Path(executor_input.outputs.output_file)
    if file.exists():
        try:
            json_format.Parse(file.read_text(), executor_output)
        except json_format.ParseError as error:
            raise TaskError(f"wrote an output file that is no ExecutorOutput: {error}") from error
    parameters = dict(executor_output.parameter_values)
    for name, parameter in executor_input.outputs.parameters.items():
        if name not in parameters:
            parameters[name] = _parameter(
                name, Path(parameter.output_file), definitions.parameters[name].parameter_type
            )
    artifacts = {}
    for name, artifact_list in executor_input.outputs.artifacts.items():
        (artifact,) = artifact_list.artifacts
        for written in executor_output.artifacts[name].artifacts[:1] if name in executor_output.artifacts else ():
            artifact.uri = written.uri or artifact.uri
            for key, value in written.metadata.fields.items():
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

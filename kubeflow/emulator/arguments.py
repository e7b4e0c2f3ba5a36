"""The command line of a container as driver and launcher make it, and how long an argument may be.

References as in ``backends``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from noisy_gru.kubeflow.emulator.backends import MAX_ARGUMENT, Backend
from noisy_gru.kubeflow.emulator.errors import TaskError
from noisy_gru.kubeflow.emulator.object_store import local_path

# Generated code, of which type checkers see nothing.
_proto: Any = pipeline_spec_pb2
_INPUT_PARAMETER = re.compile(r"\{\{\$\.inputs\.parameters\['([^']+)'\]\}\}")
_STRUCTURED = ('{"IfPresent"', '{"Concat"')


def with_defaults(executor_input: Any, component: Any) -> Any:
    """component/launcher_v2.go, 2.15.0:1078: defaults are put in for placeholders alone."""
    result = _proto.ExecutorInput()
    result.CopyFrom(executor_input)
    for name, definition in component.input_definitions.parameters.items():
        if name not in result.inputs.parameter_values and definition.HasField("default_value"):
            result.inputs.parameter_values[name].CopyFrom(definition.default_value)
    return result


def check_arguments(arguments: Mapping[str, str]) -> None:
    """Check the length of each argument of a process, which Linux bounds.

    Raises:
        TaskError: one is too long.
    """
    for name, text in arguments.items():
        if (size := len(text.encode()) + 1) > MAX_ARGUMENT:
            raise TaskError(
                f"{name} has {size:,} bytes: Linux takes {MAX_ARGUMENT:,} an argument (Argument list too long)"
            )


def as_json(message: Any) -> str:
    """Return a protocol buffer as Go writes it, but for the blanks that it adds by chance."""
    return json_format.MessageToJson(message, indent=None)


def command_line(container: Any, executor_input: Any, pod: Path, backend: Backend) -> list[str]:
    """Return the container's command and arguments with the placeholders filled in that the backend knows; others stay.

    Raises:
        TaskError: it has no command, or an argument is too long.
    """
    if not container.command:
        raise TaskError(f"the container of image {container.image} has no command, and its image isn't here to ask")
    values = placeholders(executor_input, pod)
    whole = as_json(executor_input)
    program, *arguments = [*container.command, *container.args]
    resolved = [program]
    for argument in arguments:
        if argument.startswith(_STRUCTURED):
            raise TaskError(f"arguments that depend on inputs aren't emulated: {argument}")
        if backend.driver_resolves_arguments and "$.outputs" not in argument:
            for name in _INPUT_PARAMETER.findall(argument):
                if f"{{{{$.inputs.parameters['{name}']}}}}" not in values:
                    raise TaskError(f"{argument}: the parameter {name} has no value")
        # component/launcher_v2.go, 2.15.0:835: what the whole holds is looked through again.
        argument = argument.replace("{{$}}", whole)
        for placeholder, value in values.items():
            argument = argument.replace(placeholder, value)
        resolved.append(argument)
    check_arguments({f"argument {number} of the command": argument for number, argument in enumerate(resolved)})
    return resolved


def placeholders(executor_input: Any, pod: Path) -> dict[str, str]:
    """Return values by placeholder, as the launcher does: component/launcher_v2.go, 2.5.0:735, 2.15.0:845."""
    values = {}
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
    """Return a parameter's value on a command line."""
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return value.string_value
    if kind == "number_value":
        number = value.number_value
        return str(int(number)) if number == int(number) else repr(number)
    return json.dumps(_whole_numbers(json_format.MessageToDict(value)), separators=(",", ":"))


def _whole_numbers(value: Any) -> Any:
    """Go writes 1.0 as 1, in lists and mappings, too."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole_numbers(each) for each in value]
    return {key: _whole_numbers(each) for key, each in value.items()} if isinstance(value, dict) else value

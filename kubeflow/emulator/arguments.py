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
from noisy_gru.kubeflow.emulator.parameter_types import as_text, whole_numbers

# Generated code, of which type checkers see nothing.
_proto: Any = pipeline_spec_pb2
_INPUT_PARAMETER = re.compile(r"\{\{\$\.inputs\.parameters\['([^']+)'\]\}\}")
_REFERENCE = re.compile(r"\$\$|\$\(([^)]*)\)")
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
    return json.dumps(whole_numbers(json_format.MessageToDict(message)), ensure_ascii=False)


def expanded(text: str, variables: Mapping[str, str]) -> str:
    """Return an argument as Kubernetes gives it to a container: ``$(NAME)`` of a known variable is its value.

    An unknown one stays, and ``$$`` is ``$`` (Kubernetes' reference of Container.args). The driver gets task, component
    and container in its arguments, the launcher the ExecutorInput and the command: so texts go through it twice.

        >>> expanded("a$$b $(POD) $(NOBODY)", {"POD": "p"})
        'a$b p $(NOBODY)'
    """
    return _REFERENCE.sub(lambda found: "$" if found[0] == "$$" else variables.get(found[1], found[0]), text)


def expanded_message(message: Any, variables: Mapping[str, str]) -> Any:
    """Return a protocol buffer that was an argument of a container, as ``expanded`` has it."""
    text = json_format.MessageToJson(message, ensure_ascii=False)
    return json_format.Parse(expanded(text, variables), type(message)())


def command_line(container: Any, executor_input: Any, pod: Path, backend: Backend, component: Any = None) -> list[str]:
    """Return the container's command and arguments with the placeholders filled in that the backend knows; others stay.

    Args:
        container: ``PipelineContainerSpec``.
        executor_input: of the task.
        pod: folder that stands for the pod's root.
        backend: the release.
        component: ``ComponentSpec``, for the defaults of optional parameters; None for none.

    Raises:
        TaskError: it has no command, an argument is too long, or the driver misses a parameter.
    """
    if not container.command:
        raise TaskError(
            f"the container of image {container.image} has no command, and the image can't be inspected here"
        )
    given = executor_input.inputs.parameter_values
    if component is not None:
        executor_input = with_defaults(executor_input, component)
    values = placeholders(executor_input, pod)
    whole = as_json(executor_input)
    program, *arguments = [*container.command, *container.args]
    resolved = [program]
    for argument in arguments:
        if argument.startswith(_STRUCTURED):
            raise TaskError(f"arguments that depend on inputs aren't emulated: {argument}")
        if backend.driver_resolves_arguments and "$.outputs" not in argument:
            for name in _INPUT_PARAMETER.findall(argument):
                # The driver knows no defaults (driver/util.go, 2.17.0:263); the launcher would.
                if name not in given:
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

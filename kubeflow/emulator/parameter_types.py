"""Types of input parameters, as the driver checks and converts them, and the text of a value.

References as in ``backends``.
"""

from __future__ import annotations

import json
from collections.abc import MutableMapping
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from noisy_gru.kubeflow.emulator.errors import TaskError

# Generated code, of which type checkers see nothing.
_proto: Any = pipeline_spec_pb2
# Types of parameters that take a value of each kind.
_TAKEN_BY = {
    "number_value": ("NUMBER_DOUBLE", "NUMBER_INTEGER"),
    "string_value": ("STRING",),
    "bool_value": ("BOOLEAN",),
    "list_value": ("LIST",),
    "struct_value": ("STRUCT", "TASK_FINAL_STATUS", "TASK_CONFIG"),
}


def check_parameter(name: str, definition: Any, values: MutableMapping[str, Any]) -> None:
    """Check the type of a task's parameter, and convert it to a text if the task wants one.

    driver/driver.go, 2.5.0:1425; driver/resolve.go, 2.15.0:160, 2.17.0:169. A default is not used: a text without a
    value is empty, and anything else without a value is an error.

    Args:
        name: of the parameter.
        definition: its ``ParameterSpec``.
        values: ``struct_pb2.Value`` by name; changed in place.

    Raises:
        TaskError: it has no value, or one of another type.
    """
    wanted = _proto.ParameterType.ParameterTypeEnum.Name(definition.parameter_type)
    kind = values[name].WhichOneof("kind") if name in values else None
    if kind is None and not definition.HasField("default_value"):
        raise TaskError(f"input parameter {name} has neither a value nor a default")
    if wanted == "STRING":
        if kind != "string_value":
            values[name].string_value = "" if kind is None else as_text(values[name])
    elif kind is None:
        raise TaskError(
            f"input parameter {name} has no value, and the driver takes its default for no {wanted}: give it one"
        )
    elif wanted not in _TAKEN_BY.get(kind, ()):
        raise TaskError(f"input parameter {name}: expected a {wanted}, got {kind.removesuffix('_value')}")


def as_text(value: Any) -> str:
    """Return a parameter's value on a command line: metadata/converter.go, 2.15.0:15."""
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return value.string_value
    if kind == "null_value":
        return ""
    if kind == "number_value":
        number = value.number_value
        return str(int(number)) if number == int(number) else repr(number)
    return json.dumps(whole_numbers(json_format.MessageToDict(value)), separators=(",", ":"))


def whole_numbers(value: Any) -> Any:
    """Go writes 1.0 as 1, in lists and mappings, too."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [whole_numbers(each) for each in value]
    return {key: whole_numbers(each) for key, each in value.items()} if isinstance(value, dict) else value

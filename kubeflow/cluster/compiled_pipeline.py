"""A compiled pipeline as submitting it needs it: its name, its version, and the parameters it takes.

    pipeline = CompiledPipeline.read(Path("pipeline.yaml"))
    pipeline.arguments(["span=3", "steps=200"], recurring=False)     # {"span": 3, "steps": 200}

The API server takes schema 2.1.0 alone, refuses parameters that a pipeline doesn't have, and values of another type.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from noisy_gru.schema.errors import ConfigError

SCHEMA_VERSION = "2.1.0"
# What the server replaces in text. It knows the first two in recurring runs alone.
SCHEDULED = ("ScheduledTime", "Index")
MACROS = (*SCHEDULED, "CurrentTime", "RunUUID")
# Times may be formatted, in Go's way: [[ScheduledTime.2006-01-02]].
FORMATTED = ("ScheduledTime", "CurrentTime")
MACRO = re.compile(r"\[\[(?P<name>[A-Za-z]\w*)(?P<format>\.[^\]]*)?\]\]")


def is_compiled(path: Path) -> bool:
    """Whether a file holds a compiled pipeline, and not a configuration."""
    try:
        documents = list(yaml.safe_load_all(path.read_bytes()))
    except (OSError, yaml.YAMLError):
        return False
    return any(isinstance(document, dict) and "pipelineInfo" in document for document in documents)


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A parameter of the pipeline.

    Attributes:
        name: as the user writes it.
        kind: the pipeline spec's: STRING, NUMBER_INTEGER, NUMBER_DOUBLE, BOOLEAN, LIST, STRUCT.
        required: it has no default value.
    """

    name: str
    kind: str
    required: bool


@dataclass(frozen=True, kw_only=True)
class CompiledPipeline:
    """A file that ``noisy-gru kubeflow compile`` wrote.

    Attributes:
        path: of the file.
        name: the pipeline's.
        version: name of this version of it: the same file has the same, any other another.
        parameters: by name.
    """

    path: Path
    name: str
    version: str
    parameters: dict[str, Parameter]

    @classmethod
    def read(cls, path: Path) -> CompiledPipeline:
        """Reads the file, and checks what the server will ask of it.

        Raises:
            ConfigError: it is no compiled pipeline, or of another schema.
        """
        again = "write it with: noisy-gru kubeflow compile CONFIG -o pipeline.yaml"
        if path.suffix not in (".yaml", ".yml"):
            raise ConfigError(f"{path}: expected a compiled pipeline, *.yaml; {again}")
        try:
            content = path.read_bytes()
            specs = [document for document in yaml.safe_load_all(content) if isinstance(document, dict)]
        except (OSError, yaml.YAMLError) as error:
            raise ConfigError(f"{path}: can't be read as a compiled pipeline: {error}; {again}") from error
        spec = next((document for document in specs if "pipelineInfo" in document), None)
        if spec is None:
            raise ConfigError(f"{path}: no document in it has pipelineInfo, so this is no compiled pipeline; {again}")
        if spec.get("schemaVersion") != SCHEMA_VERSION:
            raise ConfigError(
                f"{path}: its schema version is {spec.get('schemaVersion')}, and Kubeflow Pipelines takes "
                f"{SCHEMA_VERSION} alone; {again}"
            )
        definitions = spec.get("root", {}).get("inputDefinitions", {}).get("parameters", {})
        parameters = {
            name: Parameter(
                name=name,
                kind=given.get("parameterType", "STRING"),
                required="defaultValue" not in given and not given.get("isOptional", False),
            )
            for name, given in definitions.items()
        }
        name = spec["pipelineInfo"]["name"]
        version = f"{name}-{hashlib.sha256(content).hexdigest()[:12]}"
        return cls(path=path, name=name, version=version, parameters=parameters)

    def arguments(self, given: Iterable[str], *, recurring: bool) -> dict[str, Any]:
        """The values for the parameters.

        Args:
            given: ``NAME=VALUE``; lists and mappings in JSON.
            recurring: they are for a schedule, where the server knows ``[[ScheduledTime]]`` and ``[[Index]]``.

        Raises:
            ConfigError: no such parameter, a value of another type, a macro where there is none, or a required
                parameter without a value.
        """
        values: dict[str, Any] = {}
        for pair in given:
            name, separator, text = pair.partition("=")
            if not separator:
                raise ConfigError(f"parameter {pair!r}: expected NAME=VALUE")
            if name not in self.parameters:
                known = ", ".join(sorted(self.parameters)) or "none"
                raise ConfigError(f"parameter {name!r}: {self.name} has no such parameter; it has: {known}")
            values[name] = _value(self.parameters[name], text, recurring)
        missing = sorted(name for name, each in self.parameters.items() if each.required and name not in values)
        if missing:
            raise ConfigError(f"parameter{'s'[: len(missing) > 1]} without a value or default: {', '.join(missing)}")
        return values


def _value(parameter: Parameter, text: str, recurring: bool) -> Any:
    _check_macros(parameter, text, recurring)
    try:
        match parameter.kind:
            case "NUMBER_INTEGER":
                return int(text)
            case "NUMBER_DOUBLE":
                return float(text)
            case "BOOLEAN":
                return {"true": True, "false": False}[text.lower()]
            case "LIST" | "STRUCT":
                value = json.loads(text)
                if not isinstance(value, list if parameter.kind == "LIST" else dict):
                    raise ValueError("another kind of JSON")
                return value
            case _:
                return text
    except (ValueError, KeyError) as error:
        expected = {
            "NUMBER_INTEGER": "a whole number",
            "NUMBER_DOUBLE": "a number",
            "BOOLEAN": "true or false",
            "LIST": "a list in JSON",
            "STRUCT": "a mapping in JSON",
        }[parameter.kind]
        raise ConfigError(f"parameter {parameter.name}: expected {expected}, received {text!r}") from error


def _check_macros(parameter: Parameter, text: str, recurring: bool) -> None:
    """The server leaves what it doesn't know as it is, and the pipeline would run with the brackets."""
    for match in MACRO.finditer(text):
        name = match["name"]
        if name not in MACROS or (match["format"] and name not in FORMATTED):
            known = ", ".join(f"[[{each}]]" for each in MACROS)
            raise ConfigError(
                f"parameter {parameter.name}: {match[0]} is nothing that Kubeflow Pipelines replaces; it knows "
                f"{known}, and formats for the times: [[ScheduledTime.2006-01-02]]"
            )
        if name in SCHEDULED and not recurring:
            raise ConfigError(
                f"parameter {parameter.name}: {match[0]} is replaced in recurring runs alone; write a value"
            )
        if parameter.kind.startswith("NUMBER") or parameter.kind == "BOOLEAN":
            raise ConfigError(
                f"parameter {parameter.name}: {match[0]} becomes text, and the parameter is a {parameter.kind}, which "
                "the server would refuse; only parameters of type STRING, LIST and STRUCT can hold it"
            )

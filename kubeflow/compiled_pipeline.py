"""Read a compiled pipeline and check it, and the values of its parameters, as the API server does.

    >>> pipeline = CompiledPipeline.read(Path("pipeline.yaml"))  # doctest: +SKIP
    >>> pipeline.arguments({"span": "3", "data_root": "/data"})  # doctest: +SKIP
    {'span': 3, 'data_root': '/data'}

The API server takes schema 2.1.0 alone, and refuses parameters that a pipeline lacks, and values of another type.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from noisy_gru.kubeflow.step.parameters import SERVING_DIR, is_rewritten
from noisy_gru.schema.errors import ConfigError

SCHEMA_VERSION = "2.1.0"


class CompiledPipelineError(ConfigError):
    """A compiled pipeline, or the value of a parameter, that the API server refuses."""


def is_compiled(path: Path) -> bool:
    """Return whether a file holds a compiled pipeline, and not a configuration."""
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
    """A compiled pipeline.

    Attributes:
        path: of the file.
        name: of the pipeline.
        version: name of this version of it; equal files have equal names.
        parameters: by name.
        spec: the first document, a ``PipelineSpec`` in JSON's form.
        platform: the second document, a ``PlatformSpec``; empty if there is none.
    """

    path: Path
    name: str
    version: str
    parameters: Mapping[str, Parameter]
    spec: Mapping[str, Any]
    platform: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> CompiledPipeline:
        """Read the file.

        Raises:
            CompiledPipelineError: it can't be read, or the API server would refuse it.
        """
        again = "write it with: noisy-gru kubeflow compile CONFIG -o pipeline.yaml"
        if path.suffix not in (".yaml", ".yml"):
            raise CompiledPipelineError(f"{path}: expected a compiled pipeline, *.yaml; {again}")
        try:
            content = path.read_bytes()
            documents = list(yaml.safe_load_all(content))
        except (OSError, yaml.YAMLError) as error:
            raise CompiledPipelineError(f"{path}: can't be read as a compiled pipeline: {error}; {again}") from error
        if not 1 <= len(documents) <= 2 or not all(isinstance(document, dict) for document in documents):
            raise CompiledPipelineError(
                f"{path}: expected a pipeline spec, and perhaps a platform spec after ---. "
                f"Found {len(documents)} documents; {again}"
            )
        spec, platform = documents[0], documents[1] if len(documents) > 1 else {}
        if not (spec.get("pipelineInfo") or {}).get("name"):
            raise CompiledPipelineError(
                f"{path}: its first document has no pipelineInfo.name, so this is no compiled pipeline; {again}"
            )
        if spec.get("schemaVersion") != SCHEMA_VERSION:
            raise CompiledPipelineError(
                f"{path}: expected schema version {SCHEMA_VERSION}, the only one that Kubeflow Pipelines takes. "
                f"Found {spec.get('schemaVersion') or 'none'}; {again}"
            )
        _check_containers(path, spec)
        definitions = spec.get("root", {}).get("inputDefinitions", {}).get("parameters", {})
        name = spec["pipelineInfo"]["name"]
        return cls(
            path=path,
            name=name,
            version=f"{name}-{hashlib.sha256(content).hexdigest()[:12]}",
            parameters={
                each: Parameter(
                    name=each,
                    kind=given.get("parameterType", "STRING"),
                    required="defaultValue" not in given and not given.get("isOptional", False),
                )
                for each, given in definitions.items()
            },
            spec=spec,
            platform=platform,
        )

    def arguments(self, given: Mapping[str, str]) -> dict[str, Any]:
        """Convert texts to the types of their parameters; lists and mappings are in JSON.

        Raises:
            CompiledPipelineError: no such parameter, a value of another type or one that would not arrive as it is, or
                a required parameter without a value.
        """
        for name in given:
            if name not in self.parameters:
                known = ", ".join(sorted(self.parameters)) or "none"
                raise CompiledPipelineError(f"parameter {name}: {self.name} has no such parameter. It has: {known}")
        missing = sorted(name for name, each in self.parameters.items() if each.required and name not in given)
        if missing:
            raise CompiledPipelineError(
                f"parameter{'s'[: len(missing) > 1]} {', '.join(missing)}: expected a value, since there is no default"
            )
        check_texts("parameter ", given)
        if "://" in given.get(SERVING_DIR, ""):
            raise CompiledPipelineError(
                f"parameter {SERVING_DIR}: expected a folder on a volume; a step renames and locks files there, which "
                f"object stores can't do. Received: {given[SERVING_DIR]!r}"
            )
        return {name: _value(self.parameters[name], text) for name, text in given.items()}


def check_texts(kind: str, texts: Mapping[str, str]) -> None:
    """Check that texts arrive at the steps as they are.

    Args:
        kind: what comes before the name in a message.
        texts: by name.

    Raises:
        CompiledPipelineError: one doesn't.
    """
    for name, text in texts.items():
        if is_rewritten(text):
            raise CompiledPipelineError(
                f"{kind}{name}: expected a text without $$, $( and {{{{, which Argo and Kubernetes rewrite before a "
                f"step sees it. Received: {text!r}. Rename the file or folder, or link to it under another name"
            )


def _check_containers(path: Path, spec: Mapping[str, Any]) -> None:
    """Refuse equal containers of components that differ: the backend takes the inputs and outputs of one for both.

    It files components by a hash of their containers (backend/src/v2/compiler/argocompiler/argo.go, 2.5.0:287,
    2.15.0:329, 2.17.0:437).
    """
    executors = spec.get("deploymentSpec", {}).get("executors", {})
    first: dict[str, tuple[str, Any]] = {}
    for name, component in sorted(spec.get("components", {}).items()):
        container = executors.get(component.get("executorLabel"), {}).get("container")
        if container is None:
            continue
        rest = {key: value for key, value in component.items() if key != "executorLabel"}
        other, other_rest = first.setdefault(json.dumps(container, sort_keys=True), (name, rest))
        if rest != other_rest:
            raise CompiledPipelineError(
                f"{path}: {other} and {name} have the same container and other inputs or outputs, and Kubeflow "
                "Pipelines takes those of one for both. Give one of them another argument or image"
            )


def parse_assignments(pairs: Iterable[str]) -> dict[str, str]:
    """Split ``NAME=VALUE`` at the first equals sign.

    Raises:
        ConfigError: there is none.
    """
    for pair in pairs:
        if "=" not in pair:
            raise ConfigError(f"--parameter: expected NAME=VALUE. Received: {pair!r}")
    return dict(pair.split("=", 1) for pair in pairs)


def _value(parameter: Parameter, text: str) -> Any:
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
        raise CompiledPipelineError(f"parameter {parameter.name}: expected {expected}. Received: {text!r}") from error

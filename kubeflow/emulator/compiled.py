"""Reads a compiled pipeline: both documents, checked as the API server checks them, and its parameters' values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format, struct_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

from noisy_gru.kubeflow.emulator.errors import CompiledPipelineError

# Generated code, of which type checkers see nothing.
_proto: Any = pipeline_spec_pb2
_struct: Any = struct_pb2
SCHEMA_VERSION = "2.1.0"
_ROOT = "minio://mlpipeline/v2/artifacts"


@dataclass(frozen=True)
class CompiledPipeline:
    """A compiled pipeline.

    Attributes:
        name: of the pipeline.
        spec: ``PipelineSpec``.
        executors: ``ExecutorSpec`` by label.
        platform: what Kubernetes gives the pod of each executor, by label.
    """

    name: str
    spec: Any
    executors: Mapping[str, Any]
    platform: Mapping[str, Mapping[str, Any]]

    @property
    def root(self) -> str:
        """The pipeline root: the pipeline's own, or that of an installation as it comes."""
        return (self.spec.default_pipeline_root or _ROOT).rstrip("/")


def read_pipeline(path: Path) -> CompiledPipeline:
    """Reads the file.

    Raises:
        CompiledPipelineError: it can't be read, or the API server would refuse it.
    """
    try:
        documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CompiledPipelineError(f"{path}: can't be read as YAML: {error}") from error
    if not 1 <= len(documents) <= 2 or not all(isinstance(document, dict) for document in documents):
        raise CompiledPipelineError(
            f"{path}: expected a pipeline spec, and perhaps a platform spec after ---. Found {len(documents)} documents"
        )
    spec, platform = _proto.PipelineSpec(), _proto.PlatformSpec()
    deployment = _proto.PipelineDeploymentConfig()
    try:
        json_format.ParseDict(documents[0], spec)
        json_format.ParseDict(documents[0].get("deploymentSpec", {}), deployment)
        json_format.ParseDict(documents[1] if len(documents) > 1 else {}, platform)
    except json_format.ParseError as error:
        raise CompiledPipelineError(f"{path}: is no compiled pipeline: {error}") from error
    if spec.schema_version != SCHEMA_VERSION:
        raise CompiledPipelineError(
            f"{path}: has the schema version {spec.schema_version or 'none'}; the API server takes {SCHEMA_VERSION}"
        )
    if not spec.pipeline_info.name or not spec.root.dag.tasks:
        raise CompiledPipelineError(f"{path}: has no name or no tasks")
    kubernetes = json_format.MessageToDict(platform).get("platforms", {}).get("kubernetes", {})
    return CompiledPipeline(
        name=spec.pipeline_info.name,
        spec=spec,
        executors=dict(deployment.executors),
        platform=kubernetes.get("deploymentSpec", {}).get("executors", {}),
    )


def parameter_values(compiled: CompiledPipeline, given: Mapping[str, str]) -> dict[str, Any]:
    """The pipeline's parameters: those given, as text, else the defaults.

    Returns:
        ``struct_pb2.Value`` by name.

    Raises:
        CompiledPipelineError: there is no such parameter, one has no value, or the text is nothing of its type.
    """
    definitions = compiled.spec.root.input_definitions.parameters
    for name in given:
        if name not in definitions:
            known = ", ".join(sorted(definitions)) or "none"
            raise CompiledPipelineError(f"parameter {name}: the pipeline has no such parameter. It has: {known}")
    values = {}
    for name, definition in definitions.items():
        if name in given:
            values[name] = _typed(name, given[name], definition.parameter_type)
        elif definition.HasField("default_value"):
            values[name] = definition.default_value
        elif not definition.is_optional:
            raise CompiledPipelineError(f"parameter {name}: has no default, so give it a value")
    return values


def _typed(name: str, text: str, kind: int) -> Any:
    types = _proto.ParameterType
    value = _struct.Value()
    try:
        if kind == types.STRING:
            value.string_value = text
        elif kind == types.NUMBER_INTEGER:
            value.number_value = int(text)
        elif kind == types.NUMBER_DOUBLE:
            value.number_value = float(text)
        elif kind == types.BOOLEAN:
            value.bool_value = {"true": True, "false": False}[text.lower()]
        else:
            json_format.ParseDict(json.loads(text), value)
    except (ValueError, KeyError, json_format.ParseError) as error:
        expected = types.ParameterTypeEnum.Name(kind)
        raise CompiledPipelineError(f"parameter {name}: expected a {expected}. Received: {text!r}") from error
    return value

"""A compiled pipeline, and the values of its parameters, as the protocol buffers that driver and launcher pass on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format, struct_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

from noisy_gru.kubeflow.compiled_pipeline import CompiledPipeline, CompiledPipelineError
from noisy_gru.kubeflow.emulator.arguments import expanded, expanded_message

# Generated code, of which type checkers see nothing.
_proto: Any = pipeline_spec_pb2
_struct: Any = struct_pb2
_DEFAULT_ROOT = "minio://mlpipeline/v2/artifacts"


@dataclass(frozen=True)
class PipelineMessages:
    """The messages of a compiled pipeline.

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
        """The pipeline root: the pipeline's own, or the default of an installation."""
        return (self.spec.default_pipeline_root or _DEFAULT_ROOT).rstrip("/")

    @classmethod
    def parse(cls, compiled: CompiledPipeline) -> PipelineMessages:
        """Parse both documents.

        Raises:
            CompiledPipelineError: the API server would refuse them.
        """
        spec, platform = _proto.PipelineSpec(), _proto.PlatformSpec()
        deployment = _proto.PipelineDeploymentConfig()
        try:
            as_given = json.loads(expanded(json.dumps(compiled.spec, ensure_ascii=False), {}))
            json_format.ParseDict(as_given, spec)
            json_format.ParseDict(as_given.get("deploymentSpec", {}), deployment)
            json_format.ParseDict(dict(compiled.platform), platform)
        except json_format.ParseError as error:
            raise CompiledPipelineError(f"{compiled.path}: not a compiled pipeline: {error}") from error
        if not spec.root.dag.tasks:
            raise CompiledPipelineError(f"{compiled.path}: has no tasks")
        kubernetes = json_format.MessageToDict(platform).get("platforms", {}).get("kubernetes", {})
        return cls(
            name=compiled.name,
            spec=spec,
            executors=dict(deployment.executors),
            platform=kubernetes.get("deploymentSpec", {}).get("executors", {}),
        )

    def parameter_values(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the value of each parameter, ``struct_pb2.Value`` by name: the argument, else the default.

        Args:
            arguments: as ``CompiledPipeline.arguments`` returns them.
        """
        definitions = self.spec.root.input_definitions.parameters
        values = {
            name: definition.default_value
            for name, definition in definitions.items()
            if definition.HasField("default_value")
        }
        return values | {
            name: expanded_message(json_format.ParseDict(each, _struct.Value()), {}) for name, each in arguments.items()
        }

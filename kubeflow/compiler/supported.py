"""Check a TFX graph for what open-source Kubeflow Pipelines v2 can't run; each problem names its node.

    >>> check_supported(pipeline)  # doctest: +SKIP
    UnsupportedGraphError: ... InfraValidator: ...

TFX compiles some of it without a warning, for Vertex AI; other parts end in an error that names no node.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tfx.components import FileBasedExampleGen, InfraValidator
from tfx.dsl.component.experimental import executor_specs
from tfx.dsl.components.base import base_component, executor_spec
from tfx.dsl.components.common.importer import OUTPUT_KEY_KEY, SOURCE_URI_KEY, Importer
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.experimental.conditionals import conditional
from tfx.dsl.placeholder.placeholder_base import Placeholder
from tfx.orchestration.data_types import RuntimeParameter
from tfx.orchestration.kubeflow.v2 import compiler_utils
from tfx.orchestration.pipeline import Pipeline
from tfx.types import channel_utils
from tfx.types.channel import Channel

from noisy_gru.compat.tfx import standard_artifact_types
from noisy_gru.schema.errors import ConfigError

# A scheme, or the folder that the launcher gives it.
_WITH_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*://[^/]+")
_CUSTOM_TYPE = re.compile(r"^[a-z][a-z0-9_-]{2,20}[.][A-Z][a-zA-Z0-9_-]{2,49}$")


class UnsupportedGraphError(ConfigError):
    """A graph that Kubeflow Pipelines can't run; every problem, with the node's name."""

    def __init__(self, problems: list[str]):
        self.problems = problems
        count = "1 thing" if len(problems) == 1 else f"{len(problems)} things"
        lines = "\n".join(f"  - {problem}" for problem in problems)
        super().__init__(f"open-source Kubeflow Pipelines v2 can't run {count} in this graph\n{lines}")


def check_supported(pipeline: Pipeline) -> None:
    """Check all nodes of a pipeline.

    Raises:
        UnsupportedGraphError: with all problems.
    """
    problems = [f"{node.id}: {problem}" for node in pipeline.components for problem in _problems(node, pipeline)]
    if problems:
        raise UnsupportedGraphError(problems)


def _problems(node: Any, pipeline: Pipeline) -> Iterator[str]:
    if isinstance(node, Resolver):
        yield (
            "a Resolver (also one that collects spans): the backend has none, because steps don't see ML Metadata. "
            "Find what it resolves in a component, as LatestBlessed does"
        )
        return
    if isinstance(node, InfraValidator):
        yield "InfraValidator needs Docker or a cluster of its own, and TFX doesn't compile it. Use ServingGate"
        return
    if isinstance(node, Importer):
        yield from _importer_problems(node)
    yield from _property_problems(node)
    yield from _condition_problems(node, pipeline)
    for name, channel in node.inputs.items():
        if not isinstance(channel, Channel):
            yield f"input {name} is a {type(channel).__name__}: only the output of one node can be an input"
    for name, channel in [*node.inputs.items(), *node.outputs.items()]:
        if channel.type in standard_artifact_types():
            continue
        if not _CUSTOM_TYPE.fullmatch(channel.type.TYPE_NAME):
            yield f"artifact {name} has the type name {channel.type.TYPE_NAME!r}: expected one like noisy_gru.Report"
        if channel.type.PROPERTIES:
            yield f"artifact {name} of type {channel.type.TYPE_NAME} declares properties: use custom properties"
    if isinstance(node, base_component.BaseComponent):
        known = (executor_spec.ExecutorClassSpec, executor_specs.TemplatedExecutorContainerSpec)
        if not isinstance(node.executor_spec, known):
            yield f"the executor is a {type(node.executor_spec).__name__}: only a class or a container can be run"


def _importer_problems(node: Importer) -> Iterator[str]:
    source = node.exec_properties[SOURCE_URI_KEY]
    if isinstance(source, RuntimeParameter):
        source = source.default
    if not isinstance(source, str) or not _WITH_SCHEME.match(source):
        yield (
            f"imports {source!r} as {node.exec_properties[OUTPUT_KEY_KEY]}: expected a URI with a scheme, such as "
            "minio://bucket/path, which the launcher copies to the step; a path isn't on the step's machine"
        )


def _property_problems(node: Any) -> Iterator[str]:
    for name, value in node.exec_properties.items():
        if isinstance(value, Placeholder):
            yield f"property {name} is computed by another step: the backend gives parameters only, so read an artifact"
        if name in ("module_file", "module_path") and value:
            yield (
                f"{name} {value!r} is a path on the machine that compiles, baked in as a wheel's. Name functions of a "
                "package in the image, for example run_fn='noisy_gru.trainer.module.run_fn'"
            )
        if name == "range_config" and not isinstance(node, FileBasedExampleGen) and value:
            yield "range_config: only a file-based ExampleGen takes a span on Kubeflow"


def _condition_problems(node: Any, pipeline: Pipeline) -> Iterator[str]:
    for predicate in conditional.get_predicates(node, pipeline.dsl_context_registry):
        expression = channel_utils.encode_placeholder_with_channels(predicate, lambda channel: "channel")
        if "artifact_value_op" in str(expression):
            yield "Cond on an artifact's .value: the backend sees metadata alone, so use .custom_property(...)"
            continue
        try:
            text = compiler_utils.placeholder_to_cel(expression)
        except (ValueError, NotImplementedError) as error:
            yield f"Cond can't be written as the backend's expression: {error}"
        else:
            if "Unknown" in text:
                yield f"Cond can't be written as the backend's expression: {text}"

"""Resolve a task's inputs as KFP's driver does, from the pipeline's inputs and earlier tasks' outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import json_format, struct_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

from noisy_gru.kubeflow.emulator.backends import Backend
from noisy_gru.kubeflow.emulator.errors import TaskError
from noisy_gru.kubeflow.emulator.parameter_types import check_parameter

# Generated code, of which type checkers see nothing.
_proto: Any = pipeline_spec_pb2
_struct: Any = struct_pb2


@dataclass(frozen=True)
class Run:
    """The run that constants may refer to.

    Attributes:
        run_id: of the run.
        pipeline: name of the pipeline.
        display_name: of the run, as whoever submits it names it.
        backend: the release that runs it.
        created: when the run was made, in UTC.
    """

    run_id: str
    pipeline: str
    display_name: str
    backend: Backend
    created: str = "2026-01-01T00:00:00Z"

    def filled(self, text: str, task: str) -> str:
        """Resolve a constant as the driver does: a placeholder is replaced only if it is the whole constant."""
        if text not in self.backend.run_placeholders:
            return text
        return {
            "{{$.pipeline_job_uuid}}": self.run_id,
            "{{$.pipeline_job_name}}": self.display_name,
            # The workflow's name, to which Kubernetes adds five letters.
            "{{$.pipeline_job_resource_name}}": f"{self.pipeline}-{self.run_id[:5]}",
            "{{$.pipeline_task_name}}": task,
            # The id of the execution of the graph around it.
            "{{$.pipeline_task_uuid}}": "1",
        }.get(text, self.created)


@dataclass
class Result:
    """Final state and outputs of a task.

    Attributes:
        state: SUCCEEDED, FAILED, SKIPPED (its condition is false, or a task before it was skipped) or NOT_STARTED.
        parameters: ``struct_pb2.Value`` by name.
        artifacts: ``RuntimeArtifact`` by name.
        error: of a failed task.
    """

    state: str
    parameters: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[str, Any] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True)
class Scope:
    """A DAG's own inputs, and the results of its tasks so far."""

    parameters: Mapping[str, Any]
    artifacts: Mapping[str, Any]
    results: dict[str, Result] = field(default_factory=dict)


def resolve(task: Any, component: Any, scope: Scope, run: Run) -> Any:
    """Return a task's ``ExecutorInput.Inputs``.

    Args:
        task: ``PipelineTaskSpec``.
        component: its ``ComponentSpec``, for types and defaults of parameters.
        scope: of the DAG that it stands in.
        run: the run.

    Raises:
        TaskError: an input isn't there, of another type, or of a kind that isn't understood here.
    """
    inputs = _proto.ExecutorInput.Inputs()
    definitions = component.input_definitions
    for name, source in task.inputs.parameters.items():
        value = _parameter(task, name, source, scope, run)
        if value is not None:
            inputs.parameter_values[name].CopyFrom(value)
    is_graph = component.WhichOneof("implementation") == "dag"
    for name, definition in definitions.parameters.items():
        if name in inputs.parameter_values or not definition.is_optional:
            check_parameter(name, definition, inputs.parameter_values)
        elif is_graph and run.backend.null_for_optional:
            inputs.parameter_values[name].CopyFrom(
                definition.default_value if definition.HasField("default_value") else _struct.Value(null_value=0)
            )
    for name, source in task.inputs.artifacts.items():
        kind = source.WhichOneof("kind")
        if kind == "task_output_artifact":
            reference = source.task_output_artifact
            found = scope.results[reference.producer_task].artifacts.get(reference.output_artifact_key)
            where = f"output {reference.output_artifact_key} of {reference.producer_task}"
        elif kind == "component_input_artifact":
            found = scope.artifacts.get(source.component_input_artifact)
            where = f"input {source.component_input_artifact} of the graph around it"
        else:
            raise TaskError(f"input artifact {name}: {kind} isn't emulated")
        if found is not None:
            inputs.artifacts[name].artifacts.add().CopyFrom(found)
        elif not (name in definitions.artifacts and definitions.artifacts[name].is_optional):
            raise TaskError(f"input artifact {name}: there is no {where}")
    return inputs


def _parameter(task: Any, name: str, source: Any, scope: Scope, run: Run) -> Any:
    if source.parameter_expression_selector:
        raise TaskError(f"input parameter {name}: selecting a part of a parameter isn't emulated")
    kind = source.WhichOneof("kind")
    if kind == "component_input_parameter":
        given = source.component_input_parameter
        if given not in scope.parameters:
            raise TaskError(f"input parameter {name}: the graph around it has no value of {given}")
        value = scope.parameters[given]
        return None if value.WhichOneof("kind") == "null_value" else value
    if kind == "task_output_parameter":
        reference = source.task_output_parameter
        value = scope.results[reference.producer_task].parameters.get(reference.output_parameter_key)
        if value is None:
            raise TaskError(
                f"input parameter {name}: {reference.producer_task} has no output {reference.output_parameter_key}"
            )
        return value
    if kind == "runtime_value":
        if source.runtime_value.WhichOneof("value") != "constant":
            raise TaskError(f"input parameter {name}: expected a constant")
        value = _struct.Value()
        value.CopyFrom(source.runtime_value.constant)
        if value.WhichOneof("kind") == "string_value":
            value.string_value = run.filled(value.string_value, task.task_info.name)
        return value
    if kind == "task_final_status":
        producer = source.task_final_status.producer_task
        result = scope.results[producer]
        status = {
            "state": result.state,
            "pipelineJobResourceName": run.run_id,
            "pipelineTaskName": producer,
            "error": {"message": result.error, "code": 9} if result.error else {},
        }
        return json_format.ParseDict(status, _struct.Value())
    raise TaskError(f"input parameter {name}: {kind} isn't emulated")


def predecessors(task: Any) -> set[str]:
    """Return the tasks that must have ended before a task starts."""
    names = set(task.dependent_tasks)
    for source in task.inputs.parameters.values():
        kind = source.WhichOneof("kind")
        if kind in ("task_output_parameter", "task_final_status"):
            names.add(getattr(source, kind).producer_task)
    for source in task.inputs.artifacts.values():
        if source.WhichOneof("kind") == "task_output_artifact":
            names.add(source.task_output_artifact.producer_task)
    return names


def outputs_of(dag: Any, results: Mapping[str, Result]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return parameters and artifacts that a DAG passes on from its tasks, without those of skipped tasks."""
    parameters, artifacts = {}, {}
    for name, output in dag.outputs.artifacts.items():
        for selector in output.artifact_selectors:
            result = results[selector.producer_subtask]
            if selector.output_artifact_key in result.artifacts:
                artifacts[name] = result.artifacts[selector.output_artifact_key]
    for name, output in dag.outputs.parameters.items():
        kind = output.WhichOneof("kind")
        selectors = [output.value_from_parameter] if kind == "value_from_parameter" else []
        if kind == "value_from_oneof":
            selectors = list(output.value_from_oneof.parameter_selectors)
        for selector in selectors:
            result = results[selector.producer_subtask]
            if selector.output_parameter_key in result.parameters:
                parameters[name] = result.parameters[selector.output_parameter_key]
    return parameters, artifacts

"""Run all tasks of a compiled pipeline, in the order of their dependencies."""

from __future__ import annotations

import concurrent.futures
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from noisy_gru.kubeflow.compiled_pipeline import CompiledPipeline, CompiledPipelineError
from noisy_gru.kubeflow.emulator.arguments import as_json, check_arguments
from noisy_gru.kubeflow.emulator.backends import DEFAULT_VERSION, Backend, backend
from noisy_gru.kubeflow.emulator.conditions import holds
from noisy_gru.kubeflow.emulator.dry_run_record import DryRunRecord, TaskRecord, TaskReporter
from noisy_gru.kubeflow.emulator.errors import TaskError
from noisy_gru.kubeflow.emulator.inputs import Result, Run, Scope, outputs_of, predecessors, resolve
from noisy_gru.kubeflow.emulator.launcher import launch, provision_outputs
from noisy_gru.kubeflow.emulator.ml_metadata import recorded
from noisy_gru.kubeflow.emulator.object_store import ObjectStore
from noisy_gru.kubeflow.emulator.pipeline_messages import PipelineMessages

# Generated code, of which type checkers see nothing.
_proto: Any = pipeline_spec_pb2


def emulate(
    file: Path,
    root: Path,
    parameters: Mapping[str, str] | None = None,
    *,
    version: str = DEFAULT_VERSION,
    jobs: int = 1,
    write_line: Callable[[str], None] = print,
    clock: Callable[[], float] = time.monotonic,
) -> DryRunRecord:
    """Run a compiled pipeline once.

    Args:
        file: as ``noisy-gru kubeflow compile``, or the kfp SDK, writes it.
        root: gets ``store/`` (artifacts, which later runs find again) and ``runs/<run id>/`` (each task's machine).
        parameters: of the pipeline, as text.
        version: the release of Kubeflow Pipelines.
        jobs: how many containers may run at once.
        write_line: writes a line of text.
        clock: seconds.

    Returns:
        The record, which is also in ``runs/<run id>/run.json``. A failed task is in it, not raised.

    Raises:
        CompiledPipelineError: the file or a parameter is refused, as the API server would.
    """
    release = backend(version)
    pipeline = CompiledPipeline.read(file)
    compiled = PipelineMessages.parse(pipeline)
    values = compiled.parameter_values(pipeline.arguments(parameters or {}))
    root = root.absolute()
    run_id = str(uuid.uuid4())
    shown = {name: json_format.MessageToDict(value) for name, value in sorted(values.items())}
    record = DryRunRecord(run_id, compiled.name, f"{compiled.root}/{compiled.name}/{run_id}", shown)
    folder = root / "runs" / run_id
    folder.mkdir(parents=True)
    write_line(f"{compiled.name}  run {run_id}  as on Kubeflow Pipelines {version}")
    reporter = TaskReporter(record, write_line)
    emulation = _Emulation(compiled, record, reporter, ObjectStore(root / "store"), folder, jobs, clock, release)
    emulation.note_differences()
    began = clock()
    record.status = "failed"
    try:
        if emulation.run(values) == "SUCCEEDED":
            record.status = "succeeded"
    finally:
        reporter.write(folder / "run.json")
    write_line(f"{record.status} in {clock() - began:.0f} s; record and logs: {folder}")
    return record


class _Emulation:
    def __init__(
        self,
        compiled: PipelineMessages,
        record: DryRunRecord,
        reporter: TaskReporter,
        store: ObjectStore,
        folder: Path,
        jobs: int,
        clock: Callable[[], float],
        release: Backend,
    ):
        self._compiled = compiled
        self._record = record
        self._reporter = reporter
        self._store = store
        self._folder = folder
        self._places = threading.BoundedSemaphore(jobs)
        self._clock = clock
        self._backend = release
        self._run = Run(record.run_id, compiled.name, f"dry run of {compiled.name}", release)
        self._ids = iter(range(1, 1_000_000))
        self._stopped = threading.Event()

    def note_differences(self) -> None:
        """Record what the platform spec requests and this machine doesn't provide."""
        pods = self._compiled.platform.values()
        mounts = sorted({mount["mountPath"] for pod in pods for mount in pod.get("pvcMount", [])})
        if mounts:
            self._reporter.note(
                f"no volumes here: {', '.join(mounts)} are this machine's own; name others as parameters"
            )
        secrets = sorted(
            {key["envVar"] for pod in pods for each in pod.get("secretAsEnv", []) for key in each["keyToEnv"]}
        )
        if secrets:
            self._reporter.note(f"no secrets here: {', '.join(secrets)} stay unset")

    def run(self, parameters: Mapping[str, Any]) -> str:
        """Run the root and return its state."""
        scope = Scope(parameters, {})
        check_arguments({"the root's --component": as_json(self._compiled.spec.root)})
        return self._dag(self._compiled.spec.root.dag, scope, "")

    def _dag(self, dag: Any, scope: Scope, prefix: str) -> str:
        """Run the tasks of a graph into ``scope.results``."""
        waiting = dict(dag.tasks.items())
        for name, task in waiting.items():
            if unknown := predecessors(task) - set(dag.tasks):
                raise CompiledPipelineError(
                    f"task {name} depends on {', '.join(sorted(unknown))}, which the pipeline doesn't have"
                )
        running: dict[concurrent.futures.Future[Result], str] = {}
        with concurrent.futures.ThreadPoolExecutor(max_workers=max(len(waiting), 1)) as pool:
            try:
                while waiting or running:
                    ready = [name for name in sorted(waiting) if predecessors(waiting[name]) <= set(scope.results)]
                    for name in ready:
                        task = waiting.pop(name)
                        if (idle := self._not_to_start(task, scope)) is not None:
                            scope.results[name] = Result(idle)
                            self._reporter.ended(TaskRecord(prefix + name, idle))
                        else:
                            running[pool.submit(self._task, name, task, scope, prefix)] = name
                    if ready and not running:
                        continue
                    if not running:
                        raise CompiledPipelineError(f"tasks wait for each other: {', '.join(sorted(waiting))}")
                    done, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
                    for future in done:
                        scope.results[running.pop(future)] = future.result()
            except BaseException:
                self._stopped.set()
                raise
        states = {result.state for result in scope.results.values()}
        return "FAILED" if "FAILED" in states else "SUCCEEDED"

    def _not_to_start(self, task: Any, scope: Scope) -> str | None:
        """Return why a task isn't started; None if it is."""
        if task.trigger_policy.strategy == _proto.PipelineTaskSpec.TriggerPolicy.ALL_UPSTREAM_TASKS_COMPLETED:
            return None
        states = {scope.results[name].state for name in predecessors(task)}
        if states & {"FAILED", "NOT_STARTED"}:
            return "NOT_STARTED"
        return "SKIPPED" if "SKIPPED" in states else None

    def _task(self, name: str, task: Any, scope: Scope, prefix: str) -> Result:
        began = self._clock()
        path = prefix + name
        try:
            component = self._compiled.spec.components[task.component_ref.name]
            if task.WhichOneof("iterator"):
                raise TaskError("loops aren't emulated")
            check_arguments({"--component": as_json(component), "--task": as_json(task)})
            executor_input = _proto.ExecutorInput(inputs=resolve(task, component, scope, self._run))
            condition = task.trigger_policy.condition
            if condition and not holds(condition, _for_condition(executor_input)):
                self._reporter.ended(TaskRecord(path, "SKIPPED"))
                return Result("SKIPPED")
            if component.WhichOneof("implementation") == "dag":
                # metadata/client.go, 2.15.0:1006: what a graph was given has no type for the tasks in it.
                for artifact_list in executor_input.inputs.artifacts.values():
                    for artifact in artifact_list.artifacts:
                        artifact.ClearField("type")
                inner = Scope(dict(executor_input.inputs.parameter_values), _single(executor_input.inputs.artifacts))
                state = self._dag(component.dag, inner, f"{path}/")
                errors = [result.error for result in inner.results.values() if result.error]
                return Result(state, *outputs_of(component.dag, inner.results), error="; ".join(errors))
            executor = self._compiled.executors[component.executor_label]
            kind = executor.WhichOneof("spec")
            if kind == "importer":
                result = Result("SUCCEEDED", artifacts=self._import(executor.importer, component, executor_input))
                self._report(path, result, began, tries=0, pod=None)
                return result
            if kind != "container":
                raise TaskError(f"{kind or 'an empty executor'}: Kubeflow Pipelines doesn't implement it yet")
            check_arguments({"--container": as_json(executor.container)})
        except (TaskError, KeyError) as error:
            result = Result("FAILED", error=str(error))
            self._report(path, result, began, tries=0, pod=None)
            return result
        with self._places:
            return self._container(path, task, component, executor.container, executor_input)

    def _container(self, path: str, task: Any, component: Any, container: Any, executor_input: Any) -> Result:
        began = self._clock()
        executor_input.outputs.CopyFrom(
            provision_outputs(
                self._record.root, task.task_info.name or path, component.output_definitions, self._backend
            )
        )
        result, pod, tries = Result("FAILED", error="was interrupted"), None, 0
        while tries <= task.retry_policy.max_retry_count and not self._stopped.is_set():
            tries += 1
            pod = self._folder / path / f"try-{tries}"
            try:
                outputs = launch(
                    container, component, executor_input, self._store, pod, self._stopped, self._backend, attempt=tries
                )
                artifacts = {
                    name: recorded(artifact, name, next(self._ids), self._backend)
                    for name, artifact in outputs.artifacts.items()
                }
            except TaskError as error:
                result = Result("FAILED", error=str(error))
                continue
            result = Result("SUCCEEDED", outputs.parameters, artifacts)
            break
        self._report(path, result, began, tries=tries, pod=pod)
        return result

    def _import(self, spec: Any, component: Any, executor_input: Any) -> dict[str, Any]:
        uri = spec.artifact_uri.constant.string_value
        if spec.artifact_uri.WhichOneof("value") == "runtime_parameter":
            uri = executor_input.inputs.parameter_values[spec.artifact_uri.runtime_parameter].string_value
        if "://" not in uri:
            raise TaskError(f"the importer needs a URI with a scheme. Received: {uri!r}")
        (name,) = component.output_definitions.artifacts
        artifact = _proto.RuntimeArtifact(uri=uri, type=spec.type_schema, metadata=spec.metadata)
        return {name: recorded(artifact, name, next(self._ids), self._backend, imported=True)}

    def _report(self, path: str, result: Result, began: float, *, tries: int, pod: Path | None) -> None:
        self._reporter.ended(
            TaskRecord(
                name=path,
                state=result.state,
                seconds=round(self._clock() - began, 3),
                tries=tries,
                parameters={name: json_format.MessageToDict(value) for name, value in result.parameters.items()},
                artifacts={
                    name: {"uri": artifact.uri, "metadata": json_format.MessageToDict(artifact.metadata)}
                    for name, artifact in result.artifacts.items()
                },
                folder=str(pod) if pod else None,
                error=result.error,
            )
        )


def _single(artifacts: Any) -> dict[str, Any]:
    return {name: artifact_list.artifacts[0] for name, artifact_list in artifacts.items()}


def _for_condition(executor_input: Any) -> dict[str, Any]:
    inputs = json_format.MessageToDict(executor_input.inputs, preserving_proto_field_name=True)
    return {"parameter_values": {}, "artifacts": {}, **inputs}

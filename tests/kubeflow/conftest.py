"""Pipelines and single steps, run as Kubeflow Pipelines' launcher runs them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kfp.pipeline_spec import pipeline_spec_pb2

from noisy_gru.kubeflow.emulator.dry_run_record import DryRunRecord
from noisy_gru.kubeflow.emulator.running import emulate
from tests.kubeflow.cluster.cluster_calls import SPEC, write
from tests.kubeflow.cluster.kfp_api import KfpApi

# Generated code, of which type checkers see nothing.
proto: Any = pipeline_spec_pb2


@pytest.fixture
def dry_run(tmp_path: Path) -> Callable[..., DryRunRecord]:
    """``dry_run(pipeline, name="value", …)`` compiles a pipeline function with the kfp SDK and runs the file."""
    from kfp import compiler

    def _run(pipeline: Any, *, jobs: int = 1, **parameters: str) -> DryRunRecord:
        file = pipeline
        if not isinstance(pipeline, Path):
            file = tmp_path / "pipeline.yaml"
            compiler.Compiler().compile(pipeline, str(file))
        lines: list[str] = []
        record = emulate(file, tmp_path / "root", parameters, jobs=jobs, write_line=lines.append)
        assert lines
        return record

    return _run


@dataclass(frozen=True)
class Answer:
    """What a step answered: its exit code, its outputs' ``uri`` and ``metadata`` by name, and where its files are."""

    code: int
    outputs: dict[str, dict[str, Any]]
    pod: Path

    def folder(self, name: str) -> Path:
        """Where the launcher looks for an output."""
        return self.pod / self.outputs[name]["uri"].replace("://", "/")


@pytest.fixture
def run_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """``run_here(node, before=[importer], version="2.15")`` compiles a graph and runs a step of it in this process.

    Inputs are imported from s3://bucket/<name>. As the launcher would, but for a process of its own, which takes 10 s.
    """
    from tfx.orchestration.pipeline import Pipeline

    from noisy_gru.kubeflow import entrypoint
    from noisy_gru.kubeflow.compiled_pipeline import CompiledPipeline
    from noisy_gru.kubeflow.compiler.compile import compile_graph
    from noisy_gru.kubeflow.emulator.arguments import command_line
    from noisy_gru.kubeflow.emulator.backends import backend
    from noisy_gru.kubeflow.emulator.inputs import Result, Run, Scope, resolve
    from noisy_gru.kubeflow.emulator.launcher import in_pod, provision_outputs
    from noisy_gru.kubeflow.emulator.ml_metadata import recorded
    from noisy_gru.kubeflow.emulator.pipeline_messages import PipelineMessages
    from noisy_gru.kubeflow.step import configuration
    from noisy_gru.kubeflow.step.artifact_paths import PREFIX_VARIABLE
    from noisy_gru.pipeline.config.kubeflow_config import KubeflowConfig

    def _run(
        node: Any,
        *,
        before: Sequence[Any] = (),
        metadata: Mapping[str, dict[str, Any]] | None = None,
        parameters: Mapping[str, str] | None = None,
        pod: str = "pod",
        version: str = "2.15",
    ) -> Answer:
        graph = Pipeline(pipeline_name="tiny", pipeline_root="", components=[*before, node])
        file = tmp_path / "step.yaml"
        file.write_text(compile_graph(graph, KubeflowConfig(), image="none"))
        pipeline, release = CompiledPipeline.read(file), backend(version)
        compiled = PipelineMessages.parse(pipeline)
        root = tmp_path / pod
        monkeypatch.setenv(PREFIX_VARIABLE, str(root))
        scope = Scope(compiled.parameter_values(pipeline.arguments(parameters or {})), {})

        def arguments(name: str) -> tuple[list[str], Any]:
            task, component = compiled.spec.root.dag.tasks[name], compiled.spec.components[name]
            executor_input = proto.ExecutorInput(
                inputs=resolve(task, component, scope, Run("run-1", "tiny", "a run", release))
            )
            executor_input.outputs.CopyFrom(
                provision_outputs("s3://bucket/root", name, component.output_definitions, release)
            )
            container = compiled.executors[component.executor_label].container
            executor_input = in_pod(executor_input, root, release)
            return command_line(container, executor_input, root, release)[len(container.command) :], executor_input

        for number, importer in enumerate(before, start=1):
            spec = compiled.executors[f"{importer.id}_executor"].importer
            artifact = proto.RuntimeArtifact(uri=spec.artifact_uri.constant.string_value, type=spec.type_schema)
            artifact.metadata.update((metadata or {}).get(importer.id, {}))
            scope.results[importer.id] = Result(
                "SUCCEEDED", artifacts={"result": recorded(artifact, "result", number, release, imported=True)}
            )
        if configuration.TASK in compiled.spec.components:
            words, executor_input = arguments(configuration.TASK)
            assert configuration.main(words) == 0
            (artifact,) = executor_input.outputs.artifacts["files"].artifacts
            scope.results[configuration.TASK] = Result(
                "SUCCEEDED", artifacts={"files": recorded(artifact, "files", 99, release)}
            )
        words, executor_input = arguments(node.id)
        code = entrypoint.main(words)
        outputs = {}
        if (file := Path(executor_input.outputs.output_file)).exists():
            lines = json.loads(file.read_text())["artifacts"]
            outputs = {name: value["artifacts"][0] for name, value in lines.items()}
        return Answer(code, outputs, root)

    return _run


@pytest.fixture
def api() -> Iterator[KfpApi]:
    """A fake of the Kubeflow Pipelines API that records what it is sent."""
    with KfpApi() as server:
        yield server


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    """A compiled pipeline of no steps, with parameters."""
    return write(tmp_path, SPEC)


@pytest.fixture
def away_from_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """kfp reads settings of its own; those of the person who runs this are not to be seen."""
    import kfp.client

    monkeypatch.setattr(kfp.client.Client, "_LOCAL_KFP_CONTEXT", str(tmp_path / "no" / "context.json"))
    for name in [*os.environ]:
        if name.startswith(("NOISY_GRU_KFP_", "KF_PIPELINES_")):
            monkeypatch.delenv(name)

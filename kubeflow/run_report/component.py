"""The last step on Kubeflow: the report of the run, as a page that Kubeflow shows.

A local run writes its report beside its record; a run on Kubeflow has no record, so its report is made of the steps'
artifacts. The step has no outputs of its own: ``step_pages.py`` makes what the page of the run shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from noisy_gru.components.artifacts import IngestionReportArtifact
from noisy_gru.components.retrain_planner.component import RetrainPlanArtifact
from noisy_gru.components.serving_gate.component import ServingReport
from noisy_gru.kubeflow.run_report import executor
from noisy_gru.kubeflow.run_report.inputs import SOURCES
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig

_TYPES: dict[str, Any] = {
    "plan": RetrainPlanArtifact,
    "ingestion_report": IngestionReportArtifact,
    "examples": standard_artifacts.Examples,
    "statistics": standard_artifacts.ExampleStatistics,
    "tuner_results": standard_artifacts.TunerResults,
    "base_model": standard_artifacts.Model,
    "model": standard_artifacts.Model,
    "model_run": standard_artifacts.ModelRun,
    "published_model": standard_artifacts.Model,
    "evaluation": standard_artifacts.ModelEvaluation,
    "reference": standard_artifacts.ModelBlessing,
    "serving_report": ServingReport,
    "pushed_model": standard_artifacts.PushedModel,
}


class RunReportSpec(types.ComponentSpec):
    """Inputs and properties of `RunReport`."""

    PARAMETERS = {executor.CONFIG: ExecutionParameter(type=str)}  # noqa: RUF012
    INPUTS = {name: ChannelParameter(type=each, optional=True) for name, each in _TYPES.items()}  # noqa: RUF012
    OUTPUTS = {}  # noqa: RUF012


class RunReport(base_component.BaseComponent):
    """Show the report of a run, as `noisy-gru report` does for one of this machine.

    Args:
        config: of the pipeline. With ``report: {examples: false}`` the step doesn't get the examples.
        steps: by their ids; of those in ``SOURCES`` the outputs become inputs.
    """

    SPEC_CLASS = RunReportSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, config: PipelineConfig, steps: Mapping[str, Any]) -> None:
        channels = {
            name: steps[step].outputs[output]
            for name, (step, output) in SOURCES.items()
            if step in steps and (name != "examples" or config.report.examples)
        }
        super().__init__(RunReportSpec(config=config.model_dump_json(by_alias=True), **channels))

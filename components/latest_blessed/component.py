"""The step that finds the published model that a new one is compared with."""

from __future__ import annotations

from pathlib import Path

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from noisy_gru.components.latest_blessed import executor


class LatestBlessedSpec(types.ComponentSpec):
    """Input, output and properties of `LatestBlessed`."""

    PARAMETERS = {  # noqa: RUF012
        executor.SERVING_DIR: ExecutionParameter(type=str),
        executor.MODEL_NAME: ExecutionParameter(type=str),
        executor.LATEST: ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {executor.CANDIDATE: ChannelParameter(type=standard_artifacts.Model)}  # noqa: RUF012
    OUTPUTS = {executor.MODEL: ChannelParameter(type=standard_artifacts.Model)}  # noqa: RUF012


class LatestBlessed(base_component.BaseComponent):
    """Find the newest version in ``<serving_dir>/<model_name>``: it was published, so both blessings let it pass.

    If that is the candidate itself, it finds what this was compared with before it was published: a run with nothing
    new needs no evaluation. Its output `model` is a copy of the model found. On a first run the artifact is there with
    the property `present` 0 and holds nothing; `build_evaluator` takes that as having no baseline.

    Args:
        candidate: the new model.
        serving_dir: folder that holds a folder for each model; or the runtime parameter that names it.
        model_name: the model's folder.
    """

    SPEC_CLASS = LatestBlessedSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)
    DRIVER_CLASS = executor.Driver

    def __init__(
        self, candidate: types.BaseChannel, serving_dir: str | Path | RuntimeParameter, model_name: str
    ) -> None:
        super().__init__(
            LatestBlessedSpec(
                candidate=candidate,
                serving_dir=serving_dir if isinstance(serving_dir, RuntimeParameter) else str(serving_dir),
                model_name=model_name,
                model=types.Channel(type=standard_artifacts.Model),
            )
        )

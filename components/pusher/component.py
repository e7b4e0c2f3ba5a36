"""The step that publishes a blessed model for TF Serving."""

from __future__ import annotations

from pathlib import Path

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from noisy_gru.components.pusher import driver, executor


class PusherSpec(types.ComponentSpec):
    """Inputs, outputs and properties of `Pusher`."""

    PARAMETERS = {  # noqa: RUF012
        executor.SERVING_DIR: ExecutionParameter(type=str),
        executor.MODEL_NAME: ExecutionParameter(type=str),
        executor.NONCE: ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {  # noqa: RUF012
        executor.MODEL: ChannelParameter(type=standard_artifacts.Model),
        executor.MODEL_BLESSING: ChannelParameter(type=standard_artifacts.ModelBlessing, optional=True),
        executor.INFRA_BLESSING: ChannelParameter(type=standard_artifacts.InfraBlessing, optional=True),
    }
    OUTPUTS = {executor.PUSHED_MODEL: ChannelParameter(type=standard_artifacts.PushedModel)}  # noqa: RUF012


class Pusher(base_component.BaseComponent):
    """Publishes ``<serving_dir>/<model_name>/<version>`` if no blessing speaks against it.

    Args:
        model: channel of Model.
        serving_dir: folder that holds a folder for each model; a path, not an object store's URI.
        model_name: the model's folder, and its name in TF Serving.
        model_blessing: the Evaluator's; a model without it is not asked for it.
        infra_blessing: the ServingGate's; likewise.
    """

    SPEC_CLASS = PusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)
    DRIVER_CLASS = driver.Driver

    def __init__(
        self,
        model: types.BaseChannel,
        serving_dir: str | Path,
        model_name: str,
        model_blessing: types.BaseChannel | None = None,
        infra_blessing: types.BaseChannel | None = None,
    ) -> None:
        super().__init__(
            PusherSpec(
                model=model,
                model_blessing=model_blessing,
                infra_blessing=infra_blessing,
                serving_dir=str(serving_dir),
                model_name=model_name,
                pushed_model=types.Channel(type=standard_artifacts.PushedModel),
            )
        )

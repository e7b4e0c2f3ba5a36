"""The step that checks that TF Serving can serve the trained model."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from noisy_gru.components.serving_gate import executor
from noisy_gru.registry.config import BudgetsConfig
from noisy_gru.schema.config import DatasetConfig


class ServingReport(types.Artifact):
    """``report.json`` for programs and ``report.txt`` for people: every check of the ServingGate and its outcome."""

    TYPE_NAME = "noisy_gru.ServingReport"


class ServingGateSpec(types.ComponentSpec):
    """Inputs, outputs and properties of `ServingGate`."""

    PARAMETERS = {  # noqa: RUF012
        executor.DATASET: ExecutionParameter(type=str),
        executor.BUDGETS: ExecutionParameter(type=str),
        executor.SERVING_STEP: ExecutionParameter(type=int),
        executor.MODEL_NAME: ExecutionParameter(type=str),
        executor.FINGERPRINT: ExecutionParameter(type=str),
        executor.EXPLAIN_SECONDS: ExecutionParameter(type=float, optional=True),
    }
    INPUTS = {  # noqa: RUF012
        executor.MODEL: ChannelParameter(type=standard_artifacts.Model),
        executor.EXAMPLES: ChannelParameter(type=standard_artifacts.Examples),
        executor.TRANSFORM_GRAPH: ChannelParameter(type=standard_artifacts.TransformGraph),
    }
    OUTPUTS = {  # noqa: RUF012
        executor.BLESSING: ChannelParameter(type=standard_artifacts.InfraBlessing),
        executor.REPORT: ChannelParameter(type=ServingReport),
    }


class ServingGate(base_component.BaseComponent):
    """Bless a model that TF Serving can load and whose outputs there equal Keras'.

    A blessed model's `blessing` holds a copy of it with warm-up requests, which the Pusher publishes. A refused model
    doesn't fail the run: `blessing` is negative, `report` says why, and the Pusher publishes nothing.

    Args:
        model: channel of Model, with ``Format-Serving`` and ``Format-Keras``.
        examples: raw examples, with the split `test`.
        transform_graph: Transform's, to answer with Keras.
        dataset: of the model, or its JSON.
        budgets: what the model may cost, or its JSON; by default nothing is refused for its cost.
        serving_step: whether the model should have the signature of that name.
        model_name: what TF Serving calls the model; it stands in the warm-up requests.
        fingerprint: of the source, part of TFX's cache key: another gate judges anew.
        explain_seconds: that the importance of features and time steps may take; 0: it isn't measured.
    """

    SPEC_CLASS = ServingGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        examples: types.BaseChannel,
        transform_graph: types.BaseChannel,
        dataset: DatasetConfig | str,
        budgets: BudgetsConfig | str | None = None,
        serving_step: bool = False,
        model_name: str = "model",
        fingerprint: str = "",
        explain_seconds: float = 0.0,
    ) -> None:
        budgets = budgets if budgets is not None else BudgetsConfig()
        super().__init__(
            ServingGateSpec(
                model=model,
                examples=examples,
                transform_graph=transform_graph,
                dataset=dataset if isinstance(dataset, str) else dataset.model_dump_json(),
                budgets=budgets if isinstance(budgets, str) else budgets.model_dump_json(),
                serving_step=int(serving_step),
                model_name=model_name,
                fingerprint=fingerprint,
                explain_seconds=float(explain_seconds),
                blessing=types.Channel(type=standard_artifacts.InfraBlessing),
                report=types.Channel(type=ServingReport),
            )
        )

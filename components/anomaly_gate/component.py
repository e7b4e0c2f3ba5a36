"""The step that stops a run whose data violates the schema."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter

from noisy_gru.components.anomaly_gate import executor


class AnomalyReport(types.Artifact):
    """``report.txt``: that there were no anomalies. It is there only if the gate let the run pass."""

    TYPE_NAME = "noisy_gru.AnomalyReport"


class AnomalyGateSpec(types.ComponentSpec):
    """Inputs and outputs of `AnomalyGate`."""

    PARAMETERS = {}  # noqa: RUF012
    INPUTS = {executor.ANOMALIES: ChannelParameter(type=standard_artifacts.ExampleAnomalies)}  # noqa: RUF012
    OUTPUTS = {executor.REPORT: ChannelParameter(type=AnomalyReport)}  # noqa: RUF012


class AnomalyGate(base_component.BaseComponent):
    """Stop the run if ExampleValidator found anomalies in any split.

    Steps that must not run then name it: ``transform.add_upstream_node(gate)``.

    Args:
        anomalies: channel of ExampleAnomalies.
    """

    SPEC_CLASS = AnomalyGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, anomalies: types.BaseChannel) -> None:
        super().__init__(AnomalyGateSpec(anomalies=anomalies, report=types.Channel(type=AnomalyReport)))

"""TFX's StatisticsGen and Transform on ingestion's examples, whether windows or the series that they are cut from."""

from __future__ import annotations

from typing import Any

from tfx import components
from tfx.components.statistics_gen import executor as statistics_gen
from tfx.components.transform import executor as transform
from tfx.dsl.components.base import executor_spec

from noisy_gru.components.window_reading.source import windows_of


class StatisticsExecutor(statistics_gen.Executor):
    """TFX's executor."""

    def Do(self, input_dict: dict[str, Any], output_dict: dict[str, Any], exec_properties: dict[str, Any]) -> None:
        """Count the windows; see TFX."""
        with windows_of(input_dict) as inputs:
            super().Do(inputs, output_dict, exec_properties)


class TransformExecutor(transform.Executor):
    """TFX's executor."""

    def Do(self, input_dict: dict[str, Any], output_dict: dict[str, Any], exec_properties: dict[str, Any]) -> None:
        """Analyse and transform the windows; see TFX."""
        with windows_of(input_dict) as inputs:
            super().Do(inputs, output_dict, exec_properties)


class StatisticsGen(components.StatisticsGen):
    """TFX's step."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(StatisticsExecutor)


class Transform(components.Transform):
    """TFX's step."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(TransformExecutor)

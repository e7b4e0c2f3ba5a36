"""The part of the configuration that says what a model must reach to be blessed."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from noisy_gru.schema.config import Section


class ThresholdConfig(Section):
    """Bounds of one metric on the test split."""

    min: float | None = Field(default=None, allow_inf_nan=False, description="Smallest value that passes.")
    max: float | None = Field(default=None, allow_inf_nan=False, description="Largest value that passes.")

    @model_validator(mode="after")
    def _bounded(self) -> ThresholdConfig:
        if self.min is None and self.max is None:
            raise ValueError("a threshold needs min, max or both")
        return self


class ComparisonConfig(Section):
    """Comparison with the latest blessed model, on the same test split."""

    metric: str = Field(default="auto", description="Metric compared; `auto` is accuracy, or mae.")
    max_regression: float = Field(
        default=0.0, ge=0, description="How much worse than the blessed model a new one may be, in the metric's unit."
    )


class EvaluationConfig(Section):
    """What the Evaluator measures and asks for."""

    slices: list[list[str]] = Field(
        default_factory=list, description="Columns to slice by, for example [[origin], [origin, season]]."
    )
    thresholds: dict[str, ThresholdConfig] = Field(
        default_factory=dict, description="Metric name to bounds, for example accuracy: {min: 0.95}."
    )
    comparison: ComparisonConfig | None = Field(
        default_factory=lambda: ComparisonConfig(), description="null: the latest blessed model is not compared with."
    )
    baselines: Literal["require", "report"] = Field(
        default="require", description="Whether a model must beat the naive baselines, or these are only reported."
    )

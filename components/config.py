"""The parts of the configuration that say what a model must reach to be blessed, and what publishing it writes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from noisy_gru.schema.config import Section
from noisy_gru.schema.span_patterns import holds_spans


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
    min_improvement: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="A new model must be better by more than this; 0: by anything. null: as good is enough.",
    )
    max_slice_regression: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="How much worse it may be in any slice of `evaluation.slices`. null: slices are not compared.",
    )

    @model_validator(mode="after")
    def _one_way(self) -> ComparisonConfig:
        if self.min_improvement is not None and self.max_regression:
            raise ValueError("a model that may be worse (max_regression) can't have to be better (min_improvement)")
        return self


class ReferenceConfig(Section):
    """A fixed set that is never trained on: a new model may not do worse on it than the published one."""

    files: list[str] = Field(
        min_length=1,
        description="Paths and patterns, relative to the configuration file, of files like those of `data.files`; "
        "without `{SPAN}`. No file of them may be trained on.",
    )
    margin: float = Field(
        default=0.1,
        ge=0,
        allow_inf_nan=False,
        description="How much worse a new model may be: in accuracy, or as a part of the published model's MAE. A "
        "paired bootstrap has to show that it isn't worse by more.",
    )
    confidence: float = Field(default=0.95, ge=0.5, lt=1, description="Of that bound, one-sided.")

    @field_validator("files")
    @classmethod
    def _no_spans(cls, files: list[str]) -> list[str]:
        for pattern in files:
            if holds_spans([pattern]):
                raise ValueError(f"expected files that stay the same, without a span or a date. Received: {pattern!r}")
        return files


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
    reference: ReferenceConfig | None = Field(
        default=None, description="A fixed set that every model is compared on, too. null: there is none."
    )
    baselines: Literal["require", "report"] = Field(
        default="require", description="Whether a model must beat the naive baselines, or these are only reported."
    )

    @model_validator(mode="after")
    def _slices_to_compare(self) -> EvaluationConfig:
        if self.comparison is not None and self.comparison.max_slice_regression is not None and not self.slices:
            raise ValueError("comparison.max_slice_regression needs slices, for example slices: [[origin]]")
        return self


class BudgetsConfig(Section):
    """What a served model may cost. A budget that is null is measured and reported, but refuses nothing."""

    single_p50_ms: float | None = Field(
        default=None, gt=0, description="Median latency of one sequence in a Session, in milliseconds."
    )
    single_p99_ms: float | None = Field(default=None, gt=0, description="99th percentile of the same.")
    batch_p50_ms: float | None = Field(default=None, gt=0, description="Median latency of a batch of `batch_size`.")
    batch_p99_ms: float | None = Field(default=None, gt=0, description="99th percentile of the same.")
    memory_mb: float | None = Field(
        default=None, gt=0, description="What loading the model and asking it adds to a process's memory, in MB (10^6)."
    )
    batch_size: int = Field(default=32, ge=2, le=4096, description="Sequences in the batch that is measured.")
    requests: int = Field(default=100, ge=10, le=10000, description="Calls that each latency is measured on.")

    @property
    def any(self) -> bool:
        """Whether a budget is set."""
        limits = (self.single_p50_ms, self.single_p99_ms, self.batch_p50_ms, self.batch_p99_ms, self.memory_mb)
        return any(limit is not None for limit in limits)


class VersionsConfig(Section):
    """Which published versions stay, and which of them the labels `stable` and `canary` mean."""

    keep: int | None = Field(
        default=5,
        ge=1,
        description="Newest versions kept on disk; older ones are removed after a push, but never the one labelled "
        "`stable`. null keeps all.",
    )
    rollout: Literal["direct", "canary"] = Field(
        default="direct",
        description="`direct`: a new version is stable at once. `canary`: it gets the label `canary`, and `stable` "
        "stays where it is until `noisy-gru runs promote`.",
    )


class BatchingConfig(Section):
    """How TF Serving puts requests together (`batching.config`), once it is started with batching."""

    max_batch_size: int = Field(default=256, ge=1, description="Most sequences in one batch.")
    batch_timeout_micros: int = Field(
        default=1000, ge=0, description="How long a request waits for others, in microseconds."
    )
    max_enqueued_batches: int = Field(
        default=100, ge=1, description="Batches that may wait; a request beyond them is refused as UNAVAILABLE."
    )
    num_batch_threads: int = Field(
        default=4, ge=1, description="Batches that run side by side: about one for each core."
    )


class PublishingConfig(Section):
    """What the Pusher is told: versions and batching."""

    versions: VersionsConfig = Field(default_factory=lambda: VersionsConfig())
    batching: BatchingConfig = Field(default_factory=lambda: BatchingConfig())

"""Configuration of published versions: budgets, versions to keep, rollout and batching."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from noisy_gru.schema.config import Section


class BudgetsConfig(Section):
    """Limits on latency and memory of a served model. What has no limit (null) is measured and reported."""

    single_p50_ms: float | None = Field(
        default=None, gt=0, description="Median latency of one sequence in a Session, in milliseconds."
    )
    single_p99_ms: float | None = Field(default=None, gt=0, description="99th percentile of the same.")
    batch_p50_ms: float | None = Field(default=None, gt=0, description="Median latency of a batch of `batch_size`.")
    batch_p99_ms: float | None = Field(default=None, gt=0, description="99th percentile of the same.")
    memory_mb: float | None = Field(
        default=None, gt=0, description="Memory that loading and running the model adds to a process, in MB (10^6)."
    )
    batch_size: int = Field(default=32, ge=2, le=4096, description="Sequences in the batch that is measured.")
    requests: int = Field(default=100, ge=10, le=10000, description="Calls that each latency is measured on.")

    @property
    def any(self) -> bool:
        """Whether a budget is set."""
        limits = (self.single_p50_ms, self.single_p99_ms, self.batch_p50_ms, self.batch_p99_ms, self.memory_mb)
        return any(limit is not None for limit in limits)


class VersionsConfig(Section):
    """How many published versions are kept, and how a new one gets the labels `stable` and `canary`."""

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
    """TF Serving's batching of requests (`batching.config`), where it is started with batching."""

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
    """Settings of the Pusher: versions, batching and mirror."""

    versions: VersionsConfig = Field(default_factory=lambda: VersionsConfig())
    batching: BatchingConfig = Field(default_factory=lambda: BatchingConfig())
    mirror: str | None = None

"""The `serving` section of the configuration."""

from __future__ import annotations

from pydantic import Field, model_validator

from noisy_gru.registry.config import BatchingConfig, BudgetsConfig, PublishingConfig, VersionsConfig
from noisy_gru.schema.config import Section


class ServingConfig(Section):
    """Name, budgets, versions and batching of a published model."""

    model_name: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_-]+$",
        description="Folder under serving/, and TF Serving's name; default: `name`.",
    )
    budgets: BudgetsConfig = Field(default_factory=lambda: BudgetsConfig(), description="See `budgets`.")
    versions: VersionsConfig = Field(default_factory=lambda: VersionsConfig(), description="See `versions`.")
    batching: BatchingConfig = Field(default_factory=lambda: BatchingConfig(), description="See `batching`.")
    mirror: str | None = Field(
        default=None,
        pattern=r"^(s3|gs)://[^/\s*?\[{]+/[^\s*?\[{]*[^/\s*?\[{]$",
        description="Folder on s3:// or gs:// that published versions are copied to, for servers that load from there; "
        "null: none (docs/object-stores.md).",
    )

    @model_validator(mode="after")
    def _warm_up_fits(self) -> ServingConfig:
        if self.budgets.batch_size > self.batching.max_batch_size:
            raise ValueError(
                f"budgets.batch_size ({self.budgets.batch_size}) is larger than batching.max_batch_size "
                f"({self.batching.max_batch_size}): a server that batches would refuse the warm-up request of that "
                "size, and with it the version"
            )
        return self

    @property
    def publishing(self) -> PublishingConfig:
        """The part of the section that the Pusher reads."""
        return PublishingConfig(versions=self.versions, batching=self.batching, mirror=self.mirror)

"""The part of the configuration that says how a model is served."""

from __future__ import annotations

from pydantic import Field

from noisy_gru.schema.config import Section


class ServingConfig(Section):
    """What a published model is called."""

    model_name: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_-]+$",
        description="Folder under serving/, and TF Serving's name; default: `name`.",
    )

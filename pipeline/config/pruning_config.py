"""The part of the configuration that says how long what old runs left is kept."""

from __future__ import annotations

from pydantic import Field

from noisy_gru.schema.config import Section


class KeepConfig(Section):
    """Which runs keep their artifacts and logs; records are kept for ever, and so is what a published version needs.

    A run that either rule keeps is kept; with both null, all are.
    """

    runs: int | None = Field(default=30, ge=1, description="The newest runs, as many.")
    days: float | None = Field(default=None, gt=0, description="The runs that began within as many days.")

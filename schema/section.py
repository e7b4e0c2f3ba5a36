"""The base class of all configuration sections."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section of the configuration: immutable, and refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

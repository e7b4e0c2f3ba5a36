"""What can be wrong with a compiled pipeline, its parameters, or a task of it."""

from __future__ import annotations

from noisy_gru.schema.errors import ConfigError, UserError


class CompiledPipelineError(ConfigError):
    """A file or a parameter that the backend would refuse."""


class TaskError(UserError):
    """A task that can't be run, or that ended badly."""

"""The error of a task of a dry run."""

from __future__ import annotations

from noisy_gru.schema.errors import UserError


class TaskError(UserError):
    """A task that the backend can't run, or that failed."""

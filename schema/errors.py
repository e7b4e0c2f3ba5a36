"""Errors that a user can fix; the command line prints them without a traceback."""

from __future__ import annotations


class UserError(Exception):
    """An error that a user can fix. The message names what was expected, what was received and the remedy."""


class ConfigError(UserError):
    """A value of the configuration that is invalid."""


class DataError(UserError):
    """Data that can't be used: the message names file, row and column, the expected and received value, the remedy."""


class AnomalyError(DataError):
    """Data that violates the schema."""


class ModelError(UserError):
    """An exported model that can't be loaded, or a prediction request that it refuses."""


class PublishError(UserError):
    """A model that can't be published, or a serving directory that is damaged."""


class WorkerLostError(UserError):
    """A training on several machines of which one went away: start all of them again, and they resume."""


class BusyError(UserError):
    """A resource that another process holds exclusively: try again later."""

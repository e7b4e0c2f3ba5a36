"""What can go wrong because of a user's data or configuration; the command line prints these without a traceback."""

from __future__ import annotations


class UserError(Exception):
    """Something a user can put right. The message says what was expected, what was received and what to do."""


class ConfigError(UserError):
    """A value of the configuration that can't be used."""


class DataError(UserError):
    """Data that can't be used: the message names file, row and column, the expected and received value, the remedy."""


class AnomalyError(DataError):
    """Data that isn't as the schema says."""


class ModelError(UserError):
    """An exported model that can't be loaded or asked."""


class PublishError(UserError):
    """A model that can't be published, or a serving directory that isn't as publishing left it."""


class BusyError(UserError):
    """Something that only one process may use, and another one does: try again later."""

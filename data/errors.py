"""The one exception of ingestion that is the data's fault, so that a command line can print it as it is."""

from __future__ import annotations

from noisy_gru.schema import errors


class DataError(errors.DataError, ValueError):
    """The data can't be used. The message names file, row and column, what was expected, received, and what to do."""

"""The data contract: which columns, task, windows and splits a data set has, and its curated schema.

    from noisy_gru.schema import ConfigError, DatasetConfig, UserError, check_schema

The names are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from noisy_gru.schema.lazy_names import lazy_names

if TYPE_CHECKING:
    from noisy_gru.schema.config import DatasetConfig
    from noisy_gru.schema.derivation import check_schema, derive_schema
    from noisy_gru.schema.errors import ConfigError, UserError
    from noisy_gru.schema.loading import load_schema
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ConfigError": ".errors",
            "DatasetConfig": ".config",
            "UserError": ".errors",
            "check_schema": ".derivation",
            "derive_schema": ".derivation",
            "load_schema": ".loading",
        },
    )


__all__ = ["ConfigError", "DatasetConfig", "UserError", "check_schema", "derive_schema", "load_schema"]

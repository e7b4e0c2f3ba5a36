"""The data contract: which columns, task, windows and splits a data set has, and its curated schema.

    from noisy_gru.schema import ConfigError, DatasetConfig, UserError, check_schema

The names are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from noisy_gru.schema.config import DatasetConfig
    from noisy_gru.schema.errors import ConfigError, UserError
    from noisy_gru.schema.loading import check_schema, load_schema
else:
    _HOMES = {
        "ConfigError": "errors",
        "DatasetConfig": "config",
        "UserError": "errors",
        "check_schema": "loading",
        "load_schema": "loading",
    }

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


__all__ = ["ConfigError", "DatasetConfig", "UserError", "check_schema", "load_schema"]

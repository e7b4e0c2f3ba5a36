"""The pipeline graph, the local runner, run records and the command line.

    from noisy_gru.pipeline import load_config, predict, run, validate

The names are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from noisy_gru.pipeline.api import predict, run, validate
    from noisy_gru.pipeline.config.loading import load_config
    from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
    from noisy_gru.pipeline.runs.run_directory import RunRecord
else:
    _HOMES = {
        "PipelineConfig": "config.pipeline_config",
        "RunRecord": "runs.run_directory",
        "load_config": "config.loading",
        "predict": "api",
        "run": "api",
        "validate": "api",
    }

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


__all__ = ["PipelineConfig", "RunRecord", "load_config", "predict", "run", "validate"]

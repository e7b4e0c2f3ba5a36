"""The pipeline graph, the local runner, run records and the command line.

    from noisy_gru.pipeline import load_config, predict, run, validate

The names are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from noisy_gru.schema.lazy_names import lazy_names

if TYPE_CHECKING:
    from noisy_gru.pipeline.api import predict, run, validate
    from noisy_gru.pipeline.config.loading import load_config
    from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
    from noisy_gru.pipeline.runs.run_record import RunRecord
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "PipelineConfig": ".config.pipeline_config",
            "RunRecord": ".runs.run_record",
            "load_config": ".config.loading",
            "predict": ".api",
            "run": ".api",
            "validate": ".api",
        },
    )


__all__ = ["PipelineConfig", "RunRecord", "load_config", "predict", "run", "validate"]

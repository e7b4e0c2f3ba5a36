"""A production TFX pipeline for sequence models built on the noisy GRU.

    from noisy_gru import Client, NoisyGRU, predict, run

The rooms at the top of the tree are the subpackages: this folder holds a link to each. The names here are imported
when they are first used, so ``import noisy_gru`` loads nothing else.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from noisy_gru.pipeline import load_config, predict, run, validate
    from noisy_gru.serving import AsyncClient, Client, Predictions
    from noisy_gru.trainer.layers import NoisyGRU
else:
    _HOMES = {
        "AsyncClient": "serving",
        "Client": "serving",
        "NoisyGRU": "trainer.layers",
        "Predictions": "serving",
        "load_config": "pipeline",
        "predict": "pipeline",
        "run": "pipeline",
        "validate": "pipeline",
    }

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


__all__ = ["AsyncClient", "Client", "NoisyGRU", "Predictions", "load_config", "predict", "run", "validate"]

"""A production TFX pipeline for sequence models built on the noisy GRU.

    from noisy_gru import Client, NoisyGRU, predict, run

The rooms at the top of the tree are the subpackages: this folder holds a link to each. The names here are imported
when they are first used, so ``import noisy_gru`` loads no library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from noisy_gru.schema.lazy_names import lazy_names

if TYPE_CHECKING:
    from noisy_gru.pipeline import load_config, predict, run, validate
    from noisy_gru.serving import AsyncClient, Client, Predictions
    from noisy_gru.trainer.layers import NoisyGRU
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "AsyncClient": ".serving",
            "Client": ".serving",
            "NoisyGRU": ".trainer.layers",
            "Predictions": ".serving",
            "load_config": ".pipeline",
            "predict": ".pipeline",
            "run": ".pipeline",
            "validate": ".pipeline",
        },
    )


__all__ = ["AsyncClient", "Client", "NoisyGRU", "Predictions", "load_config", "predict", "run", "validate"]

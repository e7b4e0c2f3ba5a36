"""The noisy GRU layer, its fused path and its noise.

    from noisy_gru.trainer.layers import NoisyGRU

The name is imported when it is first used; `noisy_gru.trainer.callbacks` has the schedule of the noise.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from noisy_gru.trainer.layers.noisy_gru import NoisyGRU
else:

    def __getattr__(name: str) -> Any:
        if name != "NoisyGRU":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return importlib.import_module(f"{__name__}.noisy_gru").NoisyGRU


__all__ = ["NoisyGRU"]

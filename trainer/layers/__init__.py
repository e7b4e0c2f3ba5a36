"""The noisy GRU layer, its fused path and its noise.

    from noisy_gru.trainer.layers import NoisyGRU

The name is imported when it is first used; `noisy_gru.trainer.callbacks` has the schedule of the noise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from noisy_gru.schema.lazy_names import lazy_names

if TYPE_CHECKING:
    from noisy_gru.trainer.layers.noisy_gru import NoisyGRU
else:
    __getattr__ = lazy_names(__name__, {"NoisyGRU": ".noisy_gru"})


__all__ = ["NoisyGRU"]

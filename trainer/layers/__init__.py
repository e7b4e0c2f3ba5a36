"""The noisy GRU layer, its fused path and its noise.

    from noisy_gru.trainer.layers import NoisyBidirectional, NoisyGRU

The names are imported when they are first used; `noisy_gru.trainer.callbacks` has the schedule of the noise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from noisy_gru.schema.lazy_names import lazy_names

if TYPE_CHECKING:
    from noisy_gru.trainer.layers.noisy_bidirectional import NoisyBidirectional
    from noisy_gru.trainer.layers.noisy_gru import NoisyGRU
else:
    __getattr__ = lazy_names(__name__, {"NoisyBidirectional": ".noisy_bidirectional", "NoisyGRU": ".noisy_gru"})


__all__ = ["NoisyBidirectional", "NoisyGRU"]

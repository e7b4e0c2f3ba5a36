"""Convolutions in front of the stack, or beside it (GRU-FCN, Elsayed et al. 2018)."""

# Keras' type hints give None for what a layer returns.

from __future__ import annotations

from typing import Any

import keras

from noisy_gru.trainer.config import ConvolutionsConfig
from noisy_gru.trainer.layers.convolutions import MaskedBatchNormalization, ZeroMasked
from noisy_gru.trainer.layers.pooling import AdaptivePooling, LengthMask, MaskedPooling


def convolve(features: Any, mask: Any, config: ConvolutionsConfig) -> tuple[Any, Any]:
    """Add the blocks, each a convolution, batch normalization and ReLU, and the mean of the last over time.

    Args:
        features: [B, T, F].
        mask: bool [B, T], True where a step counts; others are zeros to every convolution.
        config: of the blocks.

    Returns:
        The last block's outputs [B, T, C], and their mean over the steps that count, [B, C].
    """
    hidden = features
    for index, (filters, kernel) in enumerate(zip(config.filters, config.kernels, strict=True)):
        hidden = ZeroMasked(name=f"convolution_input_{index}")(hidden, mask=mask)
        convolution = keras.layers.Conv1D(
            filters,
            kernel,
            padding="same",
            use_bias=False,
            kernel_initializer="he_uniform",
            name=f"convolution_{index}",
        )
        normalization = MaskedBatchNormalization(config.momentum, name=f"batch_normalization_{index}")
        hidden = normalization(convolution(hidden), mask=mask)
        hidden = keras.layers.ReLU(name=f"convolution_relu_{index}")(hidden)
    return hidden, MaskedPooling("mean", name="convolution_mean")(hidden, mask)


def pooled_steps(hidden: Any, length: Any, mask: Any, config: ConvolutionsConfig) -> tuple[Any, Any]:
    """Average convolved sequences to about `pool` steps, if set: [B, T, C] to [B, N, C] and its mask [B, N]."""
    if config.pool is None:
        return hidden, mask
    hidden, length = AdaptivePooling(config.pool, name="convolution_pool")(hidden, length)
    return hidden, LengthMask(name="convolution_pool_mask")(hidden, length)

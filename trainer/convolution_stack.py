"""Convolutions in front of the stack, or beside it (GRU-FCN, Elsayed et al. 2018), and fixed random ones."""

# Keras' type hints give None for what a layer returns.

from __future__ import annotations

from typing import Any

import keras

from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.layers.convolutions import MaskedBatchNormalization, ZeroMasked
from noisy_gru.trainer.layers.pooling import AdaptivePooling, LengthMask, MaskedPooling
from noisy_gru.trainer.layers.random_kernels import RandomKernels
from noisy_gru.trainer.layers.target_steps import Channels
from noisy_gru.trainer.model_config import ConvolutionsConfig, RandomKernelsConfig


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


def random_features(values: Any, mask: Any, config: RandomKernelsConfig, layout: Layout) -> Any:
    """Features of fixed random convolutions of the numeric features [B, T, F], without masks of missing values."""
    numeric = [layout.channels.index(feature.name) for feature in layout.numeric]
    if len(numeric) < len(layout.channels):
        values = Channels(numeric, name="random_kernel_channels")(values)
    # Not the seed of the training: the kernels are those of the configuration.
    return RandomKernels(config.dilations, seed=config.seed, name="random_kernels")(values, mask=mask)


def takes_batch_statistics(model: keras.Model) -> bool:
    """Return whether the rows of a batch change each other's outputs in training."""
    return any(isinstance(layer, MaskedBatchNormalization | RandomKernels) for layer in model.layers)

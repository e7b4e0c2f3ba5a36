"""The stack over segments of the window, and the parallel decoding of all horizons (SegRNN)."""

# Keras' type hints give None for what a layer returns.

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import keras

from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.layers.noisy_gru import NoisyGRU
from noisy_gru.trainer.layers.pooling import AtEachStep
from noisy_gru.trainer.layers.segments import (
    AddToEach,
    DecoderPositions,
    JoinSegments,
    RepeatRows,
    Segments,
    SplitChannels,
)
from noisy_gru.trainer.model_config import ModelConfig


@dataclasses.dataclass(frozen=True)
class _Channels:
    """Indices of the channels that the stack reads: [B, T, F] after the embeddings.

    Attributes:
        own: of each target, its value and, if every target has one, its missing mask.
        others: all others but `is future`.
    """

    own: list[list[int]]
    others: list[int]

    @classmethod
    def of(cls, layout: Layout) -> _Channels:
        place = {name: index for index, name in enumerate(layout.channels)}
        targets = layout.targets
        flags = [place.get(f"{name} is missing", -1) for name in targets]
        own = [
            [place[name], flag] if min(flags) >= 0 else [place[name]] for name, flag in zip(targets, flags, strict=True)
        ]
        width = len(layout.channels) + sum(feature.embedding_dim for feature in layout.categorical)
        used = {index for each in own for index in each} | {place.get("is future", -1)}
        return cls(own, [index for index in range(width) if index not in used])


def segment_embedding(features: Any, past: Any, config: ModelConfig) -> tuple[Any, Any]:
    """Embed segments of `model.segment` steps: [B, T, F] to [B, N, units of the first layer], and their mask."""
    segments, mask = Segments(config.segment or 1, name="segments")(features, past)
    width = config.layers[0].units
    return keras.layers.Dense(width, activation="relu", name="segment_embedding")(segments), mask


def forecast_by_segments(
    features: Any,
    past: Any,
    known: Any,
    static: Any,
    config: ModelConfig,
    layout: Layout,
    make_gru: Callable[..., NoisyGRU],
    initial_mean: Callable[[int, Any], Any],
    above: Callable[[Any], Any],
    *,
    seed: int,
) -> Any:
    """Encode segments of the window, and decode all segments of the forecast at once.

    The stack reads the embedded segments. Each segment of the forecast then is one step of the same stack, from the
    states after the last segment, with an embedding of the segment's place as its input (and of the target, where each
    is a sequence of its own): so the number of steps grows with neither window nor forecast (Lin et al. 2023). With
    static features the stack's first states are functions of them, and the output reads them beside the decoded state.

    Args:
        features: [B, T, F], channels and embeddings of the past.
        past: int [B], its steps.
        known: [B, H, D], what is known in advance at each horizon; None if nothing is.
        static: [B, S], values and embeddings of the static features; None without any.
        config: with `segment`.
        layout: of the data set.
        make_gru: from a layer's index to a new GRU, given further arguments of NoisyGRU.
        initial_mean: from a layer's index and `static` to the mean of its first states, [B, U].
        above: the dense layers between the stack and the output, [rows, 1, U] to [rows, 1, W].
        seed: of the embeddings.

    Returns:
        The forecast [B, H, K], float32; with `task.quantiles` [B, H, K * Q].
    """
    horizons = layout.horizons
    targets, length = len(layout.targets), config.segment or 1
    positions = math.ceil(len(horizons) / length)
    shared = config.channels == "shared"
    sequences, past_of = features, past
    if shared:
        channels = _Channels.of(layout)
        sequences = SplitChannels(channels.own, channels.others, name="split_channels")(features)
        past_of = RepeatRows(targets, name="past_of_channels")(past)
    width, count = config.layers[0].units, targets if shared else 1
    hidden, mask = segment_embedding(sequences, past_of, config)
    stack, states = [], []
    for index in range(len(config.layers)):
        gru = make_gru(index, return_sequences=True, return_state=True)
        mean = None if static is None else initial_mean(index, static)
        if mean is not None and shared:
            mean = RepeatRows(count, name=f"initial_mean_of_channels_{index}")(mean)
        hidden, state = gru(hidden, mask=mask) if mean is None else gru(hidden, mask=mask, initial_mean=mean)
        stack.append(gru)
        states.append(state)

    decoded = DecoderPositions(positions, count, width, seed=seed, once=True, name="positions")(states[0])
    if known is not None:
        known = keras.layers.ZeroPadding1D((0, positions * length - len(horizons)), name="future_padding")(known)
        known = keras.layers.Reshape((positions, length * known.shape[2]), name="future_segments")(known)
        known = keras.layers.Dense(width, use_bias=False, name="future_embedding")(known)
        known = RepeatRows(count, name="future_of_channels")(known) if shared else known
        known = _FlattenPositions(name="future_of_positions")(known)
        decoded = AddToEach(name="position_and_future")(known, decoded)
    for gru, state in zip(stack, states, strict=True):
        decoded, _ = gru(decoded, initial_state=state, repeats=positions)
    if static is not None:
        static = RepeatRows(count * positions, name="static_of_positions")(static)
        decoded = AtEachStep(name="with_static")(decoded, static)
    numbers = (1 if shared else targets) * layout.head_numbers
    decoded = keras.layers.Dense(length * numbers, dtype="float32", name="prediction")(above(decoded))
    join = JoinSegments(positions, count, numbers, len(horizons), dtype="float32", name="horizons")
    return join(decoded)


@keras.saving.register_keras_serializable(package="noisy_gru")
class _FlattenPositions(keras.layers.Layer):
    """[S, N, W] to [S * N, 1, W]."""

    def call(self, inputs: Any) -> Any:
        return keras.ops.reshape(inputs, (-1, 1, inputs.shape[2]))

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        return keras.KerasTensor((None, 1, inputs.shape[2]), dtype=inputs.dtype)

"""The Keras model: embeddings, a stack of noisy GRUs under an explicit mask, pooling, and a head for the task.

Convolutions may stand in front of the stack or beside it; either way the head reads their mean over time, too. It may
read features of fixed random convolutions as well.

With static features, s being their scaled values and embeddings side by side, GRU i starts sequence b from

    h[b, 0] = tanh(s[b] W_i + c_i) + the layer's own mean and noise

and the head reads the pooled states (in a forecast by segments the decoded one of each) and s.
"""

# Keras' type hints give None for what a model or an operation returns.

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import keras

from noisy_gru.trainer import features as names
from noisy_gru.trainer.convolution_stack import convolve, pooled_steps, random_features
from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.layers.initial_noise import CARRIED, SCALES
from noisy_gru.trainer.layers.located_quantiles import LocatedQuantiles, law_of
from noisy_gru.trainer.layers.missing_decay import MissingDecay
from noisy_gru.trainer.layers.noisy_bidirectional import NoisyBidirectional
from noisy_gru.trainer.layers.noisy_gru import LOG_STDDEV, RESIDUAL_VARIANCE, NoisyGRU
from noisy_gru.trainer.layers.ordered_quantiles import OrderedQuantiles
from noisy_gru.trainer.layers.pooling import AtEachStep, AttentionPooling, LengthMask, MaskedPooling
from noisy_gru.trainer.layers.target_steps import Channels, PastLength, PastSteps, TargetSteps
from noisy_gru.trainer.model_checks import check_model_config, reads_targets
from noisy_gru.trainer.model_config import ModelConfig
from noisy_gru.trainer.relative_forecast import RelativeForecast, from_logarithms
from noisy_gru.trainer.segment_stack import forecast_by_segments, segment_embedding
from noisy_gru.trainer.transform_record import TransformRecord

DEFAULT_SHARE = 0.5  # of sequences that start from another one's state, with noise: carried
_LEAST_WIDTH = 32  # of the layer that joins a state with what is known of a target's time
MISSING_DECAY = "missing_decay"
INITIAL_MEAN = "initial_mean_"  # before the number of the GRU whose first state the layer gives


@dataclass(frozen=True)
class VocabularySizes:
    """What the model needs of the fitted Transform.

    Attributes:
        classes: number of classes.
        vocabularies: number of ids of each categorical feature.
        record: scales of the columns, for `model.window_normalization` and targets with `scale: log1p`.
        static_vocabularies: number of ids of each static categorical feature.
    """

    classes: int = 0
    vocabularies: tuple[int, ...] = ()
    record: TransformRecord | None = None
    static_vocabularies: tuple[int, ...] = ()


def build_model(
    config: ModelConfig,
    layout: Layout,
    sizes: VocabularySizes,
    *,
    seed: int,
    for_serving: bool = False,
    name: str = "noisy_gru",
) -> keras.Model:
    """Build the model, unfitted and not compiled.

    Args:
        config: the stack and the head.
        layout: of the inputs.
        sizes: of the fitted vocabularies.
        seed: layer i draws its noise and dropout with seed + i.
        for_serving: the same outputs from `inference_weights`, without ops that a server can't run or that are random:
            no cuDNN, and no dropout in the GRUs, whose masks Keras draws in inference too.
        name: of the model.

    Returns:
        A functional model from the inputs that `features.model_inputs` makes to logits [B, C] (with `task.per_step`
        [B, T, C], of the state after each step), or scaled predictions [B, 1] (regression) or [B, H, K] (forecasting),
        float32; with `task.quantiles` [B, 1, Q] or [B, H, K, Q].

    Raises:
        ConfigError: as `check_model_config`.
    """
    check_model_config(config, layout.dataset)
    inputs = {
        names.FEATURES: keras.Input((None, len(layout.channels)), dtype="float32", name=names.FEATURES),
        names.LENGTH: keras.Input((), dtype="int64", name=names.LENGTH),
    }
    length, values = inputs[names.LENGTH], inputs[names.FEATURES]
    is_segmented_forecast = config.segment is not None and len(layout.target_shape) == 2
    reads_future = reads_targets(config, layout.dataset) or (is_segmented_forecast and layout.has_future)
    past = PastLength(layout.future_steps, name="past_length")(length) if config.is_relative or reads_future else length
    relative = RelativeForecast(values, past, config, layout, sizes.record) if config.is_relative else None
    if relative is not None:
        values = relative.features
    decay = None
    if config.missing == "decay":
        values, decay = missing_decay(values, config, layout, sizes.record, seed=seed)
    columns = [values] if layout.channels else []
    for index, (feature, size) in enumerate(zip(layout.categorical, sizes.vocabularies, strict=True)):
        key = layout.ids(index)
        inputs[key] = keras.Input((None,), dtype="int64", name=key)
        columns.append(keras.layers.Embedding(size, feature.embedding_dim, name=f"embedding_{index}")(inputs[key]))
    hidden = keras.layers.Concatenate(name="inputs")(columns) if len(columns) > 1 else columns[0]
    if decay is not None:
        # Last, where the first layer looks for it.
        hidden = keras.layers.Concatenate(name="inputs_and_decay")([hidden, decay])
    known = None
    if reads_future:
        known = _known_at_targets(inputs, columns, layout)
        hidden = PastSteps(layout.future_steps, name="past")(hidden)
        length = past
    static = _static(inputs, layout, sizes)

    def make_gru(index: int, **arguments: Any) -> NoisyGRU:
        layer = config.layers[index]
        return NoisyGRU(
            layer.units,
            stddev=layer.stddev,
            noise=layer.noise,
            scale=config.stddev if config.stddev in SCALES and layer.stddev and not for_serving else "fixed",
            share=layer.share or DEFAULT_SHARE,
            carry_seed=seed if layer.noise == CARRIED else None,
            fused=config.fused,
            decays=index == 0 and config.missing == "decay",
            seed=seed + index,
            learn_mean=config.learn_mean,
            dropout=0.0 if for_serving else layer.dropout,
            recurrent_dropout=0.0 if for_serving else layer.recurrent_dropout,
            use_cudnn=False if for_serving else "auto",
            name=f"noisy_gru_{index}",
            **arguments,
        )

    def initial_mean(index: int, static: Any) -> Any:
        width = config.layers[index].units * (2 if config.bidirectional else 1)
        return keras.layers.Dense(width, activation="tanh", name=f"{INITIAL_MEAN}{index}")(static)

    def above(hidden: Any) -> Any:
        for index, width in enumerate(config.hidden):
            hidden = keras.layers.Dense(width, activation="relu", name=f"hidden_{index}")(hidden)
        if config.head_dropout:
            dropout = keras.layers.Dropout(config.head_dropout, seed=seed + len(config.layers), name="head_dropout")
            hidden = dropout(hidden)
        return hidden

    if is_segmented_forecast:
        decoder_seed = seed + len(config.layers) + 1
        outputs = forecast_by_segments(
            hidden, past, known, static, config, layout, make_gru, initial_mean, above, seed=decoder_seed
        )
    else:
        beside = []
        if config.segment is None or config.has_convolutions:
            mask = LengthMask(name="mask")(hidden if known is not None else inputs[names.FEATURES], length)
        if config.random_kernels is not None:
            beside.append(random_features(values, mask, config.random_kernels, layout))
        if config.convolutions is not None:
            sequences, convolved = convolve(hidden, mask, config.convolutions)
            beside.append(convolved)
            if config.convolutions.placement == "front":
                hidden, mask = pooled_steps(sequences, length, mask, config.convolutions)
        if config.segment is not None:
            hidden, mask = segment_embedding(hidden, length, config)
        for index in range(len(config.layers)):
            is_last = index == len(config.layers) - 1
            gru = make_gru(index, return_sequences=not is_last or config.pooling != "last" or layout.is_per_step)
            if static is None:
                wrapped = keras.layers.Bidirectional(gru, name=f"both_ways_{index}") if config.bidirectional else gru
                hidden = wrapped(hidden, mask=mask)
            else:
                wrapped = NoisyBidirectional(gru, name=f"both_ways_{index}") if config.bidirectional else gru
                hidden = wrapped(hidden, mask=mask, initial_mean=initial_mean(index, static))
        if config.pooling == "attention":
            hidden = AttentionPooling(name="pooling")(hidden, mask)
        elif config.pooling != "last":
            hidden = MaskedPooling(config.pooling, name="pooling")(hidden, mask)
        if beside:
            hidden = keras.layers.Concatenate(name="with_convolutions")([hidden, *beside])
        if layout.is_per_step:
            hidden = AtEachStep(name="each_step")(hidden, static)
        elif static is not None:
            hidden = keras.layers.Concatenate(name="with_static")([hidden, static])
        outputs = _head(above(hidden), known, config, layout, sizes)
    if layout.quantiles:
        law = law_of(layout.dataset.task)
        ordered = (
            OrderedQuantiles(len(layout.quantiles), layout.median, dtype="float32", name="quantiles")
            if law is None
            else LocatedQuantiles(law[0], dtype="float32", name="quantiles")
        )
        outputs = ordered(outputs)
    if relative is not None:
        outputs = relative.restored(outputs)
    outputs = from_logarithms(outputs, layout, sizes.record)
    return keras.Model(inputs, _with_last_target(outputs, inputs, config, layout), name=name)


def inference_weights(model: keras.Model) -> list[Any]:
    """Return the weights of a model of `build_model`, as NumPy arrays, that the same model has for serving."""
    return [weight.numpy() for weight in model.weights if weight.name not in (LOG_STDDEV, RESIDUAL_VARIANCE)]


def missing_decay(
    values: Any, config: ModelConfig, layout: Layout, record: TransformRecord | None, *, seed: int
) -> tuple[Any, Any]:
    """Fill in what is missing (`model.missing: decay`): the channels [B, T, F], and factors on the state [B, T, U]."""
    channels = layout.channels
    masked = [feature for feature in layout.numeric if feature.missing == "mask"]
    clocks = [feature for feature in layout.numeric if feature.elapsed == "seconds_since_last"]
    time: dict[str, Any] = {}
    if clocks and record is not None:
        scale = record.numeric[clocks[0].name]
        is_log = clocks[0].scale == "log1p"
        usual = math.expm1(scale.fill) if is_log else scale.fill
        time = {
            "time_channel": channels.index(clocks[0].name),
            "time_scale": scale.scale,
            "time_offset": scale.centre,
            "time_is_log": is_log,
            # The rates begin alike for all data: a usual distance between steps is 1.
            "time_unit": usual if usual > 0 else 1.0,
        }
    layer = MissingDecay(
        config.layers[0].units,
        [channels.index(feature.name) for feature in masked],
        [channels.index(f"{feature.name} is missing") for feature in masked],
        seed=seed,
        name=MISSING_DECAY,
        **time,
    )
    return layer(values)


def _known_at_targets(inputs: dict[str, Any], columns: list[Any], layout: Layout) -> Any:
    """What is known in advance, at each horizon's target: [B, H, D], channels first, then embeddings."""
    embeddings = columns[1:] if layout.channels else columns
    found = [
        embedding for feature, embedding in zip(layout.categorical, embeddings, strict=True) if feature.known_in_advance
    ]
    if layout.known_channels:
        chosen = [layout.channels.index(name) for name in layout.known_channels]
        found.insert(0, Channels(chosen, name="known_channels")(inputs[names.FEATURES]))
    sequences = keras.layers.Concatenate(name="known")(found) if len(found) > 1 else found[0]
    return TargetSteps(layout.horizons, layout.future_steps, name="known_at_targets")(sequences, inputs[names.LENGTH])


def _static(inputs: dict[str, Any], layout: Layout, sizes: VocabularySizes) -> Any:
    """Add the inputs of static features; return their values and embeddings, [B, D], or None without any."""
    columns = []
    if layout.static_channels:
        inputs[names.STATIC] = keras.Input((len(layout.static_channels),), dtype="float32", name=names.STATIC)
        columns.append(inputs[names.STATIC])
    for index, (feature, size) in enumerate(zip(layout.static_categorical, sizes.static_vocabularies, strict=True)):
        key = layout.static_ids(index)
        inputs[key] = keras.Input((), dtype="int64", name=key)
        embedding = keras.layers.Embedding(size, feature.embedding_dim, name=f"static_embedding_{index}")
        columns.append(embedding(inputs[key]))
    if len(columns) < 2:
        return columns[0] if columns else None
    return keras.layers.Concatenate(name="static")(columns)


def _head(hidden: Any, known: Any, config: ModelConfig, layout: Layout, sizes: VocabularySizes) -> Any:
    if layout.is_classification:
        return keras.layers.Dense(sizes.classes, dtype="float32", name="logits")(hidden)
    if layout.is_multi_label:
        return keras.layers.Dense(len(layout.targets), dtype="float32", name="logits")(hidden)
    shape, quantiles = layout.target_shape, layout.head_numbers
    if len(shape) == 1:
        return keras.layers.Dense(shape[0] * quantiles, dtype="float32", name="prediction")(hidden)
    numbers = shape[1] * quantiles
    outputs = keras.layers.Dense(shape[0] * numbers, dtype="float32", name="prediction")(hidden)
    outputs = keras.layers.Reshape((shape[0], numbers), dtype="float32", name="horizons")(outputs)
    if known is not None:
        states = keras.layers.RepeatVector(shape[0], name="state_of_each_horizon")(hidden)
        joined = keras.layers.Concatenate(name="state_and_known")([known, states])
        width = max(config.layers[-1].units, _LEAST_WIDTH)
        joined = keras.layers.Dense(width, activation="relu", name="horizon_hidden")(joined)
        own = keras.layers.Dense(numbers, dtype="float32", name="horizon_prediction")(joined)
        outputs = keras.layers.Add(dtype="float32", name="with_known")([outputs, own])
    return outputs


def _with_last_target(outputs: Any, inputs: dict[str, Any], config: ModelConfig, layout: Layout) -> Any:
    """Take the last values as an input, and add them to differences."""
    if not layout.observed_targets:
        return outputs
    count = layout.target_shape[1]
    inputs[names.LAST_TARGET] = keras.Input((count,), dtype="float32", name=names.LAST_TARGET)
    if config.target != "difference":
        return outputs
    shape = (1, count, 1) if layout.quantiles else (1, count)
    last = keras.layers.Reshape(shape, dtype="float32", name="last_value")(inputs[names.LAST_TARGET])
    return keras.layers.Add(dtype="float32", name="level")([outputs, last])

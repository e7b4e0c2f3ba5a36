"""Transfer a trained model's weights to a new one whose vocabularies, classes and scales were fitted again.

The new model then predicts raw data as the old one did, to rounding: rows of embeddings and columns of classes are
matched by value, and a change of scale folds into the adjacent layers. With x the scaled input, the old model's is

    x_old = a x + b,    a = scale / scale_old,    b = (centre - centre_old) / scale_old

so the first layer's weights w become a w, and b w is added to its bias. Where an input is a constant instead of a
value, that bias is subtracted again: from the weight of `is missing` for an imputed value, from that of `is future` for
a step that is not known yet. Static features fold the same way into the layers of the first states, and into the first
layer above the GRUs. Exceptions: an imputed value without a mask, and a missing last value (to which a
difference is added), take the new data's centre; a value that the new vocabulary lacks is unknown; and a class that
the old model lacks starts with new weights.
"""

# Keras' type hints give None for what a layer returns.

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from noisy_gru.schema.config import FeatureConfig
from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.model import INITIAL_MEAN
from noisy_gru.trainer.model_config import ModelConfig
from noisy_gru.trainer.transform_record import Scale, TransformRecord

_FIRST = ("noisy_gru_0", "both_ways_0")
_HEADS = ("logits", "prediction")


def transfer_weights(
    old: keras.Model,
    new: keras.Model,
    *,
    before: TransformRecord,
    after: TransformRecord,
    layout: Layout,
    config: ModelConfig,
) -> None:
    """Set the new model's weights from the old one's.

    Args:
        old: the trained model.
        new: built from the same configuration of features and layers; its weights change.
        before: Transform's scales and vocabularies for the old model.
        after: those for the new model.
        layout: of the features, the same for both.
        config: of the new model.

    Raises:
        ValueError: the models' layers differ.
    """
    reads_static = _reading_static(config, layout)
    for layer in new.layers:
        given, own = old.get_layer(layer.name).get_weights(), layer.get_weights()
        if layer.name.startswith(reads_static):
            given = _static_input(given, before, after, layout)
        if layer.name in _HEADS:
            layer.set_weights(_head(given, own, before, after, layout, config))
        elif layer.name.startswith("embedding_"):
            name = layout.categorical[int(layer.name.removeprefix("embedding_"))].name
            layer.set_weights([_rows(given[0], before.vocabularies[name], after.vocabularies[name])])
        elif layer.name.startswith("static_embedding_"):
            name = layout.static_categorical[int(layer.name.removeprefix("static_embedding_"))].name
            layer.set_weights([_rows(given[0], before.vocabularies[name], after.vocabularies[name])])
        elif layer.name == "horizon_hidden":
            layer.set_weights(_known(given[0], given[1], before, after, layout))
        elif layer.name == "horizon_prediction":
            ratio = [before.targets[name].scale / after.targets[name].scale for name in layout.targets]
            # The other part of a prediction, of `prediction`, takes on the change of the centre.
            layer.set_weights([values * np.array(ratio) for values in given])
        elif given:
            layer.set_weights(given)
        if layer.name in _FIRST:
            for gru in _directions(layer):
                kernel, bias = gru.cell.kernel, gru.cell.bias
                folded = _input(kernel.numpy(), bias.numpy(), before, after, layout)
                for variable, value in zip((kernel, bias), folded, strict=True):
                    variable.assign(value)


def _directions(layer: Any) -> list[Any]:
    return [layer.forward_layer, layer.backward_layer] if isinstance(layer, keras.layers.Bidirectional) else [layer]


def _rows(given: np.ndarray, before: list[str], after: list[str]) -> np.ndarray:
    """Return embeddings, float [values + 1, D], in the new order; a new value gets the row of unknown values."""
    if len(given) != len(before) + 1:
        raise ValueError(f"an embedding has {len(given)} rows for {len(before)} values and the unknown one")
    places = {value: index for index, value in enumerate(before)}
    return given[[places.get(value, len(before)) for value in after] + [len(before)]]


def _input(
    kernel: np.ndarray, bias: np.ndarray, before: TransformRecord, after: TransformRecord, layout: Layout
) -> tuple[np.ndarray, np.ndarray]:
    """The first layer's kernel [F, 3U] and bias ([2, 3U], of which the first is the input's, or [3U]), folded."""
    channels = layout.channels
    result, shift = kernel.astype(np.float64), np.zeros(kernel.shape[1])
    for index, feature in enumerate(layout.numeric):
        weights = kernel[index].astype(np.float64)
        b = _fold(result, shift, index, channels, feature, before, after)
        if layout.has_future and not feature.known_in_advance:
            # Future steps have the scaled value 0 in both.
            result[channels.index("is future")] -= b * weights
    moved = bias.astype(np.float64)
    if moved.ndim == 2:
        moved[0] += shift
    else:
        moved += shift
    return result, moved


def _known(
    kernel: np.ndarray, bias: np.ndarray, before: TransformRecord, after: TransformRecord, layout: Layout
) -> list[np.ndarray]:
    """The kernel [D + U, W] and bias [W] of the layer that reads what is known at a target's time, folded."""
    result, shift = kernel.astype(np.float64), np.zeros(kernel.shape[1])
    for feature in layout.numeric:
        if feature.known_in_advance:
            index = layout.known_channels.index(feature.name)
            _fold(result, shift, index, layout.known_channels, feature, before, after)
    return [result, bias + shift]


def _reading_static(config: ModelConfig, layout: Layout) -> tuple[str, ...]:
    """Return how the names of the layers begin that read the static features, as the last of their inputs."""
    if not layout.static_inputs:
        return ()
    return (INITIAL_MEAN, "hidden_0") if config.hidden else (INITIAL_MEAN, "horizon_hidden", *_HEADS)


def _static_input(
    given: list[np.ndarray], before: TransformRecord, after: TransformRecord, layout: Layout
) -> list[np.ndarray]:
    """The kernel and bias of a dense layer whose last inputs are the static channels and embeddings, folded."""
    kernel, bias = given
    result, shift = kernel.astype(np.float64), np.zeros(kernel.shape[1])
    width = len(layout.static_channels) + sum(feature.embedding_dim for feature in layout.static_categorical)
    part = result[len(result) - width :]
    for index, feature in enumerate(layout.static_numeric):
        _fold(part, shift, index, layout.static_channels, feature, before, after)
    return [result, bias + shift]


def _fold(
    kernel: np.ndarray,
    shift: np.ndarray,
    index: int,
    channels: list[str],
    feature: FeatureConfig,
    before: TransformRecord,
    after: TransformRecord,
) -> float:
    """Fold the change of a channel's scale into the kernel and the bias' ``shift``, both in place; return b."""
    weights = kernel[index].copy()
    old, new = before.numeric[feature.name], after.numeric[feature.name]
    a, b = new.scale / old.scale, (new.centre - old.centre) / old.scale
    kernel[index] = a * weights
    shift += b * weights
    if feature.missing == "mask":
        imputed = _imputed(old) - (a * _imputed(new) + b)
        kernel[channels.index(f"{feature.name} is missing")] += imputed * weights
    return b


def _imputed(scale: Scale) -> float:
    return (scale.fill - scale.centre) / scale.scale


def _head(
    given: list[np.ndarray],
    own: list[np.ndarray],
    before: TransformRecord,
    after: TransformRecord,
    layout: Layout,
    config: ModelConfig,
) -> list[np.ndarray]:
    """The output layer's kernel [U, outputs] and bias [outputs]."""
    kernel, bias = (values.astype(np.float64) for values in given)
    if layout.is_classification:
        new_kernel, new_bias = (values.copy() for values in own)
        places = {value: index for index, value in enumerate(before.labels)}
        for index, value in enumerate(after.labels):
            if value in places:
                new_kernel[:, index], new_bias[index] = kernel[:, places[value]], bias[places[value]]
        return [new_kernel, new_bias]
    horizons = layout.target_shape[0] if len(layout.target_shape) == 2 else 1
    pairs = [(before.targets[name], after.targets[name]) for name in layout.targets]
    ratio = np.tile([old.scale / new.scale for old, new in pairs], horizons)
    # A difference is added to the last value, which has the new scale already.
    level = config.target == "level"
    shift = np.tile([(old.centre - new.centre) / new.scale if level else 0.0 for old, new in pairs], horizons)
    return [kernel * ratio, bias * ratio + shift]

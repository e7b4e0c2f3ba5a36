"""The scale of the noise in the history, where it changes by itself."""

# Keras' type hints give None for what a model returns.

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from noisy_gru.trainer.callbacks.stddev_schedule import noisy_layers


class NoiseLog(keras.callbacks.Callback):
    """Logs for each layer of the stack, from 1 up, the mean standard deviation of its units: `stddev_<layer>`."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if logs is not None:
            logs.update({f"stddev_{place}": value for place, value in enumerate(mean_stddevs(self.model), 1)})


def mean_stddevs(model: keras.Model) -> list[float]:
    """Return the mean standard deviation of the first state in training, of each layer of the stack."""
    by_layer: Any = [[gru.unit_stddevs for gru in noisy_layers(layer)] for layer in model.layers]
    return [float(np.mean(grus)) for grus in by_layer if grus]

"""Averages of the weights over a training, which are evaluated, kept and exported in place of the last ones."""

# Keras' type hints give None for what a model or an optimizer returns.

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from noisy_gru.compat.keras import moving_averages
from noisy_gru.trainer.training_config import WeightAverageConfig


class WeightAverage(keras.callbacks.Callback):
    """Puts the averaged weights into the model after each epoch, for its evaluation; `resume` puts the others back.

    `ema` is the optimizer's moving average of the trainable weights, `a = decay * a + (1 - decay) * w` after each step;
    `swa` the mean of all weights after the epochs from `from_epoch` on (Izmailov et al. 2018, arXiv:1803.05407). After
    the training the model has the average, unless a later callback restores the weights of the best epoch.

    It must be called before the evaluation, and `resume` after all callbacks that read the weights.

    Args:
        model: compiled, its optimizer built with `use_ema` for `ema`.
        config: of the average.

    Attributes:
        variables: the average's own state, for a checkpoint; that of `ema` is the optimizer's.
        resume: a callback that puts the weights back with which the training goes on.
    """

    def __init__(self, model: keras.Model, config: WeightAverageConfig):
        super().__init__()
        self.config = config
        self.variables: list[Any] = []
        self._count: Any = None
        if config.kind == "swa":
            self._count = keras.Variable(0, dtype="int64", trainable=False, name="averaged_epochs")
            means = [
                keras.Variable(np.zeros(weight.shape, weight.dtype), trainable=False, name=f"mean_{index}")
                for index, weight in enumerate(model.weights)
            ]
            self.variables = [self._count, *means]
        self._last: list[np.ndarray] | None = None
        self.resume = _Resume(self)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self._count is not None and epoch + 1 >= (self.config.from_epoch or 1):
            count = int(self._count.numpy()) + 1
            self._count.assign(count)
            for mean, weight in zip(self.variables[1:], self.model.weights, strict=True):
                before = mean.numpy()
                mean.assign(before + (weight.numpy() - before) / count)
        self._swap_in()

    def on_train_end(self, logs: Any = None) -> None:
        self._swap_in()

    def put_back(self) -> None:
        """Put back the weights of the last step."""
        if self._last is not None:
            for variable, value in zip(self._averaged, self._last, strict=True):
                variable.assign(value)
            self._last = None

    @property
    def _averaged(self) -> list[Any]:
        return self.model.trainable_variables if self._count is None else self.model.weights

    def _swap_in(self) -> None:
        if self._count is None:
            averages = moving_averages(self.model.optimizer)
        elif int(self._count.numpy()):
            averages = self.variables[1:]
        else:
            return
        self._last = [variable.numpy() for variable in self._averaged]
        for variable, average in zip(self._averaged, averages, strict=True):
            variable.assign(average.numpy())


class _Resume(keras.callbacks.Callback):
    def __init__(self, average: WeightAverage):
        super().__init__()
        self.average = average

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.average.put_back()

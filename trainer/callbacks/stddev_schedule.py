"""A schedule for the noise of NoisyGRU layers.

>>> from noisy_gru.trainer.callbacks.stddev_schedule import StddevSchedule
>>> callback = StddevSchedule("cosine", epochs=5)
>>> [round(callback.factor(epoch), 3) for epoch in range(5)]
[1.0, 0.854, 0.5, 0.146, 0.0]
"""

import math
import numbers
from collections.abc import Callable

import keras

from noisy_gru.compat.keras import flatten_layers
from noisy_gru.trainer.layers.noisy_gru import NoisyGRU

SCHEDULES = ("constant", "linear", "cosine")


class StddevSchedule(keras.callbacks.Callback):
    """Anneals the noise of every NoisyGRU of a model, epoch by epoch, without a new trace.

    At the start of epoch e every layer, however deeply nested, gets `current_stddev = factor(e) * stddev`. With
    p = min(e / (epochs - 1), 1) the named schedules are

        constant    factor = 1
        linear      factor = 1 + (final - 1) p
        cosine      factor = final + (1 - final) (1 + cos(pi p)) / 2

    so the first epoch trains at full noise and the last at `final`. Epochs count from 0 over all runs, as in
    `fit(initial_epoch=...)`: a resumed run continues where it stopped. After training the last value stays in effect;
    assign `layer.current_stddev = layer.stddev` to undo it. The factor is in the logs as `stddev_factor`.

    Args:
        schedule: "constant", "linear", "cosine", or a function from the epoch (int) to a finite factor >= 0.
        epochs: int > 0, length of a named schedule; None for the `epochs` of `fit`.
        final: finite factor >= 0 that "linear" and "cosine" end with.

    Raises:
        ValueError: an argument or a factor is not as above, or the model holds no NoisyGRU.
    """

    def __init__(
        self, schedule: str | Callable[[int], float] = "linear", *, epochs: int | None = None, final: float = 0.0
    ):
        super().__init__()
        if not callable(schedule) and schedule not in SCHEDULES:
            raise ValueError(
                f"Argument `schedule` must be one of {SCHEDULES} or a function of the epoch. "
                f"Received: schedule={schedule!r}"
            )
        if epochs is not None and (not isinstance(epochs, int) or isinstance(epochs, bool) or epochs < 1):
            raise ValueError(f"Argument `epochs` must be an integer > 0 or None. Received: epochs={epochs!r}")
        self.schedule = schedule
        self.epochs = epochs
        self.final = _checked_factor(final, "Argument `final`", "final")

    def factor(self, epoch):
        """Return the factor on every layer's `stddev` in this epoch, a float."""
        if callable(self.schedule):
            return _checked_factor(self.schedule(epoch), "The factor of `schedule`", f"schedule({epoch})")
        if self.schedule == "constant":
            return 1.0
        epochs = self.epochs or (self.params or {}).get("epochs")
        if epochs is None:
            raise ValueError("Argument `epochs` must be an integer > 0 outside of `fit`. Received: epochs=None")
        progress = min(epoch / (epochs - 1), 1.0) if epochs > 1 else 0.0
        if self.schedule == "linear":
            return 1.0 + (self.final - 1.0) * progress
        return self.final + (1.0 - self.final) * (1.0 + math.cos(math.pi * progress)) / 2.0

    def on_train_begin(self, logs=None):
        if not noisy_layers(self.model):
            raise ValueError(f"StddevSchedule needs a model with a NoisyGRU in it. Received: model={self.model!r}")

    def on_epoch_begin(self, epoch, logs=None):
        factor = self.factor(epoch)
        for layer in noisy_layers(self.model):
            layer.current_stddev = factor * layer.stddev

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None:
            logs["stddev_factor"] = self.factor(epoch)


def noisy_layers(model):
    """Return every NoisyGRU in a model or layer, itself included, also inside wrappers, inner models and lists."""
    return [layer for layer in flatten_layers(model) if isinstance(layer, NoisyGRU)]


def _checked_factor(value, what, name):
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value < 0:
        raise ValueError(f"{what} must be a finite number >= 0. Received: {name}={value!r}")
    return float(value)

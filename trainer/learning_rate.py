"""The learning rate of the configuration: a number, or a schedule with warm-up, hold and decay."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from noisy_gru.trainer.training_config import TrainingConfig


@keras.saving.register_keras_serializable(package="noisy_gru")
class WarmupSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises linearly over the warm-up, stays at the peak for `hold_steps`, and then may fall.

    Step s of the warm-up (w steps) has peak * (s + 1) / w. After it and the hold, with p from 0 to 1 at the last step,
    `cosine` is peak * (f + (1 - f) (1 + cos(pi p)) / 2), `exponential` peak * f ** p, with f the `final_fraction`, and
    `step` peak * factor ** n in the n-th epoch, of `step_length` steps.
    """

    def __init__(
        self,
        kind: str,
        peak: float,
        warmup_steps: int,
        total_steps: int,
        final_fraction: float,
        hold_steps: int = 0,
        factor: float = 1.0,
        step_length: int = 1,
    ):
        super().__init__()
        self.hold_steps = hold_steps
        self.factor = factor
        self.step_length = step_length
        self.kind = kind
        self.peak = peak
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        self.final_fraction = final_fraction

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        begin = self.warmup_steps + self.hold_steps
        decay_steps = max(self.total_steps - begin - 1, 1)
        progress = ops.clip((step - begin) / decay_steps, 0.0, 1.0)
        if self.kind == "cosine":
            factor = self.final_fraction + (1 - self.final_fraction) * (1 + ops.cos(np.pi * progress)) / 2
        elif self.kind == "exponential":
            # A rate of exactly 0 has no exponential way to it.
            factor = ops.exp(progress * float(np.log(max(self.final_fraction, 1e-8))))
        elif self.kind == "step":
            epochs = ops.maximum(ops.floor((step - begin) / self.step_length) + 1, 0.0)
            factor = ops.exp(epochs * float(np.log(self.factor)))
        else:
            factor = ops.ones_like(step)
        rising = (step + 1) / max(self.warmup_steps, 1)
        return self.peak * ops.where(step < self.warmup_steps, rising, factor)

    def get_config(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "total_steps": self.total_steps,
            "final_fraction": self.final_fraction,
            "hold_steps": self.hold_steps,
            "factor": self.factor,
            "step_length": self.step_length,
        }


def learning_rate(config: TrainingConfig, steps_per_epoch: int, epochs: int) -> float | WarmupSchedule:
    """Return the learning rate of the configuration: a number, or a schedule over the steps."""
    schedule = config.schedule
    if schedule.kind == "constant" and not schedule.warmup_epochs:
        return config.learning_rate
    return WarmupSchedule(
        kind=schedule.kind,
        peak=config.learning_rate,
        warmup_steps=round(schedule.warmup_epochs * steps_per_epoch),
        total_steps=epochs * steps_per_epoch,
        final_fraction=schedule.final_fraction,
        hold_steps=round(schedule.hold_epochs * steps_per_epoch),
        factor=schedule.factor,
        step_length=steps_per_epoch,
    )

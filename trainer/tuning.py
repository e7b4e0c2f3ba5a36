"""The search for hyperparameters with keras-tuner, and what its result changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras_tuner

from noisy_gru.trainer.config import TrainerConfig

STDDEV_SCALE = "stddev_scale"
LEARN_MEAN = "learn_mean"
LEARNING_RATE = "learning_rate"


def search_space(trainer: TrainerConfig) -> keras_tuner.HyperParameters:
    """The space of the configuration: the scale on every stddev, whether the mean is learnt, the learning rate."""
    space = keras_tuner.HyperParameters()
    space.Choice(STDDEV_SCALE, trainer.tuner.stddev_scales, default=trainer.tuner.stddev_scales[0])
    space.Boolean(LEARN_MEAN)
    space.Choice(LEARNING_RATE, trainer.tuner.learning_rates, default=trainer.tuner.learning_rates[0])
    return space


def apply_hyperparameters(trainer: TrainerConfig, found: Mapping[str, Any] | None) -> TrainerConfig:
    """The configuration with the best hyperparameters in place of its own.

    Args:
        trainer: as configured.
        found: keras-tuner's JSON, as TFX hands it to `run_fn`; None without a Tuner.
    """
    if not found:
        return trainer
    return with_values(trainer, keras_tuner.HyperParameters.from_config(dict(found)).values)


def with_values(trainer: TrainerConfig, values: Mapping[str, Any]) -> TrainerConfig:
    """The configuration with these values of the search space."""
    scale = float(values.get(STDDEV_SCALE, 1.0))
    layers = [layer.model_copy(update={"stddev": layer.stddev * scale}) for layer in trainer.model.layers]
    model = trainer.model.model_copy(
        update={"layers": layers, "learn_mean": bool(values.get(LEARN_MEAN, trainer.model.learn_mean))}
    )
    rate = float(values.get(LEARNING_RATE, trainer.training.learning_rate))
    return trainer.model_copy(
        update={"model": model, "training": trainer.training.model_copy(update={"learning_rate": rate})}
    )

"""Hyperparameter search with keras-tuner, and applying its result to the configuration."""

# Keras' type hints want a string for `verbose`.

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import keras_tuner
from keras_tuner import oracles

from noisy_gru.schema.errors import ConfigError
from noisy_gru.trainer.callbacks.checkpoint import BestWeights
from noisy_gru.trainer.callbacks.progress import FiniteLoss, report
from noisy_gru.trainer.callbacks.weight_average import WeightAverage
from noisy_gru.trainer.config import TrainerConfig, scaled
from noisy_gru.trainer.custom_config import CustomConfig
from noisy_gru.trainer.export.saved_model import target_scale
from noisy_gru.trainer.export.served_model import ServedModel
from noisy_gru.trainer.loop import run_epochs
from noisy_gru.trainer.model import build_model
from noisy_gru.trainer.objective import compile_model
from noisy_gru.trainer.training_context import TrainingContext, prepare_training

STDDEV_SCALE = "stddev_scale"
LEARN_MEAN = "learn_mean"
LEARNING_RATE = "learning_rate"


def search_space(trainer: TrainerConfig) -> keras_tuner.HyperParameters:
    """Return the search space of the configuration: stddev scale, learned mean, learning rate."""
    space = keras_tuner.HyperParameters()
    space.Choice(STDDEV_SCALE, trainer.tuner.stddev_scales, default=trainer.tuner.stddev_scales[0])
    space.Boolean(LEARN_MEAN)
    space.Choice(LEARNING_RATE, trainer.tuner.learning_rates, default=trainer.tuner.learning_rates[0])
    return space


def apply_hyperparameters(trainer: TrainerConfig, hyperparameters: Mapping[str, Any] | None) -> TrainerConfig:
    """Return the configuration with the best hyperparameters.

    Args:
        trainer: as configured.
        hyperparameters: keras-tuner's JSON, as TFX passes it to `run_fn`; None without a Tuner.
    """
    if not hyperparameters:
        return trainer
    return with_values(trainer, keras_tuner.HyperParameters.from_config(dict(hyperparameters)).values)


def with_values(trainer: TrainerConfig, values: Mapping[str, Any]) -> TrainerConfig:
    """Return the configuration with these values of the search space."""
    trainer = scaled(trainer, float(values.get(STDDEV_SCALE, 1.0)))
    model = trainer.model.model_copy(update={"learn_mean": bool(values.get(LEARN_MEAN, trainer.model.learn_mean))})
    rate = float(values.get(LEARNING_RATE, trainer.training.learning_rate))
    return trainer.model_copy(
        update={"model": model, "training": trainer.training.model_copy(update={"learning_rate": rate})}
    )


class NoisySearch(keras_tuner.Tuner):
    """Train the configured model with the values of each trial."""

    def __init__(self, context: TrainingContext, scale: Any, **arguments: Any):
        self.context = context
        self.scale = scale
        super().__init__(hypermodel=self._build, **arguments)

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Train one model; keras-tuner's own method needs TensorBoard and keeps the weights of every model."""
        trainer = self.context.custom_config.trainer
        callbacks: list[Any] = [FiniteLoss()]
        if trainer.training.early_stopping is not None:
            callbacks.append(BestWeights(trainer.training.early_stopping))
        model = self._build(trial.hyperparameters)
        settings = trainer.training.weight_average
        average = WeightAverage(model, settings) if settings is not None else None
        if average is not None:
            callbacks.append(average.resume)
        history = run_epochs(
            model,
            self.context.train,
            self.context.eval,
            initial_epoch=0,
            epochs=trainer.tuner.epochs,
            callbacks=callbacks,
            average=average,
        )
        name, direction = eval_objective(trainer)
        score = float((max if direction == "max" else min)(history[name]))
        values = {key: trial.hyperparameters.values[key] for key in (STDDEV_SCALE, LEARN_MEAN, LEARNING_RATE)}
        number = int(trial.trial_id) + 1
        shown = " ".join(f"{key}={value}" for key, value in values.items())
        report(
            f"trial {number} of at most {trainer.tuner.max_trials}: {shown}: {name}={score:.4g}",
            kind="trial",
            trial=number,
            trials=trainer.tuner.max_trials,
            values=values,
            metrics={name: score},
        )
        return {name: score}

    def _build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        trainer = with_values(self.context.custom_config.trainer, hp.values)
        keras.utils.set_random_seed(trainer.seed)
        model = build_model(trainer.model, self.context.layout, self.context.sizes, seed=trainer.seed)
        compile_model(
            model,
            trainer.training,
            self.context.layout,
            steps_per_epoch=self.context.train.steps,
            epochs=trainer.tuner.epochs,
            target_scale=self.scale,
            classes=self.context.classes,
            xla=self.context.xla.enabled,
            record=self.context.sizes.record,
        )
        model.optimizer.build(model.trainable_variables)
        return model


def make_tuner(fn_args: Any, custom_config: CustomConfig) -> keras_tuner.Tuner:
    """Return the tuner of the configuration.

    It tries all combinations if `tuner.max_trials` allows, else a seeded random choice of them.

    Args:
        fn_args: TFX's FnArgs; trials are kept in its `working_dir`.
        custom_config: parsed.

    Raises:
        ConfigError, DataError, RuntimeError: as `prepare_training`; or the eval split is empty.
    """
    trainer = custom_config.trainer
    context = prepare_training(fn_args, custom_config)
    if not len(context.eval):
        raise ConfigError(
            "tuner needs sequences in the eval split, which is empty. Give splits.eval (or eval_from_train) a share, "
            "or set tuner.enabled: false."
        )
    context = context.with_xla(trainer.tuner.epochs)
    name, direction = eval_objective(trainer)
    combinations = 2 * len(trainer.tuner.stddev_scales) * len(trainer.tuner.learning_rates)
    exhaustive = combinations <= trainer.tuner.max_trials
    oracle: Any = oracles.GridSearchOracle if exhaustive else oracles.RandomSearchOracle
    model = build_model(trainer.model, context.layout, context.sizes, seed=trainer.seed)
    return NoisySearch(
        context,
        target_scale(ServedModel(model, context.transform, context.layout)),
        oracle=oracle(
            objective=keras_tuner.Objective(name, direction),
            max_trials=trainer.tuner.max_trials,
            hyperparameters=search_space(trainer),
            tune_new_entries=False,
            seed=trainer.seed,
            # One failed trial ends the search; by default two may fail, and the default values win unnoticed.
            max_consecutive_failed_trials=1,
        ),
        directory=fn_args.working_dir,
        project_name="search",
        overwrite=True,
    )


def eval_objective(trainer: TrainerConfig) -> tuple[str, str]:
    """Return the metric that compares models on the eval split, and `min` or `max`: early stopping's, or the loss."""
    stopping = trainer.training.early_stopping
    watched = stopping is not None and stopping.monitor.startswith("val_")
    return (stopping.monitor, stopping.mode) if stopping is not None and watched else ("val_loss", "min")

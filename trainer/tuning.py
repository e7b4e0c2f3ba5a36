"""Hyperparameter search with keras-tuner, and applying its result to the configuration."""

# Keras' type hints want a string for `verbose`.

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import keras_tuner

from noisy_gru.schema.errors import ConfigError
from noisy_gru.trainer.callbacks.checkpoint import BestWeights
from noisy_gru.trainer.callbacks.progress import FiniteLoss, report
from noisy_gru.trainer.callbacks.weight_average import WeightAverage
from noisy_gru.trainer.config import TrainerConfig
from noisy_gru.trainer.custom_config import CustomConfig
from noisy_gru.trainer.ensemble import combined, members_of
from noisy_gru.trainer.export.saved_model import target_scale
from noisy_gru.trainer.export.served_model import ServedModel
from noisy_gru.trainer.loop import run_epochs
from noisy_gru.trainer.model import build_model
from noisy_gru.trainer.objective import compile_model
from noisy_gru.trainer.search_space import ListOracle, chosen_values, search_space, shown_values, with_values
from noisy_gru.trainer.training_context import TrainingContext, prepare_training
from noisy_gru.trainer.transform_record import read_record

MEMBERS = "training.members"


def apply_hyperparameters(trainer: TrainerConfig, hyperparameters: Mapping[str, Any] | None) -> TrainerConfig:
    """Return the configuration with the best hyperparameters.

    Args:
        trainer: as configured.
        hyperparameters: keras-tuner's JSON, as TFX passes it to `run_fn`; None without a Tuner.
    """
    if not hyperparameters:
        return trainer
    return with_values(trainer, keras_tuner.HyperParameters.from_config(dict(hyperparameters)).values)


class NoisySearch(keras_tuner.Tuner):
    """Train the configured model with the values of each trial.

    Args:
        context: of the training, with the scales of all columns.
        scale: of the target, for the metrics.
        trials: how many are planned.
        clock: returns seconds; `tuner.minutes` counts from the first trial.
        **arguments: keras-tuner's.
    """

    def __init__(
        self,
        context: TrainingContext,
        scale: Any,
        trials: int,
        clock: Callable[[], float] = time.monotonic,
        **arguments: Any,
    ):
        self.context, self.scale, self.trials, self._clock = context, scale, trials, clock
        self._begun: float | None = None
        super().__init__(hypermodel=self._build, **arguments)

    def pre_create_trial(self) -> None:
        """End the search when its time is up, with the trials that there are."""
        minutes = self.context.custom_config.trainer.tuner.minutes
        if self._begun is None:
            self._begun = self._clock()
        done = len(self.oracle.trials)
        if minutes is not None and done and self._clock() - self._begun >= 60 * minutes and done < self.trials:
            report(
                f"search: {minutes:g} minutes are up after {done} of {self.trials} trials",
                kind="search_ended",
                trials=done,
                planned=self.trials,
            )
            self.oracle.max_trials = done

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Train the members of one model; keras-tuner's own method needs TensorBoard and keeps every model's weights.

        Returns:
            The metric of the best epoch; of several members that of the mean of their answers, each with the weights
            that a training keeps.
        """
        values = dict(trial.hyperparameters.values)
        searched = with_values(self.context.custom_config.trainer, values)
        # Members cost as many times as much, so one stands for all unless their number is searched.
        members = members_of(searched) if MEMBERS in searched.tuner.space else [searched]
        name, direction = eval_objective(members[0])
        trained = []
        for number, trainer in enumerate(members, 1):
            model = self._model(trainer, "noisy_gru" if len(members) == 1 else f"member_{number}")
            history = self._fit(model, trainer)
            trained.append(model)
        best = (max if direction == "max" else min)(history[name])
        score = float(best if len(members) == 1 else self._score_together(trained, members[0], name))
        number = int(trial.trial_id) + 1
        report(
            f"trial {number} of at most {self.trials}: {shown_values(values)}: {name}={score:.4g}",
            kind="trial",
            trial=number,
            trials=self.trials,
            values=values,
            metrics={name: score},
        )
        return {name: score}

    def _fit(self, model: keras.Model, trainer: TrainerConfig) -> dict[str, list[float]]:
        callbacks: list[Any] = [FiniteLoss()]
        if trainer.training.early_stopping is not None:
            callbacks.append(BestWeights(trainer.training.early_stopping))
        settings = trainer.training.weight_average
        average = WeightAverage(model, settings) if settings is not None else None
        if average is not None:
            callbacks.append(average.resume)
        return run_epochs(
            model,
            self.context.train.with_seed(trainer.seed),
            self.context.eval,
            initial_epoch=0,
            epochs=trainer.tuner.epochs,
            callbacks=callbacks,
            average=average,
        )

    def _score_together(self, models: list[keras.Model], trainer: TrainerConfig, name: str) -> float:
        layout = self.context.layout
        joined = combined(models, logits=layout.is_classification, binary=layout.is_multi_label)
        self._compile(joined, trainer)
        found: Any = joined.evaluate(self.context.eval.one_pass(), verbose=0, return_dict=True)
        return found[name.removeprefix("val_")]

    def _build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        return self._model(with_values(self.context.custom_config.trainer, hp.values), "noisy_gru")

    def _model(self, trainer: TrainerConfig, name: str) -> keras.Model:
        keras.utils.set_random_seed(trainer.seed)
        model = build_model(trainer.model, self.context.layout, self.context.sizes, seed=trainer.seed, name=name)
        self._compile(model, trainer)
        model.optimizer.build(model.trainable_variables)
        return model

    def _compile(self, model: keras.Model, trainer: TrainerConfig) -> None:
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


def make_tuner(fn_args: Any, custom_config: CustomConfig) -> keras_tuner.Tuner:
    """Return the tuner of the configuration.

    The configuration itself comes first, then all combinations if `tuner.max_trials` allows, else a seeded random
    choice of them.

    Args:
        fn_args: TFX's FnArgs; trials are kept in its `working_dir`.
        custom_config: parsed.

    Raises:
        ConfigError, DataError, RuntimeError: as `prepare_training`; the eval split is empty; or no combination of
            `tuner` fits the data set.
    """
    trainer = custom_config.trainer
    context = prepare_training(fn_args, custom_config)
    if not len(context.eval):
        raise ConfigError(
            "tuner needs sequences in the eval split, which is empty. Give splits.eval (or eval_from_train) a share, "
            "or set tuner.enabled: false."
        )
    values = chosen_values(trainer, custom_config.dataset)
    if not values:
        raise ConfigError(
            "tuner: no combination of the values of tuner.space fits the data set; leave out those that don't go "
            "together, which noisy-gru validate names one by one with --set"
        )
    context = context.with_xla(trainer.tuner.epochs)
    # A trial may be relative to its window where the configuration is not.
    record = read_record(context.transform, context.layout)
    context = dataclasses.replace(context, sizes=dataclasses.replace(context.sizes, record=record))
    name, direction = eval_objective(trainer)
    model = build_model(trainer.model, context.layout, context.sizes, seed=trainer.seed)
    return NoisySearch(
        context,
        target_scale(ServedModel(model, context.transform, context.layout)),
        len(values),
        oracle=ListOracle(
            values,
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

"""What the Tuner chooses among: every combination of the values of `tuner`, or a random choice of them.

>>> space = search_space(trainer)  # doctest: +SKIP
>>> chosen_values(trainer, dataset)[0]  # the configuration itself  # doctest: +SKIP
{'stddev_scale': 1.0, 'learn_mean': False, 'learning_rate': 0.001, 'model.segment': 'null'}
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Mapping
from typing import Any

import keras_tuner
from keras_tuner.engine.trial import TrialStatus

from noisy_gru.schema.config import DatasetConfig
from noisy_gru.trainer.config import TrainerConfig, scaled, value_of, with_settings
from noisy_gru.trainer.model_checks import model_problems

STDDEV_SCALE = "stddev_scale"
LEARN_MEAN = "learn_mean"
LEARNING_RATE = "learning_rate"
_TRIES = 20  # draws for each combination that is wanted, as some are refused


def search_space(trainer: TrainerConfig) -> keras_tuner.HyperParameters:
    """Return the search space: stddev scale, learned mean, learning rate, and the keys of `tuner.space`.

    The default of each is what is configured, where it is among the values. Values of `tuner.space` are JSON, as
    keras-tuner knows neither null nor lists.
    """
    space = keras_tuner.HyperParameters()
    for name, (values, default) in _axes(trainer).items():
        if name == LEARN_MEAN:
            space.Boolean(name, default=default)
        else:
            space.Choice(name, values, default=default)
    return space


def _axes(trainer: TrainerConfig) -> dict[str, tuple[list[Any], Any]]:
    """Return the values of each hyperparameter, and its default."""
    tuner = trainer.tuner
    axes: dict[str, tuple[list[Any], Any]] = {
        STDDEV_SCALE: (tuner.stddev_scales, 1.0),
        LEARN_MEAN: ([False, True], trainer.model.learn_mean),
        LEARNING_RATE: (tuner.learning_rates, trainer.training.learning_rate),
    }
    for key, values in tuner.space.items():
        axes[key] = [json.dumps(value) for value in values], json.dumps(value_of(trainer, key))
    return {name: (values, own if own in values else values[0]) for name, (values, own) in axes.items()}


def with_values(trainer: TrainerConfig, values: Mapping[str, Any]) -> TrainerConfig:
    """Return the configuration with these values of the search space.

    Raises:
        ValueError: they don't go together.
    """
    given = {key: json.loads(value) for key, value in values.items() if key in trainer.tuner.space}
    # Presets and layers first: the scale is a factor on what they say.
    trainer = scaled(with_settings(trainer, given), float(values.get(STDDEV_SCALE, 1.0)))
    model = trainer.model.model_copy(update={"learn_mean": bool(values.get(LEARN_MEAN, trainer.model.learn_mean))})
    rate = float(values.get(LEARNING_RATE, trainer.training.learning_rate))
    return trainer.model_copy(
        update={"model": model, "training": trainer.training.model_copy(update={"learning_rate": rate})}
    )


def shown_values(values: Mapping[str, Any]) -> str:
    """Return the values of a trial as `key=value`, for the log."""
    return " ".join(f"{key}={value}" for key, value in values.items())


def chosen_values(trainer: TrainerConfig, dataset: DatasetConfig) -> list[dict[str, Any]]:
    """Return the values of each trial: the defaults first, then all combinations or, of many, a seeded random choice.

    Combinations that don't go together or don't fit the data set are left out.
    """
    axes = _axes(trainer)
    first = {name: default for name, (_, default) in axes.items()}
    found: list[dict[str, Any]] = []
    for values in (first, *_combinations(axes, trainer.tuner.max_trials, trainer.seed)):
        if len(found) == trainer.tuner.max_trials:
            break
        if values not in found and _fits(trainer, values, dataset):
            found.append(values)
    return found


def _combinations(axes: Mapping[str, tuple[list[Any], Any]], most: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield all combinations if there are no more than ``most``, else some at random, none twice."""
    count = math.prod(len(values) for values, _ in axes.values())
    numbers = range(count) if count <= most else random.Random(seed).sample(range(count), min(count, most * _TRIES))
    for number in numbers:
        chosen = {}
        for name, (values, _) in axes.items():
            number, place = divmod(number, len(values))
            chosen[name] = values[place]
        yield chosen


def _fits(trainer: TrainerConfig, values: Mapping[str, Any], dataset: DatasetConfig) -> bool:
    try:
        return not model_problems(with_values(trainer, values).model, dataset)
    except ValueError:
        return False


class ListOracle(keras_tuner.Oracle):
    """Gives each trial the next values of a list."""

    def __init__(self, values: list[dict[str, Any]], **arguments: Any):
        super().__init__(**arguments)
        self._values = values

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Return the values of the next trial; STOPPED after the last."""
        place = len(self.start_order)
        if place >= len(self._values):
            return {"status": TrialStatus.STOPPED, "values": None}
        return {"status": TrialStatus.RUNNING, "values": self._values[place]}

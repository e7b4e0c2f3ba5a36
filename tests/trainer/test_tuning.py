"""The search: its space, what its result changes, and that a failed trial is not passed over."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
import pytest

from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import ConfigError
from noisy_gru.trainer import search_space, tuning
from noisy_gru.trainer.config import TrainerConfig, with_settings
from noisy_gru.trainer.custom_config import CustomConfig
from noisy_gru.trainer.model_config import ModelConfig

CONFIG = TrainerConfig.model_validate(
    {
        "model": {"layers": [{"units": 3, "stddev": 0.1}, {"units": 2, "stddev": 0.05}]},
        "tuner": {"max_trials": 3, "epochs": 1, "learning_rates": [0.001, 0.01]},
    }
)


def test_the_space_holds_the_factors_on_the_noise_and_the_learnt_mean() -> None:
    space = {parameter.name: parameter for parameter in search_space.search_space(CONFIG).space}
    assert space["stddev_scale"].values == [0.0, 1.0, 3.0, 10.0]
    assert space["learning_rate"].values == [0.001, 0.01]
    assert set(space["learn_mean"].values) == {True, False}


def test_what_is_found_replaces_the_configured() -> None:
    found = keras_tuner.HyperParameters()
    found.Fixed("stddev_scale", 3.0)
    found.Fixed("learn_mean", True)
    found.Fixed("learning_rate", 0.01)
    changed = tuning.apply_hyperparameters(CONFIG, found.get_config())
    assert [layer.stddev for layer in changed.model.layers] == pytest.approx([0.3, 0.15])
    assert changed.model.learn_mean and changed.training.learning_rate == 0.01
    assert tuning.apply_hyperparameters(CONFIG, None) == CONFIG


def searched(space: dict[str, Any], dataset: Any = None, **tuner: Any) -> TrainerConfig:
    given = {"stddev_scales": [1.0], "learning_rates": [0.001], "epochs": 1, "space": space, **tuner}
    return TrainerConfig.model_validate({"model": {"layers": [{"units": 3}]}, "tuner": given})


def dataset_of(kind: str) -> DatasetConfig:
    task: dict[str, Any] = {"kind": "classification", "label": "y"}
    if kind == "forecasting":
        task = {"kind": kind, "targets": ["x"], "input_length": 8, "horizons": [1, 2, 3]}
    data = {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": ["x"]}
    return DatasetConfig.model_validate({"data": data, "task": task})


def test_the_configuration_comes_first_and_then_every_combination_that_fits() -> None:
    space = {"model.segment": [None, 4], "model.window_normalization": ["none", "last"], "model.target": ["level"]}
    values = search_space.chosen_values(searched(space), dataset_of("forecasting"))
    assert len(values) == 8  # with learn_mean
    found = [search_space.with_values(searched(space), each).model for each in values]
    assert (found[0].segment, found[0].window_normalization, found[0].learn_mean) == (None, "none", False)
    kinds = {(each.segment, each.window_normalization, each.learn_mean) for each in found}
    assert kinds == set(itertools.product([None, 4], ["none", "last"], [False, True]))
    # A difference and a relative window don't go together; a classification has no window.
    both = {"model.target": ["level", "difference"], "model.window_normalization": ["none", "last"]}
    assert len(search_space.chosen_values(searched(both), dataset_of("forecasting"))) == 6
    assert len(search_space.chosen_values(searched(space), dataset_of("classification"))) == 4


def test_of_many_combinations_a_seeded_choice_is_tried() -> None:
    space = {"model.layers.0.units": list(range(1, 50)), "training.weight_decay": [0.0, 0.1]}
    trainer = searched(space, max_trials=7)
    values = search_space.chosen_values(trainer, dataset_of("classification"))
    assert values == search_space.chosen_values(trainer, dataset_of("classification"))
    assert len(values) == 7 and len({str(each) for each in values}) == 7
    assert values[0]["model.layers.0.units"] == "3"


def test_a_preset_replaces_what_presets_give() -> None:
    trainer = TrainerConfig.model_validate({"model": {"preset": "classification", "pooling": "mean"}})
    small = with_settings(trainer, {"model.preset": "small", "training.members": 3})
    assert small.model == ModelConfig.model_validate({"preset": "small", "pooling": "mean"})
    assert small.training.members == 3
    blocks = with_settings(small, {"model.convolutions.pool": 8, "model.preset": "reference"})
    assert blocks.model.convolutions is not None and blocks.model.convolutions.pool == 8
    assert [layer.units for layer in blocks.model.layers] == [64, 32, 16]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"model.segment": [1]}, "tuner.space: model.segment: 1 is not valid"),
        ({"model.nowhere": [1]}, "tuner.space: model.nowhere: 1 is not valid"),
        ({"training.batch_size": [8]}, "training.batch_size can't differ between trials"),
        ({"training.learning_rate": [0.1]}, "tuner.learning_rates"),
        ({"data.files": [["a"]]}, "expected a key of model or training"),
        ({"model.segment": []}, "expected a list of values"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(space: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        searched(space, enabled=True)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:currentThread:DeprecationWarning", "ignore:getName:DeprecationWarning")
def test_members_are_scored_together_and_the_time_is_kept(classification: Any, tmp_path: Path) -> None:
    trainer = searched({"training.members": [2, 1], "model.convolutions": [None, {"filters": [4], "kernels": [3]}]})
    trainer = trainer.model_copy(update={"tuner": trainer.tuner.model_copy(update={"minutes": 1.0})})
    tuner = tuning.make_tuner(classification.fn_args(tmp_path, {}), CustomConfig(classification.dataset, trainer))
    times = iter([0.0, 30.0, 61.0])
    tuner._clock = lambda: next(times)
    trained: list[str] = []
    fit = tuner._fit

    def counted(model: Any, own: TrainerConfig) -> Any:
        trained.append(f"{own.seed} {own.training.members}")
        return fit(model, own)

    tuner._fit = counted
    tuner.search()
    assert trained[:1] == ["0 1"] and len(tuner.oracle.trials) == 2
    joined: list[Any] = []
    score = tuner._score_together

    def kept(models: Any, *rest: Any) -> float:
        joined.extend(models)
        return score(models, *rest)

    tuner._score_together = kept
    trial = tuner.oracle.trials["00"]
    trial.hyperparameters.values["training.members"] = "2"
    result: Any = tuner.run_trial(trial)
    found = result["val_loss"]
    # The cross-entropy of the mean of the members' probabilities, by NumPy.
    total, count = 0.0, 0
    for inputs, labels, *weights in tuner.context.eval.one_pass():
        logits = [np.asarray(model(inputs, training=False), np.float64) for model in joined]
        each = [np.exp(one) / np.exp(one).sum(1, keepdims=True) for one in logits]
        chosen = np.take_along_axis(np.mean(each, axis=0), np.asarray(labels).reshape(-1, 1), 1)[:, 0]
        weight = np.asarray(weights[0]) if weights else np.ones(len(chosen))
        total, count = total - float((weight * np.log(chosen)).sum()), count + float(weight.sum())
    assert len(joined) == 2 and found == pytest.approx(total / count, rel=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:currentThread:DeprecationWarning", "ignore:getName:DeprecationWarning")
def test_a_failed_trial_ends_the_search(classification: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tuner = tuning.make_tuner(classification.fn_args(tmp_path, {}), CustomConfig(classification.dataset, CONFIG))

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(tuning, "build_model", fail)
    with pytest.raises(RuntimeError, match="the disk is full"):
        tuner.search()


@pytest.mark.slow
def test_an_empty_eval_split_is_refused(classification: Any, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"training": CONFIG.training.model_copy(update={"early_stopping": None})})
    arguments = classification.fn_args(tmp_path, {}, eval_files=[])
    with pytest.raises(ConfigError, match="tuner needs sequences in the eval split"):
        tuning.make_tuner(arguments, CustomConfig(classification.dataset, config))

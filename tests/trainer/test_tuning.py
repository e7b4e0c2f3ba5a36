"""The search: its space, what its result changes, and that a failed trial is not passed over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras_tuner
import pytest

from noisy_gru.schema.errors import ConfigError
from noisy_gru.trainer import tuning
from noisy_gru.trainer.config import TrainerConfig
from noisy_gru.trainer.custom_config import CustomConfig

CONFIG = TrainerConfig.model_validate(
    {
        "model": {"layers": [{"units": 3, "stddev": 0.1}, {"units": 2, "stddev": 0.05}]},
        "tuner": {"max_trials": 3, "epochs": 1, "learning_rates": [0.001, 0.01]},
    }
)


def test_the_space_holds_the_factors_on_the_noise_and_the_learnt_mean() -> None:
    space = {parameter.name: parameter for parameter in tuning.search_space(CONFIG).space}
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

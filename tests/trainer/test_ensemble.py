"""Trainings of several members: their export is the mean of models trained alone, also after an interruption."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from noisy_gru.saved_model.session import SessionModel
from noisy_gru.schema.errors import ConfigError
from noisy_gru.trainer.callbacks.progress import HistoryFile
from noisy_gru.trainer.config import TrainerConfig
from noisy_gru.trainer.custom_config import CustomConfig
from noisy_gru.trainer.ensemble import MeanOfMembers, combined_function, members_of
from noisy_gru.trainer.export.saved_model import keras_folder, load_for_parity, load_keras
from noisy_gru.trainer.module import run_fn
from noisy_gru.trainer.warm_start.base_differences import differences

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
]
AVERAGE = {"kind": "ema", "decay": 0.8}


def configured(seed: int, members: int, **training: Any) -> TrainerConfig:
    return TrainerConfig.model_validate(
        {
            "model": {"layers": [{"units": 6, "stddev": 0.3}, {"units": 4}], "head_dropout": 0.2},
            "training": {"epochs": 3, "learning_rate": 0.02, "members": members, "weight_average": AVERAGE, **training},
            "seed": seed,
        }
    )


def trained(data: Any, folder: Path, trainer: TrainerConfig, **arguments: Any) -> SimpleNamespace:
    config = CustomConfig(data.dataset, trainer, working_dir=str(folder.parent / "working"))
    given = data.fn_args(folder, config.to_dict(), **arguments)
    run_fn(given)
    return given


def answers(model: Any, data: Any, encode: Any) -> dict[str, np.ndarray]:
    examples = np.array([encode(row) for row in data.rows["test"][:20]], object)
    with SessionModel(model.serving_model_dir) as session:
        return session.run("serving_default", {"examples": examples})


@pytest.mark.parametrize("task", ["classification", pytest.param("forecasting", marks=pytest.mark.long)])
def test_the_export_answers_with_the_mean_of_models_trained_alone(
    task: str, request: Any, encode: Any, tmp_path: Path
) -> None:
    data = request.getfixturevalue(task)
    single = [trained(data, tmp_path / str(seed), configured(seed, 1)) for seed in (5, 1005)]
    both = trained(data, tmp_path / "both", configured(5, 2))
    key = "probabilities" if task == "classification" else "predictions"
    alone = [answers(model, data, encode)[key] for model in single]
    found = answers(both, data, encode)
    assert np.abs(alone[0] - alone[1]).max() > 1e-3
    np.testing.assert_allclose(found[key], np.mean(alone, axis=0), rtol=1e-5, atol=5e-6)
    if task == "classification":
        np.testing.assert_array_equal(found["class_id"], np.mean(alone, axis=0).argmax(axis=1))

    eager = load_for_parity(both.serving_model_dir, data.graph)
    examples = tf.constant([encode(row) for row in data.rows["test"][:20]])
    np.testing.assert_allclose(eager.from_examples(examples)[key], found[key], rtol=1e-5, atol=5e-6)
    summary = json.loads((tmp_path / "both" / "model_run" / "training.json").read_text())
    assert [member["seed"] for member in summary["members"]] == [5, 1005]
    for number, model in enumerate(single, 1):
        history = (Path(model.model_run_dir) / "history.csv").read_text()
        assert (tmp_path / "both" / "model_run" / f"member_{number}" / "history.csv").read_text() == history
    assert (tmp_path / "both" / "model_run" / "history.csv").is_file()


@pytest.mark.long
def test_an_interruption_in_the_second_member_changes_nothing(
    regression: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = configured(3, 2, weight_average={"kind": "swa", "from_epoch": 2})
    undisturbed = trained(regression, tmp_path / "one" / "model", trainer)
    rows = []
    whole = HistoryFile.on_epoch_end

    def interrupted(self: HistoryFile, epoch: int, logs: Any = None) -> None:
        rows.append(epoch)
        if len(rows) == 5:
            raise KeyboardInterrupt
        whole(self, epoch, logs)

    with monkeypatch.context() as patched:
        patched.setattr(HistoryFile, "on_epoch_end", interrupted)
        with pytest.raises(KeyboardInterrupt):
            trained(regression, tmp_path / "two" / "model", trainer)
    assert rows == [0, 1, 2, 0, 1]
    resumed = trained(regression, tmp_path / "two" / "model", trainer)
    both = [load_keras(keras_folder(each.serving_model_dir))[0].get_weights() for each in (undisturbed, resumed)]
    for one, other in zip(*both, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not list((tmp_path / "two" / "working").glob("training-*"))


def test_the_mean_of_logits_is_that_of_probabilities() -> None:
    logits = np.random.default_rng(0).normal(scale=4, size=(3, 5, 4)).astype(np.float32)
    exponentials = np.exp(logits.astype(np.float64))
    expected = (exponentials / exponentials.sum(axis=-1, keepdims=True)).mean(axis=0)
    mean = MeanOfMembers(True)
    np.testing.assert_allclose(tf.nn.softmax(mean(list(logits))), expected, rtol=1e-5)
    np.testing.assert_allclose(MeanOfMembers(False)(list(logits)), logits.mean(axis=0), rtol=1e-5, atol=5e-6)
    assert MeanOfMembers.from_config(mean.get_config()).logits


def test_members_have_seeds_of_their_own_and_a_single_model_has_the_configured_one() -> None:
    assert members_of(configured(7, 1)) == [configured(7, 1)]
    assert [member.seed for member in members_of(configured(2**31 - 1, 3))] == [2**31 - 1, 999, 1999]
    assert combined_function([None, None], [None, None], logits=True) is None  # pyright: ignore[reportArgumentType]


def test_a_warm_start_is_refused(regression: Any) -> None:
    def of(members: int) -> CustomConfig:
        return CustomConfig(regression.dataset, configured(0, members))

    record: Any = None
    for before, after in ((1, 3), (3, 1), (3, 3)):
        (reason,) = differences(of(before), of(after), record, record)
        assert reason == (
            f"training.members was {before}, is {after}; the weights of several members are not transferred"
        )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"model": {"serving_step": True}, "training": {"members": 2}},
            "members: 2 .* model.serving_step: true",
        ),
        ({"model": {"onnx": True}, "training": {"members": 3}}, "members: 3 .* model.onnx: true has no form for"),
        ({"training": {"weight_average": {"kind": "swa"}}}, "kind: swa needs from_epoch"),
        ({"training": {"weight_average": {"kind": "ema", "from_epoch": 3}}}, "kind: ema has no from_epoch"),
        (
            {"training": {"epochs": 4, "weight_average": {"kind": "swa", "from_epoch": 5}}},
            "from_epoch: 5 is after the last of training.epochs: 4",
        ),
        (
            {"model": {"convolutions": {}}, "training": {"weight_average": {"kind": "swa", "from_epoch": 1}}},
            "batch normalization of model.convolutions .* has no statistics; use kind: ema",
        ),
        ({"training": {"members": 0}}, "greater than or equal to 1"),
    ],
)
def test_what_does_not_go_together_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, ValueError), match=message):
        TrainerConfig.model_validate(given)

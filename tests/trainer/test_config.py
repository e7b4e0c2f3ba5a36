"""Which models a data set's columns, and the wish to serve step by step, allow."""

from __future__ import annotations

from typing import Any

import pytest

from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import ConfigError
from noisy_gru.trainer.config import TrainerConfig
from noisy_gru.trainer.model_checks import check_model_config, model_problems
from noisy_gru.trainer.model_config import ModelConfig

MASKED = {"name": "a", "missing": "mask"}
CLASSIFICATION = {"kind": "classification", "label": "y"}
FORECASTING = {"kind": "forecasting", "targets": ["a"], "input_length": 4, "horizons": [1, 2]}


def dataset(task: dict[str, Any], features: list[Any]) -> DatasetConfig:
    data = {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": features}
    return DatasetConfig.model_validate({"data": data, "task": task})


@pytest.mark.parametrize(
    ("model", "task", "features", "message"),
    [
        ({"target": "difference"}, CLASSIFICATION, ["a"], ["needs task.kind: forecasting, received classification"]),
        ({"target": "difference"}, {**FORECASTING, "targets": ["a", "z"]}, ["a"], ["but z is not a numeric feature"]),
        ({"serving_step": True, "bidirectional": True}, CLASSIFICATION, ["a"], ["model.bidirectional: true"]),
        (
            {"serving_step": True, "pooling": "max", "target": "difference"},
            FORECASTING,
            ["b", {"name": "plan", "known_in_advance": True}],
            ["but a is not a numeric feature", "received max", "but plan (known_in_advance) is read up to the horizon"],
        ),
        ({"missing": "decay"}, CLASSIFICATION, ["a"], ["fades features with missing: mask, and there is none"]),
        (
            {"missing": "decay", "bidirectional": True, "fused": False, "onnx": True},
            CLASSIFICATION,
            [MASKED],
            ["for model.bidirectional: true yet", "for model.fused: false yet", "for model.onnx: true yet"],
        ),
        ({"missing": "decay", "random_kernels": {}}, CLASSIFICATION, [MASKED], ["for model.random_kernels yet"]),
        ({"missing": "decay", "segment": 2}, FORECASTING, [MASKED], ["for model.segment yet"]),
        (
            {"missing": "decay", "layers": [{"units": 2, "recurrent_dropout": 0.1}]},
            CLASSIFICATION,
            [MASKED],
            ["for recurrent_dropout of the first layer yet"],
        ),
        (
            {"missing": "decay"},
            FORECASTING,
            [MASKED, {"name": "plan", "known_in_advance": True}],
            ["and plan (known_in_advance) is read up to the horizon; set model.future: targets"],
        ),
    ],
)
def test_every_problem_is_told(
    model: dict[str, Any], task: dict[str, Any], features: list[Any], message: list[str]
) -> None:
    config, data = ModelConfig.model_validate(model), dataset(task, features)
    problems = model_problems(config, data)
    assert len(problems) == len(message)
    assert all(part in problem for part, problem in zip(message, problems, strict=True))
    with pytest.raises(ConfigError) as error:
        check_model_config(config, data)
    assert str(error.value).splitlines() == problems


def test_a_decay_beside_what_is_known_at_the_targets_time_is_let_through() -> None:
    features = [MASKED, {"name": "plan", "known_in_advance": True}]
    check_model_config(ModelConfig(missing="decay", future="targets"), dataset(FORECASTING, features))


@pytest.mark.parametrize("model", [{"serving_step": True}, {"bidirectional": True, "pooling": "mean"}])
def test_what_fits_is_let_through(model: dict[str, Any]) -> None:
    check_model_config(ModelConfig.model_validate(model), dataset(CLASSIFICATION, ["a"]))
    check_model_config(ModelConfig.model_validate({**model, "target": "difference"}), dataset(FORECASTING, ["a"]))


CARRIED = [{"units": 4, "noise": "carried"}]


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        ({"model": {"layers": [{"units": 4, "share": 0.5}]}}, "of noise: carried; received noise: normal"),
        ({"model": {"layers": [{"units": 4, "noise": "carried", "share": 0}]}}, "greater than 0"),
        ({"model": {"layers": [{"units": 4}, *CARRIED], "stddev": "auto"}}, "layer 1 has none \\(noise: carried\\)"),
        ({"model": {"layers": CARRIED, "stddev": "learned"}}, "layer 0 has none"),
        ({"model": {"layers": [{"units": 4, "stddev": 0}], "stddev": "residual"}}, "of layer 0 is 0; give it one"),
        ({"model": {"layers": [{"units": 4, "stddev": 0}], "stddev": "auto"}}, "of layer 0 is 0; give it one"),
        ({"model": {"layers": CARRIED}, "training": {"batch_size": 1}}, "training.batch_size is 1; raise it"),
        ({"model": {"layers": CARRIED}, "training": {"strategy": "mirrored"}}, "training.strategy: mirrored splits"),
        ({"model": {"stddev": "residual"}, "training": {"strategy": "multi_worker"}}, "model.stddev: residual is"),
        ({"model": {"stddev": "auto"}, "training": {"strategy": "mirrored"}}, "model.stddev: auto is trained on one"),
        ({"model": {"stddev": "auto"}, "tuner": {"enabled": True}}, "both choose the scale of the noise"),
        ({"model": {"stddev": "auto", "stddev_scales": [1]}}, "at least 2 items"),
    ],
)
def test_noise_that_does_not_fit_is_refused(trainer: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainerConfig.model_validate(trainer)


@pytest.mark.parametrize(
    "trainer",
    [
        {"model": {"layers": CARRIED}},
        # Switched off, it needs no other sequence.
        {"model": {"layers": [{"units": 4, "noise": "carried", "stddev": 0}]}, "training": {"batch_size": 1}},
        {"model": {"layers": [{"units": 4, "stddev": 0}, {"units": 4}], "stddev": "auto"}},
        {"model": {"stddev": "learned"}, "training": {"strategy": "mirrored"}},
    ],
)
def test_noise_that_fits_survives_json(trainer: dict[str, Any]) -> None:
    config = TrainerConfig.model_validate(trainer)
    assert TrainerConfig.model_validate(config.model_dump(mode="json")) == config

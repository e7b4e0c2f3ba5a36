"""A regression of several targets: the head, and a loss and metrics over the known ones, against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from noisy_gru.schema.config import DatasetConfig
from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.model import VocabularySizes, build_model
from noisy_gru.trainer.model_config import ModelConfig
from noisy_gru.trainer.objective import compile_model
from noisy_gru.trainer.training_config import TrainingConfig

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
]


def layout(**task: Any) -> Layout:
    data = {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": ["x"]}
    given = {"kind": "regression", "targets": ["a", "b", "c"], **task}
    return Layout(DatasetConfig.model_validate({"data": data, "task": given}))


def made(of: Layout) -> Any:
    config = ModelConfig.model_validate({"layers": [{"units": 5}]})
    return build_model(config, of, VocabularySizes(), seed=1)


def test_an_output_for_each_target_and_quantile() -> None:
    assert layout().target_shape == (3,) and layout().raw_targets == layout().targets == ["a", "b", "c"]
    assert made(layout()).output_shape == (None, 3)
    model = made(layout(quantiles=[0.1, 0.5, 0.9]))
    assert model.output_shape == (None, 3, 3)
    inputs = {"features": np.ones((2, 4, 1), np.float32), "length": np.array([4, 2])}
    quantiles = np.asarray(model(inputs, training=False), np.float64)
    assert (quantiles[..., 1:] > quantiles[..., :-1]).all()


@pytest.mark.parametrize(("loss", "power"), [("mse", 2), ("mae", 1)])
def test_missing_targets_count_neither_in_loss_nor_in_metric(loss: str, power: int) -> None:
    of, random = layout(), np.random.default_rng(0)
    model, scale = made(of), np.array([1.0, 10.0, 100.0])
    training = TrainingConfig.model_validate({"loss": loss})
    compile_model(model, training, of, steps_per_epoch=1, epochs=1, target_scale=scale)
    inputs = {"features": random.normal(size=(6, 4, 1)).astype(np.float32), "length": np.array([4, 2, 1, 3, 4, 0])}
    truth = random.normal(size=(6, 3)).astype(np.float32)
    known = random.random((6, 3)) < 0.6
    weights = known / known.mean()  # as SequenceData has them
    answer = np.concatenate([np.where(known, truth, 0), weights], axis=1).astype(np.float32)
    logs = model.test_step((inputs, answer))
    errors = np.abs(np.asarray(model(inputs, training=False)) - truth)
    assert_allclose(float(logs["loss"]), (errors**power)[known].mean(), rtol=1e-5)
    assert_allclose(float(logs["mae"]), (errors * scale)[known].mean(), rtol=1e-5)

"""Fitted baselines, against formulas and NumPy's least squares."""

from __future__ import annotations

import numpy as np
import pytest

from noisy_gru.pipeline.backtest.fitted_baselines import Windows, forecast
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import UserError


def dataset(horizons: list[int], targets: int = 1) -> DatasetConfig:
    names = [f"y{number}" for number in range(targets)]
    return DatasetConfig.model_validate(
        {
            "data": {"files": ["x.csv"], "entity": "e", "time": {"column": "t"}, "features": names},
            "task": {"kind": "forecasting", "targets": names, "input_length": 5, "horizons": horizons},
            "splits": {"by": "time"},
        }
    )


def windows(past: np.ndarray, targets: np.ndarray) -> Windows:
    count = len(past)
    return Windows([f"a@{number}" for number in range(count)], past.reshape(count, -1), past, targets)


def test_drift_is_the_line_through_the_first_and_the_last_known_value() -> None:
    nan = np.nan
    past = np.array([[1.0, 9, 9, 9, 3], [nan, 2.0, 0, 6.0, nan], [nan, nan, 4.0, nan, nan]])[:, :, None]
    found = forecast("drift", windows(past, past), windows(past, past), dataset([1, 4]), seed=0)
    # By hand: slope 0.5; slope 2 from 6 one step before the end; a single value has no slope.
    np.testing.assert_allclose(found, [[3.5, 5.0], [10.0, 16.0], [nan, nan]])


def test_ridge_finds_a_linear_law_with_missing_targets() -> None:
    random = np.random.default_rng(0)
    past = random.standard_normal((400, 5, 2))
    weights = random.standard_normal((10, 4))
    targets = (past.reshape(400, 10) @ weights + 3.0).reshape(400, 2, 2)
    targets[:7, 1, 0] = np.nan
    new = random.standard_normal((20, 5, 2))
    expected = new.reshape(20, 10) @ weights + 3.0
    found = forecast("ridge", windows(past, targets), windows(new, targets[:20]), dataset([1, 2], 2), seed=0)
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_boosting_is_far_better_than_the_mean_on_a_curve() -> None:
    random = np.random.default_rng(0)
    past = random.uniform(-1, 1, (600, 5, 1))
    targets = np.abs(past[:, -1:, :])
    found = forecast("gradient_boosting", windows(past, targets), windows(past, targets), dataset([1]), seed=0)
    truth = targets.reshape(600, 1)
    assert np.abs(found - truth).mean() < 0.1 * np.abs(truth.mean() - truth).mean()


def test_too_many_boosted_outputs_are_refused() -> None:
    past = np.zeros((3, 5, 1))
    targets = np.zeros((3, 49, 1))
    with pytest.raises(UserError, match="49 of them, at most 48"):
        forecast(
            "gradient_boosting", windows(past, targets), windows(past, targets), dataset(list(range(1, 50))), seed=0
        )

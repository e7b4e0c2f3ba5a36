"""Baselines of StatsForecast, against its models fitted one by one; skipped where it isn't installed."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from noisy_gru.compat.extras import MissingExtraError
from noisy_gru.pipeline.backtest import local_baselines
from noisy_gru.pipeline.backtest.local_baselines import forecast_locally
from noisy_gru.schema.errors import UserError

needs_it = pytest.mark.skipif(
    importlib.util.find_spec("statsforecast") is None,
    reason="needs StatsForecast: pip install statsforecast",
)


def seasonal(seed: int, steps: int = 30) -> np.ndarray:
    random = np.random.default_rng(seed)
    time = np.arange(steps)
    return 50 + 0.3 * time + 8 * np.sin(2 * np.pi * time / 6) + random.normal(0, 1, steps)


@needs_it
@pytest.mark.parametrize(
    ("name", "kind"), [("auto_ets", "AutoETS"), ("auto_arima", "AutoARIMA"), ("theta", "AutoTheta")]
)
def test_each_window_and_target_has_a_model_of_its_own(name: str, kind: str) -> None:
    from statsforecast import models  # pyright: ignore[reportMissingImports]

    past = np.stack([[seasonal(1), seasonal(2)], [seasonal(3), seasonal(4)]]).transpose(0, 2, 1)
    found = forecast_locally(name, past, horizons=[1, 4], season=6)
    assert found.shape == (2, 2, 2)
    for window in range(2):
        for target in range(2):
            one = getattr(models, kind)(season_length=6).forecast(y=past[window, :, target], h=4)["mean"]
            np.testing.assert_allclose(found[window, :, target], one[[0, 3]], rtol=1e-6)
    truth = 50 + 0.3 * 33 + 8 * np.sin(2 * np.pi * 33 / 6)
    assert np.abs(found[:, 1] - truth).max() < 5


@needs_it
def test_missing_values_and_short_windows() -> None:
    line = np.arange(12.0)
    past = np.stack([np.where(np.arange(12) == 5, np.nan, line), line, np.full(12, np.nan), np.full(12, 7.0)])
    past[1, :4] = np.nan
    found = forecast_locally("theta", past[:, :, None], horizons=[2], season=24)
    # Eight known values are too few; a gap in a line is on the line; a constant goes on.
    assert np.isnan(found[[1, 2]]).all()
    np.testing.assert_allclose(found[0], forecast_locally("theta", line[None, :, None], horizons=[2], season=24)[0])
    np.testing.assert_allclose(found[3], 7.0)


def test_too_many_windows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_baselines, "require", lambda package, purpose: None)
    with pytest.raises(UserError, match=r"auto_arima fits a model for each window and target: 20,001 of them, at most"):
        forecast_locally("auto_arima", np.zeros((6667, 1, 3)), horizons=[1], season=None)


@pytest.mark.skipif(importlib.util.find_spec("statsforecast") is not None, reason="StatsForecast is installed")
def test_the_message_names_the_extra() -> None:
    with pytest.raises(MissingExtraError, match=r"theta needs StatsForecast, .* 'noisy-gru-tfx\[statsforecast\]'"):
        forecast_locally("theta", np.zeros((1, 20, 1)), horizons=[1], season=None)

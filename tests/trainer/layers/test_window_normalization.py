"""WindowNormalization against NumPy, window by window, and the way back."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from noisy_gru.trainer.layers.window_normalization import KINDS, UndoWindowNormalization, WindowNormalization

pytestmark = pytest.mark.slow
CENTRE, SLOPE, SHIFT = [5.0, -1.0], [2.0], [0.25]


def layer(kind: str, season: int | None = None) -> WindowNormalization:
    """Channels 0 and 2 are normalized; 1 says where 0 is missing; 3 is left alone; the target is channel 2."""
    return WindowNormalization(
        kind, channels=[0, 2], missing=[1, -1], targets=[1], centre=CENTRE, slope=SLOPE, shift=SHIFT, season=season
    )


def expected(window: np.ndarray, past: int, kind: str, season: int | None) -> tuple[np.ndarray, float, float]:
    """One window [T, 4], in float64, as the equations of the layer's docstring say."""
    result, units = window.astype(np.float64), {}
    for place, (channel, missing) in enumerate([(0, 1), (2, None)]):
        observed = np.zeros(len(window), bool)
        observed[:past] = True if missing is None else window[:past, missing] < 0.5
        values = window[observed, channel].astype(np.float64)
        offset, scale = 0.0, 1.0
        if len(values):
            if kind == "last":
                offset = values[-1]
            elif kind == "mean_std":
                offset, scale = values.mean(), np.sqrt(values.var() + 1e-5)
            else:
                recent = observed & (np.arange(len(window)) >= past - (season or past))
                offset = window[recent, channel].astype(np.float64).mean() if recent.any() else values.mean()
                scale = np.abs(values + CENTRE[place]).mean() + 1e-6
        result[:, channel] = np.where(observed, (result[:, channel] - offset) / scale, 0.0)
        units[channel] = offset, scale
    offset, scale = units[2]
    return result, SLOPE[0] * offset + SHIFT[0], SLOPE[0] * scale


@pytest.mark.parametrize("season", [None, 3])
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_as_in_numpy(kind: str, season: int | None, data: st.DataObject) -> None:
    steps = data.draw(st.integers(1, 9))
    random = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    windows = random.normal(size=(6, steps, 4)).astype(np.float32) * 3
    windows[:, :, 1] = random.random((6, steps)) < data.draw(st.sampled_from([0.0, 0.5, 1.0]))
    past = random.integers(0, steps + 1, 6)
    features, offset, scale = layer(kind, season)(windows, past)
    for row in range(6):
        window, its_offset, its_scale = expected(windows[row], int(past[row]), kind, season)
        assert_allclose(features[row], window, rtol=1e-3, atol=1e-3 if kind == "mean_std" else 1e-5)
        assert_allclose(offset[row], [its_offset], rtol=1e-4, atol=1e-5)
        assert_allclose(scale[row], [its_scale], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["last", "mean_std"])
def test_the_level_of_a_window_makes_no_difference(kind: str) -> None:
    windows = np.random.default_rng(0).normal(size=(3, 8, 4)).astype(np.float32)
    windows[:, :, 1] = 0
    past = np.full(3, 8)
    moved = windows.copy()
    moved[:, :, 2] += 4.0
    (one, one_offset, _), (other, other_offset, _) = layer(kind)(windows, past), layer(kind)(moved, past)
    assert_allclose(one, other, atol=1e-5)
    assert_allclose(other_offset - one_offset, np.full((3, 1), 8.0), rtol=1e-6)


def test_mean_abs_is_the_magnitude_in_the_units_of_the_data() -> None:
    """A column of 990 to 1010, scaled to (x - 1000) / 10: its magnitude is 1000, not that of the scaled values."""
    raw = np.linspace(990, 1010, 11)
    made = WindowNormalization("mean_abs", [0], [-1], [0], centre=[100.0], slope=[1.0], shift=[0.0])
    _, _, scale = made(((raw - 1000) / 10)[None, :, None].astype(np.float32), np.array([11]))
    assert_allclose(scale, [[np.abs(raw).mean() / 10]], rtol=1e-5)


def test_undo_is_the_inverse() -> None:
    forecast = np.random.default_rng(1).normal(size=(2, 5, 3)).astype(np.float32)
    offset, scale = np.array([[1.0, 2, 3], [4, 5, 6]], np.float32), np.full((2, 3), 2.0, np.float32)
    restored = UndoWindowNormalization()(forecast, offset, scale)
    assert_allclose((restored - offset[:, None]) / scale[:, None], forecast, rtol=1e-5, atol=5e-6)


def test_a_saved_layer_is_the_same() -> None:
    made = layer("mean_abs", season=2)
    again = WindowNormalization.from_config(made.get_config())
    windows = np.random.default_rng(2).normal(size=(2, 4, 4)).astype(np.float32)
    for one, other in zip(made(windows, np.array([4, 2])), again(windows, np.array([4, 2])), strict=True):
        assert_array_equal(one, other)


def test_an_unknown_kind() -> None:
    with pytest.raises(ValueError, match=r"`kind` must be one of.*Received: kind='median'"):
        WindowNormalization("median", [0], [-1], [0], [0.0], [1.0], [0.0])
    assert keras.saving.get_registered_name(WindowNormalization) == "noisy_gru>WindowNormalization"

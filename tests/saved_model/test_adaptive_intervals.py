"""Adaptive conformal intervals: the law of Gibbs and Candès, and that coverage comes back after a shift."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from noisy_gru.saved_model.adaptive_intervals import AdaptiveIntervals
from noisy_gru.saved_model.conformal_scores import ConformalScores
from noisy_gru.schema.errors import DataError, ModelError


def scores_of(errors: np.ndarray) -> ConformalScores:
    return ConformalScores.of({"predictions": np.zeros((len(errors), 1))}, errors[:, None], [1.0])


ZERO = {"predictions": np.zeros((1, 1))}


@settings(max_examples=8)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.5, 0.9, 0.95]), st.sampled_from([0.005, 0.05, 0.3]))
def test_the_long_run_coverage_holds_for_any_sequence(seed: int, coverage: float, rate: float) -> None:
    """Proposition 4.1, with values chosen to do harm: far outside for a while, then inside, at random."""
    random = np.random.default_rng(seed)
    adaptive = AdaptiveIntervals(scores_of(random.normal(size=99)), coverage, rate)
    first, missed = 1 - coverage, []
    scale = 1.0
    for _ in range(400):
        lower, upper = adaptive.interval(ZERO)
        if random.random() < 0.02:
            scale = random.choice([0.0, 0.1, 10.0, 1e6])
        actual = random.normal(size=(1, 1)) * scale
        missed.append(not lower.item() <= actual.item() <= upper.item())
        adaptive.update(lower, upper, actual)
    bound = (max(first, 1 - first) + rate) / (rate * len(missed))
    assert abs(np.mean(missed) - first) <= bound + 1e-9


def test_coverage_recovers_after_a_shift() -> None:
    """Errors grow threefold after the calibration: fixed intervals miss half, adaptive ones soon a tenth again."""
    random = np.random.default_rng(1)
    adaptive = AdaptiveIntervals(scores_of(random.standard_t(4, size=2000)), 0.9, 0.02)
    fixed = adaptive.interval(ZERO)
    inside = {"fixed": [], "adaptive": []}
    for actual in random.standard_t(4, size=(4000, 1, 1)) * 3:
        bounds = adaptive.interval(ZERO)
        for name, (lower, upper) in (("fixed", fixed), ("adaptive", bounds)):
            inside[name].append(lower.item() <= actual.item() <= upper.item())
        adaptive.update(*bounds, actual)
    assert np.mean(inside["fixed"]) < 0.6
    assert 0.88 < np.mean(inside["adaptive"][1000:]) < 0.92


def test_the_interval_holds_what_has_a_larger_p_value() -> None:
    random = np.random.default_rng(2)
    for outputs in (
        {"predictions": random.normal(size=(150, 2, 1))},
        {"predictions": np.zeros((150, 2, 1)), "quantiles": np.sort(random.normal(size=(150, 2, 1, 3)), axis=-1)},
    ):
        truth = random.normal(size=(150, 2, 1))
        scores = ConformalScores.of(outputs, truth, [2.0])
        new = random.normal(size=(150, 2, 1)) * 2
        p = scores.p_values(outputs, new)
        for coverage in (0.05, 0.37, 0.5, 0.9, 0.99):
            lower, upper = scores.interval(outputs, coverage)
            inside = (new >= lower) & (new <= upper)
            # Within the 2 % of ranks that aren't kept.
            assert inside[p > 1 - coverage + 0.021].all() and not inside[p <= 1 - coverage - 0.021].any()
            assert (lower <= upper).all()


def test_levels_beyond_what_eval_can_say() -> None:
    scores = scores_of(np.arange(1.0, 10.0))
    assert [each.item() for each in scores.interval(ZERO, 0.9)] == [-9, 9]
    assert [each.item() for each in scores.interval(ZERO, 0.91)] == [-math.inf, math.inf]
    assert [each.item() for each in scores.interval(ZERO, 1.3)] == [-math.inf, math.inf]
    assert [each.item() for each in scores.interval(ZERO, -0.1)] == [math.inf, -math.inf]
    with pytest.raises(ModelError, match="received predictions"):
        scores.interval({"predictions": np.zeros((1, 2))}, 0.9)


def test_series_at_the_same_time_share_a_step_and_missing_values_say_nothing() -> None:
    adaptive = AdaptiveIntervals(scores_of(np.arange(1.0, 100.0)), 0.9, 0.1)
    many = {"predictions": np.zeros((4, 1))}
    adaptive.update(*adaptive.interval(many), np.array([[0.0], [500.0], [math.nan], [-500.0]]))
    assert_allclose(adaptive.alpha, [0.1 + 0.1 * (0.1 - 2 / 3)])
    before = adaptive.alpha
    adaptive.update(*adaptive.interval(many), np.full((4, 1), math.nan))
    assert_allclose(adaptive.alpha, before)
    again = AdaptiveIntervals(scores_of(np.arange(1.0, 100.0)), 0.9, 0.1)
    again.load_state_dict(json.loads(json.dumps(adaptive.state_dict())))
    assert_allclose(again.alpha, before)


def test_what_does_not_fit_is_named() -> None:
    scores = scores_of(np.ones(9))
    with pytest.raises(DataError, match=r"Received: coverage 90, rate 0\.005"):
        AdaptiveIntervals(scores, 90)
    adaptive = AdaptiveIntervals(scores)
    with pytest.raises(DataError, match=r"expected bounds and values of the shape \[B, 1\]"):
        adaptive.update(*adaptive.interval(ZERO), np.zeros((2, 1)))
    for state in ({}, {"coverage": 0.8, "rate": 0.005, "alpha": [0.2]}, {"coverage": 0.9, "rate": 0.005, "alpha": 1.0}):
        with pytest.raises(DataError, match="adaptive intervals: expected"):
            adaptive.load_state_dict(state)

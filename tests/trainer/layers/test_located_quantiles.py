"""Quantiles and likelihoods of normal and Student's t distributions against scipy.stats."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import integrate, stats

# Keras takes seconds to import.
pytestmark = pytest.mark.slow

LEVELS = [0.05, 0.1, 0.5, 0.8, 0.975]
LAWS = pytest.mark.parametrize("degrees", [None, 2.5, 4.0, 30.0])


def law(degrees: float | None, location: Any = 0.0, scale: Any = 1.0) -> Any:
    return stats.norm(location, scale) if degrees is None else stats.t(degrees, location, scale)


@LAWS
def test_quantiles_are_those_of_the_distribution(degrees: float | None) -> None:
    from noisy_gru.trainer.layers.located_quantiles import LEAST_SCALE, LocatedQuantiles, standard_quantiles

    numbers = np.random.default_rng(0).normal(size=(5, 3, 4)).astype(np.float32) * 3
    found = np.asarray(LocatedQuantiles(standard_quantiles(LEVELS, degrees))(numbers))
    assert found.shape == (5, 3, 2, 5) and (np.diff(found, axis=-1) > 0).all()
    location, free = numbers.reshape(5, 3, 2, 2).transpose(3, 0, 1, 2)
    scale = np.log1p(np.exp(free.astype(float))) + LEAST_SCALE
    expected = law(degrees, location[..., None], scale[..., None]).ppf(LEVELS)
    assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@LAWS
def test_the_loss_is_the_negative_log_density(degrees: float | None) -> None:
    from noisy_gru.trainer.layers.located_quantiles import likelihood_loss, standard_quantiles

    random = np.random.default_rng(1)
    targets, location = random.normal(size=(2, 50, 3)).astype(np.float32) * 4
    scale = random.gamma(2.0, size=(50, 3)).astype(np.float32) + 0.1
    standard = standard_quantiles(LEVELS, degrees)
    predicted = location[..., None] + scale[..., None] * np.array(standard, np.float32)
    found = np.asarray(likelihood_loss(standard, 2, degrees)(targets, predicted.astype(np.float32)))
    assert_allclose(found, -law(degrees, location, scale).logpdf(targets), rtol=2e-4, atol=2e-4)


@LAWS
def test_a_distribution_of_its_own_data_is_found(degrees: float | None) -> None:
    """The loss is least at the true location and scale: that of a density, whose mean is its entropy there."""
    from noisy_gru.trainer.layers.located_quantiles import likelihood_loss, standard_quantiles

    standard = standard_quantiles(LEVELS, degrees)
    loss = likelihood_loss(standard, 2, degrees)
    # Ten thousand quantiles of the law in place of random draws.
    sample = law(degrees, 2.0, 0.5).ppf((np.arange(10000) + 0.5) / 10000).astype(np.float32)

    def mean(location: float, scale: float) -> float:
        predicted = (location + scale * np.array(standard, np.float32))[None] * np.ones((len(sample), 1), np.float32)
        return float(np.mean(np.asarray(loss(sample, predicted))))

    best = mean(2.0, 0.5)
    assert all(best < mean(*other) for other in ((1.9, 0.5), (2.1, 0.5), (2.0, 0.45), (2.0, 0.55)))
    entropy = integrate.quad(lambda y: -law(degrees).pdf(y) * law(degrees).logpdf(y), -np.inf, np.inf)[0]
    assert best == pytest.approx(entropy + np.log(0.5), abs=0.01)

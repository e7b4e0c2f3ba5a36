"""Calibration, against cases that are counted by hand and scipy's softmax."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax

from noisy_gru.trainer.experiments.calibration import calibration


def logits(probabilities: list[list[float]]) -> np.ndarray:
    return np.log(np.array(probabilities))


def test_the_likelihood_is_scipys():
    random = np.random.default_rng(0)
    outputs, answers = random.normal(0, 30, (50, 4)).astype(np.float32), random.integers(0, 4, 50)
    expected = -log_softmax(outputs.astype(float), axis=1)[np.arange(50), answers]
    # A probability of 0 counts as 1e-12.
    assert calibration(outputs, answers)["nll"] == pytest.approx(np.minimum(expected, -np.log(1e-12)).mean())


@pytest.mark.parametrize(
    ("outputs", "answers", "expected"),
    [
        # Sure of 0.8, right in 4 of 5; sure of 1, right in both.
        ([[0.8, 0.2]] * 5 + [[1e-30, 1]] * 2, [0, 0, 0, 0, 1, 1, 1], 0.0),
        # Sure of 0.9 and never right.
        ([[0.9, 0.1]] * 3, [1, 1, 1], 0.9),
        # Two bins: 4 of 6 at |1/2 - 0.6|, 2 of 6 at |1 - 0.7|.
        ([[0.6, 0.4]] * 4 + [[0.3, 0.7]] * 2, [0, 0, 1, 1, 1, 1], (4 * 0.1 + 2 * 0.3) / 6),
        # Errors of both signs in one bin cancel out: the definition is by bins.
        ([[0.62, 0.38], [0.64, 0.36]], [0, 1], abs(0.5 - 0.63)),
    ],
)
def test_the_calibration_error_by_hand(outputs, answers, expected):
    assert calibration(logits(outputs), np.array(answers))["ece"] == pytest.approx(expected, abs=1e-9)

"""Conformal p-values against their definition, and what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from noisy_gru.saved_model.conformal_scores import ConformalScores, kept_ranks
from noisy_gru.schema.errors import ModelError

NAN = float("nan")


@given(st.data())
def test_a_p_value_counts_the_scores_as_large(data: st.DataObject) -> None:
    """By the definition, on whole numbers: scores are equal or far from each other."""
    whole = st.integers(-50, 50)
    actual = data.draw(st.lists(whole | st.just(NAN), min_size=1, max_size=80))
    predicted = data.draw(st.lists(whole, min_size=len(actual), max_size=len(actual)))
    new = data.draw(st.lists(whole, min_size=1, max_size=5))
    found = ConformalScores.of({"predictions": np.array(predicted)[:, None]}, np.array(actual)[:, None], [7.0])
    errors = [abs(y - f) for y, f in zip(actual, predicted, strict=True) if not math.isnan(y)]
    expected = [(1 + sum(error >= abs(value) for error in errors)) / (len(errors) + 1) for value in new]
    again = ConformalScores.from_json(found.to_json())
    for each in (found, again):
        assert_allclose(each.p_values({"predictions": np.zeros((len(new), 1))}, np.array(new)[:, None])[:, 0], expected)


def test_p_values_of_exchangeable_data_are_uniform() -> None:
    """A chi-squared and a Kolmogorov-Smirnov test over many eval splits, each with one new value."""
    random = np.random.default_rng(0)
    values = random.standard_t(3, size=(5000, 20, 1))
    predictions = np.zeros((20, 1))
    found = []
    for split in values:
        scores = ConformalScores.of({"predictions": predictions[:19]}, split[:19], [1.0])
        found.append(scores.p_values({"predictions": predictions[19:]}, split[19:]).item())
    counts = np.bincount(np.round(np.array(found) * 20).astype(int), minlength=21)
    assert counts[0] == 0 and stats.chisquare(counts[1:]).pvalue > 0.01
    # Of one large eval split with quantiles they are nearly continuous, within the 2 % of the thinning.
    scale = random.gamma(2.0, size=(21000, 1))
    truth = random.normal(size=(21000, 1)) * scale
    quantiles = scale[..., None] * np.array([-1.0, 0.0, 1.0])
    outputs = {"predictions": quantiles[..., 1], "quantiles": quantiles}
    before = {name: each[:20000] for name, each in outputs.items()}
    after = {name: each[20000:] for name, each in outputs.items()}
    p = ConformalScores.of(before, truth[:20000], [1.0]).p_values(after, truth[20000:])[:, 0]
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_a_spike_has_the_smallest_p_value_of_its_own_cell() -> None:
    random = np.random.default_rng(1)
    truth = random.normal(size=(199, 2, 3)) * [1.0, 10.0, 100.0]
    truth[:100, 1, 2] = NAN
    scores = ConformalScores.of({"predictions": np.zeros_like(truth)}, truth, [1.0, 10.0, 100.0])
    actual = np.zeros((2, 2, 3))
    actual[0] = [[9.0, 90.0, 900.0]] * 2
    actual[1, 0, 0] = NAN
    p = scores.p_values({"predictions": np.zeros((2, 2, 3))}, actual)
    assert_allclose(p[0], [[1 / 200] * 3, [1 / 200, 1 / 200, 1 / 100]])
    assert math.isnan(p[1, 0, 0]) and (p[1].reshape(-1)[1:] == 1).all()


def test_many_scores_are_thinned_and_round_up() -> None:
    random = np.random.default_rng(2)
    truth, new = random.normal(size=(50000, 1)), random.normal(size=(3000, 1)) * 1.5
    scores = ConformalScores.of({"predictions": np.zeros_like(truth)}, truth, [1.0])
    assert len(scores.scores[0]) < 500
    exact = (1 + (np.abs(truth) >= np.abs(new.T)).sum(axis=0)) / 50001
    p = scores.p_values({"predictions": np.zeros_like(new)}, new)[:, 0]
    assert (p >= exact - 1e-12).all() and (p <= exact * 1.021 + 2e-4).all()
    large = exact < 90 / 50001
    assert large.any()
    assert_allclose(p[large], exact[large], rtol=0.02)
    for count in (0, 1, 99, 100, 101, 12345):
        ranks = kept_ranks(count)
        assert len(ranks) == 0 if count == 0 else (ranks[0], ranks[-1]) == (1, count)
        assert (np.diff(ranks) > 0).all()


def test_p_values_and_the_calibrated_interval_agree() -> None:
    """Outside of the outermost interval of coverage c exactly where p <= 1 - c."""
    from noisy_gru.trainer.conformal import Plan, offsets_of

    random = np.random.default_rng(3)
    raw = np.sort(random.normal(size=(400, 1, 3)), axis=-1)
    truth, new = random.normal(size=(400, 1)) * 3, random.normal(size=(400, 1)) * 3
    served = raw + offsets_of(raw, truth, Plan([0.1, 0.5, 0.9], is_trained=True))
    served = np.stack([served[..., 0], served[..., 1], np.maximum(served[..., 2], served[..., 0])], axis=-1)
    outputs = {"predictions": served[..., 1], "quantiles": served}
    p = ConformalScores.of(outputs, truth, [1.0]).p_values(outputs, new)
    outside = (new < served[..., 0]) | (new > served[..., 2])
    assert_array_equal(p <= 0.2, outside)


def test_intervals_of_one_point_hold_that_point() -> None:
    """Counts that are mostly 0, forecast as 0 to 0: a 0 is usual, and anything else is not."""
    truth = np.array([[0.0]] * 95 + [[1.0]] * 4)
    quantiles = np.zeros((99, 1, 3))
    outputs = {"predictions": quantiles[..., 1], "quantiles": quantiles}
    scores = ConformalScores.of(outputs, truth + 1e-7, [2.0])
    three = {name: each[:3] for name, each in outputs.items()}
    assert_allclose(scores.p_values(three, np.array([[0.0], [1.0], [7.0]]))[:, 0], [1, 0.05, 0.05])
    assert ConformalScores.from_json(scores.to_json()).to_json() == scores.to_json()


def test_other_answers_and_files_are_named() -> None:
    quantiles = np.zeros((9, 2, 1, 3))
    outputs = {"predictions": quantiles[..., 1], "quantiles": quantiles}
    scores = ConformalScores.of(outputs, np.ones((9, 2, 1)), [1.0])
    with pytest.raises(ModelError, match=r"need predictions and quantiles .*\[B, 2, 1\].* received predictions \[9, 2"):
        scores.p_values({"predictions": outputs["predictions"]}, np.ones((9, 2, 1)))
    with pytest.raises(ModelError, match=r"what came of the shape \[9, 1, 1\]"):
        scores.p_values(outputs, np.ones((9, 1, 1)))
    text = scores.to_json()
    for damaged in (
        "{}",
        text[:-5],
        text.replace('"format": 1', '"format": 2'),
        text.replace("[[9], [9]]", "[[8], [9]]"),
    ):
        with pytest.raises(ModelError, match=r"conformal_scores\.json: can't be read: .* Train and publish"):
            ConformalScores.from_json(damaged)
    nothing = ConformalScores.of({"predictions": np.zeros((3, 1))}, np.full((3, 1), NAN), [1.0])
    assert nothing.p_values({"predictions": np.zeros((1, 1))}, np.ones((1, 1))).tolist() == [[1.0]]

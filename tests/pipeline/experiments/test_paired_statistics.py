"""Paired intervals, against scipy's paired t-test and the published numbers of a paired experiment."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from noisy_gru.pipeline.experiments.paired_statistics import mean_and_spread, paired_interval

VALUES = st.lists(st.tuples(*[st.floats(-1e3, 1e3)] * 2), min_size=2, max_size=12)


@given(VALUES, st.sampled_from([0.9, 0.95, 0.999]))
def test_the_interval_is_that_of_scipys_paired_test(pairs, confidence):
    first, second = np.array(pairs).T
    assume(np.std(first - second) > 1e-6)
    found = paired_interval(first, second, confidence)
    expected = stats.ttest_rel(first, second).confidence_interval(confidence)
    assert found.mean == pytest.approx((first - second).mean(), abs=1e-9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-6, abs=1e-6)
    assert found.pairs == len(pairs)


def test_one_pair_has_no_bounds_and_equal_pairs_have_equal_ones():
    single = paired_interval([0.5], [0.25])
    assert (single.mean, single.excludes_zero) == (0.25, False)
    assert single.to_dict() == {"mean": 0.25, "low": None, "high": None, "pairs": 1}
    assert math.isnan(single.times(-2).low)
    same = paired_interval([0.5, 0.75], [0.25, 0.5])
    assert (same.low, same.high, same.excludes_zero) == (0.25, 0.25, True)


def test_a_negative_factor_swaps_the_bounds():
    found = paired_interval([1.0, 2.0, 4.0], [0.0, 0.0, 0.0])
    turned = found.times(-1)
    assert (turned.mean, turned.low, turned.high) == (-found.mean, -found.high, -found.low)


def test_the_spread_is_the_sample_standard_deviation():
    assert mean_and_spread([1.0, 2.0, 4.0]) == pytest.approx((7 / 3, stats.tstd([1, 2, 4])))
    assert mean_and_spread([3.0]) == (3.0, None)

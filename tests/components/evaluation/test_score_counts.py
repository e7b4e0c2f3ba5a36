"""Average precision from counts against scikit-learn, however the counts are grouped."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from noisy_gru.components.evaluation.score_counts import average_precisions, merge_counts, score_codes


@given(st.integers(0, 2**31), st.integers(2, 5), st.integers(1, 120), st.integers(1, 4))
def test_average_precision_is_scikit_learns(seed: int, classes: int, count: int, groups: int) -> None:
    random = np.random.default_rng(seed)
    # As rare as one in a thousand, and scores with ties.
    probabilities = random.dirichlet(np.full(classes, 0.3), count).astype(np.float32).astype(np.float64)
    probabilities[random.random(count) < 0.3] = probabilities[0]
    labels = np.minimum(random.geometric(0.6, count) - 1, classes)  # the last is no class of the model's
    parts = [score_codes(row, label) for row, label in zip(probabilities, labels, strict=True)]
    merged = [
        merge_counts(some, [np.ones(len(each)) for each in some])
        for some in (parts[start::groups] for start in range(groups))
        if some
    ]
    codes, counts = merge_counts([each for each, _ in merged], [each for _, each in merged])
    assert counts.sum() == count * classes
    areas = average_precisions(codes, counts, classes)
    for place in range(classes):
        right = labels == place
        if not right.any():
            assert np.isnan(areas[place])
            continue
        score = probabilities[:, place]
        others = probabilities[:, 1 - place] if classes == 2 else 1 - score
        with np.errstate(divide="ignore"):
            odds = np.clip(np.log(score) - np.log(np.maximum(others, 0)), -20, 20)
        assert areas[place] == pytest.approx(oracle.average_precision_score(right, np.rint(odds * 256)), abs=1e-9)
        # Steps of 0.4 % hardly ever make a tie.
        assert areas[place] == pytest.approx(oracle.average_precision_score(right, score), abs=0.2)


def test_rare_scores_near_zero_keep_their_order() -> None:
    scores = np.array([1e-7, 2e-7, 3e-7, 5e-7, 1e-6])
    codes = [score_codes(np.array([1 - score, score]), int(score > 4e-7)) for score in scores]
    found = average_precisions(*merge_counts(codes, [np.ones(2)] * 5), 2)
    assert found[1] == 1.0


def test_an_answer_that_is_no_number_is_not_counted() -> None:
    assert len(score_codes(np.array([np.nan, 0.5]), 0)) == 0

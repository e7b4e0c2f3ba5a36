"""A missed bound in words."""

from __future__ import annotations

import math

import pytest

from noisy_gru.components.evaluation.summary import OVERALL, MissedThreshold


@pytest.mark.parametrize(
    ("missed", "said"),
    [
        (
            MissedThreshold("accuracy", OVERALL, 0.9, 0.95, True, False),
            "accuracy is 0.9, must be at least 0.95 (off by 0.05)",
        ),
        (
            MissedThreshold("mae", "origin=JFK", 3.5, 3.25, False, False),
            "mae for origin=JFK is 3.5, must be at most 3.25 (off by 0.25)",
        ),
        (
            MissedThreshold("accuracy_gain_over_majority", OVERALL, 0.0, math.nextafter(0, 1), True, False),
            "accuracy_gain_over_majority is 0, must be more than 0 (off by 0)",
        ),
        (
            MissedThreshold("mae_over_naive_last/temp", OVERALL, 1.2, math.nextafter(1, 0), False, False),
            "mae_over_naive_last/temp is 1.2, must be less than 1 (off by 0.2)",
        ),
        (
            MissedThreshold("accuracy", OVERALL, -0.02, -0.01, True, True),
            "accuracy is 0.02 worse than the published model's; at most 0.01 is allowed",
        ),
        (MissedThreshold("accuracy", OVERALL, None, 0.5, True, False), "accuracy could not be measured"),
        (
            MissedThreshold("mae", OVERALL, math.nan, 3.0, False, False),
            "mae is not a number: the model's answers aren't, or there is no naive value",
        ),
    ],
)
def test_it_says_which_metric_where_and_by_how_much(missed: MissedThreshold, said: str) -> None:
    assert str(missed) == said

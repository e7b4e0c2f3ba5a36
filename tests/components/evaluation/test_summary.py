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
            "accuracy is 0.02 worse than that of the published model; at most 0.01 worse is allowed",
        ),
        (
            MissedThreshold("mae", "origin=JFK", 0.5, 0.25, False, True, 3.0, "version 17"),
            "mae for origin=JFK is 3.5, 0.5 worse than the 3 of version 17; at most 0.25 worse is allowed",
        ),
        (
            MissedThreshold("accuracy", OVERALL, -0.25, 0.0, True, True, 0.75, "version 17"),
            "accuracy is 0.5, 0.25 worse than the 0.75 of version 17; it must not be worse",
        ),
        (
            MissedThreshold("accuracy", OVERALL, 0.01, math.nextafter(0.02, 1), True, True, 0.75, "version 17"),
            "accuracy is 0.76, 0.01 better than the 0.75 of version 17; more than 0.02 better is asked for",
        ),
        (
            MissedThreshold("mae", OVERALL, 0.0, math.nextafter(0, -1), False, True, 3.0, "version 17"),
            "mae is 3, as good as the 3 of version 17; more than 0 better is asked for",
        ),
        (
            MissedThreshold("mae", OVERALL, math.nan, 0.0, False, True, 3.0, "version 17"),
            "mae is not a number: the model's answers aren't, or there is no naive value",
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

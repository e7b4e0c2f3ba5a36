"""A missed bound and a comparison in words."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from noisy_gru.components.evaluation.comparisons import Comparison, Verdict
from noisy_gru.components.evaluation.evaluation_summary import OVERALL, MissedThreshold
from noisy_gru.components.evaluation.verdict import read_verdict, refusals, sentence, warnings, write_verdict


@pytest.mark.parametrize(
    ("missed", "message"),
    [
        (MissedThreshold("accuracy", OVERALL, 0.9, 0.95, True), "accuracy is 0.9, must be at least 0.95 (off by 0.05)"),
        (MissedThreshold("mae", OVERALL, 3.5, 3.25, False), "mae is 3.5, must be at most 3.25 (off by 0.25)"),
        (MissedThreshold("accuracy", OVERALL, None, 0.5, True), "accuracy could not be measured"),
        (
            MissedThreshold("mae", OVERALL, math.nan, 3.0, False),
            "mae is not a number: the model's answers aren't, or there is no naive value",
        ),
        (
            MissedThreshold("recall/bad", OVERALL, math.nan, 0.5, True),
            "recall/bad could not be measured: no test sequence is of the class bad",
        ),
        (
            MissedThreshold("precision/bad", "origin=JFK", math.nan, 0.5, True),
            "precision/bad for origin=JFK could not be measured: no answer is of the class bad",
        ),
    ],
)
def test_it_says_which_metric_where_and_by_how_much(missed: MissedThreshold, message: str) -> None:
    assert str(missed) == message


def comparison(**changes: Any) -> Comparison:
    given: dict[str, Any] = {
        "metric": "accuracy",
        "slice": "all",
        "against": "published",
        "sequences": 50,
        "clusters": 50,
        "cluster_unit": "entity",
        "candidate": 0.82,
        "other": 0.84,
        "difference": -0.02,
        "lower": -0.1,
        "upper": 0.06,
        "confidence": 0.95,
        "accept": "not_worse",
        "margin": 0.02,
        "required": True,
        "passed": False,
    }
    return Comparison(**given | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {},
            # (0.08 / 0.02) ** 2 = 16 times as many.
            "accuracy is 0.82, 0.02 worse than the 0.84 of version 17 on 50 test sequences; it may be between 0.1 "
            "worse and 0.06 better (95 % on each side); that it is not worse by more than 0.02 has to be shown (of two "
            "equal models, about 800 sequences would show it)",
        ),
        (
            {
                "metric": "mae/temp@6",
                "slice": "origin=JFK",
                "against": "seasonal",
                "candidate": 2.36,
                "other": 2.0,
                "difference": -0.36,
                "lower": -0.5,
                "upper": -0.2,
                "accept": "better",
                "margin": 0.0,
                "sequences": 430,
                "clusters": 14,
                "cluster_unit": "block of time",
            },
            "mae/temp@6 for origin=JFK is 2.36, 0.36 worse than the 2 of repeating the value of a season ago (1.18 "
            "times) on 430 test sequences (14 blocks of time); it may be between 0.5 worse and 0.2 worse (95 % on each "
            "side); that it is better has to be shown",
        ),
        (
            {"difference": 0.0, "candidate": 0.84, "lower": None, "upper": None, "clusters": 3},
            "accuracy is 0.84, as good as the 0.84 of version 17 on 50 test sequences "
            "(3 entities); an interval needs at least 5 entities: enlarge the test split or bring more data; that it "
            "is not worse by more than 0.02 has to be shown",
        ),
        (
            {"candidate": None, "difference": None, "lower": None, "upper": None},
            "accuracy is not a number: the model's answers aren't, or there is nothing to compare with version 17",
        ),
    ],
)
def test_a_comparison_in_words(changes: dict[str, Any], message: str) -> None:
    assert sentence(comparison(**changes), "version 17") == message


def test_a_verdict_is_read_as_it_was_written(tmp_path: Path) -> None:
    lost = comparison(required=False, slice="site=north", upper=-0.001)
    level = comparison(required=False, against="last", difference=0.0)
    others = [comparison(required=False, passed=True), comparison(required=False, slice="site=south")]
    verdict = Verdict(7, 20, [comparison(), lost, level, *others], seed=3, resamples=4000)
    write_verdict(verdict, tmp_path)
    assert read_verdict(tmp_path) == verdict
    few, failed = refusals(verdict, "version 17")
    assert few.startswith("the test split has 7 sequences, at least 20 are needed: ")
    assert few.endswith("lower evaluation.min_test_sequences")
    assert failed == sentence(comparison(), "version 17")
    assert warnings(verdict, "version 17") == [sentence(lost, "version 17"), sentence(level, "version 17")]
    assert not verdict.passed
    assert Verdict(20, 20, [lost]).passed
    assert not Verdict(20, 20, [comparison()]).passed
    assert read_verdict(tmp_path / "an-earlier-release") is None


def test_a_threshold_that_missed_its_target_refuses_and_is_kept(tmp_path: Path) -> None:
    decision = {"positive": "bad", "threshold": 0.3, "reached": False}
    verdict = Verdict(50, 20, decision=decision, shortfall="task.threshold: precision 0.9 can't be reached")
    assert not verdict.passed and Verdict(50, 20, decision=decision).passed
    write_verdict(verdict, tmp_path)
    found = read_verdict(tmp_path)
    assert found == verdict
    assert refusals(verdict, "version 17") == ["task.threshold: precision 0.9 can't be reached"]

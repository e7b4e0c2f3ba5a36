"""Thresholds against scikit-learn's precision-recall curve and a search over all of them, and what can't be chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn import metrics as oracle

from noisy_gru.schema.errors import ConfigError, DataError
from noisy_gru.schema.task_config import ClassificationConfig, ThresholdTarget
from noisy_gru.trainer.decision import Decision, choose_threshold, decide


def target(**values: Any) -> ThresholdTarget:
    return ThresholdTarget.model_validate(values)


def task(**values: Any) -> ClassificationConfig:
    return ClassificationConfig.model_validate({"kind": "classification", "label": "y", "positive": "bad", **values})


def drawn(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores float32, some equal, some 0 and 1, and labels that they tell something of, both kinds at least once."""
    random = np.random.default_rng(seed)
    scores = random.beta(0.5, 2, count).astype(np.float32)
    scores[random.random(count) < 0.2] = random.choice(np.array([0, 0.25, scores[0], 1], np.float32))
    labels = random.random(count) < scores
    labels[0], labels[-1] = True, False
    return scores, labels


def rates(scores: np.ndarray, labels: np.ndarray, threshold: float) -> tuple[float, float]:
    predicted = scores >= np.float32(threshold)
    hits = (predicted & labels).sum()
    return hits / max(predicted.sum(), 1), hits / labels.sum()


@given(st.integers(0, 2**31), st.integers(2, 80), st.floats(0.05, 1.0))
def test_precision_and_recall_are_reached_at_the_least_cost_of_the_other(seed: int, count: int, wanted: float) -> None:
    scores, labels = drawn(seed, count)
    precisions, recalls, _ = oracle.precision_recall_curve(labels, scores)
    # The last point is no threshold's.
    precisions, recalls = precisions[:-1], recalls[:-1]

    threshold, reached = choose_threshold(scores, labels, target(recall=wanted))
    precision, recall = rates(scores, labels, threshold)
    assert reached and recall >= wanted - 1e-9
    assert precision == pytest.approx(precisions[recalls >= wanted - 1e-9].max())

    threshold, reached = choose_threshold(scores, labels, target(precision=wanted))
    precision, recall = rates(scores, labels, threshold)
    able = precisions >= wanted - 1e-9
    assert reached == able.any()
    if reached:
        assert precision >= wanted - 1e-9 and recall == pytest.approx(recalls[able].max())
    else:
        assert precision == pytest.approx(precisions.max())
        assert recall == pytest.approx(recalls[precisions >= precisions.max() - 1e-12].max())


@given(st.integers(0, 2**31), st.integers(2, 80), st.floats(0.1, 20), st.floats(0.1, 20))
def test_no_threshold_costs_less(seed: int, count: int, false_positive: float, false_negative: float) -> None:
    scores, labels = drawn(seed, count)

    def cost(threshold: float) -> float:
        predicted = scores >= np.float32(threshold)
        return false_positive * (predicted & ~labels).sum() + false_negative * (~predicted & labels).sum()

    costs = {"false_positive": false_positive, "false_negative": false_negative}
    threshold, reached = choose_threshold(scores, labels, target(cost=costs))
    assert reached
    assert cost(threshold) <= min(cost(each) for each in [*scores, 1.1]) + 1e-9


@given(st.integers(0, 2**31), st.integers(2, 40), st.floats(0.05, 1.0))
def test_a_threshold_lies_half_way_between_two_scores(seed: int, count: int, wanted: float) -> None:
    scores, labels = drawn(seed, count)
    threshold, _ = choose_threshold(scores, labels, target(recall=wanted))
    distinct = np.unique(scores.astype(np.float64))
    above = distinct[distinct >= threshold].min()
    below = distinct[distinct < threshold].max(initial=0.0)
    assert threshold == pytest.approx((above + below) / 2, rel=1e-6)


@pytest.mark.parametrize(
    ("values", "threshold"),
    [
        # By hand: falling scores with labels 1, 1, 0, 1, 0, 0.
        ({"precision": 1}, 0.75),
        ({"precision": 0.75}, 0.45),
        ({"recall": 0.5}, 0.75),
        ({"recall": 1}, 0.45),
        ({"cost": {"false_positive": 1, "false_negative": 0.5}}, 0.75),
        ({"cost": {"false_positive": 1, "false_negative": 5}}, 0.45),
    ],
)
def test_by_hand(values: dict[str, Any], threshold: float) -> None:
    scores = np.array([0.2, 0.9, 0.5, 0.7, 0.8, 0.4], np.float32)
    labels = np.array([0, 1, 1, 0, 1, 0], bool)
    assert choose_threshold(scores, labels, target(**values)) == (pytest.approx(threshold), True)


def test_where_everything_is_dearer_nobody_is_answered_positive() -> None:
    costs = {"false_positive": 100, "false_negative": 1}
    for top in (0.9, 1.0):
        scores, labels = np.array([top, 0.5], np.float32), np.array([False, True])
        threshold, _ = choose_threshold(scores, labels, target(cost=costs))
        assert not (scores >= np.float32(threshold)).any()


LABELS = ["good", "bad"]
SCORES = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.7, 0.3]], np.float32)
CLASSES = np.array([0, 1, 0, 1])


def test_a_decision_says_what_eval_gave() -> None:
    found = decide(task(threshold={"recall": 1}), LABELS, SCORES, CLASSES)
    assert (found.positive, found.positive_id, found.target, found.reached) == ("bad", 1, {"recall": 1.0}, True)
    assert (found.sequences, found.positives, found.recall) == (4, 2, 1.0)
    assert (found.threshold, found.precision) == (pytest.approx(0.2), pytest.approx(2 / 3))
    assert found.class_ids(SCORES).tolist() == [0, 1, 1, 1] and found.shortfall == ""
    assert Decision.from_json(found.to_json()) == found
    assert str(found) == (
        "bad is answered from a probability of 0.2: precision 0.6667, recall 1 on 4 sequences of eval, 2 of them "
        "positive"
    )
    # The other class is the positive one, whichever stands first.
    other = decide(task(positive="good", threshold=0.65), LABELS, SCORES, CLASSES)
    assert other.class_ids(SCORES).tolist() == [0, 1, 1, 0] and other.positive_id == 0 and other.target is None
    assert other.recall == other.precision == 0.5


def test_a_precision_that_no_threshold_has_is_told_with_the_best_there_is() -> None:
    scores = np.array([[0.1, 0.9], [0.2, 0.8], [0.4, 0.6]], np.float32)
    found = decide(task(threshold={"precision": 0.9}), LABELS, scores, np.array([0, 1, 0]))
    assert not found.reached and found.precision == 0.5 and found.recall == 1
    assert found.shortfall.startswith(
        "task.threshold: precision 0.9 can't be reached on eval by any threshold; the best is precision 0.5 with "
        "recall 1"
    )


def test_a_number_needs_no_eval_split() -> None:
    found = decide(task(threshold=0.3), LABELS, SCORES[:0], CLASSES[:0])
    assert found.threshold == np.float32(0.3) and found.precision is None and found.sequences == 0
    assert str(found) == "bad is answered from a probability of 0.3"


def test_what_cannot_be_decided_is_refused() -> None:
    with pytest.raises(DataError, match="two classes, and column y has 3 in train: good, bad, worse"):
        decide(task(threshold=0.3), [*LABELS, "worse"], np.ones((2, 3)), np.array([0, 1]))
    with pytest.raises(DataError, match="eval split, which has no sequence of the class bad"):
        decide(task(threshold={"recall": 1}), LABELS, SCORES[:1], CLASSES[:1])
    with pytest.raises(
        ConfigError, match=r"task.positive: no sequence of train has the class bad\. Expected one of a, b"
    ):
        decide(task(threshold=0.3), ["a", "b"], SCORES, CLASSES)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"threshold": {"precision": 0.9, "recall": 0.5}}, "received precision and recall"),
        ({"threshold": {}}, "expected one of precision, recall and cost"),
        ({"threshold": 0}, "greater than 0"),
        ({"threshold": 1.0}, "less than 1"),
        ({"threshold": {"precision": 1.1}}, "less than or equal to 1"),
        ({"threshold": {"cost": {"false_positive": 1}}}, "false_negative"),
        ({"threshold": 0.5, "positive": None}, "threshold is that of one class: name it"),
    ],
)
def test_what_is_no_threshold(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        task(**values)


def test_a_class_may_be_written_as_yaml_reads_it() -> None:
    assert [task(positive=value).positive for value in (1, True, False, 1.5, "x")] == ["1", "true", "false", "1.5", "x"]

"""Metrics and comparisons of several labels (`task.labels`), against scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk

from noisy_gru.components.evaluation.accumulators import accumulator
from noisy_gru.components.evaluation.comparisons import judge
from noisy_gru.components.evaluation.config import EvaluationConfig
from noisy_gru.components.evaluation.label_metrics import Labels, label_losses
from noisy_gru.components.evaluation.metric_catalogue import (
    check_evaluation,
    higher_is_better,
    is_comparable,
    known_metrics,
)
from noisy_gru.components.evaluation.resampled_metrics import resampled_metric
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import ConfigError

LABELS = ["fever", "cough", "rash"]
THRESHOLDS = np.array([0.5, 0.3, 0.5])


def dataset(**task: Any) -> DatasetConfig:
    data = {"files": ["x.csv"], "entity": "id", "time": {"column": "t"}, "features": ["x"]}
    return DatasetConfig.model_validate({"data": data, "task": {"kind": "classification", "labels": LABELS, **task}})


def predicted(count: int, *, missing: float = 0.25) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, probabilities and answers; probabilities are multiples of 1/16 of the log-odds, and counted exactly."""
    random = np.random.default_rng(0)
    truth = (random.random((count, 3)) < [0.5, 0.2, 0.08]).astype(float)
    odds = np.rint(16 * (random.normal(size=truth.shape) + 2 * truth - [1, 2, 2])) / 16
    scores = 1 / (1 + np.exp(-odds))
    truth[random.random(truth.shape) < missing] = np.nan
    return truth, scores, (scores >= THRESHOLDS).astype(float)


def expected(truth: np.ndarray, scores: np.ndarray, answers: np.ndarray) -> dict[str, float]:
    found: dict[str, float] = {}
    for place, name in enumerate(LABELS):
        known = ~np.isnan(truth[:, place])
        true, score, answer = (each[known, place] for each in (truth, scores, answers))
        by_name = {
            "accuracy": sk.accuracy_score(true, answer),
            "balanced_accuracy": sk.balanced_accuracy_score(true, answer),
            "precision": sk.precision_score(true, answer),
            "recall": sk.recall_score(true, answer),
            "f1": sk.f1_score(true, answer),
            "pr_auc": sk.average_precision_score(true, score),
            "roc_auc": sk.roc_auc_score(true, score),
            "log_loss": sk.log_loss(true, score),
            "log_loss_naive": sk.log_loss(true, np.full(len(true), true.mean())),
            "frequency": true.mean(),
        }
        found |= {f"{metric}/{name}": float(value) for metric, value in by_name.items()}
    known = ~np.isnan(truth)
    found |= {
        "example_count": len(truth),
        # All known labels as one: what is averaged over them together.
        "hamming_loss": sk.zero_one_loss(truth[known], answers[known]),
        "micro_f1": sk.f1_score(truth[known], answers[known]),
        "log_loss": sk.log_loss(truth[known], scores[known]),
        # Unknown labels as if they were right.
        "subset_accuracy": sk.accuracy_score(np.where(known, truth, answers), answers),
    }
    for metric, of_label in (
        ("macro_f1", "f1"),
        *((name, name) for name in ("balanced_accuracy", "pr_auc", "roc_auc")),
    ):
        found[metric] = float(np.mean([found[f"{of_label}/{name}"] for name in LABELS]))
    return found


def one(of_task: Any, row: np.ndarray, score: np.ndarray, answer: np.ndarray) -> Any:
    return of_task.one(row, {"probabilities": score, "answers": answer.astype(np.int64)}, {})


def test_metrics_against_scikit_learn() -> None:
    of_task, given = accumulator(dataset().task), predicted(300)
    assert isinstance(of_task, Labels)
    parts = [one(of_task, *row) for row in zip(*given, strict=True)]
    found = of_task.metrics(of_task.merge([of_task.merge(parts[:99]), of_task.merge(parts[99:])]))
    assert set(found) == set(known_metrics(dataset()))
    for name, value in expected(*given).items():
        assert found[name] == pytest.approx(value, rel=1e-9), name


def test_all_known_is_what_scikit_learn_has_for_indicator_matrices() -> None:
    of_task, (truth, scores, answers) = accumulator(dataset().task), predicted(200, missing=0)
    found = of_task.metrics(of_task.merge([one(of_task, *row) for row in zip(truth, scores, answers, strict=True)]))
    assert found["hamming_loss"] == pytest.approx(sk.hamming_loss(truth, answers))
    assert found["subset_accuracy"] == pytest.approx(sk.accuracy_score(truth, answers))
    assert found["micro_f1"] == pytest.approx(sk.f1_score(truth, answers, average="micro"))
    assert found["macro_f1"] == pytest.approx(sk.f1_score(truth, answers, average="macro"))
    assert found["pr_auc"] == pytest.approx(sk.average_precision_score(truth, scores, average="macro"))
    assert found["roc_auc"] == pytest.approx(sk.roc_auc_score(truth, scores, average="macro"))


def test_a_label_that_never_occurs_and_an_answer_that_is_no_number() -> None:
    of_task = accumulator(dataset().task)
    rows = [one(of_task, np.array([1.0, 0, np.nan]), np.array([0.9, 0.1, 0.5]), np.array([1, 0, 1]))] * 2
    found = of_task.metrics(of_task.merge(rows))
    assert found["f1/fever"] == 1 and np.isnan(found["f1/cough"]) and np.isnan(found["log_loss/rash"])
    assert found["macro_f1"] == 1 and np.isnan(found["roc_auc/fever"]) and np.isnan(found["roc_auc"])
    broken = one(of_task, np.array([1.0, 0, 1]), np.array([np.nan, np.nan, 0.8]), np.array([0, 0, 1]))
    found = of_task.metrics(of_task.merge([broken]))
    # No number answers nothing: neither that there is a label, nor that there is none.
    assert found["recall/fever"] == 0 and found["accuracy/cough"] == 0 and found["accuracy/rash"] == 1
    assert np.isnan(found["log_loss"]) and np.isnan(found["pr_auc/fever"]) and found["subset_accuracy"] == 0


def test_resampled_metrics_are_the_metrics() -> None:
    truth, scores, answers = predicted(250)
    recorded = {"label": truth, "candidate": answers, "candidate_loss": label_losses(truth, scores)}
    tried = 0
    for name, value in expected(truth, scores, answers).items():
        if is_comparable(name):
            found = resampled_metric(name, dataset().task, [])
            sums = found.columns(recorded, "candidate").sum(axis=0)
            assert float(found.value(sums)) == pytest.approx(value, rel=1e-9), name
            # Of several resamples at once.
            both = found.value(np.stack([sums, 2 * sums]))
            assert np.asarray(both) == pytest.approx([value, value], rel=1e-9), name
            tried += 1
    assert tried == 6 + 6 * len(LABELS)
    assert higher_is_better("f1/rash") and higher_is_better("micro_f1") and higher_is_better("roc_auc/rash")
    assert not higher_is_better("hamming_loss") and not higher_is_better("log_loss/rash")
    assert not any(is_comparable(name) for name in ("roc_auc/rash", "pr_auc", "log_loss_naive/rash", "frequency/rash"))


def judged(truth: np.ndarray, scores: np.ndarray, evaluation: dict[str, Any], **published: Any) -> dict[Any, Any]:
    answers = (scores >= THRESHOLDS).astype(float)
    recorded = {
        "sequence_id": [f"p{place}" for place in range(len(truth))],
        "slices": [[] for _ in truth],
        "label": truth,
        "candidate": answers,
        "candidate_loss": label_losses(truth, scores),
        **published,
    }
    constants = {name: (float(np.nanmean(truth[:, place])), 0.0) for place, name in enumerate(LABELS)}
    verdict = judge(recorded, dataset(), EvaluationConfig.model_validate(evaluation), constants)
    return {(each.against, each.metric): each for each in verdict.comparisons}


def test_a_model_has_to_beat_the_frequencies_of_train() -> None:
    truth, scores, _ = predicted(400)
    found = judged(truth, scores, {})
    assert found["train_frequency", "log_loss"].passed and found["train_frequency", "log_loss"].required
    naive = found["train_frequency", "log_loss/cough"]
    known = ~np.isnan(truth[:, 1])
    true = truth[known, 1]
    assert naive.other == pytest.approx(sk.log_loss(true, np.full(len(true), true.mean())))
    # One label by itself decides nothing: a rare one has too few sequences to show it.
    assert not naive.required and naive.sequences == known.sum()
    by_chance = np.random.default_rng(1).random(truth.shape)
    assert not judged(truth, by_chance, {})["train_frequency", "log_loss"].passed
    # Weighted classes: answers that are too high are no worse by what they tell apart.
    found = judged(truth, scores, {"baseline_metric": "balanced_accuracy"})
    assert found["train_frequency", "balanced_accuracy"].other == pytest.approx(0.5)
    assert found["train_frequency", "balanced_accuracy"].passed


def test_the_published_model_is_compared_label_by_label() -> None:
    truth, scores, answers = predicted(400)
    worse = 1 / (1 + np.exp(-np.log(scores / (1 - scores)) * [1, 1, -1]))
    compare = {"compare": {"accept": "not_worse"}, "baselines": "report"}
    published = {"published": answers, "published_loss": label_losses(truth, scores)}
    same = judged(truth, scores, compare, **published)
    assert same["published", "log_loss"].passed and same["published", "log_loss"].difference == 0
    found = judged(truth, worse, compare, **published)
    assert not found["published", "log_loss"].passed and not found["published", "log_loss/rash"].passed
    assert found["published", "log_loss/fever"].passed


@pytest.mark.parametrize("name", ["accuracy", "recall/fever", "mae", "roc_auc"])
def test_what_has_no_constant_answer_is_no_baseline(name: str) -> None:
    with pytest.raises(ConfigError, match="Expected one of log_loss, balanced_accuracy, hamming_loss"):
        check_evaluation(dataset(), EvaluationConfig.model_validate({"baseline_metric": name}))

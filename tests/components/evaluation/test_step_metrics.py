"""Metrics of answers at each step (`task.per_step`), against scikit-learn, and what is recorded of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, balanced_accuracy_score, f1_score, log_loss

from noisy_gru.components.evaluation.accumulators import accumulator
from noisy_gru.components.evaluation.class_accumulators import StepClassification
from noisy_gru.components.evaluation.comparisons import judge
from noisy_gru.components.evaluation.config import EvaluationConfig
from noisy_gru.components.evaluation.metric_catalogue import known_metrics
from noisy_gru.schema.config import DatasetConfig

CLASSES = ["run", "idle", "fault"]


def dataset(**task: Any) -> DatasetConfig:
    data = {"files": ["x.csv"], "entity": "id", "time": {"column": "t"}, "features": ["x"]}
    return DatasetConfig.model_validate(
        {"data": data, "task": {"kind": "classification", "label": "state", "per_step": True, **task}}
    )


def answers(count: int, classes: list[str], seed: int = 0) -> list[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Labels and outputs of sequences of some steps; one step in five has no label, and one batch is padded."""
    random, found = np.random.default_rng(seed), []
    for _ in range(count):
        steps = int(random.integers(1, 12))
        scores = random.dirichlet(np.ones(len(classes)), steps + 2)
        labels = random.choice([*classes, ""], steps, p=[*[0.8 / len(classes)] * len(classes), 0.2])
        outputs = {
            "probabilities": scores.astype(np.float32),
            "class_id": scores.argmax(1),
            "labels_bytes": np.array([name.encode() for name in classes], object),
        }
        found.append((np.array([each.encode() for each in labels], object), outputs))
    return found


@pytest.mark.parametrize("classes", [CLASSES, ["ok", "failure"]])
def test_metrics_against_scikit_learn(classes: list[str]) -> None:
    of_task, given = accumulator(dataset(positive=classes[-1]).task), answers(60, classes)
    assert isinstance(of_task, StepClassification)
    parts = [of_task.one(label, outputs, {}) for label, outputs in given]
    sums = of_task.merge([of_task.merge(parts[:20]), of_task.merge(parts[20:])])
    known = np.concatenate([[name != b"" for name in label] for label, _ in given])
    true = np.concatenate([label for label, _ in given])[known]
    true = np.array([classes.index(each.decode()) for each in true])
    scores = np.concatenate([outputs["probabilities"][: len(label)] for label, outputs in given])[known].astype(float)
    chosen = scores.argmax(1)
    found = of_task.metrics(sums)
    areas: list[Any] = [average_precision_score(true == place, scores[:, place]) for place in range(len(classes))]
    expected = {
        "example_count": len(true),
        "accuracy": accuracy_score(true, chosen),
        "balanced_accuracy": balanced_accuracy_score(true, chosen),
        "macro_f1": f1_score(true, chosen, average="macro"),
        "pr_auc": areas[-1] if len(classes) == 2 else np.mean(areas),
        "log_loss": log_loss(true, scores / scores.sum(1, keepdims=True)),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=5e-3 if name == "pr_auc" else 1e-6), name
    recalls = of_task.by_class(sums)
    for place, name in enumerate(classes):
        assert recalls[f"recall/{name}"] == pytest.approx((chosen[true == place] == place).mean())


def test_a_class_that_train_never_showed_and_answers_that_are_no_numbers() -> None:
    of_task = accumulator(dataset().task)
    outputs = {
        "probabilities": np.array([[0.9, 0.1], [np.nan, np.nan], [0.2, 0.8]]),
        "class_id": np.array([0, 0, 1]),
        "labels_bytes": np.array([b"a", b"b"], object),
    }
    found = of_task.metrics(of_task.one(np.array([b"new", b"a", b"b"], object), outputs, {}))
    assert found["accuracy"] == pytest.approx(1 / 3)
    assert np.isnan(found["log_loss"]) and np.isnan(found["pr_auc"])
    # Of no label there is nothing to count.
    assert of_task.one(np.array([b""], object), outputs, {})["true"].sum() == 0


def test_the_catalogue_counts_steps() -> None:
    known = known_metrics(dataset())
    assert known["example_count"].startswith("steps") and "part of the steps" in known["accuracy"]


def test_the_bootstrap_resamples_sequences_and_the_verdict_counts_them() -> None:
    """Steps of a sequence are right or wrong together: 12 sequences are no 600 independent steps."""
    random, steps = np.random.default_rng(1), 50
    ids = [f"m{number:02d}" for number in range(12) for _ in range(steps)]
    is_right = np.repeat(random.random(12) < 0.6, steps)
    label = np.array([b"run", b"idle"], object)[np.arange(len(ids)) % 2]
    other = np.array([b"idle", b"run"], object)[np.arange(len(ids)) % 2]
    recorded = {
        "sequence_id": ids,
        "slices": [[] for _ in ids],
        "label": label,
        "candidate": np.where(is_right, label, other),
        "candidate_loss": np.where(is_right, 0.1, 2.0),
        "majority": np.array([b"run"] * len(ids), object),
    }
    verdict = judge(recorded, dataset(), EvaluationConfig(min_test_sequences=13), {})
    assert (verdict.sequences, verdict.passed) == (12, False)
    (comparison,) = verdict.comparisons
    assert (comparison.sequences, comparison.clusters) == (12, 12)
    assert comparison.candidate == pytest.approx(is_right.mean()) and comparison.other == pytest.approx(0.5)
    assert comparison.upper is not None and comparison.lower is not None
    # As wide as of 12 sequences that are right or wrong: a deviation of sqrt(p (1 - p) / 12) or more.
    p = is_right.mean()
    assert comparison.upper - comparison.lower > 2 * np.sqrt(p * (1 - p) / 12)

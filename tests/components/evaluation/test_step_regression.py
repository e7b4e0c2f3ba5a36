"""Metrics, comparisons and losses of numbers at each step (`per_step` of a regression), against scikit-learn."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from noisy_gru.components.evaluation.accumulators import accumulator
from noisy_gru.components.evaluation.comparisons import judge
from noisy_gru.components.evaluation.config import EvaluationConfig
from noisy_gru.components.evaluation.metric_catalogue import known_metrics
from noisy_gru.components.evaluation.sequence_losses import _step_error
from noisy_gru.schema.config import DatasetConfig


def dataset(*targets: str) -> DatasetConfig:
    data = {"files": ["x.csv"], "entity": "id", "time": {"column": "t"}, "features": ["x"]}
    answers = {"label": targets[0]} if len(targets) == 1 else {"targets": list(targets)}
    return DatasetConfig.model_validate({"data": data, "task": {"kind": "regression", "per_step": True, **answers}})


def sequences(targets: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Truth with missing steps, and predictions with padding after the end, of sequences of different lengths."""
    random, found = np.random.default_rng(0), []
    for _ in range(25):
        steps = int(random.integers(2, 9))
        truth = random.normal(size=(steps, targets)) * [1, 1e4][:targets] + [5, 1e6][:targets]
        predicted = truth + random.normal(size=truth.shape) * [0.4, 3e3][:targets]
        truth[random.random(truth.shape) < 0.3] = np.nan
        found.append((truth, np.concatenate([predicted, np.zeros((9 - steps, targets))])))
    return found


@pytest.mark.parametrize("names", [("level",), ("level", "flow")])
def test_metrics_are_over_the_steps_with_a_target(names: tuple[str, ...]) -> None:
    of_task, rows = accumulator(dataset(*names).task), sequences(len(names))
    parts = [of_task.one(truth, {"predictions": answer}, {}) for truth, answer in rows]
    found = of_task.metrics(of_task.merge([of_task.merge(parts[:7]), of_task.merge(parts[7:])]))
    assert set(found) == set(known_metrics(dataset(*names)))
    truth = np.concatenate([each for each, _ in rows])
    answers = np.concatenate([answer[: len(each)] for each, answer in rows])
    assert found["example_count"] == (~np.isnan(truth)).any(axis=1).sum()
    explained = []
    for place, name in enumerate(names):
        known = ~np.isnan(truth[:, place])
        true, answer = truth[known, place], answers[known, place]
        ending = f"/{name}" if len(names) > 1 else ""
        explained.append(r2_score(true, answer))
        assert found[f"mae{ending}"] == pytest.approx(mean_absolute_error(true, answer))
        assert found[f"rmse{ending}"] == pytest.approx(mean_squared_error(true, answer) ** 0.5)
        assert found[f"r2{ending}"] == pytest.approx(explained[-1])
        assert found[f"rmse_naive_mean{ending}"] == pytest.approx(true.std())
    assert found["r2"] == pytest.approx(np.mean(explained))


def judged(names: tuple[str, ...], truth: np.ndarray, answers: np.ndarray, ids: list[str]) -> dict[Any, Any]:
    recorded = {"sequence_id": ids, "slices": [[] for _ in ids], "label": truth, "candidate": answers}
    shaped = truth.reshape(len(ids), -1)
    constants = {
        name: (float(np.nanmean(shaped[:, k])), float(np.nanmedian(shaped[:, k]))) for k, name in enumerate(names)
    }
    verdict = judge(recorded, dataset(*names), EvaluationConfig(), constants)
    assert verdict.sequences == len(set(ids))
    return {(each.against, each.metric): each for each in verdict.comparisons}


def test_steps_of_a_sequence_are_no_independent_evidence() -> None:
    random = np.random.default_rng(1)
    # One sequence is told well, and the others no better than by their mean.
    level = random.normal(size=(40, 1)) + 0 * np.zeros((40, 30))
    ids = [f"m{number}" for number in range(40) for _ in range(30)]
    good = judged(("level",), level.ravel(), level.ravel() + random.normal(0, 0.1, 1200), ids)
    assert good["train_mean", "rmse"].passed and good["train_median", "mae"].passed
    assert good["train_mean", "rmse"].clusters == 40 and good["train_mean", "rmse"].sequences == 40
    by_chance = judged(("level",), level.ravel(), np.repeat(random.normal(size=40), 30), ids)
    assert not by_chance["train_mean", "rmse"].passed


def test_each_of_several_targets_has_to_beat_its_constants() -> None:
    rows = sequences(2)
    ids = [f"m{number}" for number, (truth, _) in enumerate(rows) for _ in truth]
    truth = np.concatenate([each for each, _ in rows])
    answers = np.concatenate([answer[: len(each)] for each, answer in rows])
    known = ~np.isnan(truth).all(axis=1)
    ids = [name for name, keep in zip(ids, known, strict=True) if keep]
    found = judged(("level", "flow"), truth[known], answers[known], ids)
    assert {metric for _, metric in found} == {"rmse/level", "rmse/flow", "mae/level", "mae/flow"}
    assert all(each.passed for each in found.values())
    bad = judged(("level", "flow"), truth[known], answers[known] + [9, 0], ids)
    assert not bad["train_mean", "rmse/level"].passed and bad["train_mean", "rmse/flow"].passed


def test_the_loss_of_a_sequence_is_that_of_its_known_targets() -> None:
    features = {
        "level": SimpleNamespace(float_list=SimpleNamespace(value=[1.0, np.nan, 3.0])),
        "sequence_id": SimpleNamespace(bytes_list=SimpleNamespace(value=[b"a"])),
    }
    predictions = np.array([[1.5], [9.0], [2.0], [0.0]], np.float32)
    assert _step_error(predictions, features, dataset("level").task) == 0.75  # type: ignore[arg-type]
    assert _step_error(np.full_like(predictions, np.inf), features, dataset("level").task) == np.inf  # type: ignore[arg-type]

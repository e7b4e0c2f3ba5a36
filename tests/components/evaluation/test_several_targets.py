"""Metrics and comparisons of several numbers (`task.targets` of a regression), against scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from noisy_gru.components.evaluation.accumulators import accumulator
from noisy_gru.components.evaluation.comparisons import judge
from noisy_gru.components.evaluation.config import EvaluationConfig
from noisy_gru.components.evaluation.metric_catalogue import higher_is_better, is_comparable, known_metrics
from noisy_gru.components.evaluation.regression_accumulators import Regressions
from noisy_gru.components.evaluation.resampled_metrics import resampled_metric
from noisy_gru.schema.config import DatasetConfig

TARGETS = ["price", "size"]


def dataset(**task: Any) -> DatasetConfig:
    data = {"files": ["x.csv"], "entity": "id", "time": {"column": "t"}, "features": ["x"]}
    return DatasetConfig.model_validate({"data": data, "task": {"kind": "regression", "targets": TARGETS, **task}})


def numbers(count: int) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted numbers of very different sizes; a third of the second is unknown."""
    random = np.random.default_rng(0)
    true = random.normal(size=(count, 2)) * [1, 1e5] + [3, 1e6]
    predicted = true + random.normal(size=(count, 2)) * [0.3, 2e4]
    true[random.random(count) < 0.3, 1] = np.nan
    return true, predicted


def expected(true: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    found: dict[str, float] = {}
    for place, name in enumerate(TARGETS):
        known = ~np.isnan(true[:, place])
        one, other = true[known, place], predicted[known, place]
        found[f"mae/{name}"] = mean_absolute_error(one, other)
        found[f"rmse/{name}"] = mean_squared_error(one, other) ** 0.5
        found[f"r2/{name}"] = r2_score(one, other)
        found[f"rmse_naive_mean/{name}"] = one.std()
        found[f"rmse_over_naive_mean/{name}"] = found[f"rmse/{name}"] / one.std()
    errors = (predicted - true)[~np.isnan(true)]
    found |= {"mae": np.abs(errors).mean(), "rmse": (errors**2).mean() ** 0.5, "example_count": len(true)}
    return found | {"r2": (found["r2/price"] + found["r2/size"]) / 2}


def test_metrics_against_scikit_learn() -> None:
    of_task, (true, predicted) = accumulator(dataset().task), numbers(90)
    assert isinstance(of_task, Regressions)
    parts = [of_task.one(row, {"predictions": answer}, {}) for row, answer in zip(true, predicted, strict=True)]
    found = of_task.metrics(of_task.merge([of_task.merge(parts[:30]), of_task.merge(parts[30:])]))
    assert set(found) == set(known_metrics(dataset()))
    for name, value in expected(true, predicted).items():
        assert found[name] == pytest.approx(value, rel=1e-6), name


def test_a_target_that_is_unknown_throughout_is_no_number() -> None:
    of_task = accumulator(dataset().task)
    row = of_task.one(np.array([1.0, np.nan]), {"predictions": np.array([1.5, 9.0])}, {})
    found = of_task.metrics(of_task.merge([row, row]))
    assert found["mae/price"] == 0.5 and np.isnan(found["mae/size"]) and found["mae"] == 0.5


def test_coverage_is_counted_by_target() -> None:
    given = dataset(quantiles=[0.1, 0.5, 0.9])
    of_task = accumulator(given.task)
    quantiles = np.array([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]])
    rows = [np.array([1.0, 5.0]), np.array([0.5, np.nan]), np.array([3.0, 1.5]), np.array([2.0, 9.0])]
    sums = of_task.merge(
        [of_task.one(row, {"predictions": quantiles[:, 1], "quantiles": quantiles}, {}) for row in rows]
    )
    found = of_task.metrics(sums)
    assert found["coverage_0.8/price"] == 3 / 4
    assert found["coverage_0.8/size"] == pytest.approx(1 / 3)
    assert found["coverage_0.8"] == pytest.approx(4 / 7)
    assert set(found) >= set(known_metrics(given))


def test_resampled_metrics_are_the_metrics() -> None:
    true, predicted = numbers(60)
    answers = {"label": true, "candidate": predicted}
    for name, value in expected(true, predicted).items():
        if is_comparable(name):
            found = resampled_metric(name, dataset().task, [])
            sums = found.columns(answers, "candidate").sum(axis=0)
            assert float(found.value(sums)) == pytest.approx(value, rel=1e-6), name
    assert higher_is_better("r2/size") and not higher_is_better("mae/size")
    assert not is_comparable("rmse_naive_mean/size")


def test_each_target_has_to_beat_its_own_constant() -> None:
    true, predicted = numbers(80)
    constants = {"price": (3.0, 3.0), "size": (1e6, 1e6)}
    recorded = {"sequence_id": [f"m{place}" for place in range(80)], "slices": [[] for _ in range(80)], "label": true}

    def judged(answer: np.ndarray) -> dict[str, bool]:
        verdict = judge({**recorded, "candidate": answer}, dataset(), EvaluationConfig(), constants)
        assert {each.against for each in verdict.comparisons} == {"train_mean", "train_median"}
        sizes = {each.metric: each.sequences for each in verdict.comparisons}
        assert sizes["mae/price"] == 80 and sizes["mae/size"] == int((~np.isnan(true[:, 1])).sum())
        return {each.metric: each.passed for each in verdict.comparisons}

    assert judged(predicted) == {"rmse/price": True, "rmse/size": True, "mae/price": True, "mae/size": True}
    # Good at the large numbers alone: the mean over both would not show it.
    bad = np.stack([predicted[:, 0] + 5, predicted[:, 1]], axis=1)
    assert judged(bad) == {"rmse/price": False, "rmse/size": True, "mae/price": False, "mae/size": True}

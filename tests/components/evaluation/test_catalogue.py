"""Names of metrics, and the check of a configuration that names them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from noisy_gru.components.config import ComparisonConfig, EvaluationConfig, ThresholdConfig
from noisy_gru.components.evaluation.accumulators import accumulator
from noisy_gru.components.evaluation.catalogue import (
    baseline_bounds,
    check_evaluation,
    comparison_metric,
    higher_is_better,
    known_metrics,
)
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import ConfigError


def dataset(**task: Any) -> DatasetConfig:
    return DatasetConfig.model_validate(
        {
            "data": {"files": ["x.csv"], "entity": "id", "time": {"column": "t"}, "features": ["temp"]},
            "task": task,
        }
    )


CLASSES = dataset(kind="classification", label="y")
NUMBERS = dataset(kind="regression", label="y")
WEATHER = dataset(kind="forecasting", targets=["temp"], input_length=24, horizons=[6, 24], season_length=24)


def test_what_is_computed_is_what_is_known() -> None:
    import numpy as np

    answers: dict[str, tuple[DatasetConfig, Any, dict[str, Any], dict[str, Any]]] = {
        "classification": (CLASSES, b"a", {"probabilities": np.ones(1), "labels_bytes": np.array([b"a"])}, {}),
        "regression": (NUMBERS, 1.0, {"predictions": np.ones(1)}, {}),
        "forecasting": (
            WEATHER,
            np.ones((2, 1)),
            {"predictions": np.ones((2, 1))},
            {"naive_last/temp": np.ones(2), "naive_seasonal/temp": np.ones(2)},
        ),
    }
    for config, label, outputs, features in answers.values():
        task = accumulator(config.task)
        assert list(task.metrics(task.merge([task.one(label, outputs, features)]))) == list(known_metrics(config))


def test_forecasting_names_targets_and_horizons() -> None:
    names = known_metrics(WEATHER)
    assert {"mae", "mae/temp", "mae/temp@6", "rmse/temp@24", "mae_over_naive_seasonal/temp@24"} <= set(names)
    without = dataset(kind="forecasting", targets=["temp"], input_length=24, horizons=[6])
    assert not [name for name in known_metrics(without) if "seasonal" in name]


@pytest.mark.parametrize(
    ("config", "metrics"),
    [
        (CLASSES, ["accuracy_gain_over_majority"]),
        (NUMBERS, ["rmse_over_naive_mean"]),
        (WEATHER, ["mae_over_naive_last/temp", "mae_over_naive_seasonal/temp"]),
    ],
)
def test_baselines_are_bounds_on_known_metrics(config: DatasetConfig, metrics: list[str]) -> None:
    bounds = baseline_bounds(config)
    assert [bound.metric for bound in bounds] == metrics
    assert set(metrics) <= set(known_metrics(config))
    assert all((bound.above is None) == (not higher_is_better(bound.metric)) for bound in bounds)


def test_comparison_is_by_accuracy_or_mae() -> None:
    assert comparison_metric(CLASSES, EvaluationConfig()) == "accuracy"
    assert comparison_metric(WEATHER, EvaluationConfig()) == "mae"
    assert comparison_metric(WEATHER, EvaluationConfig(comparison=ComparisonConfig(metric="rmse"))) == "rmse"
    assert comparison_metric(WEATHER, EvaluationConfig(comparison=None)) is None


def test_an_unknown_metric_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"evaluation\.thresholds: regression has no metric accuracy.*mae, rmse, r2"):
        check_evaluation(NUMBERS, EvaluationConfig(thresholds={"accuracy": ThresholdConfig(min=1)}))
    with pytest.raises(ConfigError, match=r"evaluation\.comparison\.metric: classification has no metric mae"):
        check_evaluation(CLASSES, EvaluationConfig(comparison=ComparisonConfig(metric="mae")))


def test_it_imports_neither_tensorflow_nor_tfma() -> None:
    code = (
        "import sys, noisy_gru.components.evaluation.catalogue\n"
        "heavy = ('tensorflow', 'tensorflow_model_analysis', 'tfx', 'apache_beam')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"

"""Names of metrics, and the check of a configuration that names them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from noisy_gru.components.evaluation.accumulators import accumulator
from noisy_gru.components.evaluation.config import CompareConfig, EvaluationConfig, ThresholdConfig
from noisy_gru.components.evaluation.metric_catalogue import (
    check_evaluation,
    comparison_metric,
    default_margin,
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


def test_comparison_is_by_accuracy_or_mae() -> None:
    assert comparison_metric(CLASSES, EvaluationConfig()) == "accuracy"
    assert comparison_metric(WEATHER, EvaluationConfig()) == "mae"
    assert comparison_metric(WEATHER, EvaluationConfig(compare=CompareConfig(metric="rmse"))) == "rmse"
    assert comparison_metric(WEATHER, EvaluationConfig(compare=None)) is None
    assert default_margin("accuracy", 0.7) == 0.02
    assert default_margin("mae", 3.5) == pytest.approx(0.07)


@pytest.mark.parametrize(
    ("old", "compare", "require_each"),
    [
        (None, None, []),
        ({}, {}, []),
        ({"max_regression": 0.0}, {}, []),
        ({"metric": "mae", "max_regression": 0.1}, {"metric": "mae", "margin": 0.1}, []),
        ({"min_improvement": 0.0}, {"accept": "better", "margin": 0.0}, []),
        ({"min_improvement": 0.1, "max_regression": 0.0}, {"accept": "better", "margin": 0.1}, []),
        ({"max_slice_regression": 0.3}, {"slice_margin": 0.3}, ["slice"]),
    ],
)
def test_the_earlier_comparison_means_what_it_meant(old: Any, compare: Any, require_each: list[str]) -> None:
    found = EvaluationConfig.model_validate({"slices": [["origin"]], "comparison": old})
    assert found.compare == (None if compare is None else CompareConfig.model_validate(compare))
    assert found.require_each == require_each
    # It is read once: what is handed on has the new name alone.
    assert EvaluationConfig.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize(
    ("evaluation", "message"),
    [
        ({"comparison": {"max_regression": 0.1, "min_improvement": 0.1}}, "can't have to be better"),
        ({"comparison": {"max_slice_regression": 0.1}}, "needs slices"),
        ({"comparison": {"metrc": "mae"}}, r"write compare: \{accept: not_worse, margin: 0.02\}.*found metrc"),
        ({"comparison": 3}, "found 3"),
        ({"comparison": {}, "compare": {}}, "write compare alone"),
        ({"require_each": ["slice"]}, "needs slices"),
        ({"min_test_sequences": 0}, "greater than or equal to 1"),
        ({"compare": {"confidence": 1.0}}, "less than 1"),
    ],
)
def test_what_contradicts_itself_is_refused(evaluation: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EvaluationConfig.model_validate(evaluation)


@pytest.mark.parametrize(
    ("config", "evaluation", "message"),
    [
        (
            WEATHER,
            {"compare": {"metric": "mae_naive_last"}},
            "two models can't be compared by mae_naive_last, sequence by sequence. Expected one of",
        ),
        (CLASSES, {"require_each": ["horizon"]}, "classification has no horizons"),
    ],
)
def test_what_the_task_cannot_give_is_refused(config: DatasetConfig, evaluation: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_evaluation(config, EvaluationConfig.model_validate(evaluation))


def test_an_unknown_metric_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"evaluation\.thresholds: regression has no metric accuracy.*mae, rmse, r2"):
        check_evaluation(NUMBERS, EvaluationConfig(thresholds={"accuracy": ThresholdConfig(min=1)}))
    with pytest.raises(ConfigError, match=r"evaluation\.compare\.metric: classification has no metric mae"):
        check_evaluation(CLASSES, EvaluationConfig(compare=CompareConfig(metric="mae")))


def test_it_imports_neither_tensorflow_nor_tfma() -> None:
    code = (
        "import sys, noisy_gru.components.evaluation.metric_catalogue\n"
        "heavy = ('tensorflow', 'tensorflow_model_analysis', 'tfx', 'apache_beam')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"

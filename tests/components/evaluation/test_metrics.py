"""TFMA's side of the metrics: its configuration, and what a test sequence without its answer gives."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from noisy_gru.components.config import EvaluationConfig
from noisy_gru.schema.config import DatasetConfig, ForecastingConfig
from noisy_gru.schema.errors import ConfigError, DataError

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


def dataset(**task: Any) -> DatasetConfig:
    data = {"files": ["x.csv"], "entity": "id", "time": {"column": "t"}, "features": ["temp"]}
    return DatasetConfig.model_validate({"data": data, "task": task})


CLASSES = dataset(kind="classification", label="y")
WEATHER = dataset(kind="forecasting", targets=["temp"], input_length=24, horizons=[6])


def bounds(config: Any) -> dict[str, tuple[float | None, float | None, float | None]]:
    """Lower bound, upper bound and allowed change of each metric that has one."""

    def value(holder: Any, name: str) -> float | None:
        return getattr(holder, name).value if holder.HasField(name) else None

    result = {}
    for metric in config.metrics_specs[0].metrics:
        for threshold in metric.per_slice_thresholds:
            # The whole split, and no slice.
            assert [list(spec.feature_keys) for spec in threshold.slicing_specs] == [[]]
            absolute, change = threshold.threshold.value_threshold, threshold.threshold.change_threshold
            name = json.loads(metric.config)["name"]
            result[name] = (value(absolute, "lower_bound"), value(absolute, "upper_bound"), value(change, "absolute"))
    return result


def test_defaults_ask_for_the_baselines_and_no_regression() -> None:
    from noisy_gru.components.evaluation.config import eval_config

    just_above, just_below = math.nextafter(0, 1), math.nextafter(1, 0)
    assert bounds(eval_config(CLASSES, EvaluationConfig())) == {
        "example_count": (1.0, None, None),
        "accuracy_gain_over_majority": (just_above, None, None),
        "accuracy": (None, None, 0.0),
    }
    assert bounds(eval_config(WEATHER, EvaluationConfig())) == {
        "example_count": (1.0, None, None),
        "mae_over_naive_last/temp": (None, just_below, None),
        "mae": (None, None, 0.0),
    }


def test_nothing_asked_for_still_blesses_a_model_that_was_measured() -> None:
    from noisy_gru.components.evaluation.config import eval_config

    config = eval_config(CLASSES, EvaluationConfig(baselines="report", comparison=None))
    assert bounds(config) == {"example_count": (1.0, None, None)}


def test_thresholds_slices_and_regression_of_the_configuration() -> None:
    from noisy_gru.components.evaluation.config import eval_config

    evaluation = EvaluationConfig.model_validate(
        {
            "slices": [["origin"], ["origin", "season"]],
            "thresholds": {
                "accuracy": {"min": 0.9},
                "log_loss": {"max": 0.5},
                "accuracy_gain_over_majority": {"min": 0.3},
            },
            "comparison": {"metric": "accuracy", "max_regression": 0.02},
        }
    )
    config = eval_config(CLASSES, evaluation, fingerprint="abc")
    assert [list(spec.feature_keys) for spec in config.slicing_specs] == [[], ["origin"], ["origin", "season"]]
    assert bounds(config) == {
        "example_count": (1.0, None, None),
        "accuracy": (0.9, None, -0.02),
        "log_loss": (None, 0.5, None),
        "accuracy_gain_over_majority": (0.3, None, None),
    }
    assert '"fingerprint": "abc"' in config.metrics_specs[0].metrics[0].config


def changes(config: Any) -> dict[tuple[str, ...], float]:
    """The allowed change of the compared metric, by the columns of the slices that it holds for."""
    return {
        tuple(spec.feature_keys): each.threshold.change_threshold.absolute.value
        for metric in config.metrics_specs[0].metrics
        for each in metric.per_slice_thresholds
        if each.threshold.HasField("change_threshold")
        for spec in each.slicing_specs
    }


@pytest.mark.parametrize(
    ("data", "comparison", "expected"),
    [
        (CLASSES, {"min_improvement": 0.0}, {(): math.nextafter(0, 1)}),
        (WEATHER, {"min_improvement": 0.5}, {(): -math.nextafter(0.5, 1)}),
        (WEATHER, {"max_regression": 0.1, "max_slice_regression": 0.3}, {(): 0.1, ("origin",): 0.3, ("a", "b"): 0.3}),
        (CLASSES, {"max_slice_regression": 0.3}, {(): 0.0, ("origin",): -0.3, ("a", "b"): -0.3}),
    ],
)
def test_what_the_comparison_asks_for(data: DatasetConfig, comparison: Any, expected: dict[Any, float]) -> None:
    from noisy_gru.components.evaluation.config import eval_config, without_comparison

    evaluation = EvaluationConfig.model_validate({"slices": [["origin"], ["a", "b"]], "comparison": comparison})
    config = eval_config(data, evaluation)
    assert changes(config) == expected
    relaxed = without_comparison(config)
    assert changes(relaxed) == {}
    assert [metric.config for metric in relaxed.metrics_specs[0].metrics] == [
        metric.config for metric in config.metrics_specs[0].metrics
    ]


@pytest.mark.parametrize(
    ("evaluation", "said"),
    [
        ({"comparison": {"max_regression": 0.1, "min_improvement": 0.1}}, "can't have to be better"),
        ({"comparison": {"max_slice_regression": 0.1}}, "max_slice_regression needs slices"),
    ],
)
def test_a_comparison_that_contradicts_itself_is_refused(evaluation: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        EvaluationConfig.model_validate(evaluation)


def test_an_unknown_metric_is_refused() -> None:
    from noisy_gru.components.evaluation.config import eval_config

    with pytest.raises(ConfigError, match="no metric f2"):
        eval_config(CLASSES, EvaluationConfig.model_validate({"thresholds": {"f2": {"min": 1}}}))


def forecast(target: list[float] | None, name: str = "JFK@7") -> dict[str, Any]:
    features: dict[str, Any] = {
        "sequence_id": np.array([name.encode()]),
        "naive_last/temp": np.array([1.0]),
        "target/temp": None if target is None else np.array(target),
    }
    return {"features": features, "predictions": np.array([[1.5]])}


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ([math.nan], r"JFK@7 has the label \[nan\] in target/temp; expected finite"),
        ([math.inf], r"JFK@7 has the label \[inf\]"),
        ([1.0, 2.0], "JFK@7 has 2 values of target/temp; expected 1"),
        (None, "JFK@7 has 0 values of target/temp; expected 1"),
    ],
)
def test_a_sequence_without_its_answer_is_an_error_that_names_it(target: list[float] | None, said: str) -> None:
    from noisy_gru.components.evaluation.metrics import _ReadSequence

    task = WEATHER.task
    assert isinstance(task, ForecastingConfig)
    with pytest.raises(DataError, match=said):
        list(_ReadSequence(task, "").process(forecast(target)))


def test_the_candidates_answer_is_told_from_the_baselines() -> None:
    from noisy_gru.components.evaluation.metrics import _ReadSequence

    extracts = forecast([1.0])
    extracts["predictions"] = {"candidate": np.array([[1.5]]), "baseline": {"predictions": np.array([[4.0]])}}
    for model, error in (("candidate", 0.5), ("baseline", 3.0)):
        (sums,) = _ReadSequence(WEATHER.task, model).process(extracts)
        assert sums["absolute"].item() == error

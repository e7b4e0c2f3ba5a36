"""TFMA's side of the metrics: its configuration, and what a test sequence without its answer gives."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from noisy_gru.components.evaluation.config import EvaluationConfig
from noisy_gru.schema.config import DatasetConfig, ForecastingConfig
from noisy_gru.schema.errors import ConfigError, DataError

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


def dataset(**task: Any) -> DatasetConfig:
    data = {"files": ["x.csv"], "entity": "id", "time": {"column": "t"}, "features": ["temp"]}
    return DatasetConfig.model_validate({"data": data, "task": task})


CLASSES = dataset(kind="classification", label="y")
WEATHER = dataset(kind="forecasting", targets=["temp"], input_length=24, horizons=[6])


def bounds(config: Any) -> dict[str, tuple[float | None, float | None]]:
    """Lower and upper bound of each metric that has one; nothing is asked of a difference, or in a slice."""

    def value(holder: Any, name: str) -> float | None:
        return getattr(holder, name).value if holder.HasField(name) else None

    result = {}
    for metric in config.metrics_specs[0].metrics:
        for threshold in metric.per_slice_thresholds:
            assert [list(spec.feature_keys) for spec in threshold.slicing_specs] == [[]]
            assert not threshold.threshold.HasField("change_threshold")
            absolute = threshold.threshold.value_threshold
            result[json.loads(metric.config)["name"]] = (value(absolute, "lower_bound"), value(absolute, "upper_bound"))
    return result


def test_tfma_decides_on_bounds_alone() -> None:
    from noisy_gru.components.evaluation.tfma_config import eval_config

    # A model that was measured is blessed by TFMA; the comparisons are beside it.
    for data in (CLASSES, WEATHER):
        assert bounds(eval_config(data, EvaluationConfig())) == {"example_count": (1.0, None)}
    evaluation = EvaluationConfig.model_validate(
        {
            "slices": [["origin"], ["origin", "season"]],
            "thresholds": {"accuracy": {"min": 0.9}, "log_loss": {"max": 0.5}},
        }
    )
    config = eval_config(CLASSES, evaluation, fingerprint="abc")
    assert [list(spec.feature_keys) for spec in config.slicing_specs] == [[], ["origin"], ["origin", "season"]]
    assert bounds(config) == {"example_count": (1.0, None), "accuracy": (0.9, None), "log_loss": (None, 0.5)}
    assert '"fingerprint": "abc"' in config.metrics_specs[0].metrics[0].config


def test_an_unknown_metric_is_refused() -> None:
    from noisy_gru.components.evaluation.tfma_config import eval_config

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
    ("target", "message"),
    [
        ([math.inf], r"JFK@7 has the label \[inf\] in target/temp; expected finite"),
        ([1.0, 2.0], "JFK@7 has 2 values of target/temp; expected 1"),
        (None, "JFK@7 has 0 values of target/temp; expected 1"),
    ],
)
def test_a_sequence_without_its_answer_is_an_error_that_names_it(target: list[float] | None, message: str) -> None:
    from noisy_gru.components.evaluation.tfma_metrics import _ReadSequence

    task = WEATHER.task
    assert isinstance(task, ForecastingConfig)
    with pytest.raises(DataError, match=message):
        list(_ReadSequence(task, "").process(forecast(target)))


def test_a_missing_target_counts_nowhere() -> None:
    from noisy_gru.components.evaluation.tfma_metrics import _ReadSequence

    (sums,) = _ReadSequence(WEATHER.task, "").process(forecast([math.nan]))
    assert sums["known"].sum() == sums["absolute"].sum() == sums["known_last"].sum() == 0


def test_the_candidates_answer_is_told_from_the_baselines() -> None:
    from noisy_gru.components.evaluation.tfma_metrics import _ReadSequence

    extracts = forecast([1.0])
    extracts["predictions"] = {"candidate": np.array([[1.5]]), "baseline": {"predictions": np.array([[4.0]])}}
    for model, error in (("candidate", 0.5), ("baseline", 3.0)):
        (sums,) = _ReadSequence(WEATHER.task, model).process(extracts)
        assert sums["absolute"].item() == error


def test_all_metrics_of_the_same_sums_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """TFMA asks for thousands of names, of both models in turn."""
    from noisy_gru.components.evaluation import tfma_metrics

    counted = []

    class Counting:
        def metrics(self, sums: Any) -> dict[str, float]:
            counted.append(sums)
            return {"mae": float(sums["x"])}

    monkeypatch.setattr(tfma_metrics, "accumulator", lambda task: Counting())
    sums = [{"x": 1.0}, {"x": 2.0}]
    for _ in range(3):
        for model, given in zip(("candidate", "baseline"), sums, strict=True):
            computations = tfma_metrics._computations("mae", WEATHER.task.model_dump_json(), [model])
            key = next(each for each in computations if hasattr(each, "result"))
            (metric,) = computations[0].keys
            (found,) = key.result({metric: given}).values()
            assert found == given["x"]
    assert counted == sums

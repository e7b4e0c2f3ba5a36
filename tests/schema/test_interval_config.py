"""Quantiles and intervals of a task: their levels, their pairs, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from noisy_gru.schema.config import TaskConfig
from noisy_gru.schema.interval_config import OutputConfig, intervals_of, is_calibrated, levels_of

TASK: TypeAdapter[TaskConfig] = TypeAdapter(TaskConfig)


def number(**more: Any) -> Any:
    return TASK.validate_python({"kind": "regression", "label": "y", **more})


def test_intervals_are_quantiles_around_the_median() -> None:
    task = number(intervals=[0.9, 0.95])
    assert levels_of(task) == [0.025, 0.05, 0.5, 0.95, 0.975]
    assert intervals_of(task) == [(0.95, 0, 4), (0.9, 1, 3)]
    assert is_calibrated(task)


def test_quantiles_pair_up_where_they_are_symmetric() -> None:
    task = number(quantiles=[0.05, 0.1, 0.5, 0.8, 0.9], calibration={"method": "none"})
    assert intervals_of(task) == [(0.8, 1, 4)]
    assert not is_calibrated(task)
    # 1 - 0.9 is no 0.1 in binary.
    many = number(quantiles=[level / 100 for level in range(1, 100)])
    assert len(intervals_of(many)) == 49


def test_without_them_there_is_nothing() -> None:
    assert levels_of(number()) == [] and intervals_of(number()) == [] and not is_calibrated(number())
    assert number().output == OutputConfig()
    classes = TASK.validate_python({"kind": "classification", "label": "y"})
    assert levels_of(classes) == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"quantiles": [0.1, 0.9]}, "quantiles must hold 0.5, which is the prediction"),
        ({"quantiles": [0.5]}, "at least 2 items"),
        ({"quantiles": [0.5, 1.0]}, "less than 1"),
        ({"quantiles": [0.5, 0.1]}, "must rise and be listed once"),
        ({"intervals": [0.9, 0.9]}, "must rise and be listed once"),
        ({"intervals": []}, "at least 1 item"),
        ({"intervals": [0.8], "quantiles": [0.1, 0.5, 0.9]}, r"name one of them. .* quantiles: \[0.1, 0.5, 0.9\]"),
        ({"intervals": [0.8], "calibration": {"method": "none"}}, "intervals get their width from the calibration"),
        ({"distribution": "normal"}, r"says what the quantiles are of, and there are none: .* quantiles: \[0\.1"),
        ({"distribution": "negative_binomial"}, "'normal' or 'student_t'"),
        ({"quantiles": [0.5, 0.9], "degrees_of_freedom": 3}, "those of distribution: student_t, received .* null"),
        (
            {"quantiles": [0.5, 0.9], "distribution": "normal", "degrees_of_freedom": 3},
            "received distribution: normal; leave them out",
        ),
        ({"calibration": {"scale": "window"}}, "measures the calibrated intervals, and there are none"),
        ({"output": {"min": 2, "max": 2}}, r"min \(2\) must be less than max \(2\)"),
        ({"output": {"integer": True, "max": 2.5}}, "integer: true needs a whole number as max, received 2.5"),
        ({"units": ""}, "at least 1 character"),
    ],
)
def test_what_does_not_fit(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        number(**more)


@pytest.mark.parametrize("key", ["quantiles", "distribution", "intervals", "calibration", "output", "units"])
def test_a_classification_has_none_of_it(key: str) -> None:
    values = {
        "quantiles": [0.5, 0.9],
        "distribution": "normal",
        "intervals": [0.9],
        "calibration": {},
        "output": {"min": 0},
        "units": "kWh",
    }
    with pytest.raises(ValidationError, match=f"{key} is of predicted numbers, and a classification"):
        TASK.validate_python({"kind": "classification", "label": "y", key: values[key]})

"""Conditions of tasks, as TFX and the kfp SDK write them."""

from __future__ import annotations

from typing import Any

import pytest

from noisy_gru.kubeflow.emulator.conditions import holds
from noisy_gru.kubeflow.emulator.errors import TaskError

INPUTS: dict[str, Any] = {
    "parameter_values": {"pipelinechannel--coin": "heads", "n": 3.0, "flag": True, "text": 'it\'s "so"'},
    "artifacts": {"blessing": {"artifacts": [{"uri": "minio://b/x", "metadata": {"blessed": 1.0, "note": "fine"}}]}},
}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("inputs.parameter_values['pipelinechannel--coin'] == 'heads'", True),
        ("!(inputs.parameter_values['pipelinechannel--coin'] == 'heads')", False),
        ("int(inputs.parameter_values['n']) >= 3 && inputs.parameter_values['flag'] == true", True),
        ("inputs.parameter_values['n'] < 3.0 || inputs.parameter_values['n'] > 4.5", False),
        ("inputs.parameter_values['flag']", True),
        # As TFX writes Cond(blessing.future()[0].custom_property('blessed') == 1).
        ("(inputs.artifacts['blessing'].artifacts[0].metadata['blessed'] == 1.0)", True),
        ("((inputs.artifacts['blessing'].artifacts[0].uri + '/y') == 'minio://b/x/y')", True),
        ("!((inputs.artifacts['blessing'].artifacts[0].metadata['note'] == 'fine'))", False),
        (r"inputs.parameter_values['text'] == 'it\'s \"so\"'", True),
        # && binds tighter than ||, and ! than both.
        ("true || true && false", True),
        ("!true || true", True),
        ("(true || true) && false", False),
        ("1 + 2 - 4 == -1", True),
        ("'1' == 1", False),
    ],
)
def test_value(condition: str, expected: bool) -> None:
    assert holds(condition, INPUTS) is expected


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("inputs.artifacts['blessing'].artifacts[0].metadata['absent'] == 1.0", "no such key: 'absent'"),
        ("inputs.artifacts['blessing'].artifacts[1].uri == 'x'", "out of range"),
        ("inputs.parameter_values['n']", "is 3.0, neither true nor false"),
        ("'a' && true", "'a' is neither true nor false"),
        ("'a' < 1", "'<' not supported"),
        ("size(inputs.artifacts) == 1", "size is not understood here"),
        ("1 == ", "ends too early"),
        ("(1 == 1", "expected )"),
        ("true true", "'true' is unexpected"),
        ("true ? 1 : 2", "not understood here"),
        ("true and false", "'and' is unexpected"),
    ],
)
def test_what_is_not_understood_is_said(condition: str, message: str) -> None:
    with pytest.raises(TaskError) as caught:
        holds(condition, INPUTS)
    assert message in str(caught.value)
    assert condition.strip() in str(caught.value)

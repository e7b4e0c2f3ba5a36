"""What a model's `serving_step` must look like."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from noisy_gru.components.serving_gate.output_difference import identical
from noisy_gru.components.serving_gate.probe import ProbeResult
from noisy_gru.components.serving_gate.signature_contract import (
    broken_promises,
    promised_inputs,
    promised_outputs,
    state_size,
)
from noisy_gru.components.serving_gate.stream_requests import Cut, stream_answers
from noisy_gru.saved_model.session import Signature, TensorSpec
from noisy_gru.schema.config import DatasetConfig

DATASET = DatasetConfig.model_validate(
    {
        "data": {"files": ["x.csv"], "entity": "id", "time": {"column": "t"}, "features": ["a", "b"]},
        "task": {"kind": "regression", "label": "y"},
    }
)


def spec(dtype: str, *shape: int | None) -> TensorSpec:
    return TensorSpec("x:0", dtype, shape, 0)


def signatures(into: TensorSpec | None, out: TensorSpec | None) -> dict[str, Signature]:
    tensors = {"features": spec("float32", None, None, 2), "lengths": spec("int64", None)}
    answer = {"predictions": spec("float32", None, 1)}
    method = "tensorflow/serving/predict"
    return {
        "serving_default": Signature({"examples": spec("string", None)}, answer, method),
        "serving_tensors": Signature(tensors, answer, method),
        "serving_step": Signature(
            tensors | ({"state": into} if into else {}), answer | ({"state": out} if out else {}), method
        ),
    }


def test_a_state_of_one_size_is_promised() -> None:
    good = signatures(spec("float32", None, 7), spec("float32", None, 7))
    assert broken_promises(good, DATASET, serving_step=True) == []
    assert state_size(good) == 7
    # Without the promise nobody looks at it.
    assert broken_promises(signatures(None, None), DATASET) == []
    assert state_size({}) == 0


@pytest.mark.parametrize(
    ("into", "out", "message"),
    [
        (None, spec("float32", None, 7), "serving_step: input state is missing"),
        (spec("float32", None, 7), None, "serving_step: output state is missing"),
        (spec("float64", None, 7), spec("float32", None, 7), "serving_step: input state has the dtype float64"),
        (
            spec("float32", None, None),
            spec("float32", None, 7),
            "serving_step: input state has the shape [free, free]; expected [free, a number]",
        ),
        (
            spec("float32", None, 7),
            spec("float32", None, 8),
            "serving_step: output state has the shape [free, 8]; expected [free, 7]",
        ),
    ],
)
def test_another_state_is_said(into: Any, out: Any, message: str) -> None:
    (problem,) = broken_promises(signatures(into, out), DATASET, serving_step=True)
    assert problem.startswith(message)


def test_static_features_are_inputs_without_steps() -> None:
    features = [
        "a",
        {"name": "age", "static": True},
        {"name": "size", "static": True},
        {"name": "kind", "kind": "categorical", "static": True},
    ]
    data = {"files": ["x.csv"], "entity": "id", "time": {"column": "t"}, "features": features}
    dataset = DatasetConfig.model_validate({"data": data, "task": {"kind": "regression", "label": "y"}})
    promised = promised_inputs(dataset, serving_step=True)
    expected = {
        "features": ("float32", (None, None, 1)),
        "lengths": ("int64", (None,)),
        "static_features": ("float32", (None, 2)),
        "kind": ("string", (None,)),
    }
    assert promised["serving_tensors"] == expected
    assert promised["serving_step"] == {**expected, "state": ("float32", (None, "fixed"))}


def test_answers_at_each_step_have_an_axis_of_steps_and_streams_those_of_their_piece() -> None:
    dataset = DatasetConfig.model_validate(
        {
            "data": {"files": ["x.csv"], "entity": "id", "time": {"column": "t"}, "features": ["a"]},
            "task": {"kind": "classification", "label": "y", "per_step": True},
        }
    )
    promised = promised_outputs(dataset)
    assert promised["probabilities"] == ("float32", (None, None, "any")) and promised["lengths"] == ("int64", (None,))

    def outputs(lengths: list[int], ids: list[list[int]]) -> dict[str, np.ndarray]:
        class_id = np.array(ids)
        names = np.where(class_id < 0, b"", np.where(class_id == 0, b"a", b"b")).astype(object)
        return {
            "probabilities": np.where(class_id < 0, 0.0, 0.5)[..., None].repeat(2, -1).astype(np.float32),
            "class_id": class_id,
            "label_bytes": names,
            "labels_bytes": np.array([[b"a", b"b"]] * len(ids), object),
            "lengths": np.array(lengths),
        }

    whole = outputs([4, 1], [[0, 1, 1, 0], [1, -1, -1, -1]])
    piece = outputs([2, 0], [[1, 0], [-1, -1]]) | {"state": np.zeros((2, 3), np.float32)}
    seen = ProbeResult(rounds=[{"piece": piece, "whole": whole}])
    cut = Cut("by hand", {}, [("piece", "whole")], [np.array([2, 1])], per_step=True)
    ((_, given, expected),) = stream_answers(cut, seen)
    assert identical(given, expected)
    # A piece that begins elsewhere has other answers.
    ((_, given, expected),) = stream_answers(replace(cut, begins=[np.array([1, 0])]), seen)
    assert not identical(given, expected)

"""Importance of features and time steps against models that are known, and scikit-learn's on the exported one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.inspection import permutation_importance

from noisy_gru.components.serving_gate.exchanges import Part, exchanged, feature_parts, time_parts
from noisy_gru.components.serving_gate.importance import (
    ImportancePlan,
    class_scores,
    importance_account,
    importance_plan,
    labels_of,
    measure_importance,
)
from noisy_gru.saved_model.session import SessionModel
from noisy_gru.schema.config import DatasetConfig

LAST = 3  # steps that the label is made of


def dataset(task: dict[str, Any], features: list[Any] | None = None, **time: Any) -> DatasetConfig:
    data = {"files": ["x.csv"], "entity": "id", "features": features or ["a", "b"]}
    return DatasetConfig.model_validate({"data": {**data, "time": {"column": "t", **time}}, "task": task})


REGRESSION = dataset({"kind": "regression", "label": "y"})
CLASSES = dataset({"kind": "classification", "label": "label"})


class SumOfLast:
    """A model that adds up the last steps of `a`, whatever `b` is."""

    def run(self, signature: str, inputs: Any) -> dict[str, np.ndarray]:
        assert signature == "serving_tensors"
        rows = zip(inputs["features"], inputs["lengths"], strict=True)
        return {"predictions": np.array([[row[max(end - LAST, 0) : end, 0].sum()] for row, end in rows])}


def sums(count: int = 60, steps: int = 10) -> tuple[Any, np.ndarray]:
    features = np.random.default_rng(1).normal(size=(count, steps, 2)).astype(np.float32)
    values = {"features": features, "lengths": np.full(count, steps)}
    return values, SumOfLast().run("serving_tensors", values)["predictions"]


def test_one_feature_and_the_last_steps_are_all_that_matters() -> None:
    values, truth = sums()
    measured: Any = measure_importance(SumOfLast(), ImportancePlan(values, truth, REGRESSION, 100.0, 0))  # type: ignore[arg-type]
    found = importance_account(measured)
    assert (found["whole"], found["sequences"], found["repeats"]) == ({"mae": 0.0}, 60, 5)
    a, b = (each["mae"] for each in found["features"])
    # Of all pairs the mean absolute difference of two sums.
    expected = np.abs(truth - truth.T)[~np.eye(60, dtype=bool)].mean()
    assert a["low"] < expected < a["high"]
    assert b == {"mean": 0.0, "low": 0.0, "high": 0.0}
    steps = [each["mae"]["mean"] for each in found["steps"]]
    assert steps[: 10 - LAST] == [0.0] * (10 - LAST)
    of_one_step = [np.abs(values["features"][:, None, -k, 0] - values["features"][None, :, -k, 0]) for k in (3, 2, 1)]
    assert steps[10 - LAST :] == pytest.approx([each.mean() * 60 / 59 for each in of_one_step], rel=0.15)


@pytest.mark.slow
def test_a_served_model_is_as_scikit_learn_finds(exported: tuple[Path, Any]) -> None:
    # Of one length, so that an exchange is that of whole columns.
    values = {"features": np.random.default_rng(2).normal(size=(40, 6, 2)).astype(np.float32)}
    values["lengths"] = np.full(40, 6)
    with SessionModel(exported[0]) as model:
        answers = model.run("serving_tensors", values)
        labels = np.random.default_rng(3).permutation(answers["label_bytes"])
        labels[:25] = answers["label_bytes"][:25]
        own = ImportancePlan(values, labels, CLASSES, 1000.0, 0)
        found = importance_account(measure_importance(model, own))
        classes = answers["labels_bytes"][0].tolist()

        class Served:
            """Columns are places of sequences: that of `a`, and that of `b`."""

            def fit(self, *_: Any) -> None: ...

            def predict_proba(self, columns: np.ndarray) -> np.ndarray:
                features = np.stack([values["features"][columns[:, k], :, k] for k in (0, 1)], axis=-1)
                return model.run("serving_tensors", {**values, "features": features})["probabilities"]

        def score(served: Served, columns: np.ndarray, truth: np.ndarray) -> float:
            probabilities = served.predict_proba(columns).astype(float)
            return -metrics.log_loss(truth, probabilities / probabilities.sum(axis=1, keepdims=True), labels=[0, 1, 2])

        truth = np.array([classes.index(each) for each in labels])
        columns = np.repeat(np.arange(40)[:, None], 2, axis=1)
        expected: Any = permutation_importance(
            Served(),
            columns,
            truth,
            scoring=score,
            n_repeats=30,
            random_state=0,  # type: ignore[arg-type]
        )
        assert found["whole"]["log_loss"] == pytest.approx(-score(Served(), columns, truth), rel=1e-5)
    for each, mean, spread in zip(found["features"], expected.importances_mean, expected.importances_std, strict=True):
        assert each["log_loss"]["mean"] == pytest.approx(mean, abs=3 * spread)
    assert max(expected.importances_mean) > 3 * max(expected.importances_std) / np.sqrt(30)


@given(lengths=st.lists(st.integers(1, 12), min_size=2, max_size=6), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_parts_of_the_time_are_each_step_once_and_values_are_those_of_the_donor(lengths: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    count, axis = len(lengths), max(lengths)
    values = {"features": random.permutation(count * axis * 2).reshape(count, axis, 2).astype(np.float32)}
    values["lengths"] = np.array(lengths)
    donors = random.permutation(count)
    changed = np.zeros((count, axis), int)
    for part in time_parts(CLASSES, axis):
        taken = exchanged(values, donors, part)["features"]
        changed += (taken != values["features"]).any(axis=2)
    for row, (length, donor) in enumerate(zip(lengths, donors, strict=True)):
        assert changed[row, :length].tolist() == [int(donor != row)] * length
        whole = exchanged(values, donors, Part(channels=[1]))["features"][row]
        of_donor = values["features"][donor, : lengths[donor], 1].tolist()
        course = [of_donor.index(each) for each in whole[:length, 1].tolist()]
        assert course == sorted(course)
        if lengths[donor] == length:
            assert course == list(range(length))
        assert (whole[:, 0] == values["features"][row, :, 0]).all()


def test_what_belongs_together_is_exchanged_at_once() -> None:
    features = ["x", {"calendar": "hour_of_day"}, {"calendar": "weekend"}, {"name": "c", "kind": "categorical"}]
    features += [{"name": "s", "static": True}, {"name": "k", "kind": "categorical", "static": True}]
    features += [{"name": "plan", "known_in_advance": True}]
    task = {"kind": "forecasting", "targets": ["x"], "input_length": 4, "horizons": [1, 2]}
    config = dataset(task, features, kind="timestamp", frequency="1h")
    parts = {part.name: part for part in feature_parts(config)}
    assert [(part.name, part.kind) for part in parts.values()] == [
        ("x", "numeric"), ("hour_of_day", "calendar"), ("weekend", "calendar"), ("c", "categorical"), ("s", "static"),
        ("k", "static"), ("plan", "known in advance"),
    ]  # fmt: skip
    assert parts["hour_of_day"].channels == [1, 2]
    steps, donors = 6, np.array([1, 0])
    number = np.arange(2 * steps * 5, dtype=np.float32).reshape(2, steps, 5)
    words = np.array([[f"{row}{step}".encode() for step in range(steps)] for row in range(2)], dtype=object)
    once = np.array([b"one", b"other"], dtype=object)
    given_values: Any = {"features": number, "lengths": np.array([4, 4]), "static_features": np.array([[1.0], [2.0]])}
    given_values |= {parts["c"].inputs[0]: words, parts["k"].inputs[0]: once}
    for name, part in parts.items():
        taken = exchanged(given_values, donors, part)
        changed = {key for key, value in taken.items() if (value != given_values[key]).any()}
        expected = {"s": "static_features", "k": parts["k"].inputs[0], "c": parts["c"].inputs[0]}
        assert changed == {expected.get(name, "features")}
    plan = exchanged(given_values, donors, parts["plan"])["features"]
    assert (plan[0, :, 4] == number[1, :, 4]).all()  # up to the horizon
    *_, ahead = time_parts(config, 4)
    assert (exchanged(given_values, donors, ahead)["features"][:, :4] == number[:, :4]).all()
    assert (exchanged(given_values, donors, ahead)["features"][0, 4:] == number[1, 4:]).all()


def test_labels_of_each_task(serialized_examples: list[bytes]) -> None:
    import tensorflow as tf

    assert labels_of(serialized_examples[:2], CLASSES).tolist() == [b"falls", b"rises"]

    def of(**lists: Any) -> bytes:
        feature = {
            key.replace("__", "/"): tf.train.Feature(bytes_list=tf.train.BytesList(value=each))
            if isinstance(each[0], bytes)
            else tf.train.Feature(float_list=tf.train.FloatList(value=each))
            for key, each in lists.items()
        }
        return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString(deterministic=True)

    steps = dataset({"kind": "classification", "label": "label", "per_step": True})
    assert labels_of([of(label=[b"x", b""]), of(label=[b"y"])], steps).tolist() == [[b"x", b""], [b"y", b""]]
    task = {"kind": "forecasting", "targets": ["a", "b"], "input_length": 4, "horizons": [1, 2]}
    ahead = dataset(task, None, kind="integer")
    found = labels_of([of(target__a=[1.0, 2.0], target__b=[3.0, np.nan])], ahead)
    np.testing.assert_array_equal(found, [[[1, 3], [2, np.nan]]])
    assert labels_of([of(y=[4.0])], REGRESSION).tolist() == [[4.0]]


def test_class_scores_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    probabilities, label = random.dirichlet(np.ones(3), 30), random.integers(0, 3, 30)
    found = class_scores(probabilities, probabilities.argmax(axis=1), np.append(label[:29], -1))
    assert found["log_loss"] == pytest.approx(metrics.log_loss(label[:29], probabilities[:29], labels=[0, 1, 2]))
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(label[:29], probabilities[:29].argmax(axis=1)))


def test_the_time_is_kept(serialized_examples: list[bytes]) -> None:
    assert importance_plan(serialized_examples, CLASSES, 0.0) is None
    assert importance_plan([], CLASSES, 1.0) is None
    values, truth = sums()
    passed = iter(range(100_000))
    plan = ImportancePlan(values, truth, REGRESSION, 5.0, 0)
    slow = measure_importance(SumOfLast(), plan, lambda: float(next(passed)))  # type: ignore[arg-type]
    assert "report.explain_seconds allows 5" in slow.note
    assert importance_account(slow) == {"note": slow.note}
    few = measure_importance(SumOfLast(), plan, lambda: next(passed) / 10)  # type: ignore[arg-type]
    assert few.note == ""
    assert few.sequences < 60
    one = ImportancePlan({name: each[:1] for name, each in values.items()}, truth[:1], REGRESSION, 5.0, 0)
    assert "fewer than two" in measure_importance(SumOfLast(), one).note  # type: ignore[arg-type]


def test_equal_seeds_give_equal_numbers() -> None:
    values, truth = sums()
    plan = ImportancePlan(values, truth, REGRESSION, 100.0, 4)
    one, other = (measure_importance(SumOfLast(), plan, lambda: 0.0) for _ in range(2))  # type: ignore[arg-type]
    assert one == other

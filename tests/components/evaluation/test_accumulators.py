"""The metrics' arithmetic against scikit-learn and plain NumPy, summed one by one and merged in any grouping."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as oracle

from noisy_gru.components.evaluation.accumulator_base import Accumulator, Sums
from noisy_gru.components.evaluation.accumulators import Forecasting, accumulator
from noisy_gru.components.evaluation.class_accumulators import Classification
from noisy_gru.schema.config import ClassificationConfig, ForecastingConfig, RegressionConfig

CLASSES = [b"often", b"seldom", b"never seen in test"]


def merged(task: Accumulator, sums: list[Sums], groups: int) -> Sums:
    """As Beam merges: bundles one by one, then the bundles."""
    return task.merge([task.merge(sums[start::groups]) for start in range(groups) if sums[start::groups]])


@pytest.mark.parametrize("groups", [1, 3, 50])
def test_classification(groups: int) -> None:
    random = np.random.default_rng(1)
    probabilities = random.dirichlet(np.ones(3), 50).astype(np.float32)
    labels = random.choice([b"often", b"often", b"seldom", b"not in train"], 50)
    task = accumulator(ClassificationConfig(kind="classification", label="y"))
    outputs = [{"probabilities": row, "labels_bytes": np.array(CLASSES, object)} for row in probabilities]
    sums = [task.one(bytes(label), output, {}) for label, output in zip(labels, outputs, strict=True)]
    found = task.metrics(merged(task, sums, groups))

    labels = labels.astype(str)
    predicted = np.array(CLASSES).astype(str)[probabilities.argmax(axis=1)]
    of_true = [
        row[CLASSES.index(label.encode())] if label.encode() in CLASSES else 0.0
        for row, label in zip(probabilities, labels, strict=True)
    ]
    assert found["example_count"] == 50
    assert found["accuracy"] == pytest.approx(oracle.accuracy_score(labels, predicted))
    recalls = [np.mean(predicted[labels == label] == label) for label in np.unique(labels)]
    assert found["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    assert found["macro_f1"] == pytest.approx(oracle.f1_score(labels, predicted, average="macro"))
    assert found["log_loss"] == pytest.approx(-np.log(np.clip(of_true, 1e-7, 1)).mean())
    assert found["accuracy_majority"] == pytest.approx(np.mean(labels == "often"))
    assert found["accuracy_gain_over_majority"] == pytest.approx(found["accuracy"] - found["accuracy_majority"])


def test_known_classes_agree_with_sklearns_balanced_accuracy_and_log_loss() -> None:
    random = np.random.default_rng(2)
    probabilities = random.dirichlet(np.ones(3), 40)
    labels = random.integers(0, 3, 40)
    task = accumulator(ClassificationConfig(kind="classification", label="y"))
    names = np.array(CLASSES, object)
    sums = [
        task.one(CLASSES[label], {"probabilities": row, "labels_bytes": names}, {})
        for label, row in zip(labels, probabilities, strict=True)
    ]
    found = task.metrics(task.merge(sums))
    assert found["balanced_accuracy"] == pytest.approx(
        oracle.balanced_accuracy_score(labels, probabilities.argmax(axis=1))
    )
    assert found["log_loss"] == pytest.approx(oracle.log_loss(labels, probabilities))
    occurring = np.unique(labels)
    areas = [float(oracle.average_precision_score(labels == each, probabilities[:, each])) for each in occurring]
    assert found["pr_auc"] == pytest.approx(sum(areas) / len(areas), abs=1e-3)


@pytest.mark.parametrize(("positive", "place"), [(None, 1), ("seldom", 1), ("often", 0)])
def test_the_class_id_decides_and_pr_auc_is_of_the_positive_class(positive: str | None, place: int) -> None:
    random = np.random.default_rng(5)
    probabilities = random.dirichlet([4, 1], 200)
    labels = (random.random(200) < 0.3 * probabilities[:, 1] + 0.1).astype(int)
    answers = (probabilities[:, 1] > 0.2).astype(int)  # not the likelier class
    names = np.array(CLASSES[:2], object)
    task = Classification(positive)
    rows = zip(labels, probabilities, answers, strict=True)
    sums = [
        task.one(CLASSES[label], {"probabilities": row, "labels_bytes": names, "class_id": np.array(answer)}, {})
        for label, row, answer in rows
    ]
    total = merged(task, sums, 7)
    found = task.metrics(total)
    assert found["accuracy"] == pytest.approx(np.mean(labels == answers))
    area = oracle.average_precision_score(labels == place, probabilities[:, place])
    assert found["pr_auc"] == pytest.approx(area, abs=1e-3)
    recalls = oracle.recall_score(labels, answers, average=None)
    precisions = oracle.precision_score(labels, answers, average=None)
    assert task.by_class(total) == pytest.approx(
        {
            "recall/often": recalls[0],
            "recall/seldom": recalls[1],
            "precision/often": precisions[0],
            "precision/seldom": precisions[1],
        }
    )


def test_an_answer_that_is_not_a_number_is_wrong_and_shows() -> None:
    task = Classification()
    output = {"probabilities": np.array([np.nan, 0.5, 0.5]), "labels_bytes": np.array(CLASSES, object)}
    found = task.metrics(task.merge([task.one(b"often", output, {})]))
    assert found["accuracy"] == 0
    assert np.isnan(found["log_loss"]) and np.isnan(found["pr_auc"])
    # Nobody answered a class, and only one was there.
    assert task.by_class(task.one(b"often", output, {})) == {"recall/often": 0.0}


@pytest.mark.parametrize("groups", [1, 4, 60])
def test_regression(groups: int) -> None:
    random = np.random.default_rng(3)
    # A large mean, where sums of squares would cancel.
    labels = 1e7 + random.normal(size=60)
    predictions = (labels + random.normal(scale=0.5, size=60)).astype(np.float64)
    task = accumulator(RegressionConfig(kind="regression", label="y"))
    sums = [
        task.one(float(label), {"predictions": np.array([value])}, {})
        for label, value in zip(labels, predictions, strict=True)
    ]
    found = task.metrics(merged(task, sums, groups))
    assert found["mae"] == pytest.approx(oracle.mean_absolute_error(labels, predictions))
    assert found["rmse"] == pytest.approx(oracle.root_mean_squared_error(labels, predictions))
    assert found["r2"] == pytest.approx(oracle.r2_score(labels, predictions), rel=1e-6)
    assert found["rmse_naive_mean"] == pytest.approx(labels.std(), rel=1e-6)
    assert found["rmse_over_naive_mean"] == pytest.approx(found["rmse"] / labels.std(), rel=1e-6)


TASK = ForecastingConfig(
    kind="forecasting", targets=["temp", "wind"], input_length=4, horizons=[1, 6, 24], season_length=24
)


def forecasts(random: np.random.Generator) -> Iterator[tuple[np.ndarray, dict[str, Any], dict[str, np.ndarray]]]:
    for _ in range(30):
        label = random.normal(size=(3, 2))
        naive = {
            f"naive_{kind}/{target}": random.normal(size=3).astype(np.float32)
            for kind in ("last", "seasonal")
            for target in TASK.targets
        }
        naive["naive_seasonal/wind"][random.random(3) < 0.4] = np.nan
        yield label, {"predictions": random.normal(size=(3, 2)).astype(np.float32)}, naive


@pytest.mark.parametrize("groups", [1, 7])
def test_forecasting_metrics_are_of_the_known_targets(groups: int) -> None:
    random = np.random.default_rng(5)
    rows = [(np.where(random.random((3, 2)) < 0.5, np.nan, label), *rest) for label, *rest in forecasts(random)]
    for label, *_ in rows:
        label[2, 1] = np.nan  # never known: nothing to measure
    task = Forecasting(TASK)
    found = task.metrics(merged(task, [task.one(*row) for row in rows], groups))
    labels = np.stack([label for label, _, _ in rows])
    errors = np.abs(np.stack([outputs["predictions"] for _, outputs, _ in rows]) - labels)
    assert found["example_count"] == 30
    assert found["mae"] == pytest.approx(np.nanmean(errors))
    assert found["rmse"] == pytest.approx(np.sqrt(np.nanmean(errors**2)))
    assert found["mae/temp@6"] == pytest.approx(np.nanmean(errors[:, 1, 0]))
    assert math.isnan(found["mae/wind@24"]) and math.isnan(found["mae_over_naive_last/wind@24"])
    naive = np.stack([features["naive_seasonal/wind"] for _, _, features in rows])
    naive_errors = np.abs(naive - labels[:, :, 1])
    both = ~np.isnan(naive_errors)
    assert found["count_naive_seasonal/wind"] == both.sum()
    assert found["mae_over_naive_seasonal/wind"] == pytest.approx(
        errors[:, :, 1][both].mean() / naive_errors[both].mean()
    )


@pytest.mark.parametrize("groups", [1, 7])
def test_forecasting(groups: int) -> None:
    rows = list(forecasts(np.random.default_rng(4)))
    task = Forecasting(TASK)
    found = task.metrics(merged(task, [task.one(*row) for row in rows], groups))

    labels = np.stack([label for label, _, _ in rows])
    errors = np.stack([outputs["predictions"] for _, outputs, _ in rows]) - labels
    assert found["mae"] == pytest.approx(np.abs(errors).mean())
    assert found["rmse"] == pytest.approx(np.sqrt((errors**2).mean()))
    for column, target in enumerate(TASK.targets):
        assert found[f"mae/{target}"] == pytest.approx(np.abs(errors[:, :, column]).mean())
        for row, horizon in enumerate(TASK.horizons):
            assert found[f"mae/{target}@{horizon}"] == pytest.approx(np.abs(errors[:, row, column]).mean())
            assert found[f"rmse/{target}@{horizon}"] == pytest.approx(np.sqrt((errors[:, row, column] ** 2).mean()))
            for kind in ("last", "seasonal"):
                naive = np.stack([features[f"naive_{kind}/{target}"][row] for _, _, features in rows])
                known = ~np.isnan(naive)
                naive_mae = np.abs(naive - labels[:, row, column])[known].mean()
                model_mae = np.abs(errors[:, row, column])[known].mean()
                suffix = f"naive_{kind}/{target}@{horizon}"
                assert found[f"mae_{suffix}"] == pytest.approx(naive_mae)
                # Both on the same sequences, else the ratio would compare easy ones with hard ones.
                assert found[f"mae_over_{suffix}"] == pytest.approx(model_mae / naive_mae)
                assert found[f"mae_where_{suffix}"] == pytest.approx(model_mae)
                assert found[f"count_{suffix}"] == known.sum()


def test_a_naive_value_that_is_never_known_is_not_beaten() -> None:
    task = Forecasting(ForecastingConfig(kind="forecasting", targets=["t"], input_length=1, horizons=[1]))
    sums = task.one(np.zeros((1, 1)), {"predictions": np.zeros((1, 1))}, {"naive_last/t": np.array([np.nan])})
    assert np.isnan(task.metrics(sums)["mae_over_naive_last/t"])


@pytest.mark.parametrize(("error", "ratio"), [(0.0, 1.0), (1.0, np.inf)])
def test_a_perfect_naive_value_is_not_beaten(error: float, ratio: float) -> None:
    task = Forecasting(ForecastingConfig(kind="forecasting", targets=["t"], input_length=1, horizons=[1]))
    sums = task.one(np.zeros((1, 1)), {"predictions": np.full((1, 1), error)}, {"naive_last/t": np.zeros(1)})
    assert task.metrics(sums)["mae_over_naive_last/t"] == ratio

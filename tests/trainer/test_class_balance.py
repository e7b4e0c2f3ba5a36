"""Class weights against scikit-learn, losses and metrics against NumPy and scikit-learn, and what is refused."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle
from sklearn.utils.class_weight import compute_class_weight

from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import ConfigError
from noisy_gru.trainer.class_balance import ClassSettings, balance_problems, class_weights
from noisy_gru.trainer.class_metrics import AveragePrecision, BalancedAccuracy
from noisy_gru.trainer.features import Layout
from noisy_gru.trainer.objective import compile_model
from noisy_gru.trainer.training_config import TrainingConfig

DATA = {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": ["a"]}
CLASSES = DatasetConfig.model_validate({"data": DATA, "task": {"kind": "classification", "label": "y"}})
NUMBERS = DatasetConfig.model_validate({"data": DATA, "task": {"kind": "regression", "label": "y"}})
LAYOUT = Layout(CLASSES)


def training(**values: Any) -> TrainingConfig:
    return TrainingConfig.model_validate(values)


@given(st.lists(st.integers(1, 500), min_size=2, max_size=6))
def test_balanced_weights_are_scikit_learns(counts: list[int]) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    expected = compute_class_weight("balanced", classes=np.arange(len(counts)), y=labels)
    found = class_weights("balanced", list(map(str, range(len(counts)))), np.array(counts))
    assert found is not None
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found[labels].mean() == pytest.approx(1, rel=1e-5)


def test_named_weights_stand_for_their_classes_and_the_rest_counts_once() -> None:
    counts = np.array([5, 3, 2])
    weights = training(class_weights={"b": 2.5, 1: 7}).class_weights
    assert weights == {"b": 2.5, "1": 7.0}
    found = class_weights(weights, ["a", "b", "1"], counts)
    assert found is not None and found.tolist() == [1, 2.5, 7]
    assert class_weights(None, ["a", "b"], counts[:2]) is None
    with pytest.raises(ConfigError, match=r"class_weights: no sequence of train has the class b"):
        class_weights(weights, ["a", "c"], counts[:2])


def test_yamls_truth_is_the_text_that_ingestion_makes_of_it() -> None:
    assert training(class_weights={True: 2, False: 1}).class_weights == {"true": 2, "false": 1}


@pytest.mark.parametrize("weight", [0, -1, float("inf"), float("nan")])
def test_a_weight_is_a_positive_number(weight: float) -> None:
    with pytest.raises(ValueError, match="class_weights"):
        training(class_weights={"a": weight})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"class_weights": "balanced"}, "training.class_weights is about classes, and task.kind is regression"),
        ({"loss": {"focal": {}}}, "training.loss: {focal: …} is about classes"),
        ({"sampling": "balanced"}, "training.sampling: balanced is about classes"),
    ],
)
def test_a_number_has_no_classes(values: dict[str, Any], message: str) -> None:
    (problem,) = balance_problems(training(**values), NUMBERS)
    assert problem.startswith(message)
    assert balance_problems(training(**values), CLASSES) == []


def test_what_would_count_twice_is_refused() -> None:
    both = training(class_weights="balanced", sampling="balanced")
    assert "twice" in balance_problems(both, CLASSES)[0]
    assert balance_problems(training(class_weights={"a": 2}, sampling="balanced"), CLASSES) == []
    assert "label_smoothing" in balance_problems(training(loss={"focal": {}}, label_smoothing=0.1), CLASSES)[0]


def measured(config: TrainingConfig, logits: np.ndarray, labels: np.ndarray, **settings: Any) -> dict[str, float]:
    model = keras.Sequential([keras.Input((logits.shape[1],)), keras.layers.Activation("linear")])
    compile_model(model, config, LAYOUT, steps_per_epoch=1, epochs=1, classes=ClassSettings(**settings))
    found: Any = model.evaluate(logits, labels, verbose=0, return_dict=True)  # pyright: ignore[reportArgumentType]
    return found


@pytest.mark.parametrize(("gamma", "smoothing"), [(None, 0.0), (None, 0.2), (0.0, 0.0), (0.5, 0.0), (2.0, 0.0)])
@pytest.mark.parametrize("weights", [None, [0.5, 1.0, 20.0]])
def test_losses(gamma: float | None, smoothing: float, weights: list[float] | None) -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 3, (50, 3)).astype(np.float32)
    labels = random.integers(0, 3, 50)
    logs = logits - np.log(np.exp(logits.astype(np.float64)).sum(axis=1, keepdims=True))
    wanted = np.eye(3)[labels] * (1 - smoothing) + smoothing / 3
    expected = -(wanted * logs).sum(axis=1)
    if gamma is not None:
        # Lin et al. 2017, equation 5, with the weights as alpha.
        true = np.exp(logs[np.arange(50), labels])
        expected = -((1 - true) ** gamma) * np.log(true)
    expected = expected * (1 if weights is None else np.array(weights)[labels])
    config = training(label_smoothing=smoothing, **({} if gamma is None else {"loss": {"focal": {"gamma": gamma}}}))
    given_weights = None if weights is None else np.array(weights, np.float32)
    found = measured(config, logits, labels, weights=given_weights)
    assert found["loss"] == pytest.approx(expected.mean(), rel=1e-5)
    assert found["accuracy"] == pytest.approx((logits.argmax(axis=1) == labels).mean())


@pytest.mark.parametrize("gamma", [0.25, 0.5, 1.0, 2.0])
def test_the_gradient_of_a_sure_answer_is_finite(gamma: float) -> None:
    import tensorflow as tf

    from noisy_gru.trainer.class_losses import classification_loss

    loss = classification_loss(training(loss={"focal": {"gamma": gamma}}), None)
    logits = tf.Variable(tf.constant([[0.0, 200.0], [0.0, 0.0], [-200.0, 200.0], [0.0, 16.0]]))
    with tf.GradientTape() as tape:
        value = loss(tf.constant([1, 0, 0, 1]), logits)
    assert np.isfinite(value.numpy()).all() and np.isfinite(tape.gradient(value, logits).numpy()).all()


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**31), st.integers(2, 5), st.integers(1, 60))
def test_balanced_accuracy_is_scikit_learns(seed: int, classes: int, count: int) -> None:
    random = np.random.default_rng(seed)
    labels = np.minimum(random.geometric(0.5, count) - 1, classes - 1)
    logits = random.normal(size=(count, classes)).astype(np.float32)
    rows = random.integers(0, 2, count).astype(np.float32)
    metric = BalancedAccuracy(classes)
    for start in range(0, count, 7):
        part = slice(start, start + 7)
        metric.update_state(labels[part], logits[part], rows[part])
    kept = rows > 0
    answers = logits.argmax(axis=1)
    recalls = [(answers[kept & (labels == c)] == c).mean() for c in np.unique(labels[kept])]
    assert float(metric.result()) == pytest.approx(np.mean(recalls) if kept.any() else 0.0, abs=1e-6)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 2**31), st.integers(2, 4), st.integers(5, 200))
def test_pr_auc_is_scikit_learns_average_precision(seed: int, classes: int, count: int) -> None:
    random = np.random.default_rng(seed)
    labels = np.minimum(random.geometric(0.6, count) - 1, classes - 1)
    # In steps of the metric, so that scikit-learn sees the same ties; a wider one doesn't matter to an order.
    odds = random.integers(-100, 100, count) / 16
    logits = np.zeros((count, classes), np.float32)
    if classes == 2:
        logits[:, 1] = odds
        scores = odds[:, np.newaxis]
        chosen = [1]
    else:
        logits = random.normal(0, 2, (count, classes)).astype(np.float32)
        exponentials = np.exp(logits.astype(np.float64))
        probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
        scores = np.round(np.log(probabilities / (1 - probabilities)) * 16)
        chosen = list(range(classes))
    metric = AveragePrecision(classes, 1)
    for start in range(0, count, 50):
        metric.update_state(labels[start : start + 50], logits[start : start + 50])
    expected = [
        float(oracle.average_precision_score(labels == c, scores[:, place]))
        for place, c in enumerate(chosen)
        if (labels == c).any()
    ]
    # Rounding in float32 may move a score of several classes to the next step.
    near = 0.02 if classes > 2 else 1e-5
    assert float(metric.result()) == pytest.approx(np.mean(expected) if expected else 0.0, abs=near)


def test_pr_auc_of_two_classes_is_of_the_positive_one() -> None:
    labels = np.array([0, 0, 0, 1])
    logits = np.array([[0, 1], [0, -1], [0, -3], [0, 0]], np.float32)
    assert measured(training(), logits, labels)["pr_auc"] == pytest.approx(1 / 2)
    assert measured(training(), logits, labels, positive=0)["pr_auc"] == pytest.approx((1 + 1 + 3 / 4) / 3)

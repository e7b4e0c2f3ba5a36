"""Metrics as functions of sums over sequences, so that a bootstrap can resample them.

A resampled metric turns the answers of one model into columns [N, Q], and sums of these [..., Q] into values [...].
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from noisy_gru.components.evaluation.interval_metrics import CRPS
from noisy_gru.components.evaluation.metric_catalogue import RECALL, cells, class_of, naive_baselines
from noisy_gru.components.evaluation.resampled_labels import resampled_labels
from noisy_gru.components.evaluation.resampled_metric import Outputs, ResampledMetric, mean_of_sums
from noisy_gru.schema.config import ClassificationConfig, ForecastingConfig, RegressionConfig, TaskConfig
from noisy_gru.schema.task_config import is_multi_label


def resampled_metric(metric: str, task: TaskConfig, classes: list[bytes], beside: str | None = None) -> ResampledMetric:
    """Return the resampled form of a metric.

    Args:
        metric: one of the model, see ``is_comparable``.
        task: of the data set.
        classes: all that are a label or an answer; empty unless it is a classification.
        beside: the naive forecast that a forecast's errors are compared with: only where that is known.
    """
    if isinstance(task, ClassificationConfig):
        return _classification(metric, classes)
    if isinstance(task, ForecastingConfig):
        return _forecasting(metric, task, beside)
    if is_multi_label(task):
        return resampled_labels(metric, task)
    return _regressions(metric, task) if task.targets else _regression(metric)


def _root(sums: np.ndarray) -> np.ndarray:
    return np.sqrt(mean_of_sums(sums))


def _classification(metric: str, classes: list[bytes]) -> ResampledMetric:
    count = len(classes)
    place = {name: number for number, name in enumerate(classes)}

    def codes(names: np.ndarray) -> np.ndarray:
        return np.array([place.get(name, -1) for name in names], dtype=np.int64)

    if metric == "log_loss":

        def losses(answers: Outputs, model: str) -> np.ndarray:
            loss = answers[f"{model}_loss"]
            return np.stack([loss, np.ones(len(loss))], axis=1)

        return ResampledMetric(metric, losses, mean_of_sums)
    if metric in ("accuracy", "accuracy_gain_over_majority"):

        def right(answers: Outputs, model: str) -> np.ndarray:
            hits = answers[model] == answers["label"]
            return np.stack([hits.astype(float), np.ones(len(hits))], axis=1)

        def share(sums: np.ndarray) -> np.ndarray:
            return mean_of_sums(sums)

        return ResampledMetric(metric, right, share, np.array([[1.0, 1, 0, 1], [0, 1, 1, 1]]))

    if (name := class_of(metric)) is not None:
        by = "label" if metric.startswith(RECALL) else None

        def of_class(answers: Outputs, model: str) -> np.ndarray:
            chosen = answers[by or model] == name.encode()
            hits = chosen & (answers["label"] == answers[model])
            return np.stack([hits.astype(float), chosen.astype(float)], axis=1)

        return ResampledMetric(metric, of_class, mean_of_sums, np.array([[1.0, 1, 0, 1], [0, 1, 1, 1]]))

    def by_class(answers: Outputs, model: str) -> np.ndarray:
        true, predicted = codes(answers["label"]), codes(answers[model])
        rows = np.arange(len(true))
        sums = np.zeros((len(true), 3, count))
        sums[rows, 0, true] = 1
        sums[rows[predicted >= 0], 1, predicted[predicted >= 0]] = 1
        hit = true == predicted
        sums[rows[hit], 2, true[hit]] = 1
        return sums.reshape(len(true), -1)

    def averaged(sums: np.ndarray) -> np.ndarray:
        true, predicted, hits = np.moveaxis(sums.reshape(*sums.shape[:-1], 3, count), -2, 0)
        occurs = true > 0 if metric == "balanced_accuracy" else (true > 0) | (predicted > 0)
        by = true if metric == "balanced_accuracy" else (true + predicted) / 2
        scores = np.divide(hits, by, out=np.zeros_like(hits), where=occurs)
        return scores.sum(axis=-1) / occurs.sum(axis=-1)

    # A right answer of each class in equal parts; a wrong one is any other class.
    part = np.full(count, 1 / count) if count else np.empty(0)
    right_once, wrong_once = np.concatenate([part, part, part]), np.concatenate([part, part, 0 * part])
    ties = np.stack([np.concatenate([right_once, wrong_once]), np.concatenate([wrong_once, right_once])])
    return ResampledMetric(metric, by_class, averaged, ties if count else None)


def _regression(metric: str) -> ResampledMetric:
    if metric == CRPS:

        def scores(answers: Outputs, model: str) -> np.ndarray:
            score = answers[f"{model}_{CRPS}"]
            return np.stack([score, np.ones(len(score))], axis=1)

        return ResampledMetric(metric, scores, mean_of_sums)

    def errors(answers: Outputs, model: str) -> np.ndarray:
        error, label = answers[model] - answers["label"], answers["label"]
        power = np.abs(error) if metric == "mae" else error**2
        return np.stack([power, np.ones(len(error)), label, label**2], axis=1)

    def variance(sums: np.ndarray) -> np.ndarray:
        return sums[..., 3] / sums[..., 1] - (sums[..., 2] / sums[..., 1]) ** 2

    values: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "mae": mean_of_sums,
        "rmse": _root,
        "r2": lambda sums: 1 - mean_of_sums(sums) / variance(sums),
        "rmse_over_naive_mean": lambda sums: np.sqrt(mean_of_sums(sums) / variance(sums)),
    }
    return ResampledMetric(metric, errors, values[metric])


def _regressions(metric: str, task: RegressionConfig) -> ResampledMetric:
    """Return a metric of several targets: of one (`mae/price`), or of all known ones together (`mae`, `rmse`, `r2`)."""
    name, _, target = metric.partition("/")
    places = [task.targets.index(target)] if target else list(range(len(task.targets)))
    if name == CRPS:

        def scores(answers: Outputs, model: str) -> np.ndarray:
            score, known = answers[f"{model}_{CRPS}"][:, places], ~np.isnan(answers["label"][:, places])
            return np.stack([np.where(known, score, 0.0).sum(axis=1), known.sum(axis=1).astype(float)], axis=1)

        return ResampledMetric(metric, scores, mean_of_sums)

    def errors(answers: Outputs, model: str) -> np.ndarray:
        """Columns by kind, then by target: powers of the error, known, label, label squared."""
        label = answers["label"][:, places]
        known = ~np.isnan(label)
        error = np.where(known, answers[model][:, places] - label, 0.0)
        label = np.where(known, label, 0.0)
        power = np.abs(error) if name == "mae" else error**2
        # The number of known targets is the second column of all metrics.
        parts = [power.sum(axis=1, keepdims=True), known.sum(axis=1, keepdims=True), power, known, label, label**2]
        return np.concatenate(parts, axis=1).astype(np.float64)

    def by_target(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        power, count, total, squares = np.split(sums[..., 2:], 4, axis=-1)
        return power / count, squares / count - (total / count) ** 2

    def explained(sums: np.ndarray) -> np.ndarray:
        error, variance = by_target(sums)
        return (1 - error / variance).mean(axis=-1)

    def over_naive(sums: np.ndarray) -> np.ndarray:
        error, variance = by_target(sums)
        return np.sqrt(error / variance)[..., 0]

    values = {"mae": mean_of_sums, "rmse": _root, "r2": explained, "rmse_over_naive_mean": over_naive}
    return ResampledMetric(metric, errors, values[name])


def _forecasting(metric: str, task: ForecastingConfig, beside: str | None) -> ResampledMetric:
    name, _, rest = metric.partition("/")
    suffix = f"/{rest}" if rest else ""
    targets = len(task.targets)
    places = [horizon * targets + target for horizon, target in dict(cells(task))[suffix]]
    for naive in naive_baselines(task):
        if name == f"mae_over_naive_{naive}":
            beside = naive

    def errors(answers: Outputs, model: str) -> np.ndarray:
        label = answers["label"][:, places]
        scored = name == CRPS
        error = answers[f"{model}_{CRPS}"][:, places] if scored else np.abs(answers[model][:, places] - label)
        known = ~np.isnan(label)
        if beside is not None:
            known &= ~np.isnan(answers[beside][:, places])
        of_model = np.where(known, error**2 if name == "rmse" else error, 0.0).sum(axis=1)
        if not name.startswith("mae_over_naive_"):
            return np.stack([of_model, known.sum(axis=1).astype(float)], axis=1)
        of_naive = np.abs(answers[str(beside)][:, places] - label)
        return np.stack([of_model, np.where(known, of_naive, 0.0).sum(axis=1)], axis=1)

    return ResampledMetric(metric, errors, _root if name == "rmse" else mean_of_sums)

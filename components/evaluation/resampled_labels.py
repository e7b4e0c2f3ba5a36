"""Metrics of several labels as functions of sums over sequences, for a bootstrap; see `resampled_metrics`."""

from __future__ import annotations

import numpy as np

from noisy_gru.components.evaluation.label_metrics import BY_LABEL, OF_ALL, label_cells
from noisy_gru.components.evaluation.resampled_metric import Outputs, ResampledMetric, mean_of_sums
from noisy_gru.schema.task_config import MultiLabelConfig


def resampled_labels(metric: str, task: MultiLabelConfig) -> ResampledMetric:
    """Return a metric of one label (`f1/fever`) or of all known ones together (`log_loss`, `macro_f1`).

    The second column of all is the number of known labels.
    """
    name, _, label = metric.partition("/")
    places = [task.labels.index(label)] if label else list(range(len(task.labels)))
    if name == "log_loss":

        def losses(answers: Outputs, model: str) -> np.ndarray:
            known = ~np.isnan(answers["label"][:, places])
            loss = np.where(known, answers[f"{model}_loss"][:, places], 0.0)
            return np.stack([loss.sum(axis=1), known.sum(axis=1).astype(float)], axis=1)

        return ResampledMetric(metric, losses, mean_of_sums)
    one_of_two = np.array([[1.0, 1, 0, 1], [0, 1, 1, 1]])
    if name == "subset_accuracy":

        def whole(answers: Outputs, model: str) -> np.ndarray:
            known = ~np.isnan(answers["label"])
            right = ((answers["label"] == answers[model]) | ~known).all(axis=1)
            return np.stack([right.astype(float), known.any(axis=1).astype(float)], axis=1)

        return ResampledMetric(metric, whole, mean_of_sums, one_of_two)

    def cells(answers: Outputs, model: str) -> np.ndarray:
        found = label_cells(answers["label"][:, places], answers[model][:, places])
        count = found.sum(axis=(1, 2))[:, np.newaxis]
        return np.concatenate([np.zeros_like(count), count, found.reshape(len(found), -1)], axis=1)

    def value(sums: np.ndarray) -> np.ndarray:
        by_cell = sums[..., 2:].reshape(*sums.shape[:-1], 4, len(places))
        return BY_LABEL[name](by_cell)[..., 0] if label else OF_ALL[name](by_cell)

    # A hit of one model that the other misses, in equal parts of all labels.
    part, nothing = np.full(len(places), 1 / len(places)), np.zeros(len(places))
    hit, miss = (
        [0.0, 1.0, *each] for each in ([*part, *nothing, *nothing, *nothing], [*nothing, *part, *nothing, *nothing])
    )
    return ResampledMetric(metric, cells, value, np.array([[*hit, *miss], [*miss, *hit]]))

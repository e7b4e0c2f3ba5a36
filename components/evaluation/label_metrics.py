"""Metrics of several labels (`task.labels`): sums of each, for all sequences and for a bootstrap's resamples.

A label that is unknown counts in none. Means over the labels leave out those that have no value, such as the F1 of a
label that no sequence has and none is answered with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from noisy_gru.components.evaluation.accumulator_base import (
    CODE_COUNTS,
    CODES,
    LEAST_PROBABILITY,
    ScoreAccumulator,
    Sums,
)
from noisy_gru.components.evaluation.metric_catalogue import EXAMPLE_COUNT
from noisy_gru.components.evaluation.score_counts import average_precisions, label_codes, roc_areas
from noisy_gru.schema.task_config import MultiLabelConfig

_CELLS = ("hits", "misses", "false_alarms", "rest")  # true and answered, true alone, answered alone, neither


def label_losses(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the negative logarithm of the probability of what is true, float64; NaN where it is unknown."""
    probabilities = np.asarray(probabilities, np.float64)
    chosen = np.where(truth > 0, probabilities, 1 - probabilities)
    return np.where(np.isnan(truth), np.nan, -np.log(np.clip(chosen, LEAST_PROBABILITY, 1.0)))


def label_answers(outputs: dict[str, np.ndarray]) -> np.ndarray:
    """Return which labels are answered, float64 [..., K]; NaN where the probability is no number."""
    probabilities = np.asarray(outputs["probabilities"], np.float64)
    return np.where(np.isfinite(probabilities), np.asarray(outputs["answers"], np.float64), np.nan)


def label_cells(truth: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Return in which of hit, miss, false alarm and rest each known label is, float64 [..., 4, K].

    An answer that is no number is wrong: a miss of what is true, and a false alarm of what isn't.
    """
    is_true, is_false = truth == 1, truth == 0
    yes, no = answers == 1, answers == 0
    return np.stack([is_true & yes, is_true & ~yes, is_false & ~no, is_false & no], axis=-2).astype(np.float64)


class Labels(ScoreAccumulator):
    """Counts of hits and misses by label, losses, and counts of scores."""

    def __init__(self, task: MultiLabelConfig) -> None:
        self._labels = task.labels

    def one(self, label: Any, outputs: dict[str, np.ndarray], features: dict[str, np.ndarray]) -> Sums:
        """``label`` is float [K], 0, 1 or NaN; ``outputs`` holds `probabilities` [K] and `answers` [K]."""
        truth = np.asarray(label, np.float64)
        known = ~np.isnan(truth)
        probabilities = np.asarray(outputs["probabilities"], np.float64).reshape(truth.shape)
        answers = label_answers(
            {"probabilities": probabilities, "answers": np.reshape(outputs["answers"], truth.shape)}
        )
        codes = label_codes(probabilities, truth)
        return {
            "sequences": np.array(1.0),
            "whole": np.array(float((answers == truth)[known].all())),
            "cells": label_cells(truth, answers),
            "loss": np.where(known, label_losses(truth, probabilities), 0.0),
            CODES: codes,
            CODE_COUNTS: np.ones(len(codes)),
        }

    def metrics(self, sums: Sums) -> dict[str, float]:
        cells, losses = sums["cells"], sums["loss"]
        known, count = cells.sum(axis=0), len(self._labels)
        with np.errstate(invalid="ignore", divide="ignore"):
            frequency = cells[:2].sum(axis=0) / known
            entropy = np.nansum([-part * np.log(part) for part in (frequency, 1 - frequency)], axis=0)
            by_label = {name: of_cells(cells) for name, of_cells in BY_LABEL.items()}
            by_label |= {"log_loss": losses / known, "log_loss_naive": np.where(known > 0, entropy, np.nan)}
        by_label |= {"frequency": frequency}
        broken = np.isnan(losses)
        codes, counts = sums[CODES], sums[CODE_COUNTS]
        for name, areas in (("pr_auc", average_precisions), ("roc_auc", roc_areas)):
            by_label[name] = np.where(broken, np.nan, areas(codes, counts, count))
        cells_of_known = cells.reshape(1, 4, count)
        found = {
            EXAMPLE_COUNT: float(sums["sequences"]),
            "subset_accuracy": float(sums["whole"] / sums["sequences"]),
            **{name: float(value(cells_of_known)[0]) for name, value in OF_ALL.items()},
            "log_loss": float(losses.sum() / known.sum()) if known.sum() else float("nan"),
        }
        found |= {name: _mean_of_some(by_label[name]) for name in ("pr_auc", "roc_auc")}
        for name, values in by_label.items():
            found |= {f"{name}/{label}": float(value) for label, value in zip(self._labels, values, strict=True)}
        return found


def _mean_of_some(values: np.ndarray) -> float:
    some = values[~np.isnan(values)]
    return float(some.mean()) if len(some) else float("nan")


# Of cells [..., 4, K], in the order of _CELLS, to [..., K].
BY_LABEL: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "accuracy": lambda cells: (cells[..., 0, :] + cells[..., 3, :]) / cells.sum(axis=-2),
    "balanced_accuracy": lambda cells: _mean_of_known(
        cells[..., 0, :] / cells[..., :2, :].sum(axis=-2), cells[..., 3, :] / cells[..., 2:, :].sum(axis=-2)
    ),
    "precision": lambda cells: cells[..., 0, :] / cells[..., [0, 2], :].sum(axis=-2),
    "recall": lambda cells: cells[..., 0, :] / cells[..., :2, :].sum(axis=-2),
    "f1": lambda cells: 2 * cells[..., 0, :] / (2 * cells[..., 0, :] + cells[..., 1:3, :].sum(axis=-2)),
}
# The same to [...], of all labels together.
OF_ALL: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "hamming_loss": lambda cells: cells[..., 1:3, :].sum(axis=(-2, -1)) / cells.sum(axis=(-2, -1)),
    "balanced_accuracy": lambda cells: _mean_over_labels(BY_LABEL["balanced_accuracy"], cells),
    "macro_f1": lambda cells: _mean_over_labels(BY_LABEL["f1"], cells),
    "micro_f1": lambda cells: np.squeeze(BY_LABEL["f1"](cells.sum(axis=-1, keepdims=True)), axis=-1),
}


def _mean_of_known(*parts: np.ndarray) -> np.ndarray:
    stacked = np.stack(parts)
    known = ~np.isnan(stacked)
    return np.where(known, stacked, 0.0).sum(axis=0) / known.sum(axis=0)


def _mean_over_labels(of_label: Callable[[np.ndarray], np.ndarray], cells: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return _mean_of_known(*np.moveaxis(of_label(cells), -1, 0))

"""Training on imbalanced classes: the weight of each class, and what the options ask of the task.

>>> class_weights("balanced", ["often", "seldom"], np.array([90, 10])).round(2).tolist()
[0.56, 5.0]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from noisy_gru.schema.config import ClassificationConfig, DatasetConfig
from noisy_gru.schema.errors import ConfigError, DataError
from noisy_gru.schema.task_config import is_multi_label, is_per_step
from noisy_gru.trainer.training_config import ClassWeights, FocalLossConfig, TrainingConfig

_MOST_NAMED = 10


@dataclass(frozen=True)
class ClassSettings:
    """What loss and metrics of a classification know of its classes.

    Attributes:
        weights: float32 [C], factors on the loss of each class, or [2, K] of each label where it is 0 or 1; None: all
            count alike.
        positive: index of the class that PR-AUC is of, where there are two classes.
    """

    weights: np.ndarray | None = None
    positive: int = 1


NO_SETTINGS = ClassSettings()


def balance_problems(training: TrainingConfig, dataset: DatasetConfig) -> list[str]:
    """Return messages about options for imbalanced classes that the task or other options don't allow."""
    problems = []
    focal = isinstance(training.loss, FocalLossConfig)
    if is_multi_label(dataset.task):
        if training.sampling == "balanced":
            problems.append(
                "training.sampling: balanced draws sequences by their class, and with task.labels a sequence has "
                "several labels; use training.class_weights: balanced"
            )
        named = training.class_weights if isinstance(training.class_weights, dict) else {}
        if unknown := [name for name in named if name not in dataset.task.labels]:
            problems.append(
                f"training.class_weights: expected labels ({', '.join(dataset.task.labels)}), received one of "
                f"{', '.join(unknown)}"
            )
    elif not isinstance(dataset.task, ClassificationConfig):
        for key, is_set in (
            ("class_weights", training.class_weights is not None),
            ("loss: {focal: …}", focal),
            ("sampling: balanced", training.sampling == "balanced"),
        ):
            if is_set:
                problems.append(f"training.{key} is about classes, and task.kind is {dataset.task.kind}; leave it out")
        return problems
    if is_per_step(dataset.task) and training.sampling == "balanced":
        problems.append(
            "training.sampling: balanced draws sequences by their class, and with task.per_step: true a sequence has "
            "several; use training.class_weights: balanced"
        )
    if focal and training.label_smoothing:
        problems.append(
            "training.loss: {focal: …} lets sure answers count less, and training.label_smoothing pulls answers away "
            "from being sure; set one of them"
        )
    if training.class_weights == "balanced" and training.sampling == "balanced":
        problems.append(
            "training.class_weights: balanced and training.sampling: balanced both make the classes count alike, so "
            "together they would make up for the imbalance twice; set one of them"
        )
    return problems


def class_weights(weights: ClassWeights | None, labels: Sequence[str], counts: np.ndarray) -> np.ndarray | None:
    """Return the factor on the loss of each class, float32 [C]; None without weights.

    Args:
        weights: `training.class_weights`. `balanced` is sequences / (classes * sequences of the class), so that each
            class has the same part in the loss, and the mean over the sequences is 1.
        labels: the C classes, in the order of the model's outputs.
        counts: [C], sequences of each class in train.

    Raises:
        ConfigError: a weight is for a class that train doesn't have.
    """
    if weights is None:
        return None
    if weights == "balanced":
        present = counts > 0
        balanced = counts.sum() / (present.sum() * np.maximum(counts, 1))
        return np.where(present, balanced, 0.0).astype(np.float32)
    for label in weights:
        require_label(label, labels, "training.class_weights")
    return np.array([weights.get(label, 1.0) for label in labels], np.float32)


def label_weights(weights: ClassWeights | None, labels: Sequence[str], truth: np.ndarray) -> np.ndarray | None:
    """Return the factors on the loss of each label, float32 [2, K], where it is 0 and where it is 1; None without any.

    Args:
        weights: `training.class_weights`. `balanced`: known sequences / (2 * those with, or without, the label); a
            mapping: the factor where the label is 1, and 1 where it is 0.
        labels: the K labels.
        truth: float [N, K], of train, NaN where unknown.

    Raises:
        DataError: a label is always, or never, 1 in train.
    """
    known = ~np.isnan(truth)
    positives = (truth == 1).sum(axis=0)
    for place, label in enumerate(labels):
        if not 0 < positives[place] < known[:, place].sum():
            state = "always" if positives[place] else "never"
            raise DataError(
                f"the label {label} is {state} true in the train split ({int(known[:, place].sum())} sequences have a "
                "value of it), so nothing can be learned of it. Leave it out of task.labels, or change splits."
            )
    if weights is None:
        return None
    if weights == "balanced":
        counts = np.stack([known.sum(axis=0) - positives, positives])
        return (known.sum(axis=0) / (2 * counts)).astype(np.float32)
    return np.array([[1.0] * len(labels), [weights.get(label, 1.0) for label in labels]], np.float32)


def require_label(label: str, labels: Sequence[str], key: str) -> int:
    """Return the index of a class that the configuration names.

    Raises:
        ConfigError: no sequence of train has it.
    """
    if label in labels:
        return labels.index(label)
    shown = ", ".join(labels[:_MOST_NAMED]) + (", …" if len(labels) > _MOST_NAMED else "")
    raise ConfigError(f"{key}: no sequence of train has the class {label}. Expected one of {shown}")

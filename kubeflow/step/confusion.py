"""Confusion matrix of a classifier on the evaluated split, for the page of a run: TFMA's results don't hold it.

>>> as_properties(["a", "b"], np.array([[3, 1], [0, 2]]))["confusionMatrix"]["rows"]
[{'row': [3, 1]}, {'row': [0, 2]}]
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# Of the page, and of a property in ML Metadata: a matrix of more classes is none that a person reads.
MOST_CLASSES = 50
NO_ANSWER = "(no finite output)"


def classified_label(eval_config: str) -> str | None:
    """Return the label's column of a classification, from the Evaluator's ``eval_config``; None for any other task.

    Several labels have no matrix of classes, so they are another task here.
    """
    for spec in json.loads(eval_config).get("metrics_specs", []):
        for metric in spec.get("metrics", []):
            task = json.loads(json.loads(metric.get("config") or "{}").get("task") or "{}")
            if task.get("kind") == "classification" and "labels" not in task:
                return task["label"]
    return None


def confusion_matrix(answers: Mapping[str, Any]) -> tuple[list[str], np.ndarray] | None:
    """Count true (rows) and predicted classes (columns).

    Args:
        answers: the `evaluation` artifact's, as ``read_answers`` gives them: `label` and `candidate`, class names [N].

    Returns:
        The classes of either, ascending, and counts int64 [C, C]; ``NO_ANSWER`` is the last class if some sequences
        got no finite output. None if there are more than ``MOST_CLASSES``, or no sequences.
    """
    true, predicted = answers["label"], answers["candidate"]
    classes = sorted({name for names in (true, predicted) for name in names if name is not None})
    if not len(true) or len(classes) > MOST_CLASSES:
        return None
    places = {name: place for place, name in enumerate(classes)}
    counts = np.zeros((len(classes) + 1, len(classes) + 1), np.int64)
    np.add.at(counts, ([places[name] for name in true], [places.get(name, len(classes)) for name in predicted]), 1)
    names = [name.decode("utf-8", "replace") for name in classes]
    return ([*names, NO_ANSWER], counts) if counts[:, -1].any() else (names, counts[:-1, :-1])


def as_properties(classes: Sequence[str], counts: np.ndarray) -> dict[str, Any]:
    """Return the properties of a ``system.ClassificationMetrics``, as kfp's ``log_confusion_matrix`` writes them."""
    return {
        "confusionMatrix": {
            "annotationSpecs": [{"displayName": name} for name in classes],
            "rows": [{"row": [int(count) for count in row]} for row in counts],
        }
    }

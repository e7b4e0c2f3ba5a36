"""Confusion matrix of a classifier on the evaluated split, for the page of a run: TFMA's results don't hold it.

>>> as_properties(["a", "b"], np.array([[3, 1], [0, 2]]))["confusionMatrix"]["rows"]
[{'row': [3, 1]}, {'row': [0, 2]}]
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

# Of the page, and of a property in ML Metadata: a matrix of more classes is none that a person reads.
MOST_CLASSES = 50
OTHER = "(not in training)"
_BATCH = 256


def classified_label(eval_config: str) -> str | None:
    """Return the label's column of a classification, from the Evaluator's ``eval_config``; None for any other task."""
    for spec in json.loads(eval_config).get("metrics_specs", []):
        for metric in spec.get("metrics", []):
            task = json.loads(json.loads(metric.get("config") or "{}").get("task") or "{}")
            if task.get("kind") == "classification":
                return task["label"]
    return None


def confusion_matrix(saved_model: str | Path, files: Sequence[str], label: str) -> tuple[list[str], np.ndarray] | None:
    """Return counts of true (rows) and predicted classes (columns).

    Args:
        saved_model: folder of the export.
        files: gzipped TFRecords of tf.Example.
        label: feature that holds the class.

    Returns:
        The classes, and counts int64 [C, C]; ``OTHER`` is the last class if the split has classes that train hadn't.
        None if there are more than ``MOST_CLASSES``, or no sequences.
    """
    import tensorflow as tf

    library: Any = tf
    model = library.saved_model.load(str(saved_model))
    predict = model.signatures["serving_default"]
    feature = {label: library.io.FixedLenFeature([], library.string)}
    counts: np.ndarray | None = None
    classes: list[bytes] = []
    for batch in library.data.TFRecordDataset(list(files), compression_type="GZIP").batch(_BATCH):
        outputs = predict(examples=batch)
        if counts is None:
            classes = [bytes(name) for name in outputs["labels_bytes"][0].numpy()]
            if len(classes) > MOST_CLASSES:
                return None
            counts = np.zeros((len(classes) + 1, len(classes) + 1), np.int64)
        true = library.io.parse_example(batch, feature)[label].numpy()
        known = {name: index for index, name in enumerate(classes)}
        rows = [known.get(bytes(name), len(classes)) for name in true]
        np.add.at(counts, (rows, outputs["class_id"].numpy()), 1)
    if counts is None:
        return None
    names = [name.decode("utf-8", "replace") for name in classes]
    return ([*names, OTHER], counts) if counts[-1].any() else (names, counts[:-1, :-1])


def as_properties(classes: Sequence[str], counts: np.ndarray) -> dict[str, Any]:
    """Return the properties of a ``system.ClassificationMetrics``, as kfp's ``log_confusion_matrix`` writes them."""
    return {
        "confusionMatrix": {
            "annotationSpecs": [{"displayName": name} for name in classes],
            "rows": [{"row": [int(count) for count in row]} for row in counts],
        }
    }

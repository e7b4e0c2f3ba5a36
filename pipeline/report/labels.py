"""What a model of several labels answers: counts and curves by label, and the worst answers."""

from __future__ import annotations

from typing import Any

import numpy as np

from noisy_gru.pipeline.report.answers import Answers
from noisy_gru.pipeline.report.classification import CURVES_SHOWN, curves, hits_of
from noisy_gru.schema.task_config import targets_of


def labels(answers: Answers) -> dict[str, Any]:
    """Return `by_class`, a row for each label, and `curves` of those that are true somewhere and false elsewhere."""
    names = targets_of(answers.dataset.task)
    truth, answered = answers.columns["label"], answers.columns["candidate"]
    is_answer = (answered == 1) & ~np.isnan(truth)
    by_label = [hits_of(name, truth[:, place] == 1, is_answer[:, place]) for place, name in enumerate(names)]
    found: dict[str, Any] = {"classes": len(names), "of_labels": True, "by_class": by_label}
    if answers.probabilities is None:
        return found
    found["curves"] = []
    for place, name in enumerate(names):
        known = ~np.isnan(truth[:, place]) & np.isfinite(answers.probabilities[:, place])
        true = truth[known, place] > 0
        if 0 < true.sum() < len(true) and len(found["curves"]) < CURVES_SHOWN:
            found["curves"].append({"class": name, **curves(answers.probabilities[known, place], true)})
    return found


def worst(answers: Answers, count: int) -> list[dict[str, Any]]:
    """Return the sequences with the largest mean loss: id, true and answered labels, loss."""
    names = np.array(targets_of(answers.dataset.task), dtype=object)
    truth, answered = answers.columns["label"], answers.columns["candidate"]
    known = ~np.isnan(truth)
    losses = np.where(known, np.nan_to_num(answers.columns["candidate_loss"], nan=np.inf, posinf=np.inf), 0.0)
    mean = losses.sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    order = np.argsort(-mean, kind="stable")[:count]
    return [
        {
            "id": answers.ids[place],
            "label": ", ".join(names[truth[place] == 1]) or "none",
            "answer": ", ".join(names[answered[place] == 1]) or "none",
            "error": float(mean[place]),
        }
        for place in order
    ]

"""How the variants of an experiment learn, by epoch, and what their trainings took."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from noisy_gru.pipeline.experiments.engine import Trials

_LOSS = "val_loss"


def trainings_of(trials: Trials) -> dict[str, Any]:
    """Return how many trainings are finished, of how many, and their seconds, also of those of an earlier call."""
    seconds = [each["seconds"] for each in trials.results.values()]
    asked = len(trials.variants) * len(trials.seeds)
    return {"finished": len(seconds), "asked_for": asked, "seconds": round(sum(seconds), 3)}


def learning_curves(trials: Trials) -> dict[str, dict[str, list[Any]]]:
    """Return the eval loss after each epoch of each compared variant: median, least and largest over the seeds.

    A training that stopped early counts up to its last epoch: `seeds` says how many are left. A loss that is not finite
    counts for none; an epoch without one has nulls.
    """
    found = {}
    for variant in trials.compared:
        losses = [trials.results[variant.name, seed]["history"][_LOSS] for seed in trials.complete_seeds]
        rows = []
        for epoch in range(max(map(len, losses), default=0)):
            known = [each[epoch] for each in losses if len(each) > epoch and math.isfinite(each[epoch])]
            rows.append((epoch + 1, *_middle_and_range(known), len(known)))
        if rows:
            names = ("epoch", "median", "low", "high", "seeds")
            found[variant.name] = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    return found


def _middle_and_range(values: list[float]) -> tuple[float | None, float | None, float | None]:
    return (float(np.median(values)), min(values), max(values)) if values else (None, None, None)

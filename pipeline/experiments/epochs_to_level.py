"""How fast a training learns: the epochs until its eval loss reaches one level for all trainings of an experiment.

The time to a fixed result (Dahl et al. 2023, Benchmarking Neural Network Training Algorithms, section 2), with the
level on the slope and not on the plateau: 90 % of the way down, as a rise time is measured (IEEE Std 181-2011). At the
bottom, where the losses of all epochs are nearly the same, chance decides in which epoch a level is crossed. A training
that never reaches it counts as all its epochs: the restricted mean (Royston and Parmar 2013, Restricted mean survival
time).

>>> level_of([[2.0, 1.0, 0.5, 0.4], [1.8, 0.9, 0.4, 0.4]])
0.55
>>> epochs_to_level([2.0, 1.0, 0.5, 0.4], level=0.55, most=50)
2.9
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

PART = 0.9
DEFINITION = (
    "90 % of the way down from the eval loss after the first epoch to the lowest one, both medians over the seeds "
    "without noise; between two epochs by interpolation; a training that never reaches it counts as all epochs"
)


def level_of(histories: Sequence[Sequence[float]]) -> float:
    """Return the level of an experiment.

    Args:
        histories: the eval loss after each epoch, of each training without noise.
    """
    first = float(np.median([losses[0] for losses in histories]))
    lowest = float(np.median([min(losses) for losses in histories]))
    return round(first - PART * (first - lowest), 12)


def epochs_to_level(losses: Sequence[float], level: float, most: int) -> float:
    """Return after how many epochs, from 1, the eval loss is at the level for the first time.

    Args:
        losses: after each epoch.
        level: of the loss.
        most: epochs that count for a training that never reaches it.
    """
    for place, loss in enumerate(losses):
        if loss <= level:
            before = losses[place - 1] if place else loss
            between = math.isfinite(before) and before > loss
            return place + (before - level) / (before - loss) if between else place + 1.0
    return float(most)

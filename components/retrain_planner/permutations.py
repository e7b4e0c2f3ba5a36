"""Permutation test of many statistics at once, with p-values adjusted for all of them.

Groups (of whatever is independent of each other) are dealt anew, again and again, to the two samples. Where both come
from one distribution, the observed deal is as good as any other, so that the largest statistic of all is the observed
one's in one of ``1 / level`` cases, however few groups there are and however the statistics depend on each other
(Westfall and Young, Resampling-Based Multiple Testing, 1993, section 2.3: single-step maxT).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

# Deals at a time, which bounds the memory.
_BATCH = 256
# Part of the deals whose statistics are taken for the tail.
_TAIL = 0.02


def deals(groups: int, chosen: int, count: int, seed: int) -> Iterator[np.ndarray]:
    """Yield batches of permutations, bool [B, groups]: the groups of the smaller sample; the first is the observed one.

    Args:
        groups: in both samples; the last ``chosen`` of them are the observed smaller one.
        chosen: how many are dealt.
        count: of the deals besides the observed one.
        seed: of the deals.
    """
    random = np.random.default_rng(seed)
    observed = np.zeros((1, groups), bool)
    observed[0, groups - chosen :] = True
    yield observed
    for start in range(0, count, _BATCH):
        batch = np.zeros((min(_BATCH, count - start), groups), bool)
        for row in batch:
            row[random.choice(groups, chosen, replace=False)] = True
        yield batch


def adjusted_p_values(
    statistics: Callable[[np.ndarray], np.ndarray],
    *,
    groups: int,
    chosen: int,
    count: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the observed statistics [M] and their p-values [M], for all statistics together.

    A statistic whose p-value is at most a level has an error rate of that level over *all* of them.

    Args:
        statistics: of deals bool [B, groups], float [B, M]; larger is further apart.
        groups: see ``deals``.
        chosen: see ``deals``.
        count: see ``deals``.
        seed: see ``deals``.
    """
    values = np.concatenate([statistics(batch) for batch in deals(groups, chosen, count, seed)])
    largest = _surprise(values).max(axis=1, initial=0.0)
    own = _surprise(values)[0]
    # The observed deal counts as one of them.
    p_values = (largest[:, None] >= own[None, :]).mean(axis=0)
    return values[0], p_values


def _surprise(values: np.ndarray) -> np.ndarray:
    """Statistics [B, M] on one scale: minus the logarithm of how many deals have as large a value.

    Beyond the largest ones, of which there are too few to count, an exponential tail through their mean excess takes
    over. The scale is the same function for all deals, the observed one among them, so that it favours none.
    """
    count = len(values)
    tail = max(2, int(count * _TAIL))
    order = np.sort(values, axis=0)
    result = np.empty_like(values)
    for column in range(values.shape[1]):
        own, rising = values[:, column], order[:, column]
        # Rounding must not tell equal values apart.
        slack = 1e-9 * max(abs(rising[-1]), 1e-9)
        above = count - np.searchsorted(rising, own - slack, side="left")
        result[:, column] = -np.log(above / count)
        start = rising[-tail]
        excess = float(np.mean(rising[-tail:] - start))
        if excess > slack:
            far = own > start + slack
            result[far, column] = -np.log(tail / count) + (own[far] - start) / excess
    return result

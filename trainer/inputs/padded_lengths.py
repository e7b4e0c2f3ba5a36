"""Few padded lengths, for a compiler that compiles each anew: the least padding for so many.

>>> choose_padded_lengths(np.array([10, 11, 12, 30, 30]), most=2)
(12, 30)
"""

from __future__ import annotations

import numpy as np

# Fraction of all steps that a further length must save to be worth its compilation.
_WORTH = 0.02
# Most distinct lengths considered; with more, neighbours count as one.
_CANDIDATES = 256


def choose_padded_lengths(longest: np.ndarray, most: int) -> tuple[int, ...]:
    """Choose the padded lengths.

    Args:
        longest: int [N], N > 0, the longest sequence of each batch.
        most: most lengths.

    Returns:
        Rising lengths >= 1, the last of which is the longest of all. A batch is padded to the first that holds it. They
        are fewer than `most` if another would save little.
    """
    values, counts = _candidates(np.maximum(longest, 1))
    before = np.concatenate([[0], np.cumsum(counts)])
    # area[i]: least padded steps of the batches up to value i, if value i is one of the lengths; first with one length.
    area = before[1:] * values
    chosen: list[tuple[int, ...]] = [(int(value),) for value in values]
    best, answer = int(area[-1]), chosen[-1]
    whole = int((values * counts).sum())
    for _ in range(most - 1):
        # From value j on, batches are padded to value i.
        longer = area[np.newaxis, :] + (before[1:, np.newaxis] - before[np.newaxis, 1:]) * values[:, np.newaxis]
        longer = np.where(np.tri(len(values), k=-1, dtype=bool), longer, np.iinfo(np.int64).max)
        last = longer.argmin(axis=1)
        new = np.minimum(area, longer.min(axis=1))
        chosen = [
            (*chosen[last[index]], int(values[index])) if new[index] < area[index] else chosen[index]
            for index in range(len(values))
        ]
        area = new
        if best - area[-1] < _WORTH * whole:
            break
        best, answer = int(area[-1]), chosen[-1]
    return answer


def _candidates(longest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return distinct lengths, rising, and the number of batches of each."""
    width = -(-int(longest.max()) // _CANDIDATES)
    rounded = np.minimum(-(-longest // width) * width, longest.max())
    return np.unique(rounded.astype(np.int64), return_counts=True)

"""Paired bootstrap: confidence interval of the difference of two models on the same sequences.

    >>> wins = np.array([1.0] * 60 + [0.0] * 40), np.array([1.0] * 55 + [0.0] * 45)
    >>> found = paired_bootstrap(*wins, np.arange(100), Bootstrap(seed=1), ties_possible=True)
    >>> round(found.difference, 2), is_accepted(found, "not_worse", 0.02), is_accepted(found, "better", 0.0)
    (0.05, True, True)

Sequences of one cluster (windows of an entity, say) depend on each other, so clusters are drawn, not sequences. A bound
is the expanded percentile of Hesterberg (The American Statistician 69, 2015): the percentile's level is widened so that
a mean's interval has the width of Student's, which keeps the coverage where there are few clusters (and holds for any
statistic of sums, unlike a studentized interval). Right-or-wrong answers tie often: with no disagreement at all the
percentile says that two models are equal beyond doubt. There a cluster that the candidate alone has right and one that
the other alone has right are drawn beside the observed ones, each of size sqrt(1/2): they add to the variance what half
an observation in each of both cells adds in the interval of Agresti and Min (Biometrics 61, 2005).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import ndtr, stdtrit

Accept = Literal["not_worse", "better"]
Gain = Callable[[np.ndarray], np.ndarray]
MIN_CLUSTERS = 5  # fewer have so few resamples that no level can be read from them
_MAX_CLUSTERS = 2000  # more are merged into groups: the interval is as good, and memory stays bounded
_BLOCK = 4000  # resamples that are drawn at once
TIE_WEIGHT = 0.5**0.5  # size of the disagreements that are drawn beside right-or-wrong answers
_TOLERANCE = 1e-12  # of floating point, in comparisons with the margin


@dataclass(frozen=True)
class Bootstrap:
    """Settings of the intervals.

    Attributes:
        confidence: of each bound by itself: with this probability the truth is above the lower one.
        resamples: drawn.
        seed: of the draws.
    """

    confidence: float = 0.95
    resamples: int = 4000
    seed: int = 0


@dataclass(frozen=True)
class Interval:
    """Interval of the candidate's gain: positive is better, in the unit of the metric.

    Attributes:
        difference: as observed.
        lower: bound, one-sided at the confidence; -inf where there are too few clusters to tell, NaN without numbers.
        upper: bound, one-sided at the confidence.
        clusters: that are independent of each other.
    """

    difference: float
    lower: float
    upper: float
    clusters: int


@dataclass(frozen=True)
class Resampled:
    """Sums over all clusters [Q], and over each resample of them [B, Q]."""

    total: np.ndarray
    totals: np.ndarray
    clusters: int
    confidence: float


def sums_by_cluster(sums: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Sum [N, Q] over sequences to [G, Q] over clusters, given the cluster codes [N].

    Above 2,000 clusters these are merged by their code, so that a cluster is still never divided.
    """
    _, codes = np.unique(clusters, return_inverse=True)
    count = int(codes.max(initial=-1)) + 1
    if count > _MAX_CLUSTERS:
        codes, count = codes % _MAX_CLUSTERS, _MAX_CLUSTERS
    result = np.zeros((count, sums.shape[1]))
    np.add.at(result, codes, sums)
    return result


def resample(sums: np.ndarray, bootstrap: Bootstrap, extra: np.ndarray | None = None) -> Resampled:
    """Draw clusters with replacement.

    Args:
        sums: of each cluster [G, Q].
        bootstrap: how.
        extra: clusters [E, Q] that are drawn beside them but are no part of the observed sums; see the module.
    """
    count = len(sums)
    if not count:
        return Resampled(sums.sum(axis=0), np.zeros((0, sums.shape[1])), 0, bootstrap.confidence)
    drawn = sums if extra is None else np.concatenate([sums, extra])
    # Equal clusters are drawn together: the same distribution for a fraction of the work.
    kinds, numbers = np.unique(drawn, axis=0, return_counts=True)
    random = np.random.default_rng(bootstrap.seed)
    totals = np.empty((bootstrap.resamples, sums.shape[1]))
    for start in range(0, bootstrap.resamples, _BLOCK):
        block = totals[start : start + _BLOCK]
        # The same numbers as of one call for all, in bounded memory.
        block[:] = random.multinomial(len(drawn), numbers / len(drawn), size=len(block)) @ kinds
    return Resampled(sums.sum(axis=0), totals, count, bootstrap.confidence)


def interval(resampled: Resampled, gain: Gain) -> Interval:
    """Return the interval of a gain, a function of sums [..., Q] to [...]: positive where the candidate is better."""
    with np.errstate(invalid="ignore", divide="ignore"):
        difference = float(gain(resampled.total[None])[0])
        if np.isnan(difference):
            return Interval(difference, np.nan, np.nan, resampled.clusters)
        if resampled.clusters < MIN_CLUSTERS:
            return Interval(difference, -np.inf, np.inf, resampled.clusters)
        gains = gain(resampled.totals)
    level = _expanded(1 - resampled.confidence, resampled.clusters)
    # A resample without anything to be measured on is as bad, and as good, as can be.
    lower = np.quantile(np.where(np.isnan(gains), -np.inf, gains), level, method="lower")
    upper = np.quantile(np.where(np.isnan(gains), np.inf, gains), 1 - level, method="higher")
    return Interval(difference, float(lower), float(upper), resampled.clusters)


def is_accepted(found: Interval, accept: Accept, margin: float) -> bool:
    """Return whether an interval shows the required result: not worse, or better, by more than the margin."""
    if accept == "better":
        return found.lower > margin + _TOLERANCE
    return found.lower >= -margin - _TOLERANCE


def paired_bootstrap(
    candidate: np.ndarray,
    other: np.ndarray,
    clusters: np.ndarray,
    bootstrap: Bootstrap,
    *,
    ties_possible: bool = False,
) -> Interval:
    """Return the interval of the mean difference of two models' scores.

    Args:
        candidate: its score of each sequence [N]; higher is better (negate a loss).
        other: the other model's of the same.
        clusters: code of each sequence's cluster [N].
        bootstrap: how.
        ties_possible: whether a score is 1 for a right and 0 for a wrong answer; see the module.
    """
    sums = np.stack([np.asarray(candidate, float) - np.asarray(other, float), np.ones(len(candidate))], axis=1)
    extra = TIE_WEIGHT * np.array([[1.0, 1.0], [-1.0, 1.0]]) if ties_possible else None
    resampled = resample(sums_by_cluster(sums, clusters), bootstrap, extra)
    return interval(resampled, lambda totals: totals[..., 0] / totals[..., 1])


def _expanded(level: float, clusters: int) -> float:
    """Return the percentile that widens the bootstrap interval to Student's."""
    return float(ndtr(np.sqrt(clusters / (clusters - 1)) * stdtrit(clusters - 1, level)))

"""Drift of each column between training data and new data: distance and permutation p-value.

>>> drift = measure_drift(trained_on, new, dataset, false_alarm_rate=0.01)  # doctest: +SKIP
>>> [(each.feature, each.measure, each.distance, each.p_value) for each in drift.features][0]  # doctest: +SKIP
('temp', 'location', 0.52, 0.0005)

All distances are in [0, 1]. Of a number's values, in tenths of both samples together: ``location`` and ``spread`` are
Cliff's delta (Cliff, Psychological Bulletin 114, 1993) of the values and of their distances from the median in ranks,
``shape`` the Jensen-Shannon divergence (base 2). Of a category's values ``shares`` is the largest difference of a share
(L-infinity). ``missing`` is the difference of the parts that are missing. The p-values hold for all of them together:
see ``permutations.py``. Steps of a sequence resemble each other, so whole entities are dealt, and of forecasts whole
stretches of windows that don't overlap.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from noisy_gru.components.retrain_planner.evidence import Drift, FeatureDrift
from noisy_gru.components.retrain_planner.permutations import adjusted_p_values
from noisy_gru.data.sequences.value_sample import ValueSample
from noisy_gru.schema.config import DatasetConfig, ForecastingConfig
from noisy_gru.schema.errors import DataError

LOCATION, SPREAD, SHAPE, SHARES, MISSING = "location", "spread", "shape", "shares", "missing"
_BINS = 10
_CATEGORIES = 64
# So that a p-value at the level rests on 20 deals at least.
_FEWEST_DEALS, _DEALS_AT_LEVEL = 2000, 20


def measure_drift(
    trained_on: ValueSample,
    new: ValueSample,
    dataset: DatasetConfig,
    *,
    false_alarm_rate: float,
    min_distance: float = 0.0,
) -> Drift:
    """Measure the drift of the columns, by name.

    Args:
        trained_on: sample of the training data.
        new: the same of the new data, with the edges of ``trained_on``.
        dataset: the configuration.
        false_alarm_rate: part of the data sets of the same distribution in which any column may count as drifted.
        min_distance: what is no further apart than this doesn't count, however sure it is.

    Raises:
        DataError: there is too little data for this rate.
    """
    windows = isinstance(dataset.task, ForecastingConfig)
    size = _stretch(trained_on, new, windows)
    old_groups, new_groups = _groups(trained_on, size, windows), _groups(new, size, windows)
    groups, chosen = len(old_groups) + len(new_groups), len(new_groups)
    what = "stretches of windows" if windows else "entities"
    compared = f"{chosen:,} new and {len(old_groups):,} trained-on {what}"
    # Not as a product: of a thousand entities there are more deals than a float can hold.
    if math.comb(groups, chosen) < 1 / false_alarm_rate:
        raise DataError(
            f"{compared} are too few to tell drift from chance at a false_alarm_rate of {false_alarm_rate:g}"
        )
    names = {*trained_on.numeric, *trained_on.categorical}
    names_now = {*new.numeric, *new.categorical}
    found = [FeatureDrift(feature=name, change="appeared", drifted=True) for name in names_now - names]
    found += [FeatureDrift(feature=name, change="disappeared", drifted=True) for name in names - names_now]
    statistics = _Statistics(trained_on, new, [*old_groups, *(group + len(trained_on) for group in new_groups)])
    distances, p_values = adjusted_p_values(
        statistics.of,
        groups=groups,
        chosen=chosen,
        count=max(_FEWEST_DEALS, math.ceil(_DEALS_AT_LEVEL / false_alarm_rate)) - 1,
        seed=dataset.seed,
    )
    for (name, measure), distance, p_value in zip(statistics.names, distances.tolist(), p_values.tolist(), strict=True):
        drifted = p_value <= false_alarm_rate and distance > min_distance
        found.append(FeatureDrift(feature=name, measure=measure, distance=distance, p_value=p_value, drifted=drifted))
    return Drift(
        features=tuple(sorted(found, key=lambda each: (each.feature, each.measure))),
        compared=compared,
        false_alarm_rate=false_alarm_rate,
    )


def _stretch(trained_on: ValueSample, new: ValueSample, windows: bool) -> int:
    """Return the size of a permuted group: as many sequences of an entity as the new data usually has."""
    sizes = [np.unique(sample.entity, return_counts=True)[1] for sample in (trained_on, new)]
    usual = [int(np.median(each)) if len(each) else 1 for each in sizes]
    # Of whole sequences each entity counts once on both sides, with equally many.
    return max(1, usual[1] if windows else min(usual))


def _groups(sample: ValueSample, size: int, windows: bool) -> list[np.ndarray]:
    """Return the indices of the sequences of each permuted group."""
    groups = []
    for entity in np.unique(sample.entity):
        places = np.flatnonzero(sample.entity == entity)
        if not windows:
            groups.append(places[:size])
            continue
        for start in range(0, len(places), size):
            # A rest that is much shorter would be further off by chance.
            if start == 0 or len(places) - start > size // 2:
                groups.append(places[start : start + size])
    return groups


class _Statistics:
    """The distances [M] of deals: sums over the groups, from which every distance follows."""

    def __init__(self, trained_on: ValueSample, new: ValueSample, groups: Sequence[np.ndarray]) -> None:
        self.names: list[tuple[str, str]] = []
        self._numeric: list[tuple[slice, np.ndarray, np.ndarray]] = []
        self._categorical: list[slice] = []
        self._missing: list[tuple[int, slice]] = []
        blocks: list[np.ndarray] = []
        place = 0
        numeric = [name for name in trained_on.numeric if name in new.numeric]
        categorical = [name for name in trained_on.categorical if name in new.categorical]
        for name in numeric:
            of = [(sample, sample.numeric.index(name)) for sample in (trained_on, new)]
            masses = _masses(
                np.concatenate([sample.points[:, column] for sample, column in of]),
                np.concatenate([sample.valid[:, column] for sample, column in of]),
            )
            missing = np.concatenate([sample.missing[:, column] for sample, column in of])
            part = slice(place, place + masses.shape[1])
            total = masses.sum(axis=0)
            if masses.shape[1] > 1:
                ranks = _middle_ranks(np.arange(len(total)), total)
                self._numeric.append((part, ranks, _middle_ranks(np.abs(ranks - 0.5), total)))
                self.names += [(name, LOCATION), (name, SPREAD), (name, SHAPE)]
            place = self._add(blocks, masses, missing, part)
        for name in categorical:
            of = [(sample, sample.categorical.index(name)) for sample in (trained_on, new)]
            masses = _shares([row[column] for sample, column in of for row in sample.counts])
            missing = np.concatenate([sample.missing[:, len(sample.numeric) + column] for sample, column in of])
            part = slice(place, place + masses.shape[1])
            if masses.shape[1] > 1:
                self._categorical.append(part)
                self.names.append((name, SHARES))
            place = self._add(blocks, masses, missing, part)
        self.names += [(name, MISSING) for name, (_, part) in zip([*numeric, *categorical], self._missing, strict=True)]
        rows = np.concatenate(blocks, axis=1)
        self._rows = np.stack([rows[group].sum(axis=0) for group in groups]).astype(np.float32)
        self._total = self._rows.sum(axis=0, dtype=np.float64)

    def _add(self, blocks: list[np.ndarray], masses: np.ndarray, missing: np.ndarray, part: slice) -> int:
        blocks += [masses, missing[:, None]]
        self._missing.append((part.stop, part))
        return part.stop + 1

    def of(self, deals: np.ndarray) -> np.ndarray:
        """Distances [B, M] of deals bool [B, groups]."""
        chosen = (deals.astype(np.float32) @ self._rows).astype(np.float64)
        rest = self._total - chosen
        columns: list[np.ndarray] = []
        for part, ranks, spreads in self._numeric:
            now, before = _normal(chosen[:, part]), _normal(rest[:, part])
            known = np.isfinite(now[:, 0]) & np.isfinite(before[:, 0])
            change = np.where(known[:, None], now - before, 0.0)
            columns += [np.abs(2 * change @ ranks), np.abs(2 * change @ spreads)]
            columns.append(np.where(known, _jensen_shannon(now, before), 0.0))
        for part in self._categorical:
            change = np.nan_to_num(_normal(chosen[:, part]) - _normal(rest[:, part]))
            columns.append(np.abs(change).max(axis=1))
        for column, part in self._missing:
            shares = [
                each[:, column] / np.maximum(each[:, column] + each[:, part].sum(axis=1), 1e-9)
                for each in (chosen, rest)
            ]
            columns.append(np.abs(shares[0] - shares[1]))
        return np.stack(columns, axis=1)


def _normal(masses: np.ndarray) -> np.ndarray:
    """Normalize counts to shares [B, K]; NaN for empty rows."""
    total = masses.sum(axis=1, keepdims=True)
    return np.divide(masses, total, out=np.full_like(masses, np.nan), where=total > 1e-6)


def _masses(points: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Return how many values of each sequence are in each tenth of all values, [S, K]; fewer where many are equal."""
    there = points != 255
    weight = np.where(there, (valid / np.maximum(there.sum(axis=1), 1))[:, None], 0.0)
    by_code = np.bincount(points[there], weights=weight[there], minlength=256)
    ends = np.cumsum(by_code)
    # The tenth in which the middle of each code's values is: equal values stay together.
    middle = ends - by_code / 2
    tenth = np.minimum((middle / max(ends[-1], 1e-9) * _BINS).astype(int), _BINS - 1)
    used, of_code = np.unique(tenth[by_code > 0], return_inverse=True)
    if not len(used):
        return np.zeros((len(points), 1))
    bins = np.zeros(256, int)
    bins[by_code > 0] = of_code
    masses = np.zeros((len(points), len(used)))
    rows = np.broadcast_to(np.arange(len(points))[:, None], points.shape)
    np.add.at(masses, (rows[there], bins[points[there]]), weight[there])
    return masses


def _shares(counts: Sequence[dict[str, int]]) -> np.ndarray:
    """Return counts [S, K] of the commonest categories of all, the rest of them in the last column."""
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    common = {text: place for place, (text, _) in enumerate(total.most_common(_CATEGORIES))}
    masses = np.zeros((len(counts), len(common) + (len(total) > len(common)) or 1))
    for row, each in enumerate(counts):
        for text, count in each.items():
            masses[row, common.get(text, len(common))] += count
    return masses


def _middle_ranks(keys: np.ndarray, masses: np.ndarray) -> np.ndarray:
    """Return the mid-rank of each bin, [K] by ascending key: the share of values below it, and half of those in it."""
    total = masses.sum()
    rounded = np.round(keys, 9)
    return np.array([(masses[rounded < key].sum() + masses[rounded == key].sum() / 2) / total for key in rounded])


def _jensen_shannon(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return divergence [B] of shares [B, K], base 2."""
    middle = (one + other) / 2

    def part(shares: np.ndarray) -> np.ndarray:
        ratio = np.divide(shares, middle, out=np.ones_like(shares), where=(shares > 0) & (middle > 0))
        return (np.nan_to_num(shares) * np.log2(ratio)).sum(axis=1)

    return np.maximum((part(one) + part(other)) / 2, 0.0)

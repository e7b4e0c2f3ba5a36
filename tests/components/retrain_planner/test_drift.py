"""Distances are computed again by SciPy and by counting; p-values by SciPy's exact permutation test."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import mannwhitneyu

from noisy_gru.components.retrain_planner.drift import measure_drift
from noisy_gru.components.retrain_planner.evidence import FeatureDrift
from noisy_gru.components.retrain_planner.permutations import adjusted_p_values
from noisy_gru.data.sequences.value_sample import POINTS, ValueSample
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import DataError

Columns = dict[str, list[list[Any]]]
_DATA = {
    "files": ["x.csv"],
    "entity": "id",
    "time": {"column": "t"},
    "features": ["temp", {"name": "city", "kind": "categorical"}],
}
DATASET = DatasetConfig.model_validate({"data": _DATA, "task": {"kind": "classification", "label": "label"}})
WINDOWS = DatasetConfig.model_validate(
    {
        "data": _DATA,
        "task": {"kind": "forecasting", "targets": ["temp"], "input_length": 4, "horizons": [1]},
        "splits": {"by": "time"},
    }
)


def _sample(
    temp: list[np.ndarray], city: list[list[str]] | None = None, entity: list[int] | None = None
) -> ValueSample:
    """Of sequences of at most POINTS values, whose edges are a fine grid."""
    edges = np.linspace(-6.0, 6.0, 254)
    points = np.full((len(temp), 1, POINTS), 255, np.uint8)
    for place, values in enumerate(temp):
        there = np.sort(values[~np.isnan(values)])
        points[place, 0, : len(there)] = np.searchsorted(edges, there, side="right")
    cities = city or [[] for _ in temp]
    missing = [[int(np.isnan(values).sum()), names.count("")] for values, names in zip(temp, cities, strict=True)]
    return ValueSample(
        numeric=("temp",),
        categorical=("city",),
        edges=(edges,),
        points=points,
        valid=np.array([[int((~np.isnan(values)).sum())] for values in temp], np.int32),
        missing=np.array(missing, np.int32),
        counts=tuple((dict(Counter(name for name in names if name)),) for names in cities),
        entity=np.array(entity if entity is not None else range(len(temp)), np.int32),
    )


def _drawn(seed: int, count: int, *, shift: float = 0.0, scale: float = 1.0, missing: float = 0.0) -> list[np.ndarray]:
    """Entities of 12 steps, each with a level of its own."""
    random = np.random.default_rng(seed)
    temp = random.normal(0, 0.6, (count, 1)) + random.normal(0, 0.8, (count, 12))
    temp = shift + scale * temp
    temp[random.random(temp.shape) < missing] = np.nan
    return list(temp)


def _measured(before: ValueSample, now: ValueSample, **more: Any) -> dict[str, FeatureDrift]:
    drift = measure_drift(before, now, DATASET, **{"false_alarm_rate": 0.01, **more})
    return {each.measure if each.feature == "temp" else f"city {each.measure}": each for each in drift.features}


def test_location_is_cliffs_delta_and_shape_is_scipys_divergence():
    before, now = _drawn(1, 120), _drawn(2, 60, shift=0.7)
    found = _measured(_sample(before), _sample(now))
    old, new = np.concatenate(before), np.concatenate(now)
    delta = 2 * mannwhitneyu(new, old).statistic / (len(old) * len(new)) - 1
    # Tenths in place of values cost a little.
    assert found["location"].distance == pytest.approx(delta, abs=0.02)
    edges = np.quantile(np.concatenate([old, new]), np.linspace(0, 1, 11))
    divergence = jensenshannon(np.histogram(old, edges)[0], np.histogram(new, edges)[0], base=2) ** 2
    assert found["shape"].distance == pytest.approx(divergence, abs=0.01)
    distance = [np.abs(each - np.median(np.concatenate([old, new]))) for each in (new, old)]
    spread = 2 * mannwhitneyu(*distance).statistic / (len(old) * len(new)) - 1
    assert found["spread"].distance == pytest.approx(abs(spread), abs=0.05)


def test_shares_and_missing_values_are_counted():
    random = np.random.default_rng(3)
    cities = [[str(name) for name in random.choice(["a", "b", "c", ""], 9, p=p)] for p in 60 * [[0.4, 0.3, 0.2, 0.1]]]
    others = [[str(name) for name in random.choice(["a", "b", "d", ""], 9, p=p)] for p in 20 * [[0.4, 0.1, 0.2, 0.3]]]
    found = _measured(_sample(_drawn(1, 60), cities), _sample(_drawn(2, 20, missing=0.4), others))
    old, new = (Counter(name for names in each for name in names) for each in (cities, others))
    there = [each.total() - each[""] for each in (old, new)]
    expected = max(abs(old[name] / there[0] - new[name] / there[1]) for name in "abcd")
    assert found["city shares"].distance == pytest.approx(expected, abs=1e-6)
    missing = abs(old[""] / old.total() - new[""] / new.total())
    assert found["city missing"].distance == pytest.approx(missing, abs=1e-6)
    share = np.isnan(np.concatenate(_drawn(2, 20, missing=0.4))).mean()
    assert found["missing"].distance == pytest.approx(share, abs=1e-6)
    assert found["city shares"].drifted and found["missing"].drifted


@given(
    values=st.lists(st.integers(-5, 5), min_size=5, max_size=8),
    chosen=st.integers(1, 3),
)
@settings(max_examples=30, deadline=None)
def test_p_values_are_those_of_all_possible_deals(values, chosen):
    """Of one statistic, where all deals can be counted."""
    numbers = np.array(values, float)

    def difference(deals: np.ndarray) -> np.ndarray:
        now, before = deals, ~deals
        return np.abs(now @ numbers / now.sum(1) - before @ numbers / before.sum(1))[:, None]

    _, found = adjusted_p_values(difference, groups=len(values), chosen=chosen, count=3000, seed=1)
    every = np.array([[i in pick for i in range(len(values))] for pick in combinations(range(len(values)), chosen)])
    observed = difference(np.arange(len(values))[None] >= len(values) - chosen)[0]
    exact = (difference(every)[:, 0] >= observed - 1e-9).mean()
    assert found[0] == pytest.approx(exact, abs=0.045)


def test_of_data_of_the_same_distribution_as_many_drift_as_is_asked_for():
    """At 10 %, so that few data sets tell: 200 of them, in at most 10 % plus 3 standard errors; and not hardly any."""
    alarms = 0
    for place in range(200):
        size = (5, 10, 20, 50)[place % 4]
        before, now = _sample(_drawn(1000 + place, 100)), _sample(_drawn(5000 + place, size))
        drift = measure_drift(before, now, DATASET, false_alarm_rate=0.1)
        alarms += any(each.drifted for each in drift.features)
    assert 7 <= alarms <= 33


@pytest.mark.parametrize(
    ("change", "measure"), [({"shift": 1.0}, "location"), ({"scale": 2.0}, "spread"), ({"missing": 0.5}, "missing")]
)
def test_drift_is_found_in_twenty_of_twenty_small_spans(change, measure):
    for place in range(20):
        before, now = _sample(_drawn(place, 200, missing=0.0)), _sample(_drawn(900 + place, 20, **change))
        assert _measured(before, now)[measure].drifted, place


def test_what_is_less_than_min_distance_apart_does_not_count():
    before, now = _sample(_drawn(1, 400)), _sample(_drawn(2, 400, shift=0.3))
    assert _measured(before, now)["location"].drifted
    assert not _measured(before, now, min_distance=0.3)["location"].drifted


def test_too_little_data_is_told():
    with pytest.raises(DataError, match="1 new and 20 trained-on entities are too few to tell drift from chance at a"):
        measure_drift(_sample(_drawn(1, 20)), _sample(_drawn(2, 1)), DATASET, false_alarm_rate=0.01)


@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_samples_as_large_as_they_get_are_measured(shift):
    """2,000 sequences on each side: the number of deals, 10^1202, fits no float."""
    found = _measured(_sample(_drawn(1, 2000)), _sample(_drawn(2, 2000, shift=shift)))
    assert found["location"].drifted == (shift > 0)


def test_columns_that_came_and_went_are_named():
    before = _sample(_drawn(1, 60))
    now = _sample(_drawn(2, 20))
    renamed = ValueSample(**{**vars(now), "numeric": ("wind",)})
    drift = measure_drift(before, renamed, DATASET, false_alarm_rate=0.01)
    assert {(each.feature, each.change) for each in drift.features if each.drifted} == {
        ("wind", "appeared"),
        ("temp", "disappeared"),
    }


def test_all_sequences_of_an_entity_are_dealt_together():
    """A hundred copies of each of ten entities are ten pieces of evidence, not a thousand."""
    random = np.random.default_rng(5)
    levels = random.normal(0, 1, 20)
    temp = [np.full(12, level) for level in levels for _ in range(100)]
    entity = [place for place in range(20) for _ in range(100)]
    before = _sample(temp[:1000], entity=entity[:1000])
    now = _sample(temp[1000:], entity=entity[1000:])
    drift = measure_drift(before, now, DATASET, false_alarm_rate=0.01)
    assert drift.compared == "10 new and 10 trained-on entities"
    location = next(each for each in drift.features if each.measure == "location")
    assert location.p_value is not None and location.p_value > 0.1


def test_windows_are_dealt_in_stretches_as_long_as_the_new_ones():
    before = _sample(_drawn(1, 65), entity=[0] * 30 + [1] * 35)
    now = _sample(_drawn(2, 6), entity=[0, 0, 0, 1, 1, 1])
    drift = measure_drift(before, now, WINDOWS, false_alarm_rate=0.01)
    # 30 windows are 10 stretches of 3; 35 are 11, and a rest of 2.
    assert drift.compared == "2 new and 22 trained-on stretches of windows"

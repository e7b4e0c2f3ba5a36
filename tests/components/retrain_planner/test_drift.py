"""Distances are computed again: from the values by hand, and from the statistics' histograms with SciPy."""

# Protocol buffers' classes are made when they are imported.
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

pytestmark = pytest.mark.slow

SCHEMA = """
feature { name: "temp" type: FLOAT drift_comparator { jensen_shannon_divergence { threshold: 0.1 } } }
feature { name: "wind" type: FLOAT }
feature { name: "city" type: BYTES drift_comparator { infinity_norm { threshold: 0.25 } } }
feature { name: "kind" type: BYTES }
feature { name: "sequence_id" type: BYTES }
feature { name: "gone" type: FLOAT }
feature { name: "come" type: FLOAT }
"""


def _data(seed: int, *, shift: float, cities: list[float], extra: str, missing: float) -> dict[str, list[list[Any]]]:
    """Forty sequences of 5 to 20 steps."""
    random = np.random.default_rng(seed)
    lengths = random.integers(5, 21, 40)
    temp = [random.normal(shift, 1.0, n).astype(np.float32) for n in lengths]
    for values in temp:
        values[random.random(len(values)) < missing] = np.nan
    return {
        "temp": [values.tolist() for values in temp],
        "wind": [random.exponential(1.0, n).tolist() for n in lengths],
        "city": [random.choice(["JFK", "LGA", "EWR"], n, p=cities).tolist() for n in lengths],
        "kind": [random.choice(["a", "b"], 1).tolist() for _ in lengths],
        "sequence_id": [[f"{seed}-{place}"] for place in range(len(lengths))],
        extra: [[1.0] for _ in lengths],
    }


@pytest.fixture(scope="module")
def data() -> tuple[dict[str, list[list[Any]]], dict[str, list[list[Any]]]]:
    before = _data(1, shift=0.0, cities=[0.5, 0.3, 0.2], extra="gone", missing=0.05)
    return before, _data(2, shift=1.5, cities=[0.1, 0.3, 0.6], extra="come", missing=0.2)


@pytest.fixture(scope="module")
def statistics(data, make_statistics) -> tuple[Any, ...]:
    from noisy_gru.components.retrain_planner.drift import read_statistics

    return tuple(read_statistics(make_statistics(each)) for each in data)


@pytest.fixture(scope="module")
def drift(statistics) -> dict[str, Any]:
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2

    from noisy_gru.components.retrain_planner.drift import measure_drift

    schema = text_format.Parse(SCHEMA, schema_pb2.Schema())
    found = measure_drift(*statistics, schema)
    assert text_format.Parse(SCHEMA, schema_pb2.Schema()) == schema, "the schema is only read"
    assert [each.feature for each in found] == sorted(each.feature for each in found)
    return {each.feature: each for each in found}


def _shares(column: list[list[str]]) -> dict[str, float]:
    counts = Counter(value for values in column for value in values)
    return {value: count / counts.total() for value, count in counts.items()}


@pytest.mark.parametrize("name", ["city", "kind"])
def test_l_infinity_is_the_largest_difference_of_a_share(name, data, drift):
    before, now = (_shares(each[name]) for each in data)
    expected = max(abs(before.get(value, 0.0) - now.get(value, 0.0)) for value in {*before, *now})
    assert drift[name].measure == "L-infinity"
    assert drift[name].distance == pytest.approx(expected, abs=1e-9)


def _histogram(statistics: Any, name: str) -> list[tuple[float, float, float]]:
    """The buckets (low, high, count) of equal width. What is missing (NaN) is in none of them."""
    (feature,) = (each for each in statistics.datasets[0].features if each.path.step == [name])
    (standard,) = (each for each in feature.num_stats.histograms if each.type == 0)
    return [(each.low_value, each.high_value, each.sample_count) for each in standard.buckets]


def _spread(buckets: list[tuple[float, float, float]], edges: np.ndarray) -> np.ndarray:
    """The counts between edges, each bucket's spread evenly over it."""
    counts = np.zeros(len(edges) - 1)
    for low, high, count in buckets:
        inside = np.clip(np.minimum(high, edges[1:]) - np.maximum(low, edges[:-1]), 0, None)
        counts += count * inside / (high - low)
    return counts


@pytest.mark.parametrize("name", ["temp", "wind"])
def test_jensen_shannon_is_scipys_of_the_same_histograms(name, statistics, drift):
    before, now = (_histogram(each, name) for each in statistics)
    edges = np.unique([edge for low, high, _ in [*before, *now] for edge in (low, high)])
    expected = jensenshannon(_spread(before, edges), _spread(now, edges), base=2) ** 2
    assert drift[name].measure == "Jensen-Shannon"
    assert drift[name].distance == pytest.approx(expected, rel=1e-6)


def test_what_has_no_threshold_is_measured_and_decides_nothing(drift):
    assert drift["temp"].threshold == 0.1
    assert drift["temp"].drifted
    assert drift["city"].threshold == 0.25
    assert drift["city"].drifted
    for name in ("wind", "kind"):
        assert drift[name].threshold is None
        assert drift[name].distance > 0
        assert not drift[name].drifted


def test_features_that_came_and_went_are_named_and_names_of_sequences_are_not_looked_at(drift):
    assert set(drift) == {"temp", "wind", "city", "kind", "come", "gone"}
    assert (drift["come"].change, drift["gone"].change) == ("appeared", "disappeared")
    assert drift["come"].drifted
    assert drift["gone"].distance is None


def test_a_drift_is_what_tensorflow_data_validation_calls_an_anomaly(statistics, drift):
    import tensorflow_data_validation as tfdv
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2

    before, now = statistics
    for bound in (0.9, 1.1):
        schema = text_format.Parse(SCHEMA, schema_pb2.Schema())
        for feature in schema.feature:
            if feature.name == "temp":
                feature.drift_comparator.jensen_shannon_divergence.threshold = drift["temp"].distance * bound
        from noisy_gru.components.retrain_planner.drift import measure_drift

        (mine,) = (each for each in measure_drift(before, now, schema) if each.feature == "temp")
        anomalies = tfdv.validate_statistics(now, schema, previous_statistics=before)
        names = {
            anomalies_pb2.AnomalyInfo.Type.Name(reason.type)
            for name, info in anomalies.anomaly_info.items()
            for reason in info.reason
            if name == "temp"
        }
        theirs = "COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH" in names
        assert mine.drifted == (bound < 1) == theirs


def test_statistics_that_cannot_be_read(tmp_path):
    from noisy_gru.components.retrain_planner.drift import read_statistics
    from noisy_gru.schema.errors import DataError

    (tmp_path / "statistics.pb").write_bytes(b"no protocol buffer")
    with pytest.raises(DataError, match=r"statistics\.pb: expected a model's training statistics"):
        read_statistics(tmp_path / "statistics.pb")

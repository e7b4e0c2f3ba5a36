"""How far each feature moved between two data sets, as TensorFlow Data Validation's comparators measure it.

L-infinity is the largest difference of a category's share, Jensen-Shannon the divergence (base 2) of the histograms of
a number, of the values that aren't missing. Thresholds are the schema's ``drift_comparator``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow_data_validation as tfdv
from google.protobuf.message import DecodeError
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from noisy_gru.components.retrain_planner.evidence import FeatureDrift
from noisy_gru.schema.errors import DataError

# Generated code, of which type checkers see nothing.
_anomalies: Any = anomalies_pb2
_schema: Any = schema_pb2
_statistics: Any = statistics_pb2

# Names of sequences: they are meant to be new ones each time.
_NAMES = ("sequence_id",)
# No distance is larger, so that this threshold measures and decides nothing.
_ANY = 1.0
_MEASURES: dict[str, str] = {
    "JENSEN_SHANNON_DIVERGENCE": "Jensen-Shannon",
    "L_INFTY": "L-infinity",
    "NORMALIZED_ABSOLUTE_DIFFERENCE": "normalized difference",
}
_FIELDS = {
    "Jensen-Shannon": "jensen_shannon_divergence",
    "L-infinity": "infinity_norm",
    "normalized difference": "normalized_abs_difference",
}


def read_statistics(path: Path) -> Any:
    """The ``DatasetFeatureStatisticsList`` in a file.

    Raises:
        DataError: it can't be read.
    """
    try:
        return _statistics.DatasetFeatureStatisticsList.FromString(path.read_bytes())
    except (OSError, DecodeError) as error:
        raise DataError(f"{path}: expected a model's training statistics, and it can't be read: {error}") from error


def measure_drift(previous: Any, current: Any, schema: Any) -> tuple[FeatureDrift, ...]:
    """How far the features moved, by name.

    Args:
        previous: statistics (``DatasetFeatureStatisticsList``) of what the model was trained on, one data set.
        current: the same of the new data.
        schema: ``schema_pb2.Schema`` with the thresholds.
    """
    before, now = _present(previous), _present(current)
    drift = [FeatureDrift(feature=name, change="appeared") for name in now - before]
    drift += [FeatureDrift(feature=name, change="disappeared") for name in before - now]
    measuring, thresholds = _measuring(schema)
    result = tfdv.validate_statistics(current, measuring, previous_statistics=previous)
    for info in result.drift_skew_info:
        name = ".".join(info.path.step)
        if name not in before & now:
            continue
        for measurement in info.drift_measurements:
            kind: str = _anomalies.DriftSkewInfo.Measurement.Type.Name(measurement.type)
            measure = _MEASURES.get(kind) or kind.lower()
            threshold = thresholds.get((name, measure))
            drift.append(FeatureDrift(feature=name, measure=measure, distance=measurement.value, threshold=threshold))
    return tuple(sorted(drift, key=lambda each: (each.feature, each.measure)))


def _present(statistics: Any) -> set[str]:
    """The features that have values at all."""
    (dataset,) = statistics.datasets
    found = set()
    for feature in dataset.features:
        kind = feature.WhichOneof("stats")
        if kind is not None and getattr(feature, kind).common_stats.num_non_missing:
            found.add(".".join(feature.path.step) or feature.name)
    return found - set(_NAMES)


def _measuring(schema: Any) -> tuple[Any, dict[tuple[str, str], float]]:
    """A schema that has every feature measured, and the thresholds that were there."""
    measuring = _schema.Schema()
    measuring.CopyFrom(schema)
    thresholds = {}
    for feature in measuring.feature:
        comparator = feature.drift_comparator
        given = [(measure, field) for measure, field in _FIELDS.items() if comparator.HasField(field)]
        for measure, field in given:
            thresholds[feature.name, measure] = getattr(comparator, field).threshold
        if feature.name in _NAMES:
            feature.ClearField("drift_comparator")
        elif not given and feature.type == _schema.BYTES:
            comparator.infinity_norm.threshold = _ANY
        elif not given:
            comparator.jensen_shannon_divergence.threshold = _ANY
    return measuring, thresholds

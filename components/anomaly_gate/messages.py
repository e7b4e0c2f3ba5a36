"""Messages for anomalies of TensorFlow Data Validation: expected, received, remedy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2

from noisy_gru.data.columns import HORIZON_PREFIXES

# Generated code, of which type checkers see nothing.
_anomalies: Any = anomalies_pb2
_schema: Any = schema_pb2

_TYPES = {"BYTES": "strings", "INT": "whole numbers", "FLOAT": "floating-point numbers"}
_SHOWN = 10


@dataclass(frozen=True)
class Anomaly:
    """An anomaly of a feature in a split."""

    split: str
    feature: str
    expected: str
    found: str
    advice: str

    def line(self) -> str:
        """Return the finding as one line of text."""
        return f"expected {self.expected}; found: {self.found} -> {self.advice}"


def split_anomalies(split: str, anomalies: Any) -> Iterator[Anomaly]:
    """Yield the anomalies of a split, feature by feature.

    The schema that was checked against travels in ``anomalies.baseline``.
    """
    schema = anomalies.baseline
    features = {feature.name: feature for feature in schema.feature}
    for key, info in sorted(anomalies.anomaly_info.items()):
        name = ".".join(info.path.step) or key
        feature = features.get(name, _schema.Feature(name=name))
        for reason in info.reason or [info]:
            expected, advice = _expected(_kind(reason), feature, schema)
            found = (reason.description or reason.short_description or "an anomaly without a description").strip()
            yield Anomaly(split, name, expected, found.rstrip("."), advice)
    if anomalies.HasField("dataset_anomaly_info"):
        info = anomalies.dataset_anomaly_info
        for reason in info.reason or [info]:
            advice = "check that the files are complete, or change the bounds on the number of examples in the schema"
            yield Anomaly(split, "(the whole split)", "a number of examples in bounds", reason.description, advice)
    if anomalies.data_missing:
        advice = "check data.files and splits: no sequence reached this split"
        yield Anomaly(split, "(the whole split)", "at least one sequence", "no data", advice)


def explain(found: Iterable[Anomaly]) -> str:
    """Format anomalies as text: grouped by feature, equal ones of several splits together."""
    grouped: dict[str, dict[str, list[str]]] = {}
    for finding in found:
        grouped.setdefault(finding.feature, {}).setdefault(finding.line(), []).append(finding.split)
    lines = []
    for feature, entries in grouped.items():
        lines.append(f"  {feature}")
        for line, splits in entries.items():
            lines.append(f"    in {', '.join(splits)}: {line}")
    return "\n".join(lines)


def _kind(reason: Any) -> str:
    if isinstance(reason, _anomalies.AnomalyInfo):
        return "UNKNOWN_TYPE"
    return _anomalies.AnomalyInfo.Type.Name(reason.type)


def _number(value: float) -> str:
    return f"{value:g}"


def _bounds(domain: Any) -> str:
    low = _number(domain.min) if domain.HasField("min") else None
    high = _number(domain.max) if domain.HasField("max") else None
    if low is not None and high is not None:
        return f"values from {low} to {high}"
    return f"values of at least {low}" if low is not None else f"values of at most {high}"


def _value_count(feature: Any) -> str:
    if feature.HasField("shape"):
        return f"always {' x '.join(str(dim.size) for dim in feature.shape.dim) or '1'} values"
    count = feature.value_count
    low = str(count.min) if count.HasField("min") else "any number of"
    if count.HasField("max") and count.max == count.min:
        return f"exactly {count.max} values in each sequence"
    return f"{low} to {count.max} values in each sequence" if count.HasField("max") else f"at least {low} values each"


def _presence(feature: Any) -> str:
    fraction = feature.presence.min_fraction
    where = "every sequence" if fraction >= 1 else f"at least {fraction:.1%} of the sequences"
    if feature.presence.min_count > 1:
        where += f", and in {feature.presence.min_count} of them or more"
    return f"the column in {where}"


def _strings(feature: Any, schema: Any) -> str:
    domains: Mapping[str, Any] = {domain.name: domain for domain in schema.string_domain}
    domain = feature.string_domain if feature.HasField("string_domain") else domains.get(feature.domain)
    if domain is None or not domain.value:
        return "values of its domain"
    values = ", ".join(domain.value[:_SHOWN])
    more = len(domain.value) - _SHOWN
    return f"one of {values}{f' and {more} more' if more > 0 else ''}"


def _expected(kind: str, feature: Any, schema: Any) -> tuple[str, str]:
    """Return what the schema expects, and what to do, for a kind of anomaly."""
    if kind in ("SCHEMA_MISSING_COLUMN", "FEATURE_TYPE_NOT_PRESENT"):
        return _presence(feature), "add the column to the data, or take it out of the schema and of data.features"
    if kind in ("FEATURE_TYPE_LOW_FRACTION_PRESENT", "FEATURE_TYPE_LOW_NUMBER_PRESENT"):
        return _presence(feature), "complete the data, or lower `presence` in the schema"
    if kind == "SCHEMA_NEW_COLUMN":
        return "no such column", "add the feature to the schema, or leave the column out of the data"
    if kind in ("FEATURE_TYPE_LOW_NUMBER_VALUES", "FEATURE_TYPE_NO_VALUES", "FEATURE_TYPE_HIGH_NUMBER_VALUES"):
        advice = "change data.min_length or data.max_length; for a forecast, input_length and horizons give the lengths"
        return _value_count(feature), advice
    if kind in ("INVALID_FEATURE_SHAPE", "FEATURE_TYPE_UNEXPECTED_REPEATED"):
        return _value_count(feature), "correct the data, or the lengths in the configuration"
    if kind == "FLOAT_TYPE_HAS_NAN":
        advice = "set data.policies.missing_value, or take disallow_nan out of the schema if the model may see gaps"
        return "no missing values (NaN)", advice
    if kind == "FLOAT_TYPE_HAS_INF":
        return "no infinite values", "set data.policies.infinite_value, or correct the data"
    if kind in ("FLOAT_TYPE_BIG_FLOAT", "FLOAT_TYPE_SMALL_FLOAT"):
        # A target or baseline without an entry of its own has the domain of its column.
        column = feature.name.partition("/")[2] if feature.name.startswith(HORIZON_PREFIXES) else ""
        owner = f" of {column}" if column else ""
        advice = f"correct the values (a changed unit?), or widen float_domain{owner} in the schema"
        return _bounds(feature.float_domain), advice
    if kind in ("INT_TYPE_BIG_INT", "INT_TYPE_SMALL_INT"):
        return _bounds(feature.int_domain), "correct the values, or widen int_domain in the schema"
    if kind == "ENUM_TYPE_UNEXPECTED_STRING_VALUES":
        advice = "correct the values, or add them to the string domain (or set min_domain_mass) in the schema"
        return _strings(feature, schema), advice
    if kind == "UNEXPECTED_DATA_TYPE" or "_NOT_" in kind or kind.endswith("_EXPECTED"):
        wanted = _TYPES.get(_schema.FeatureType.Name(feature.type), "another type")
        return wanted, "correct the column, or its type in the schema and its kind in data.features"
    if kind.startswith("COMPARATOR_"):
        return "values distributed as before", "look at the statistics of both; if the change is right, raise the bound"
    if "UNIQUE" in kind:
        return "a number of distinct values in bounds", "correct the data, or change unique_constraints in the schema"
    return "data as in the schema", f"compare the feature with the schema (anomaly {kind})"

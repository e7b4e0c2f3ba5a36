"""Anomalies in words."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2

from noisy_gru.components.anomaly_gate.messages import explain, split_anomalies

_proto: Any = anomalies_pb2

SCHEMA = """
  feature { name: "temp" type: FLOAT presence { min_fraction: 1 } value_count { min: 2 max: 29 }
            float_domain { min: -40 max: 130 disallow_nan: true } }
  feature { name: "hour" type: INT int_domain { min: 0 max: 23 } presence { min_fraction: 0.5 min_count: 10 } }
  feature { name: "origin" type: BYTES domain: "airports" }
  feature { name: "fixed" type: FLOAT value_count { min: 3 max: 3 } }
  string_domain { name: "airports" value: "EWR" value: "JFK" value: "LGA" }
"""


def anomalies(feature: str, kind: str, description: str = "as TFDV says.") -> Any:
    return text_format.Parse(
        f"""
        anomaly_info {{
          key: "{feature}"
          value {{
            path {{ step: "{feature}" }} severity: ERROR short_description: "short" description: "{description}"
            reason {{ type: {kind} short_description: "short" description: "{description}" }}
          }}
        }}
        baseline {{ {SCHEMA} }}
        """,
        _proto.Anomalies(),
    )


@pytest.mark.parametrize(
    ("feature", "kind", "expected", "advice"),
    [
        ("temp", "SCHEMA_MISSING_COLUMN", "the column in every sequence", "add the column"),
        ("hour", "FEATURE_TYPE_LOW_FRACTION_PRESENT", "50.0% of the sequences, and in 10 of them", "lower `presence`"),
        ("other", "SCHEMA_NEW_COLUMN", "no such column", "add the feature to the schema"),
        ("temp", "FEATURE_TYPE_HIGH_NUMBER_VALUES", "2 to 29 values in each sequence", "data.max_length"),
        ("fixed", "FEATURE_TYPE_LOW_NUMBER_VALUES", "exactly 3 values in each sequence", "data.min_length"),
        ("temp", "FLOAT_TYPE_HAS_NAN", "no missing values", "data.policies.missing_value"),
        ("temp", "FLOAT_TYPE_HAS_INF", "no infinite values", "data.policies.infinite_value"),
        ("temp", "FLOAT_TYPE_BIG_FLOAT", "values from -40 to 130", "widen float_domain"),
        ("target/temp", "FLOAT_TYPE_BIG_FLOAT", "values", "widen float_domain of temp"),
        ("hour", "INT_TYPE_SMALL_INT", "values from 0 to 23", "widen int_domain"),
        ("origin", "ENUM_TYPE_UNEXPECTED_STRING_VALUES", "one of EWR, JFK, LGA", "string domain"),
        ("hour", "UNEXPECTED_DATA_TYPE", "whole numbers", "correct the column"),
        ("temp", "COMPARATOR_L_INFTY_HIGH", "distributed as before", "raise the bound"),
        ("temp", "MAX_IMAGE_BYTE_SIZE_EXCEEDED", "as in the schema", "MAX_IMAGE_BYTE_SIZE_EXCEEDED"),
    ],
)
def test_each_kind_says_what_is_expected_and_what_to_do(feature: str, kind: str, expected: str, advice: str) -> None:
    (finding,) = split_anomalies("train", anomalies(feature, kind))
    assert (finding.split, finding.feature, finding.found) == ("train", feature, "as TFDV says")
    assert expected in finding.expected
    assert advice in finding.advice


def test_every_reason_of_a_feature_is_told() -> None:
    both = anomalies("temp", "FLOAT_TYPE_HAS_NAN")
    both.anomaly_info["temp"].reason.add(type=_proto.AnomalyInfo.FLOAT_TYPE_BIG_FLOAT, description="too big")
    assert len(list(split_anomalies("eval", both))) == 2


def test_a_split_without_data_is_told() -> None:
    (finding,) = split_anomalies("test", _proto.Anomalies(data_missing=True))
    assert finding.expected == "at least one sequence"


def test_the_page_groups_by_feature_and_joins_splits() -> None:
    same = [*split_anomalies("train", anomalies("temp", "FLOAT_TYPE_HAS_NAN"))]
    same += split_anomalies("test", anomalies("temp", "FLOAT_TYPE_HAS_NAN"))
    same += split_anomalies("test", anomalies("hour", "INT_TYPE_BIG_INT"))
    page = explain(same)
    assert (
        page.index("  temp\n") < page.index("    in train, test: expected no missing values") < page.index("  hour\n")
    )
    assert page.count("expected") == 2


def test_no_anomalies_no_findings() -> None:
    assert list(split_anomalies("train", _proto.Anomalies())) == []

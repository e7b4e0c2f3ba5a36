"""The configuration gives columns, types and lengths; the curated schema gives values. Neither is repeated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.derivation import Derivation, check_schema, derive, derive_schema, schema_text
from noisy_gru.schema.errors import ConfigError

PUMPS = {
    "data": {
        "files": ["x.csv"],
        "entity": "pump",
        "time": {"column": "t"},
        "features": ["pressure", {"name": "mode", "kind": "categorical"}],
        "min_length": 3,
        "max_length": 40,
    },
    "task": {"kind": "classification", "label": "outcome"},
}
LOADS = {
    "data": {
        "files": ["x.csv"],
        "entity": "site",
        "time": {"column": "t", "kind": "timestamp"},
        "features": ["load", {"name": "price", "known_in_advance": True}, {"calendar": "hour_of_day"}],
    },
    "task": {
        "kind": "forecasting",
        "targets": ["load", "unread"],
        "input_length": 48,
        "horizons": [1, 3],
        "season_length": 24,
    },
}


def parsed(text: str) -> Any:
    return text_format.Parse(text, schema_pb2.Schema())


def derived(text: str, content: dict[str, Any]) -> Derivation:
    return derive(parsed(text), DatasetConfig.model_validate(content))


def by_name(derivation: Derivation) -> dict[str, Any]:
    return {feature.name: feature for feature in derivation.schema.feature}


def kind(feature: Any) -> str:
    return schema_pb2.FeatureType.Name(feature.type)


def test_lengths_types_and_environments_of_a_forecast_come_from_the_configuration():
    found = by_name(derived("", LOADS))
    assert {name: (kind(each), each.value_count.min, each.value_count.max) for name, each in found.items()} == {
        "load": ("FLOAT", 48, 48),
        "price": ("FLOAT", 51, 51),  # known up to the furthest horizon
        "hour_of_day_sin": ("FLOAT", 48, 48),
        "hour_of_day_cos": ("FLOAT", 48, 48),
        "sequence_id": ("BYTES", 1, 1),
        "steps": ("INT", 1, 1),
        "target/load": ("FLOAT", 2, 2),
        "naive_last/load": ("FLOAT", 2, 2),
        "naive_seasonal/load": ("FLOAT", 2, 2),
        "target/unread": ("FLOAT", 2, 2),
        "naive_last/unread": ("FLOAT", 2, 2),
        "naive_seasonal/unread": ("FLOAT", 2, 2),
    }
    features = {name for name, each in found.items() if "SERVING" not in each.not_in_environment}
    assert features == {"load", "price", "hour_of_day_sin", "hour_of_day_cos"}
    assert (found["steps"].int_domain.min, found["steps"].int_domain.max) == (48, 48)
    sine = found["hour_of_day_sin"].float_domain
    assert (sine.min, sine.max, sine.disallow_nan) == (-1, 1, True)
    assert not found["load"].WhichOneof("domain_info")


def test_what_passed_is_no_column_of_the_data_and_may_be_missing():
    features = [*LOADS["data"]["features"], {"elapsed": "seconds_since_last"}]
    features.append({"elapsed": "steps_since_observed", "column": "load"})
    derivation = derived("", {**LOADS, "data": {**LOADS["data"], "features": features}})
    found = by_name(derivation)
    for name in ("seconds_since_last", "steps_since_observed_load"):
        domain = found[name].float_domain
        assert (domain.min, domain.HasField("max"), domain.disallow_nan, domain.disallow_inf) == (0, False, False, True)
        assert (found[name].value_count.min, found[name].value_count.max) == (48, 48)
        assert "SERVING" not in found[name].not_in_environment
        assert name not in derivation.unbounded


def test_lengths_of_whole_sequences_are_those_of_the_data():
    found = by_name(derived("", PUMPS))
    assert {name: (kind(each), each.value_count.min, each.value_count.max) for name, each in found.items()} == {
        "pressure": ("FLOAT", 3, 40),
        "mode": ("BYTES", 3, 40),
        "outcome": ("BYTES", 1, 1),
        "sequence_id": ("BYTES", 1, 1),
        "steps": ("INT", 1, 1),
    }
    assert (found["steps"].int_domain.min, found["steps"].int_domain.max) == (3, 40)


@pytest.mark.parametrize("content", [PUMPS, LOADS])
def test_a_static_feature_has_one_value_whatever_the_lengths(content):
    static = [{"name": "age", "static": True}, {"name": "site kind", "kind": "categorical", "static": True}]
    data = {**content["data"], "features": [*content["data"]["features"], *static]}
    text = 'feature { name: "age" float_domain { max: 99 } } feature { name: "site kind" value_count { min: 3 } }'
    derivation = derived(text, {**content, "data": data})
    found = by_name(derivation)
    for name, type_name in (("age", "FLOAT"), ("site kind", "BYTES")):
        entry = found[name]
        assert (kind(entry), entry.value_count.min, entry.value_count.max) == (type_name, 1, 1)
        assert "SERVING" not in entry.not_in_environment
    assert found["age"].float_domain.max == 99
    assert [str(each) for each in derivation.overruled] == ["site kind has 1 value, not 3 to any number"]


def test_targets_and_baselines_take_the_domain_of_their_column():
    derivation = derived(
        'feature { name: "load" float_domain { min: 0 max: 9 disallow_nan: true } }'
        'feature { name: "unread" type: INT int_domain { min: -2 max: 2 } }',
        LOADS,
    )
    found = by_name(derivation)
    assert "unread" not in found
    for name in ("target/load", "naive_last/load", "naive_seasonal/load"):
        domain = found[name].float_domain
        # NaN: a window without a value a season before.
        assert (domain.min, domain.max, domain.disallow_nan) == (0, 9, False)
    assert found["load"].float_domain.disallow_nan
    assert (found["target/unread"].float_domain.min, found["target/unread"].float_domain.max) == (-2, 2)
    assert derivation.gone == []
    assert derivation.unbounded == ["price"]


def test_a_domain_of_the_target_itself_is_kept():
    text = 'feature { name: "load" float_domain { max: 9 } } feature { name: "target/load" float_domain { max: 7 } }'
    found = by_name(derived(text, LOADS))
    assert (found["target/load"].float_domain.max, found["naive_last/load"].float_domain.max) == (7, 9)


@pytest.mark.parametrize("policy", ["mask", "error", "quarantine", "drop"])
def test_a_masked_target_may_be_nan_whatever_the_curated_schema_says(policy: str):
    text = 'feature { name: "target/load" float_domain { max: 7 disallow_nan: true disallow_inf: true } }'
    data = {**LOADS["data"], "policies": {"missing_target": policy}}
    derivation = derived(text, {**LOADS, "data": data})
    domain = by_name(derivation)["target/load"].float_domain
    assert (domain.max, domain.disallow_nan, domain.disallow_inf) == (7, policy != "mask", True)
    assert [str(each) for each in derivation.overruled] == (
        ["target/load may be NaN, a missing target, by data.policies.missing_target: mask (error refuses it)"]
        if policy == "mask"
        else []
    )


def test_what_is_curated_of_values_is_kept():
    text = """
    string_domain { name: "modes" value: "a" value: "b" }
    feature {
      name: "mode" domain: "modes" presence { min_fraction: 0.5 } distribution_constraints { min_domain_mass: 0.9 }
      skew_comparator { infinity_norm { threshold: 0.1 } } lifecycle_stage: BETA
    }
    feature { name: "pressure" unique_constraints { min: 3 } }
    default_environment: "TRAINING" default_environment: "OTHER"
    """
    schema = derive_schema(parsed(text), DatasetConfig.model_validate(PUMPS))
    mode, pressure = schema.feature[1], schema.feature[0]
    assert mode.domain == "modes"
    assert schema.string_domain[0].value == ["a", "b"]
    assert (mode.presence.min_fraction, mode.presence.min_count) == (0.5, 0)
    assert mode.distribution_constraints.min_domain_mass == 0.9
    assert mode.skew_comparator.infinity_norm.threshold == 0.1
    assert mode.lifecycle_stage == schema_pb2.BETA
    assert pressure.unique_constraints.min == 3
    assert schema.default_environment == ["TRAINING", "OTHER", "SERVING"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ('"pressure" value_count { min: 24 max: 24 }', "pressure has 3 to 40 values, not 24"),
        ('"pressure" value_count { min: 4 }', "pressure has 3 to 40 values, not 4 to any number"),
        ('"pressure" shape { dim { size: 24 } }', "pressure has 3 to 40 values, not 24"),
        ('"outcome" value_count { min: 0 max: 2 }', "outcome has 1 value, not 0 to 2"),
        ('"pressure" type: BYTES', "pressure has type BYTES, but is a numeric feature (FLOAT)"),
        (
            '"pressure" string_domain { value: "a" }',
            "pressure has a string_domain, which bounds no values of type FLOAT",
        ),
        ('"mode" not_in_environment: "SERVING"', "mode is a feature, so a request has it"),
        ('"mode" lifecycle_stage: DEPRECATED', "mode is DEPRECATED, but the configuration uses it"),
        ('"mode" deprecated: true', "mode is deprecated, but the configuration uses it"),
    ],
)
def test_the_configuration_decides_and_the_contradiction_is_noted(entry, message):
    derivation = derived(f"feature {{ name: {entry} }}", PUMPS)
    (overruled,) = derivation.overruled
    assert str(overruled).startswith(message)
    assert derivation.problems == []
    assert any(str(overruled) in note for note in derivation.notes)
    # The entry has no trace in the result but for what it says of values, which is nothing here.
    name = entry.split('"')[1]
    assert by_name(derivation)[name] == by_name(derived("", PUMPS))[name]


def test_lengths_that_agree_need_no_note():
    text = 'feature { name: "pressure" value_count { min: 3 max: 40 } }'
    assert derived(text, PUMPS).overruled == []


def test_columns_without_an_entry_and_entries_without_a_column_are_noted():
    derivation = derived(
        'feature { name: "pressure" } feature { name: "flow" presence { min_count: 1 } }'
        'feature { name: "later" lifecycle_stage: PLANNED }',
        PUMPS,
    )
    assert (derivation.unbounded, derivation.gone) == (["mode", "outcome"], ["flow"])
    first, second = derivation.notes
    assert first.startswith("values of mode, outcome are not bounded: no entry in the schema")
    assert second.startswith("flow: not in the configuration, so ignored")
    assert {"flow", "later"}.isdisjoint(by_name(derivation))


@pytest.mark.parametrize(
    ("column", "entry", "misspelt"),
    [
        *[("pressure", other, True) for other in ("presure", "pressuree", "perssure", "prezsure", "Pressure")],
        ("tank_pressure", "tank_presure", True),
        ("température", "temperature", True),
        *[("lag_1", other, False) for other in ("lag_2", "lag_12", "lag1")],
        *[("tank_a", other, False) for other in ("tank_b", "task_a", "tank")],
        *[("temp_min", other, False) for other in ("temp_max", "temp", "temp_mean")],
        ("pressure", "flow", False),
    ],
)
def test_a_slip_of_the_pen_is_told_from_another_column(column, entry, misspelt):
    content = {**PUMPS, "data": {**PUMPS["data"], "features": [column, "other"]}}
    derivation = derived(f'feature {{ name: "{entry}" }} feature {{ name: "other" }}', content)
    assert bool(derivation.problems) == misspelt
    if misspelt:
        assert f"{column}: not in the schema" in derivation.problems[0]
        assert f"did you mean {entry}?" in derivation.problems[0]


def test_an_entry_that_stands_twice_is_a_problem():
    derivation = derived('feature { name: "mode" } feature { name: "mode" }', PUMPS)
    assert derivation.problems == ["mode: stands 2 times in the schema; keep one entry"]


def test_the_schema_of_another_data_set_is_a_problem(tmp_path: Path):
    path = tmp_path / "schema.pbtxt"
    path.write_text('feature { name: "speed" } feature { name: "steps" }')
    with pytest.raises(ConfigError, match=r"pressure, mode, outcome\), found only others: speed\. Is it the schema of"):
        check_schema(path, DatasetConfig.model_validate(PUMPS))


@pytest.mark.parametrize("content", [PUMPS, LOADS])
def test_deriving_from_what_was_derived_changes_nothing(content):
    text = 'feature { name: "load" float_domain { max: 9 } } feature { name: "mode" type: INT }'
    first = derived(text, content)
    again = derive(parsed(schema_text(first.schema)), DatasetConfig.model_validate(content))
    assert schema_text(again.schema) == schema_text(first.schema)
    assert again.notes == []


def test_what_calendars_may_be_follows_from_the_configuration():
    calendars = [
        {"calendar": "week_of_year"},
        {"calendar": "month_of_year", "encoding": "category", "known_in_advance": True},
        {"calendar": "weekend"},
        {"calendar": "holiday", "country": "DE", "subdivision": "BY", "known_in_advance": True},
    ]
    found = by_name(derived("", {**LOADS, "data": {**LOADS["data"], "features": ["load", *calendars]}}))
    week, month = found["week_of_year_cos"], found["month_of_year"]
    assert (kind(week), week.float_domain.min, week.float_domain.max) == ("FLOAT", -1, 1)
    assert kind(month) == "BYTES"
    assert list(month.string_domain.value) == [str(number) for number in range(1, 13)]
    assert (month.value_count.min, month.value_count.max) == (51, 51)
    assert week.value_count.max == found["weekend"].value_count.max == 48
    for name in ("weekend", "holiday_DE_BY"):
        assert (found[name].float_domain.min, found[name].float_domain.max) == (0, 1)
    assert derived("", {**LOADS, "data": {**LOADS["data"], "features": ["load", *calendars]}}).unbounded == [
        "load",
        "unread",
    ]

"""A curated schema is read and compared with the configuration; what does not fit is said in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import ConfigError
from noisy_gru.schema.loading import check_schema, expected_columns, load_schema

CONTENT = {
    "data": {
        "files": ["x.csv"],
        "entity": "pump",
        "time": {"column": "t"},
        "features": ["pressure", {"name": "mode", "kind": "categorical"}],
    },
    "task": {"kind": "classification", "label": "outcome"},
}


def dataset(**task) -> DatasetConfig:
    return DatasetConfig.model_validate(CONTENT | ({"task": task} if task else {}))


def feature(name: str, kind: str, rest: str = "") -> str:
    return f'feature {{ name: "{name}" type: {kind} presence {{ min_fraction: 1.0 }} {rest} }}\n'


GOOD = (
    feature("pressure", "FLOAT")
    + feature("mode", "BYTES")
    + feature("outcome", "BYTES", 'not_in_environment: "SERVING"')
    + feature("sequence_id", "BYTES")
    + feature("steps", "INT")
)


@pytest.fixture
def write(tmp_path: Path):
    def _write(text: str) -> Path:
        path = tmp_path / "schema.pbtxt"
        path.write_text(text)
        return path

    return _write


def test_a_schema_that_fits(write):
    assert [each.name for each in check_schema(write(GOOD), dataset()).feature][:2] == ["pressure", "mode"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            GOOD.replace('"pressure"', '"presure"'),
            "pressure: not in the schema (numeric feature, expected type: FLOAT); did you mean presure?",
        ),
        (GOOD.replace('"pressure"', '"presure"'), "presure: required by the schema, but no key of a sequence"),
        (
            GOOD.replace('"mode" type: BYTES', '"mode" type: INT'),
            "mode: expected type: BYTES (categorical feature), received type: INT",
        ),
        (GOOD + feature("flow", "FLOAT"), "flow: required by the schema, but no key"),
        (
            GOOD.replace('"pressure" type: FLOAT', '"pressure" type: FLOAT not_in_environment: "SERVING"'),
            "pressure: is a feature, so a request must have it",
        ),
        (GOOD.replace('name: "steps"', 'name: "steps" lifecycle_stage: DEPRECATED'), "steps: not in the schema"),
    ],
)
def test_what_does_not_fit(write, text, told):
    path = write(text)
    with pytest.raises(ConfigError) as error:
        check_schema(path, dataset())
    assert str(error.value).startswith(f"{path}: ")
    assert told in str(error.value)


def test_a_column_that_is_not_required_may_be_there(write):
    check_schema(write(GOOD + 'feature { name: "flow" type: FLOAT }'), dataset())


def test_the_keys_of_each_task():
    def keys(**task):
        return {column.name: column.type for column in expected_columns(dataset(**task)) if not column.is_feature}

    common = {"sequence_id": "BYTES", "steps": "INT"}
    assert keys() == common | {"outcome": "BYTES"}
    assert keys(kind="regression", label="lifetime") == common | {"lifetime": "FLOAT"}
    forecasting = {"kind": "forecasting", "targets": ["pressure"], "input_length": 3, "horizons": [1]}
    assert keys(**forecasting) == common | {"target/pressure": "FLOAT", "naive_last/pressure": "FLOAT"}
    assert "naive_seasonal/pressure" in keys(**forecasting, season_length=2)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("feature {\n name: 3\n}", "line 2: not a TensorFlow Metadata schema"),
        ("feature {", "not a TensorFlow Metadata"),
    ],
)
def test_not_a_schema(write, text, told):
    with pytest.raises(ConfigError, match=told):
        load_schema(write(text))


def test_no_file(tmp_path):
    with pytest.raises(ConfigError, match=r"no\.pbtxt: the schema can't be read: No such file"):
        load_schema(tmp_path / "no.pbtxt")

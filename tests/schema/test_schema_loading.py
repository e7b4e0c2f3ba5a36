"""A curated schema is read, and the keys of a sequence follow from the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import ConfigError
from noisy_gru.schema.loading import expected_columns, load_schema

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


@pytest.fixture
def write(tmp_path: Path):
    def _write(text: str) -> Path:
        path = tmp_path / "schema.pbtxt"
        path.write_text(text)
        return path

    return _write


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
    ("text", "message"),
    [
        ("feature {\n name: 3\n}", "line 2: not a TensorFlow Metadata schema"),
        ("feature {", "not a TensorFlow Metadata"),
    ],
)
def test_not_a_schema(write, text, message):
    with pytest.raises(ConfigError, match=message):
        load_schema(write(text))


def test_no_file(tmp_path):
    with pytest.raises(ConfigError, match=r"no\.pbtxt: the schema can't be read: No such file"):
        load_schema(tmp_path / "no.pbtxt")

"""What is derived fits what ingestion writes, whatever is edited in a configuration: TFDV validates the examples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from google.protobuf import text_format
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tensorflow_metadata.proto.v0 import schema_pb2

from noisy_gru.data.reading.tables import Source
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.derivation import SERVING, derive
from noisy_gru.schema.errors import ConfigError

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # of TFX and TFDV

# As `init` wrote it when input_length was 24 and horizons were [6]; the gaps give NaN.
DRAFT = """
feature { name: "load" type: FLOAT value_count { min: 24 max: 24 } float_domain { min: 0 max: 99 disallow_inf: true } }
feature { name: "price" float_domain { min: 0 max: 99 disallow_inf: true } }
feature { name: "site" type: BYTES value_count { min: 24 max: 24 } string_domain { value: "a" value: "b" value: "" } }
feature { name: "hour_of_day_sin" type: FLOAT value_count { min: 24 max: 24 } float_domain { min: -2 max: 2 } }
feature { name: "sequence_id" type: BYTES value_count { min: 1 max: 1 } not_in_environment: "SERVING" }
feature { name: "steps" type: INT value_count { min: 1 max: 1 } int_domain { min: 24 max: 24 } }
feature {
  name: "target/load" type: FLOAT value_count { min: 1 max: 1 } float_domain { min: 0 max: 99 }
  not_in_environment: "SERVING"
}
feature { name: "label" type: BYTES string_domain { value: "up" value: "down" } }
"""
FEATURES = [
    "load",
    "price",
    "wind",
    {"name": "price", "known_in_advance": True},
    {"name": "site", "kind": "categorical"},
    {"calendar": "hour_of_day"},
    {"calendar": "day_of_year"},
]


@st.composite
def datasets(draw) -> dict[str, Any]:
    features = draw(st.lists(st.sampled_from(FEATURES), min_size=1, max_size=5))
    time = {"column": "time", "kind": "timestamp", "frequency": "1h", "gaps": draw(st.sampled_from(["fill", "ignore"]))}
    data = {"files": ["x.csv"], "entity": "site", "time": time, "features": features}
    if draw(st.booleans()):
        data |= {"min_length": draw(st.integers(1, 20)), "max_length": draw(st.integers(20, 90))}
        label = draw(st.sampled_from([("classification", "label"), ("regression", "level")]))
        return {"data": data, "task": {"kind": label[0], "label": label[1]}}
    task = {
        "kind": "forecasting",
        "targets": draw(st.lists(st.sampled_from(["load", "wind"]), min_size=1, unique=True)),
        "input_length": draw(st.integers(1, 30)),
        "horizons": sorted(draw(st.sets(st.integers(1, 12), min_size=1, max_size=4))),
        "stride": draw(st.integers(1, 5)),
        "season_length": draw(st.none() | st.integers(1, 24)),
    }
    data["policies"] = {"missing_label": "drop"}
    return {"data": data, "task": task, "splits": {"by": "time"}}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    random = np.random.default_rng(0)
    frames = []
    for site in "ab":
        frame = pd.DataFrame({"time": pd.date_range("2024-01-01", periods=80, freq="h"), "site": site})
        for column in ("load", "price", "wind"):
            values = random.uniform(1, 98, 80).round(1)
            frame[column] = np.where(random.random(80) < 0.05, np.nan, values)
        frames.append(frame.assign(label="up" if site == "a" else "down", level=1.5).drop(index=[20, 21]))
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    pd.concat(frames).to_csv(path, index=False)
    return path


def anomalies(records: list[bytes], schema: Any, environment: str | None) -> dict[str, str]:
    """TFDV's findings by column, without those that a data set this small can't avoid."""
    import pyarrow as pa
    import tensorflow_data_validation as tfdv
    from tensorflow_data_validation.statistics import stats_impl
    from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

    batch = ExamplesToRecordBatchDecoder().DecodeBatch(pa.array(records, pa.binary()).to_pylist())
    statistics = stats_impl.generate_statistics_in_memory(batch)
    found = tfdv.validate_statistics(statistics, schema, environment=environment)
    return {name: info.description for name, info in found.anomaly_info.items()}


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(content=datasets())
def test_any_edit_of_a_draft_gives_a_schema_that_the_examples_fit(rows, tmp_path_factory, content):
    from noisy_gru.components.sequence_example_gen.in_process import ingest_in_process, read_examples

    try:
        dataset = DatasetConfig.model_validate(content)
    except ValidationError:
        assume(False)
        raise
    derivation = derive(text_format.Parse(DRAFT, schema_pb2.Schema()), dataset)
    assert derivation.problems == []
    folder = tmp_path_factory.mktemp("ingested")
    ingest_in_process([Source(str(rows), rows.name, "csv", "train")], dataset, folder)
    records = read_examples(folder)
    assume(records)
    assert anomalies(records, derivation.schema, None) == {}
    assert anomalies(records, derivation.schema, "TRAINING") == {}
    # The schema is not one that fits anything: a list that is too long.
    import tensorflow as tf

    example = tf.train.Example.FromString(records[0])
    name = next(iter(sorted(feature.name for feature in dataset.data.features)))
    kind = example.features.feature[name].WhichOneof("kind")
    values = getattr(example.features.feature[name], kind).value
    values.extend(list(values) * 100)
    assert name in anomalies([example.SerializeToString(deterministic=True)], derivation.schema, None)
    # A request has the features alone.
    request = tf.train.Example.FromString(records[0])
    for key in list(request.features.feature):
        if key not in {each.name for each in dataset.data.features}:
            del request.features.feature[key]
    assert anomalies([request.SerializeToString(deterministic=True)], derivation.schema, SERVING) == {}


def test_the_step_derives_and_refuses(tmp_path: Path) -> None:
    from tfx.types import standard_artifacts

    from noisy_gru.components.derived_schema_gen.executor import Executor

    content = {
        "data": {"files": ["x.csv"], "entity": "e", "time": {"column": "t"}, "features": ["pressure"]},
        "task": {"kind": "regression", "label": "life"},
    }
    schema = standard_artifacts.Schema()
    schema.uri = str(tmp_path / "out")
    curated = tmp_path / "schema.pbtxt"

    def derived(text: str | bytes) -> Any:
        curated.write_bytes(text if isinstance(text, bytes) else text.encode())
        properties = {"schema_file": str(curated), "dataset": json.dumps(content)}
        Executor().Do({}, {"schema": [schema]}, properties)
        return text_format.Parse((tmp_path / "out" / "schema.pbtxt").read_text(), schema_pb2.Schema())

    names = [feature.name for feature in derived('feature { name: "pressure" }').feature]
    assert names == ["pressure", "sequence_id", "steps", "life"]
    # As TFX's file systems read it.
    properties = {"schema_file": f"file://{curated}", "dataset": json.dumps(content)}
    Executor().Do({}, {"schema": [schema]}, properties)
    assert 'name: "life"' in (tmp_path / "out" / "schema.pbtxt").read_text()
    with pytest.raises(ConfigError, match=r"schema\.pbtxt: 1 problem in the schema\n  - pressure: not in the schema"):
        derived('feature { name: "presure" } feature { name: "life" }')
    with pytest.raises(ConfigError, match=r"schema\.pbtxt: the schema can't be read: 'utf-8' codec"):
        derived(b"\xff")
    curated.unlink()
    with pytest.raises(ConfigError, match=r"schema\.pbtxt: the schema can't be read: No such file"):
        Executor().Do({}, {"schema": [schema]}, {"schema_file": str(curated), "dataset": json.dumps(content)})

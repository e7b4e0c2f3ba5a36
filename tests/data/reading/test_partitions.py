"""Partition columns in the names of folders: what Arrow's reader of such data sets finds, in any format."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.dataset
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noisy_gru.data.arrow import pa, pa_parquet
from noisy_gru.data.ingestion.resolved_input import resolve_input
from noisy_gru.data.reading.partitions import partition_values
from noisy_gru.data.reading.reader import Reader
from noisy_gru.data.reading.tables import Source
from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.data.values.text_normalization import normalize_text
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import DataError
from noisy_gru.schema.file_patterns import local_glob

FORECAST = {"kind": "forecasting", "targets": ["x"], "input_length": 1, "horizons": [1]}
PARTITIONED: dict[str, Any] = {
    "files": ["data/**/*.parquet"],
    "entity": "shop id",
    "time": {"column": "day", "kind": "timestamp"},
    "features": ["x", {"name": "region", "kind": "categorical"}, "level"],
    "task": FORECAST,
}


def read(dataset: DatasetConfig, folder: Path, wanted: str = "latest") -> pd.DataFrame:
    resolved = resolve_input(str(folder), dataset.data, wanted, local_glob)
    reader, quarantine = Reader(dataset), Quarantine()
    tables = [
        table
        for source in resolved.sources
        for part in reader.parts(source)
        for table in reader.tables(part, quarantine)
    ]
    assert not quarantine.lines
    found = pa.concat_tables(tables).to_pandas()
    assert quarantine.report.rows_read == len(found)
    return found


names = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1, max_size=5)
names = names.filter(lambda text: text == text.strip() and not text.startswith(".") and text != "null")
# A text that spells another value (False, 07.0) has the text of that value, tested elsewhere.
names = names.filter(lambda text: normalize_text(text) == text)


regions = st.sampled_from(["EU West", "a=b", "50%", None])
days = st.dates(date(1700, 1, 1), date(2200, 1, 1))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(names, regions, days, st.integers(-5, 5), st.floats(width=32)),
        min_size=1,
        max_size=8,
    )
)
def test_columns_are_those_that_arrow_finds(
    tmp_path_factory: pytest.TempPathFactory, configured: Callable[..., DatasetConfig], rows: list[Any]
) -> None:
    folder = tmp_path_factory.mktemp("hive")
    table = pa.table(
        {
            "shop id": [row[0] for row in rows],
            "region": pa.array([row[1] for row in rows], pa.string()),
            "day": [row[2].isoformat() for row in rows],
            "level": [row[3] for row in rows],
            "x": pa.array([row[4] for row in rows], pa.float32()),
        }
    )
    keys = ["shop id", "region", "day", "level"]
    pa_parquet.write_to_dataset(table, folder / "data", partition_cols=keys, basename_template="part-{i}.parquet")
    dataset = configured(**PARTITIONED, policies={"infinite_value": "impute"})
    found = read(dataset, folder)
    schema = pa.schema([(name, pa.string()) for name in keys])
    oracle = pyarrow.dataset.dataset(
        folder / "data", partitioning=pyarrow.dataset.partitioning(schema, flavor="hive"), format="parquet"
    )
    expected = oracle.to_table().to_pandas()
    expected["x"] = expected["x"].where(np.isfinite(expected["x"]))
    expected["day"] = pd.to_datetime(expected["day"]).astype("datetime64[ns]").astype("int64")
    expected = expected.assign(level=expected["level"].astype(np.float32), region=expected["region"].fillna(""))
    renamed = {"entity": "shop id", "time": "day", "n:x": "x", "c:region": "region", "n:level": "level"}
    columns = list(renamed.values())

    def ordered(frame: pd.DataFrame) -> list[Any]:
        return sorted(map(repr, frame[columns].astype(object).where(frame[columns].notna(), None).to_numpy().tolist()))

    assert ordered(found.rename(columns=renamed)) == ordered(expected)


def test_a_span_is_a_column_too_in_files_of_any_format(
    tmp_path: Path, configured: Callable[..., DatasetConfig]
) -> None:
    for day in ("2026-01-01", "2026-01-02", "2026-01-03"):
        folder = tmp_path / f"day={day}" / "region=EU"
        folder.mkdir(parents=True)
        (folder / "rows.csv").write_text("shop,hour,x\na,06:00,1\nb,07:00,2\n")
        (folder / "rows.jsonl").write_text('{"shop": "c", "hour": "08:00", "x": 3}\n')
    dataset = configured(
        files=[f"day={{YYYY}}-{{MM}}-{{DD}}/region=EU/rows.{ending}" for ending in ("csv", "jsonl")],
        spans={"window": "rolling", "count": 2},
        entity="shop",
        time={"column": ["day", "hour"], "kind": "timestamp"},
        features=["x", {"name": "region", "kind": "categorical"}],
        task=FORECAST,
    )
    found = read(dataset, tmp_path)
    assert set(found["c:region"]) == {"EU"}
    expected = [f"2026-01-0{day} 0{hour}:00" for day in (2, 3) for hour in (6, 7, 8)]
    assert sorted(found["time"]) == pd.to_datetime(expected).astype("int64").tolist()
    assert read(dataset, tmp_path, "2026-01-02")["time"].max() == pd.Timestamp("2026-01-02 08:00").value


def test_a_column_of_the_file_itself_counts(tmp_path: Path, configured: Callable[..., DatasetConfig]) -> None:
    path = tmp_path / "x=7" / "y=q" / "rows.csv"
    path.parent.mkdir(parents=True)
    path.write_text("id,t,x\na,0,1\n")
    (table,) = Reader(configured()).tables(Source(str(path), "rows.csv", "csv"), Quarantine())
    assert table["n:x"].to_pylist() == [1]
    assert table["label"].to_pylist() == ["q"]


def test_partition_columns_of_a_wide_table(tmp_path: Path, configured: Callable[..., DatasetConfig]) -> None:
    path = tmp_path / "region=EU" / "wide.csv"
    path.parent.mkdir()
    path.write_text("day,north,south\n2026-01-01,1,2\n")
    dataset = configured(
        entity="shop",
        time={"column": "day", "kind": "timestamp"},
        layout={"kind": "wide_series", "value": "x"},
        features=["x", {"name": "region", "kind": "categorical"}],
        task=FORECAST,
    )
    (table,) = Reader(dataset).tables(Source(str(path), "wide.csv", "csv"), Quarantine())
    assert table["entity"].to_pylist() == ["north", "south"]
    assert table["c:region"].to_pylist() == ["EU", "EU"]


def test_two_values_of_a_column_are_an_error() -> None:
    assert partition_values("gs://b/a=1/a=1/x.csv") == {"a": "1"}
    with pytest.raises(DataError, match="expected one value of a in the folders' names, received two"):
        partition_values("a=1/b/a=2/x.csv")

"""Queries as data: DuckDB's own files, Parquet and SQLite, against what pandas and sqlite3 hold."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from noisy_gru.data.ingestion.resolved_input import ResolvedInput, resolve_input
from noisy_gru.data.ingestion.spans import LATEST
from noisy_gru.data.reading.file_hashes import hash_files
from noisy_gru.data.reading.sql_query import newest_result, query_columns, query_result
from noisy_gru.data.requests.prediction_input import read_sources
from noisy_gru.pipeline.config.checks import check_config
from noisy_gru.pipeline.config.loading import load_config
from noisy_gru.schema.config import DataConfig, DatasetConfig, SqlConfig
from noisy_gru.schema.errors import ConfigError, DataError, UserError
from noisy_gru.schema.file_patterns import local_glob
from noisy_gru.serving.client.requests import sources_of
from noisy_gru.storage.object_stores import open_file


def table() -> pd.DataFrame:
    days = pd.date_range("2026-01-01", periods=12)
    parts = [pd.DataFrame({"shop": shop, "day": days, "units": np.arange(12) * 1.5}) for shop in ("north", "süd")]
    return pd.concat(parts, ignore_index=True).sample(frac=1, random_state=3)


def sqlite_file(folder: Path) -> Path:
    path = folder / "shop.sqlite"
    connection = sqlite3.connect(path)
    frame = table().assign(day=lambda rows: rows["day"].dt.strftime("%Y-%m-%d"))
    frame.to_sql("sales", connection, index=False)
    connection.close()
    return path


def duckdb_file(folder: Path) -> Path:
    duckdb = pytest.importorskip("duckdb", reason="needs the extra [sql]")
    path = folder / "shop.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.register("frame", table())
        connection.execute(
            "CREATE TABLE sales AS SELECT shop, day::DATE AS day, units::DECIMAL(9, 2) AS units FROM frame"
        )
    return path


MAKERS = {"sqlite": sqlite_file, "duckdb": duckdb_file}


def section(connection: str, folder: Path, **others: Any) -> SqlConfig:
    given = {"query": "SELECT shop, day, units FROM sales", "results": str(folder / "results"), **others}
    return SqlConfig(connection=connection, **given)


def dataset(sql: SqlConfig) -> DatasetConfig:
    return DatasetConfig.model_validate(
        {
            "data": {
                "sql": sql.model_dump(),
                "entity": "shop",
                "time": {"column": "day", "kind": "timestamp", "frequency": "1D", "gaps": "fill"},
                "features": ["units"],
            },
            "task": {"kind": "forecasting", "targets": ["units"], "input_length": 4, "horizons": [1]},
            "splits": {"by": "time"},
        }
    )


def execute(scheme: str, path: Path, statement: str) -> None:
    if scheme == "duckdb":
        with pytest.importorskip("duckdb").connect(str(path)) as connection:
            connection.execute(statement)
        return
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement)
    connection.close()


@pytest.mark.parametrize("scheme", MAKERS)
def test_a_result_is_read_as_the_same_rows_of_a_file(scheme, tmp_path):
    path = MAKERS[scheme](tmp_path)
    config = dataset(section(f"{scheme}:{path}", tmp_path))
    resolved = resolve_input("", config.data, LATEST, local_glob)
    found = read_sources(resolved.sources, config)
    table().to_csv(tmp_path / "rows.csv", index=False)
    wanted = read_sources(sources_of(tmp_path / "rows.csv", config), config)
    # Rows of a result are sorted.
    assert sorted(zip(found.ids, found.examples, strict=True)) == sorted(zip(wanted.ids, wanted.examples, strict=True))
    assert found.report.rows_kept == 24
    base = str(tmp_path / "results")
    assert ResolvedInput.from_json(resolved.to_json(), base, config.data) == resolved
    assert resolved.sources[0].name.startswith("query-")


@pytest.mark.parametrize("scheme", MAKERS)
def test_the_fingerprint_goes_by_the_rows(scheme, tmp_path):
    """New rows are another file; the same rows in another order, or the same query again, are not."""
    path = MAKERS[scheme](tmp_path)
    sql = section(f"{scheme}:{path}", tmp_path)

    def fingerprint() -> str:
        resolved = resolve_input("", dataset(sql).data, LATEST, local_glob)
        return resolved.fingerprint(hash_files(resolved.sources, open_file))

    first = fingerprint()
    assert fingerprint() == first
    execute(scheme, path, "CREATE TABLE other AS SELECT * FROM sales ORDER BY units DESC, shop")
    execute(scheme, path, "DELETE FROM sales")
    execute(scheme, path, "INSERT INTO sales SELECT * FROM other")
    assert fingerprint() == first
    execute(scheme, path, "INSERT INTO sales VALUES ('north', '2026-01-13', 4.5)")
    second = fingerprint()
    assert second != first
    execute(scheme, path, "UPDATE sales SET units = 99 WHERE day = '2026-01-13'")
    assert len({first, second, fingerprint()}) == 3
    assert len(list((tmp_path / "results").glob("*"))) == 3
    newest = newest_result(sql)
    assert newest is not None and pd.read_parquet(newest)["units"].astype(float).max() == 99


def test_older_results_go(tmp_path):
    path = sqlite_file(tmp_path)
    sql = section(f"sqlite:{path}", tmp_path, keep=2)
    for number in range(4):
        found = query_result(sql, sql.results, f"SELECT *, {number} AS number FROM sales")
        assert pd.read_parquet(found)["number"].tolist() == [number] * 24
    left = list((tmp_path / "results").iterdir())
    assert len(left) == 2 and found in left


def test_parquet_and_statements_before_the_query(tmp_path, monkeypatch):
    pytest.importorskip("duckdb", reason="needs the extra [sql]")
    table().to_parquet(tmp_path / "rows.parquet")
    query = f"SELECT shop, day, units FROM '{tmp_path}/*.parquet' WHERE shop = getvariable('one')"
    sql = section("duckdb:", tmp_path, query=query, prepare=["SET VARIABLE one = '${SHOP_NAME}'"])
    with pytest.raises(DataError, match="environment variable SHOP_NAME is not set"):
        query_result(sql, sql.results)
    monkeypatch.setenv("SHOP_NAME", "süd")
    assert set(pd.read_parquet(query_result(sql, sql.results))["shop"]) == {"süd"}
    assert query_columns(sql) == ["shop", "day", "units"]


def test_a_secret_is_in_no_message(tmp_path, monkeypatch):
    pytest.importorskip("duckdb", reason="needs the extra [sql]")
    monkeypatch.setenv("SHOP_PASSWORD", "hunter2")
    sql = section("duckdb:", tmp_path, prepare=["ATTACH 'dbname=x password=${SHOP_PASSWORD}' AS shop (TYPE nothing)"])
    with pytest.raises(DataError) as caught:
        query_columns(sql)
    chain: BaseException | None = caught.value
    assert "the query can't be run" in str(chain) and "hunter2" not in str(chain)
    assert chain.__suppress_context__


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"prepare": ["ATTACH 'host=h password=hunter2' AS a"]}, "expected no secrets"),
        ({"prepare": ["CREATE SECRET (TYPE s3, KEY_ID 'AKIA', SECRET '${S}')"]}, "expected no secrets"),
        ({"prepare": ["ATTACH 'postgres://me:hunter2@host/x' AS a"]}, "expected no secrets"),
        ({"query": " ; "}, "expected a statement"),
        ({"connection": "mysql://host/x"}, "expected duckdb:FILE"),
        ({"connection": "sqlite:"}, "expected duckdb:FILE"),
        ({"connection": "shop.db"}, "expected duckdb:FILE"),
    ],
)
def test_sections_that_are_refused(changes, problem):
    with pytest.raises(ValidationError, match=problem) as caught:
        SqlConfig(**{"connection": "duckdb:", "query": "SELECT 1", **changes})
    assert "hunter2" not in caught.value.errors()[0]["msg"]
    kept = ["ATTACH 'host=h password=${P}' AS a", "CREATE SECRET (TYPE s3, KEY_ID '${K}', SECRET '${S}')"]
    assert SqlConfig(connection="duckdb:", query="SELECT token FROM t", prepare=kept).is_duckdb


def test_a_section_beside_files():
    sql = {"connection": "duckdb:", "query": "SELECT 1"}
    columns = {"entity": "a", "time": {"column": "t"}, "features": ["x"]}
    with pytest.raises(ValidationError, match="sql takes the place of files"):
        DataConfig.model_validate({"files": ["a.csv"], "sql": sql, **columns})
    with pytest.raises(ValidationError, match="expected files, or sql with a query"):
        DataConfig.model_validate(columns)
    data = DataConfig.model_validate({"sql": sql, **columns})
    assert DataConfig.model_validate_json(data.model_dump_json()) == data
    with pytest.raises(ConfigError, match=r"data\.sql has no spans"):
        resolve_input("", data, "3", local_glob)


def test_what_fails_is_named(tmp_path):
    path = sqlite_file(tmp_path)
    with pytest.raises(DataError, match="there is no file"):
        query_columns(section(f"sqlite:{tmp_path}/none", tmp_path))
    assert not (tmp_path / "none").exists()
    for query, problem in (
        ("SELECT colour FROM sales", "no such column: colour"),
        ("DELETE FROM sales", "readonly database"),
        ("SELECT shop, shop FROM sales", "the column shop more than once"),
    ):
        sql = section(f"sqlite:{path}", tmp_path, query=query)
        with pytest.raises(DataError, match=problem):
            query_result(sql, sql.results)
    assert not list(tmp_path.glob("results/*"))
    duck = duckdb_file(tmp_path)
    for query, problem in (("SELECT nothing FROM sales", "nothing"), ("DELETE FROM sales", "read-only mode")):
        with pytest.raises(DataError, match=problem):
            query_result(section(f"duckdb:{duck}", tmp_path, query=query), tmp_path / "results")


def test_a_column_of_sqlite_that_mixes_types(tmp_path):
    path = tmp_path / "mixed.sqlite"
    execute("sqlite", path, "CREATE TABLE sales (shop, day, units)")
    execute("sqlite", path, "INSERT INTO sales VALUES (1, '2026-01-01', NULL), ('a', '2026-01-02', '2.5'), (2, 3, 4)")
    sql = section(f"sqlite:{path}", tmp_path)
    frame = pd.read_parquet(query_result(sql, sql.results))
    assert sorted(frame["shop"]) == ["1", "2", "a"]
    assert sorted(frame["units"].dropna()) == ["2.5", "4"]
    empty = section(f"sqlite:{path}", tmp_path, query="SELECT * FROM sales WHERE day = 'x'")
    assert pd.read_parquet(query_result(empty, sql.results)).columns.tolist() == ["shop", "day", "units"]


def test_validate_and_predict_by_query(tmp_path):
    sqlite_file(tmp_path)
    (tmp_path / "schema.pbtxt").write_text("")
    text = """
        name: shops
        schema: schema.pbtxt
        data:
          sql: {connection: "sqlite:shop.sqlite", query: "SELECT shop, day, units FROM sales"}
          entity: shop
          time: {column: day, kind: timestamp}
          features: [units]
        task: {kind: forecasting, targets: [units], input_length: 4, horizons: [1]}
        splits: {by: time}
    """
    (tmp_path / "config.yaml").write_text(text)
    config = load_config(tmp_path / "config.yaml")
    assert config.data.sql is not None
    assert config.data.sql.results == str(tmp_path / "query-results")
    try:
        notes = check_config(config)
    except ConfigError as error:  # the schema is empty
        assert "data.sql" not in str(error)
    else:
        assert any("a query of 3 columns" in note for note in notes)
    wrong = load_config(tmp_path / "config.yaml", ["data.sql.query=SELECT shop, day FROM sales"])
    with pytest.raises(ConfigError, match=r"data\.sql\.query: expected the column units"):
        check_config(wrong)
    (tmp_path / "new.sql").write_text("SELECT * FROM sales WHERE day > '2026-01-04'\n")
    found = read_sources(sources_of([tmp_path / "new.sql"], config.dataset), config.dataset)
    assert found.ids == ["north@2026-01-12T00:00:00Z", "süd@2026-01-12T00:00:00Z"]
    plain = config.dataset.model_copy(update={"data": config.data.model_copy(update={"sql": None})})
    with pytest.raises(UserError, match=r"needs data\.sql\.connection"):
        sources_of(tmp_path / "new.sql", plain)

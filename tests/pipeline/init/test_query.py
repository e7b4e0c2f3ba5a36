"""`noisy-gru init --query`: the draft of a query is that of the same rows in a file."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from noisy_gru.pipeline.cli.main import app
from noisy_gru.pipeline.config.checks import check_config
from noisy_gru.pipeline.config.loading import load_config


def sales() -> pd.DataFrame:
    days = pd.date_range("2024-01-01", periods=200).strftime("%Y-%m-%d")
    frames = [
        pd.DataFrame({"shop": shop, "day": days, "units": (50 + 10 * np.sin(np.arange(200) / 7 * 6.283)).round(2),
                      "open": np.arange(200) % 7 < 5})
        for shop in ("Köln", "Aix", "Bath")
    ]  # fmt: skip
    return pd.concat(frames)


@pytest.fixture
def shops(tmp_path: Path, monkeypatch: Any) -> Path:
    """A folder with the rows as a file and in databases, which is the current one."""
    monkeypatch.chdir(tmp_path)
    sales().to_csv("sales.csv", index=False)
    with sqlite3.connect("shop.sqlite") as connection:
        sales().to_sql("sales", connection, index=False)
    connection.close()
    return tmp_path


def drafted(out: str, *options: str) -> Any:
    done = CliRunner().invoke(app, ["init", *options, "--out", out, "--yes"])
    assert done.exit_code == 0, done.output
    return yaml.safe_load((Path(out) / "config.yaml").read_text()), done.output


def test_a_table_of_sqlite_is_drafted_as_a_file(shops):
    of_file, _ = drafted("draft", "--data", "sales.csv", "--name", "shops")
    query = "SELECT shop,\n day, units, open FROM sales WHERE units > 0"
    of_query, shown = drafted("deep/draft", "--query", query, "--connection", "sqlite:shop.sqlite", "--name", "shops")
    assert of_query["data"].pop("sql") == {"connection": "sqlite:../../shop.sqlite", "query": query}
    assert of_file["data"].pop("files") == ["../sales.csv"]
    # SQLite has no Booleans.
    flag = {"name": "open", "kind": "boolean", "scale": "none"}
    assert of_file["data"]["features"].index(flag) == of_query["data"]["features"].index("open")
    of_query["data"]["features"][1] = flag
    assert of_query == of_file
    assert "600 rows, 3 sequences (by shop)" in shown
    assert not list(Path("deep/draft").glob("query-results*"))
    check_config(load_config(Path("deep/draft/config.yaml")))


def test_duckdb_queries_files_and_statements_come_from_files(shops):
    pytest.importorskip("duckdb", reason="needs the extra [sql]")
    Path("units.sql").write_text("SELECT shop, day, units FROM read_csv(getvariable('rows'))")
    found, _ = drafted("draft", "--query", "units.sql", "--prepare", f"SET VARIABLE rows = '{shops}/sales.csv'")
    assert found["data"]["sql"]["connection"] == "duckdb:"
    assert (found["data"]["entity"], found["data"]["time"]["column"], found["task"]["targets"]) == (
        "shop", "day", ["units"],
    )  # fmt: skip
    check_config(load_config(Path("draft/config.yaml")))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "received neither"),
        (["--data", "sales.csv", "--query", "SELECT 1"], "received both"),
        (["--data", "sales.csv", "--connection", "sqlite:shop.sqlite"], "are for --query"),
        (["--query", "SELECT * FROM sales", "--connection", "sqlite:none.sqlite"], "there is no file none.sqlite"),
        (["--query", "SELECT * FROM none", "--connection", "sqlite:shop.sqlite"], "no such table: none"),
        (["--query", "SELECT * FROM sales WHERE 0", "--connection", "sqlite:shop.sqlite"], "no rows"),
        (["--query", "SELECT 1 AS a, 2 AS a", "--connection", "sqlite:shop.sqlite"], "more than once"),
        (["--query", "SELECT 1", "--connection", "postgres:x"], "--connection: expected duckdb:FILE"),
        (["--query", "SELECT 1", "--prepare", "ATTACH 'password=abc'"], "expected no secrets"),
        (["--query", "none.sql"], "the file can't be read"),
    ],
)
def test_what_can_t_be_queried(shops, options, message):
    done = CliRunner().invoke(app, ["init", *options, "--out", "draft"])
    assert done.exit_code in (1, 2), done.output
    assert message in " ".join(done.output.split()), done.output
    assert not Path("draft").exists()

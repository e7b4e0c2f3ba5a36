"""``noisy-gru show data``: what a run would read, against pandas."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from noisy_gru.pipeline.cli.main import app

pytestmark = pytest.mark.slow

CONFIG = """\
name: small
schema: schema.pbtxt
data: {files: [rows.csv], entity: id, time: {column: t}, features: [a, b], max_length: 20, policies: POLICIES}
task: {kind: classification, label: way}
"""
SCHEMA = 'feature { name: "a" type: FLOAT } feature { name: "b" type: FLOAT } feature { name: "way" type: BYTES }'


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    random = np.random.default_rng(4)
    index = pd.MultiIndex.from_product([[f"e{number:03d}" for number in range(120)], range(8)], names=["id", "t"])
    table = pd.DataFrame(random.normal(size=(len(index), 2)).round(3), index, ["a", "b"]).reset_index()
    table["way"] = np.where(table.id.str[-1].astype(int) % 2, "up", "down")
    return table


@pytest.fixture
def config(tmp_path: Path, rows: pd.DataFrame) -> Path:
    (tmp_path / "schema.pbtxt").write_text(SCHEMA)
    text = rows.astype(str)
    text.loc[5, "a"] = "<b>odd</b>"
    text.loc[12, "b"] = ""
    text.to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "config.yaml").write_text(CONFIG.replace("POLICIES", "{}"))
    return tmp_path / "config.yaml"


def test_it_is_what_pandas_reads(config, rows):
    done = CliRunner().invoke(app, ["show", "data", str(config), "--json"])
    assert done.exit_code == 0, done.output
    account = json.loads(done.stdout)
    assert account["notes"] == {}
    assert account["data"]["rows"]["read"] == 960
    assert account["data"]["rows"]["kept"] == 959
    assert account["data"]["rows"]["quarantined"] == {"total": 1, "unparsable_value": 1}
    assert sum(account["data"]["sequences"]["by_split"].values()) == 120
    kept = rows.drop(index=5)
    (of_a, of_b) = (each for each in account["features"]["features"] if each["name"] in "ab")
    counted = of_a["splits"].values()
    assert sum(each["values"] for each in counted) == 959
    mean = sum(each["values"] * each["mean"] for each in counted) / 959
    assert mean == pytest.approx(kept.a.mean(), abs=1e-6)
    assert sum(each["values"] * each["missing"] for each in of_b["splits"].values()) == pytest.approx(1)


def test_data_that_a_run_refuses_is_shown_with_the_reason(config, tmp_path):
    text = config.read_text().replace("policies: {}", "policies: {unparsable_value: error}")
    config.write_text(text)
    page = tmp_path / "page.html"
    done = CliRunner().invoke(app, ["show", "data", str(config), "--out", str(page)])
    assert done.exit_code == 0, done.output
    shown = page.read_text()
    assert "A run would stop at this data" in shown
    assert "policies.unparsable_value is error" in shown
    assert "&lt;b&gt;odd" in shown
    assert "<b>odd" not in shown.partition('id="account"')[0]


def test_a_configuration_that_is_wrong(config):
    config.write_text(config.read_text().replace("[a, b]", "[a, c]"))
    done = CliRunner().invoke(app, ["show", "data", str(config)])
    assert done.exit_code == 2
    assert "c" in done.output

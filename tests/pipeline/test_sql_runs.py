"""A run on the rows of a query, and what the planner of retraining says when there are others."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from noisy_gru import load_config, predict, run
from noisy_gru.pipeline.cli.main import app
from noisy_gru.pipeline.retrain.local_plan import plan_retraining

# TFX, Beam and ML Metadata warn of their own use of what they deprecated.
pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.filterwarnings("default")]


def test_a_query_from_training_to_retraining(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    days = pd.date_range("2024-01-01", periods=200).strftime("%Y-%m-%d")
    connection = sqlite3.connect(tmp_path / "shop.sqlite")
    for place, shop in enumerate(("a", "b", "c")):
        units = 10 + place + np.sin(np.arange(200) / 3) + random.normal(0, 0.1, 200)
        frame = pd.DataFrame({"shop": shop, "day": days, "units": units.round(3)})
        frame.to_sql("sales", connection, index=False, if_exists="append")
    content = {
        "name": "shops",
        "schema": "schema.pbtxt",
        "data": {
            "sql": {"connection": "sqlite:shop.sqlite", "query": "SELECT shop, day, units FROM sales"},
            "entity": "shop",
            "time": {"column": "day", "kind": "timestamp", "frequency": "1D", "gaps": "fill"},
            "features": ["units"],
        },
        "task": {"kind": "forecasting", "targets": ["units"], "input_length": 6, "horizons": [1, 2]},
        "splits": {"by": "time", "eval": 0.1, "test": 0.2},
        "model": {"layers": [{"units": 4, "stddev": 0.1}]},
        "training": {"epochs": 1, "batch_size": 64},
        "evaluation": {"min_test_sequences": 1, "baselines": "report"},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    (tmp_path / "schema.pbtxt").write_text("")
    done = CliRunner().invoke(app, ["schema", "update", str(path)])
    assert done.exit_code == 0, done.output
    record = run(path, root=tmp_path / "root")
    assert record.status == "succeeded", (record.error, record.refusals)

    (tmp_path / "recent.sql").write_text("SELECT * FROM sales WHERE day >= '2024-06-01'")
    found = predict(path, tmp_path / "recent.sql", root=tmp_path / "root")
    assert [name.partition("@")[0] for name in found.ids] == ["a", "b", "c"]

    config, serving = load_config(path), tmp_path / "root" / "serving"

    def new_files() -> list[str]:
        plan = plan_retraining(config, serving_dir=serving, now=datetime.now(UTC))
        return [name for reason in plan.reasons for name in reason.numbers.get("files", [])]

    assert new_files() == []
    with connection:
        connection.execute("INSERT INTO sales VALUES ('a', '2024-07-19', 11.5)")
    connection.close()
    (name,) = new_files()
    assert name.startswith("query-")

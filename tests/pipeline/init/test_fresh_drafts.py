"""Drafts of tables as people have them run unedited, and predict the months, quarters and days that follow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from noisy_gru import predict

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.filterwarnings("default")]

KEYS = [("S1", "tea"), ("S1", "rye"), ("S2", "tea"), ("S2", "rye")]
# Small and quick: what is shown is that the data section runs.
QUICK = ["training.epochs=2", "model={layers: [{units: 8, stddev: 0.1}]}", "evaluation.baselines=report",
         "evaluation.min_test_sequences=1"]  # fmt: skip


def table(freq: str, steps: int, season: int) -> pd.DataFrame:
    random, parts = np.random.default_rng(4), []
    time = pd.date_range("2004-01-01", periods=steps, freq=freq)
    for place, (shop, product) in enumerate(KEYS):
        units = 50 + 9 * place + 20 * np.sin(2 * np.pi * np.arange(steps) / season) + random.normal(0, 1, steps)
        parts.append(pd.DataFrame({"shop": shop, "product": product, "when": time, "units": units.round(2)}))
    return pd.concat(parts)


def monthly() -> pd.DataFrame:
    frame = table("MS", 150, 12).assign(series=lambda rows: rows["shop"] + "-" + rows["product"])
    return frame.drop(columns=["shop", "product"]).iloc[[place for place in range(600) if place % 17]]


def quarterly() -> pd.DataFrame:
    return table("QE", 90, 4).query("shop == 'S1'").drop(columns="shop")


def parts_of_dates() -> pd.DataFrame:
    frame = table("1D", 250, 7)
    day = frame.pop("when").dt
    return frame.assign(year=day.year, month=day.month, day=day.day)


CASES = {
    "monthly": (monthly, 4, pd.DateOffset(months=1), []),
    "quarterly": (quarterly, 2, None, []),
    "composite": (lambda: table("1D", 250, 7), 4, pd.Timedelta(days=1), ["shop", "product"]),
    "parts": (parts_of_dates, 4, pd.Timedelta(days=1), ["shop", "product"]),
}


@pytest.mark.parametrize("name", CASES)
def test_a_fresh_draft_runs(name: str, tmp_path: Path) -> None:
    make, count, step, columns = CASES[name]
    frame = make()
    frame.to_csv(tmp_path / "rows.csv", index=False)

    def call(*arguments: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from noisy_gru.pipeline.cli.main import main; main()", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=1500)

    done = call("init", "--data", "rows.csv", "--out", "model", "--yes")
    assert done.returncode == 0, done.stderr
    options = [option for text in QUICK for option in ("--set", text)]
    done = call("run", "model/config.yaml", "--root", "root", "--json", *options)
    assert done.stdout, done.stderr
    result = json.loads(done.stdout)
    assert result["status"] == "succeeded", (result["error"], result["refusals"])
    found = predict(tmp_path / "model" / "config.yaml", tmp_path / "rows.csv", root=tmp_path / "root", set=QUICK)
    assert (len(found), found.unusable) == (count, [])
    answers = found.to_arrow("wide").to_pandas()
    if "when" in frame:
        last = frame["when"].max()
        wanted = last + step if step is not None else last + pd.offsets.QuarterEnd()
        assert (answers["time@1"].dt.tz_localize(None) == wanted).all()
    if columns:
        assert set(zip(answers["shop"], answers["product"], strict=True)) == set(KEYS)

"""A backtest from raw rows: its errors are those that pandas finds, and each model was trained before its fold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from noisy_gru.pipeline.cli.main import app
from noisy_gru.pipeline.exit_codes import EXIT_CONFIG

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

HOURS, HORIZONS = 240, [1, 3]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backtest")
    random = np.random.default_rng(0)
    time = pd.date_range("2024-01-01", periods=HOURS, freq="h")
    parts = []
    for number in range(3):
        value = 10 * number + np.sin(np.arange(HOURS) / 4) + random.normal(0, 0.2, HOURS)
        parts.append(pd.DataFrame({"meter": f"m{number}", "time": time, "kwh": value.round(3)}))
    pd.concat(parts).to_csv(folder / "rows.csv", index=False)
    (folder / "schema.pbtxt").write_text("")
    content = {
        "name": "meters",
        "schema": "schema.pbtxt",
        "data": {
            "files": ["rows.csv"],
            "entity": "meter",
            "time": {"column": "time", "kind": "timestamp", "frequency": "1h"},
            "features": ["kwh"],
        },
        "task": {
            "kind": "forecasting",
            "targets": ["kwh"],
            "input_length": 6,
            "horizons": HORIZONS,
            "season_length": 24,
        },
        "splits": {"by": "time", "eval": 0.1, "test": 0.2},
        "model": {"layers": [{"units": 4, "stddev": 0.1}]},
        "training": {"epochs": 1, "batch_size": 64},
        "evaluation": {"min_test_sequences": 1},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    done = CliRunner().invoke(app, ["schema", "update", str(folder / "config.yaml")])
    assert done.exit_code == 0, done.output
    return folder / "config.yaml"


@pytest.mark.parametrize("refit", [False, pytest.param(True, marks=pytest.mark.long)])
def test_errors_and_gains_are_those_of_pandas(config: Path, refit: bool) -> None:
    out = config.parent / f"{refit}.json"
    arguments = ["backtest", str(config), "--folds", "2", "--root", str(config.parent / "root"), "--out", str(out)]
    done = CliRunner().invoke(app, [*arguments, *(["--refit"] if refit else [])])
    assert done.exit_code == 0, done.output
    found = json.loads(out.read_text())
    assert found["baselines"] == ["last", "seasonal", "train_mean", "drift", "ridge"]
    rows = pd.read_csv(config.parent / "rows.csv", parse_dates=["time"]).set_index(["meter", "time"])["kwh"].unstack(0)
    # The first origin is half way, and the folds meet without a gap.
    first, second = found["folds"]
    # Over all folds: the mean of the folds' errors, by their forecasts.
    errors_of = {}
    for fold in found["folds"]:
        (whole,) = (each for each in fold["comparisons"] if (each["metric"], each["against"]) == ("mae/kwh", "last"))
        errors_of[fold["number"]] = (whole["difference"], whole["sequences"])
    counts = [count for _, count in errors_of.values()]
    overall = {each["against"]: each for each in found["overall"]}
    assert list(overall) == [name for name in found["baselines"] if not refit or name != "train_mean"]
    expected = np.average([gain for gain, _ in errors_of.values()], weights=counts)
    assert overall["last"]["difference"] == pytest.approx(expected, rel=1e-5)
    (record,) = (config.parent / "root" / "backtest").glob("*.json")
    gains = {each["against"]: each for each in json.loads(record.read_text())["gains"]}
    assert gains["last"]["lower"] == overall["last"]["lower"] and gains["last"]["metric"] == "mae/kwh"
    assert pd.Timestamp(first["first"]).tz_localize(None) >= rows.index[0] + 0.5 * (rows.index[-1] - rows.index[0])
    assert pd.Timestamp(second["first"]) - pd.Timestamp(first["last"]) == pd.Timedelta(hours=1)
    assert (first["run_id"] == second["run_id"]) is not refit
    for fold in found["folds"]:
        origins = rows.loc[fold["first"][:19] : fold["last"][:19]].index
        truth = rows.shift(-3).loc[origins].dropna()
        assert fold["forecasts"] == 3 * len(truth)
        errors = (rows - rows.shift(3)).abs().shift(-3).loc[truth.index]
        gains = {(each["metric"], each["against"]): each for each in fold["comparisons"]}
        assert len(gains) == 3 * 5
        at_3 = gains["mae/kwh@3", "last"]
        assert at_3["other"] == pytest.approx(errors.to_numpy().mean(), rel=1e-5)
        slope = (rows - rows.shift(5)) / 5
        drift = (rows + 3 * slope - rows.shift(-3)).abs().loc[truth.index]
        assert gains["mae/kwh@3", "drift"]["other"] == pytest.approx(drift.to_numpy().mean(), rel=1e-5)
        for each in fold["comparisons"]:
            assert each["difference"] == pytest.approx(each["other"] - each["candidate"], abs=1e-9)
            assert each["lower"] <= each["difference"] <= each["upper"]


def test_what_is_no_forecast_by_time_is_refused(config: Path) -> None:
    done = CliRunner().invoke(app, ["backtest", str(config), "--set", "splits={by: entity}"])
    assert done.exit_code == EXIT_CONFIG
    assert (
        "a backtest needs task.kind: forecasting and splits.by: time. Received: forecasting and entity" in done.stderr
    )
    for setting, message in (
        ("splits={by: entity}", "evaluation.backtest needs task.kind: forecasting and splits.by: time"),
        ("task.horizons=[1]", "evaluation.backtest.must_beat: expected of last, seasonal, train_mean, drift, ridge, "),
    ):
        asked = ["--set", setting, "--set", "evaluation.backtest={must_beat: [arima]}"]
        done = CliRunner().invoke(app, ["validate", str(config), *asked])
        assert done.exit_code == EXIT_CONFIG and message in " ".join(done.stderr.split())
    done = CliRunner().invoke(app, ["backtest", str(config), "--start", "0.1"])
    assert done.exit_code == EXIT_CONFIG
    assert "nothing is left to train on" in done.stderr
    done = CliRunner().invoke(app, ["backtest", str(config), "--baseline", "arima"])
    assert (
        "baseline must be one of drift, ridge, gradient_boosting, auto_ets, auto_arima, theta. Received: arima"
        in done.stderr
    )

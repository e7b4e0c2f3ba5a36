"""`noisy-gru noise` and `compare` from a table to a report, through TFX's steps up to Transform."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from noisy_gru.pipeline.cli.main import app
from noisy_gru.pipeline.exit_codes import EXIT_CONFIG
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from tests.pipeline.experiments.trials import CONFIG as TINY

CONFIG = TINY + "training: {epochs: 1, learning_rate: 0.01, early_stopping: null, xla: off}\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    random = np.random.default_rng(0)
    parts = []
    for number in range(60):
        label, steps = int(random.integers(2)), int(random.integers(4, 9))
        values = random.normal(label, 1, (2, steps))
        columns = {"id": f"s{number}", "t": range(steps), "a": values[0], "b": values[1], "kind": f"class {label}"}
        parts.append(pd.DataFrame(columns))
    pd.concat(parts).to_csv(folder / "rows.csv", index=False)
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "schema.pbtxt").write_text("")
    return folder


def call(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of TFX's own imports
@pytest.mark.long
def test_from_a_table_to_both_reports(project: Path, capfd: pytest.CaptureFixture[str]):
    root, out = project / "root", project / "noise.json"
    options = ["--root", root, "--seeds", 1]
    kinds = ["--scales", "0,10", "--kinds", "carried", "--burn-in", 2]
    done = call("noise", project / "config.yaml", *kinds, *options, "--out", out, "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(out.read_text())
    assert json.loads(done.stdout) == report
    assert [each["name"] for each in report["scales"]] == ["x0", "x1", "x10", "carried"]
    assert report["auto"]["scale"] in ("x0", "x1", "x10")
    measures = set(report["scales"][0]["measures"])
    assert measures == {
        *("zero", "noise_x1", "noise_x10", "carried", "burn_in_2", "nll", "ece", "epochs_to_level", "epochs"),
    }
    assert report["verdict"] == "One pair of trainings is no evidence yet: take --seeds 8."

    directory = RunDirectory(root)
    assert directory.records() == [], "an experiment is no run"
    assert not list(directory.artifacts.glob("Transform/transformed_examples/*/Split-test"))
    assert not (directory.artifacts / "Trainer").exists()
    (results,) = {path.parent for path in directory.experiments.glob("*/*.json")}
    assert len(list(results.glob("*.json"))) == 4

    again = call("noise", project / "config.yaml", *kinds, *options, "--json")
    assert json.loads(again.stdout) == report, "nothing is trained twice"

    done = call("compare", project / "config.yaml", "--vary", "model.layers[0].units=2,3", *options)
    assert done.exit_code == 0, done.output
    assert "model.layers.0.units=2" in done.stdout
    assert "configured" in done.stdout
    shown = capfd.readouterr().err
    assert "cached" in shown[shown.rindex("Transform") :].splitlines()[0], "the data are those of the other experiment"
    assert len(list(results.glob("*.json"))) == 6
    assert not list(directory.experiments.glob("preparation-*"))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of TFX's own imports
@pytest.mark.long
def test_trainings_at_the_same_time_have_the_same_results(project: Path):
    vary = ["compare", project / "config.yaml", "--vary", "model.layers[0].units=2,3", "--seeds", 2]
    found = []
    for place, options in (("serial", []), ("parallel", ["--parallel", 2])):
        root = project / place
        done = call(*vary, "--root", root, "--json", *options)
        assert done.exit_code == 0, done.output
        results = {path.name: json.loads(path.read_text()) for path in RunDirectory(root).experiments.glob("*/*.json")}
        for each in results.values():
            del each["result"]["seconds"]
        found.append(results)
    assert len(found[0]) == 4
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["compare", "--vary", "model.pooling=mean", "--parallel", "0"],
            "--parallel 0: expected a number of processes",
        ),
        (["noise", "--parallel", "many"], "--parallel many: expected a number of processes, or auto"),
        (["noise", "--budget", "soon"], "--budget soon: expected a time such as 90s, 30m or 2h"),
        (["noise", "--budget", "0m"], "--budget 0m: expected a time"),
        (["noise", "--scales", "0,x"], "--scales 0,x: expected numbers >= 0"),
        (["noise", "--scales", "-1"], "--scales -1: expected numbers >= 0"),
        (["noise", "--burn-in", "1.5"], "--burn-in 1.5: expected whole numbers >= 0"),
        (["noise", "--set", "splits.eval=0"], "measures on the eval split, and this configuration has none"),
        (["compare", "--vary", "model.layers[0].unitz=3"], "model.layers.0.unitz"),
        (["compare", "--vary", "model.pooling=mean", "--metric", "mae"], "--metric mae: expected one of accuracy"),
    ],
)
def test_mistakes_are_named_before_anything_runs(project: Path, arguments, message):
    command, *options = arguments
    done = call(command, project / "config.yaml", *options, "--root", project / "none")
    assert done.exit_code == EXIT_CONFIG
    assert message in done.stderr
    assert not (project / "none").exists()

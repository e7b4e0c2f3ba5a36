"""Two runs side by side, worked out by hand."""

from __future__ import annotations

import json
import math
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from noisy_gru.pipeline.cli.main import app
from noisy_gru.pipeline.exit_codes import EXIT_FAILED
from noisy_gru.pipeline.runs.comparison import Difference, Number, compare, flat
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.pipeline.runs.run_record import RunRecord

FIRST: dict[str, Any] = {
    "run_id": "20260101-aa",
    "config": {"training": {"epochs": 5}, "model": {"layers": [{"units": 64}, {"units": 32}]}, "files": ["a", "b"]},
    "rows": {"read": 100, "kept": 98, "quarantined": {"late": 2}},
    "sequences": {"train": 8, "test": 2},
    "spans": [{"span": 1, "version": None, "files": [{"name": "1.csv", "bytes": 5, "sha256": "aaaa"}]}],
    "files": [{"name": "extra.csv", "bytes": 1, "sha256": "eeee"}],
    "metrics": {"accuracy": 0.75, "log_loss": 0.5, "old": 1.0, "odd": math.nan},
    "slices": {"origin=north": {"accuracy": 0.5}},
    "steps": [{"name": "Trainer", "status": "complete", "seconds": 30.0}, {"name": "Tuner", "status": "complete"}],
    "packages": {"tfx": "1.20", "keras": "3"},
    "version": 100,
    "seconds": 60.0,
}
SECOND: dict[str, Any] = {
    "run_id": "20260102-bb",
    "status": "refused",
    "refusals": ["Evaluator: accuracy is 0.5"],
    "config": {"training": {"epochs": 9}, "model": {"layers": [{"units": 64}]}, "files": ["a", "b"]},
    "rows": {"read": 120, "kept": 120},
    "sequences": {"train": 8, "test": 2},
    "spans": [
        {"span": 1, "version": None, "files": [{"name": "1.csv", "bytes": 5, "sha256": "aaab"}]},
        {"span": 2, "version": None, "files": [{"name": "2.csv", "bytes": 5, "sha256": "bbbb"}]},
    ],
    "files": [{"name": "extra.csv", "bytes": 1, "sha256": "eeee"}],
    "metrics": {"accuracy": 0.5, "log_loss": 0.5, "new": 2.0, "odd": math.nan},
    "slices": {"origin=north": {"accuracy": 0.625}, "origin=south": {"accuracy": 1.0}},
    "steps": [{"name": "Trainer", "status": "cached", "seconds": 0.5}],
    "packages": {"tfx": "1.21", "keras": "3"},
    "seconds": 12.0,
}


def record(values: dict[str, Any], root: Path = Path("/root")) -> RunRecord:
    fixed = {
        "pipeline": "pumps",
        "status": "succeeded",
        "started": "2026-01-02T03:04:05Z",
        "config_path": "/config.yaml",
        "config_hash": "abc",
        "seed": 1,
        "root": str(root),
        "log": "log",
        "fingerprint": "f" * 64,
        "pid": os.getpid(),
        "host": socket.gethostname(),
    }
    return RunRecord.model_validate(fixed | values)


def test_a_nested_value_by_dotted_keys():
    nested = {"a": {"b": 1, "c": [1, 2]}, "d": [{"e": None}, {"e": "x"}], "f": {}, "g": []}
    assert flat(nested) == {"a.b": 1, "a.c": [1, 2], "d.0.e": None, "d.1.e": "x", "f": {}, "g": []}


def test_what_differs_and_nothing_else():
    found = compare(record(FIRST), record(SECOND))
    assert found.runs == ("20260101-aa", "20260102-bb")
    assert {each.what for each in found.outcome} == {"status", "version", "refusals", "steps.Trainer", "steps.Tuner"}
    assert found.config == [Difference("training.epochs", 5, 9), Difference("model.layers.1.units", 32, None)]
    assert {each.what: (each.first, each.second) for each in found.data} == {
        "rows.read": (100, 120),
        "rows.kept": (98, 120),
        "rows.quarantined.late": (2, None),
        "rows.quarantined": (None, {}),
        "spans": ([1], [1, 2]),
    }
    assert found.files == [Difference("1.csv", "aaaa", "aaab"), Difference("2.csv", None, "bbbb")]
    assert found.packages == [Difference("tfx", "1.20", "1.21")]
    assert found.metrics[:3] == [
        Number("accuracy", 0.75, 0.5, -0.25),
        Number("log_loss", 0.5, 0.5, 0.0),
        Number("new", None, 2.0, None),
    ]
    assert [(each.name, each.change) for each in found.metrics[3:]] == [("odd", 0.0), ("old", None)]
    assert found.slices == {
        "origin=north": [Number("accuracy", 0.5, 0.625, 0.125)],
        "origin=south": [Number("accuracy", None, 1.0, None)],
    }
    assert found.seconds == [
        Number("Trainer", 30.0, 0.5, -29.5),
        Number("all", 60.0, 12.0, -48.0),
        Number("Tuner", 0.0, None, None),
    ]


def test_a_run_and_itself():
    found = compare(record(FIRST), record(FIRST))
    assert (found.outcome, found.config, found.data, found.files, found.packages) == ([], [], [], [], [])
    assert {each.change for each in found.metrics} == {0.0}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    directory = RunDirectory(tmp_path / "root")
    directory.create()
    for values in (FIRST, SECOND):
        directory.write(record(values, directory.root))
    return directory.root


def test_the_command(root):
    done = CliRunner().invoke(app, ["runs", "compare", "20260101", "latest", "--root", str(root)])
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.output.splitlines()]
    assert ["training.epochs", "5", "9"] in lines
    assert ["1.csv", "aaaa", "aaab"] in lines
    assert ["accuracy", "0.75", "0.5", "-0.25"] in lines
    assert ["Trainer", "30", "0.5", "-29.5"] in lines
    assert "Slice origin=south" in done.output
    done = CliRunner().invoke(app, ["runs", "compare", "20260101", "latest", "--root", str(root), "--json"])
    assert json.loads(done.output)["config"][0] == {"what": "training.epochs", "first": 5, "second": 9}
    done = CliRunner().invoke(app, ["runs", "compare", "20260101", "20270101", "--root", str(root)])
    assert done.exit_code == EXIT_FAILED
    assert "run 20270101: not found under" in done.output


def test_the_list_and_the_page_tell_of_retraining(root):
    directory = RunDirectory(root)
    reasons = [
        {"rule": "new_spans", "met": True, "text": "2 new spans: 3, 4", "numbers": {}},
        {"rule": "drift", "met": False, "text": "no feature drifted", "numbers": {}},
        {"rule": "cooldown", "kind": "guard", "met": True, "text": "12 hours are left", "numbers": {}},
    ]
    values = SECOND | {
        "run_id": "20260103-cc",
        "plan": {"retrain": True, "reasons": reasons},
        "previous": {"accuracy": 0.75},
        "warm_start": {"used": False, "reasons": ["another vocabulary"], "base": {"version": "3"}},
    }
    directory.write(record(values, root))
    listed = CliRunner().invoke(app, ["runs", "list", "--root", str(root)]).output.splitlines()
    assert listed[0].split() == [
        "run",
        "pipeline",
        "started",
        "took",
        "status",
        "spans",
        "due",
        "by",
        "version",
        "metrics",
    ]
    assert "1-2    new_spans" in listed[-1]
    assert "accuracy 0.5 (-0.25)" in listed[-1]
    shown = CliRunner().invoke(app, ["runs", "show", "latest", "--root", str(root)]).output
    for text in (
        "decision     retrain",
        "because    new_spans: 2 new spans: 3, 4",
        "not        drift: no feature drifted",
        "in spite of cooldown: 12 hours are left",
        "spans        1-2",
        "warm start   refused: another vocabulary",
    ):
        assert text in shown
    printed = json.loads(CliRunner().invoke(app, ["runs", "list", "--root", str(root), "--json"]).output)
    assert (printed[-1]["spans"], printed[-1]["previous"]) == ([1, 2], {"accuracy": 0.75})
    assert printed[-1]["plan"]["reasons"] == reasons

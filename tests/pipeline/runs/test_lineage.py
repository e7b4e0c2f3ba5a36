"""From a version back to its files: what is the same, what was changed, what is gone."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from noisy_gru.pipeline.cli.main import app
from noisy_gru.pipeline.exit_codes import EXIT_FAILED
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.pipeline.runs.run_record import RunRecord
from noisy_gru.registry import rollout
from noisy_gru.registry.publish import publish
from noisy_gru.registry.training_record_writer import TrainingFiles

RUN = "20260101-000000-aaaaaa"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def config(folder: Path) -> dict[str, Any]:
    return {
        "name": "pumps",
        "schema": str(folder / "schema.pbtxt"),
        "data": {
            "files": [str(folder / "data" / "span-{SPAN}" / "*.csv")],
            "entity": "pump",
            "time": {"column": "t"},
            "features": ["pressure"],
        },
        "task": {"kind": "classification", "label": "outcome"},
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root whose version 100 was trained on the files of two spans, and 200 on nothing that is known."""
    directory = RunDirectory(tmp_path / "root")
    directory.create()
    spans = []
    for span in (3, 4):
        file = tmp_path / "data" / f"span-{span}" / "rows.csv"
        file.parent.mkdir(parents=True)
        file.write_text(f"rows of {span}")
        name = f"span-{span}/rows.csv"
        files = [{"name": name, "bytes": 9, "sha256": sha256(f"rows of {span}")}]
        spans.append({"span": span, "version": None, "files": files})
    counts = {"by_split": {"train": 8, "test": 2}}
    (tmp_path / "ingestion_report.json").write_text(json.dumps({"spans": spans, "files": [], "sequences": counts}))
    run = {"run_id": RUN, "pipeline": "pumps", "seed": 7, "config_hash": "c" * 64, "fingerprint": "f" * 64}
    training_files = TrainingFiles(tmp_path, tmp_path / "ingestion_report.json", {**run, "packages": {"tfx": "1.21"}})
    for version in (100, 200):
        source = directory.artifacts / "Trainer" / "model" / str(version) / "Format-Serving"
        source.mkdir(parents=True)
        (source / "saved_model.pb").write_text(str(version))
        publish(
            source,
            directory.serving,
            "pumps",
            model_uri=str(source.parent),
            lineage={"run": RUN if version == 100 else "20260102"},
            training_files=training_files if version == 100 else None,
            clock=lambda version=version: float(version),
        )
    directory.write(
        RunRecord(
            run_id=RUN,
            pipeline="pumps",
            status="succeeded",
            started="2026-01-01T00:00:00Z",
            config_path="/config.yaml",
            config_hash="c" * 64,
            config=config(tmp_path),
            seed=7,
            root=str(directory.root),
            log="log",
            fingerprint="f" * 64,
            pid=os.getpid(),
            host=socket.gethostname(),
        )
    )
    return directory.root


def lineage(root: Path, *arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(each) for each in ("runs", "lineage", *arguments, "--root", root)])
    return done.exit_code, done.output


def test_back_to_the_files(root, tmp_path):
    code, out = lineage(root, 100, "--json")
    printed = json.loads(out)
    assert (code, printed["state"], printed["labels"], printed["run_id"], printed["seed"]) == (
        0,
        "published",
        [],
        RUN,
        7,
    )
    assert (printed["spans"], printed["sequences"], printed["files_state"]) == ([3, 4], {"train": 8, "test": 2}, {})
    assert printed["config"] == config(tmp_path)
    assert printed["artifact"] == {"uri": str(root / "artifacts" / "Trainer" / "model" / "100"), "present": True}
    assert printed["files"] == [
        {
            "name": f"span-{span}/rows.csv",
            "span": span,
            "sha256": sha256(f"rows of {span}"),
            "path": str(tmp_path / "data" / f"span-{span}" / "rows.csv"),
            "state": "same",
        }
        for span in (3, 4)
    ]
    code, out = lineage(root, 100)
    assert (code, "spans        3-4\n" in out, "files        2 same\n" in out) == (0, True, True)


def test_changed_and_gone_files(root, tmp_path):
    (tmp_path / "data" / "span-3" / "rows.csv").write_text("rows of E")
    (tmp_path / "data" / "span-4" / "rows.csv").unlink()
    (root / "serving" / "pumps" / "100" / "saved_model.pb").write_text("broken")
    (root / "serving" / "pumps" / "100" / "new").write_text("")
    code, out = lineage(root, 100)
    assert code == EXIT_FAILED
    assert "files        1 changed, 1 gone\n" in out
    assert f"  changed  {sha256('rows of 3')}  span 3  {tmp_path}/data/span-3/rows.csv\n" in out
    assert "its files    NOT as published: new (added), saved_model.pb (changed)\n" in out


def test_without_the_account_the_version_knows_its_files(root, tmp_path):
    (root / "runs" / f"{RUN}.json").unlink()
    code, out = lineage(root, 100, "--json")
    printed = json.loads(out)
    assert (code, printed["config"], printed["config_hash"], printed["packages"]) == (
        0,
        None,
        "c" * 64,
        {"tfx": "1.21"},
    )
    assert [(file["path"], file["state"]) for file in printed["files"]] == [(None, "unknown")] * 2
    code, out = lineage(root, 100, "--json", "--data", tmp_path / "data")
    assert [file["state"] for file in json.loads(out)["files"]] == ["same", "same"]


def test_a_withdrawn_version_and_one_without_a_record(root):
    rollout.rollback(root / "serving", "pumps")
    code, out = lineage(root, 200)
    assert code == 0
    assert "version      200 of pumps, withdrawn\n" in out
    assert "run          20260102 (no record on this machine)\n" in out
    assert "files        not recorded\n" in out
    code, out = lineage(root, 300)
    assert code == EXIT_FAILED
    assert "received 300; versions here: 100, 200 (withdrawn)" in out

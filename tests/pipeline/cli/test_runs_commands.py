"""``noisy-gru runs``: taking back what was published, from the command line."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from noisy_gru.pipeline.cli.main import app
from noisy_gru.pipeline.exit_codes import EXIT_FAILED
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.pipeline.runs.run_record import RunRecord
from noisy_gru.registry.config import PublishingConfig
from noisy_gru.registry.publish import publish
from noisy_gru.registry.published_versions import versions

DIRECT = PublishingConfig()
CANARY = PublishingConfig.model_validate({"versions": {"rollout": "canary", "keep": 2}})


def call(*arguments: object):
    return CliRunner().invoke(app, [str(each) for each in arguments])


def run_that_published(root: Path, version: int, settings: PublishingConfig = DIRECT, model: str = "pumps") -> None:
    """A run under a root, its record and the version it published."""
    directory = RunDirectory(root)
    directory.create()
    source = root / "artifacts" / str(version)
    source.mkdir()
    (source / "saved_model.pb").write_text(f"{model} {version}")
    done = publish(source, directory.serving, model, settings=settings, clock=lambda: float(version))
    directory.write(
        RunRecord(
            run_id=f"2026010{version // 100}-000000-aaaaaa",
            pipeline=model,
            status="succeeded",
            started="2026-01-02T03:04:05Z",
            finished="2026-01-02T03:05:05Z",
            config_path="/config.yaml",
            config_hash="abc",
            config={},
            seed=1,
            root=str(root),
            log="log",
            fingerprint="f",
            pid=os.getpid(),
            host=socket.gethostname(),
            version=done.publication.version,
            published_path=str(done.folder),
        )
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    run_that_published(tmp_path / "root", 100)
    run_that_published(tmp_path / "root", 200)
    return tmp_path / "root"


def test_back_and_forth(root):
    done = call("runs", "rollback", "--root", root, "--reason", "too many alarms")
    assert (done.exit_code, done.output) == (0, "pumps: version 200 is withdrawn; version 100 is current\n")
    listed = call("runs", "list", "--root", root).output
    assert "200 (withdrawn)" in listed
    assert "100 (" not in listed
    shown = call("runs", "show", "latest", "--root", root).output
    assert f"published    {root}/serving/pumps/200\nnow          withdrawn on " in shown
    assert ": too many alarms\n" in shown
    assert "now          published as stable and canary" in call("runs", "show", "20260101", "--root", root).output
    states = json.loads(call("runs", "list", "--root", root, "--json").output)
    assert [(run["version"], run["version_state"]) for run in states] == [(100, "published"), (200, "withdrawn")]
    assert json.loads(call("runs", "show", "latest", "--root", root, "--json").output)["version_state"] == "withdrawn"

    done = call("runs", "restore", 200, "--root", root, "--json")
    assert json.loads(done.output) == {
        "model": "pumps",
        "newest": 200,
        "stable": 200,
        "message": "version 200 is back; version 200 is current",
        "left_alone": [],
    }
    assert versions(root / "serving" / "pumps") == [100, 200]


def test_what_is_refused_is_said(root):
    call("runs", "rollback", "--root", root)
    done = call("runs", "rollback", "--root", root)
    assert done.exit_code == EXIT_FAILED
    assert "error: " in done.output and "version 100 is the only one" in done.output
    done = call("runs", "promote", "--root", root)
    assert done.exit_code == EXIT_FAILED
    assert "its rollout is `direct`" in done.output


def test_a_canary_is_promoted_and_old_versions_are_told(root):
    run_that_published(root, 300, CANARY)
    run_that_published(root, 400, CANARY)
    done = call("runs", "rollback", "--root", root)
    assert done.output.splitlines() == [
        "pumps: version 400 is withdrawn; version 300 is current",
        "stable is 200, canary 300",
    ]
    done = call("runs", "promote", "--root", root)
    assert done.output == "pumps: version 300 is stable now; before, 200 was\n"
    assert "100 (removed)" in call("runs", "list", "--root", root).output
    assert "removed on " in call("runs", "show", "20260101", "--root", root).output


def test_which_model_is_meant(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = call("runs", "rollback")
    assert done.exit_code == EXIT_FAILED
    assert f"no published model in {tmp_path / 'runs'}. Give the root of its runs with --root" in done.output
    (tmp_path / "runs").mkdir()
    root.rename(tmp_path / "runs" / "pumps")
    assert call("runs", "rollback").output == "pumps: version 200 is withdrawn; version 100 is current\n"
    run_that_published(tmp_path / "runs" / "valves", 100, model="valves")
    run_that_published(tmp_path / "runs" / "valves", 200, model="valves")
    done = call("runs", "rollback")
    assert "found several: runs/pumps/serving/pumps, runs/valves/serving/valves. Choose one" in done.output
    assert call("runs", "rollback", "--model", "valves").exit_code == 0
    serving = tmp_path / "runs" / "valves" / "serving"
    assert call("runs", "restore", 200, "--serving-dir", serving).output.startswith("valves: version 200 is back")
    assert "no published model taps in " in call("runs", "rollback", "--model", "taps").output


def test_taking_back_imports_nothing_heavy(root):
    code = (
        "import sys\nfrom noisy_gru.pipeline.cli.main import app\n"
        "try:\n    app(sys.argv[1:])\nexcept SystemExit as ended:\n    assert not ended.code, ended.code\n"
        "print([name for name in ('tensorflow', 'tfx', 'apache_beam', 'keras') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, "runs", "rollback", "--root", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["pumps: version 200 is withdrawn; version 100 is current", "[]"]


def test_a_run_whose_version_is_gone(root):
    for child in (root / "serving" / "pumps" / "200").iterdir():
        child.unlink()
    (root / "serving" / "pumps" / "200").rmdir()
    assert "200 (gone)" in call("runs", "list", "--root", root).output
    assert "gone, without a record of its removal" in call("runs", "show", "latest", "--root", root).output

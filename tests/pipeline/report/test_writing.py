"""The report as a command and beside the record; what becomes of a run whose report can't be written."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from noisy_gru.pipeline.cli.main import app
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.report.account import run_account
from noisy_gru.pipeline.report.held import write_held_page
from noisy_gru.pipeline.runs import after_run
from noisy_gru.pipeline.runs.after_run import write_report


def test_the_command_writes_beside_the_record(make_run):
    run = make_run()
    result = CliRunner().invoke(app, ["report", "latest", "--root", str(run.directory.root)])
    assert result.exit_code == 0, result.output
    page = run.directory.runs / f"{run.record.run_id}.html"
    assert result.output.strip() == str(page)
    assert page.read_text().startswith("<!DOCTYPE html>")
    # The page is no record.
    assert [record.run_id for record in run.directory.records()] == [run.record.run_id]


def test_the_command_prints_the_account(make_run, tmp_path):
    run = make_run()
    arguments = ["report", run.record.run_id, "--root", str(run.directory.root)]
    assert json.loads(CliRunner().invoke(app, [*arguments, "--json"]).output) == run_account(
        run.record, run.directory.root
    )
    assert list(run.directory.runs.glob("*.html")) == []
    out = tmp_path / "new" / "page.html"
    assert CliRunner().invoke(app, [*arguments, "--out", str(out)]).exit_code == 0
    assert out.is_file()


def test_a_run_that_is_not_there(tmp_path):
    result = CliRunner().invoke(app, ["report", "latest", "--root", str(tmp_path)])
    assert result.exit_code == 1
    assert "no runs here" in result.output


@pytest.mark.slow
def test_a_process_of_its_own_writes_it(make_run, caplog):
    run = make_run()
    assert write_report(run.directory, run.record) == run.directory.report_file(run.record.run_id)
    assert "was not written" not in caplog.text


@pytest.mark.parametrize(
    "program", ["raise SystemExit('no room on <disk>')", "import os; os.abort()", "import time; time.sleep(60)", ""]
)
def test_a_report_that_fails_is_a_warning(make_run, monkeypatch, tmp_path, caplog, program):
    run = make_run()
    script = tmp_path / "python"
    script.write_text(f"#!{sys.executable}\n{program}\n")
    script.chmod(0o755)
    monkeypatch.setattr(after_run.sys, "executable", str(script))
    with caplog.at_level(logging.WARNING):
        assert write_report(run.directory, run.record, timeout=2) is None
    assert f"the report of run {run.record.run_id} was not written" in caplog.text


def test_a_night_that_is_held(make_run, tmp_path):
    run = make_run()
    config = PipelineConfig.model_validate(run.record.config)
    drift = {"feature": "a<", "measure": "location", "distance": 0.75, "p_value": 0.001, "drifted": True, "change": ""}
    numbers = {"features": [drift], "false_alarm_rate": 0.01, "compared": "8 new and 9 trained-on entities"}
    plan = {
        "summary": "held for a person: rows fell",
        "held": True,
        "base_version": 3,
        "reasons": [
            {"rule": "row_count", "kind": "alarm", "met": True, "text": "rows fell"},
            {"rule": "drift", "kind": "trigger", "met": True, "text": "a moved", "numbers": numbers},
        ],
    }
    page = write_held_page(run.directory, plan, config, now=datetime(2026, 4, 1, 3, tzinfo=UTC))
    assert page == run.directory.runs / "held-20260401-030000.html"
    text = page.read_text()
    assert "Held for a person: nothing was trained" in text
    assert "rows fell" in text
    assert "Version 3 keeps serving." in text
    assert "a&lt;" in text
    assert "--force" in text

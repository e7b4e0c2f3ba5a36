"""``noisy-gru retrain``: what it prints, its exit codes, and that nothing changes where nothing should."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from noisy_gru.components.retrain_planner.plan import Reason, RetrainPlan
from noisy_gru.pipeline.cli.main import app
from noisy_gru.pipeline.retrain import local_plan, retraining, schedule
from noisy_gru.pipeline.retrain.notifications import Delivery
from noisy_gru.pipeline.retrain.retraining_report import Outcome, RetrainResult
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.schema.errors import DataError

VOWELS = Path(__file__).parents[3] / "examples" / "japanese_vowels" / "config.yaml"
DUE = RetrainPlan(
    pipeline="japanese-vowels",
    retrain=True,
    reasons=(Reason(rule="new_spans", kind="trigger", met=True, text="2 new spans (8-9)"),),
    spans="3-9",
    newest_span=9,
    new_spans=(8, 9),
    base_version=4,
    data="hash",
    decided_at="2026-04-01T03:00:00+00:00",
)


def call(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["retrain", *(str(each) for each in arguments)])


@pytest.fixture
def plan_calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the planner was asked; it answers with ``DUE``."""
    calls: list[dict[str, Any]] = []

    def plan(config: Any, **options: Any) -> RetrainPlan:
        calls.append(options)
        print("what a library prints")
        return DUE

    monkeypatch.setattr(local_plan, "plan_retraining", plan)
    return calls


def test_plan_as_a_table(plan_calls, tmp_path):
    for split in ("train", "test"):
        shutil.copy(VOWELS.parent / f"{split}.csv.gz", tmp_path / f"{split}-9.csv.gz")
    files = f"data.files={{train: ['{tmp_path}/train-{{SPAN}}.csv.gz'], test: ['{tmp_path}/test-{{SPAN}}.csv.gz']}}"
    result = call("plan", VOWELS, "--root", tmp_path / "root", "--span", "9", "--set", files)
    assert result.exit_code == 0, result.output
    assert "2 new spans (8-9)" in result.stdout and "what a library prints" not in result.stdout
    assert (plan_calls[0]["serving_dir"], plan_calls[0]["span"], plan_calls[0]["force"]) == (
        tmp_path / "root" / "serving",
        "9",
        False,
    )
    assert not (tmp_path / "root").exists()


def test_plan_as_json(plan_calls, tmp_path):
    result = call("plan", VOWELS, "--serving-dir", tmp_path, "--json")
    assert json.loads(result.stdout) == json.loads(DUE.to_json())
    assert plan_calls[0]["serving_dir"] == tmp_path


@pytest.mark.parametrize(
    ("retrain", "options", "code"), [(True, ["--exit-code"], 0), (False, ["--exit-code"], 6), (False, [], 0)]
)
def test_plan_may_say_it_by_its_exit_code(monkeypatch, tmp_path, retrain, options, code):
    monkeypatch.setattr(local_plan, "plan_retraining", lambda config, **_: replace(DUE, retrain=retrain))
    assert call("plan", VOWELS, "--root", tmp_path, *options).exit_code == code


def test_a_plan_that_fails_is_told_in_words(monkeypatch, tmp_path):
    def fail(config: Any, **options: Any) -> RetrainPlan:
        raise DataError("span 9: no file matches day-9.csv")

    monkeypatch.setattr(local_plan, "plan_retraining", fail)
    result = call("plan", VOWELS, "--root", tmp_path, "--exit-code")
    assert (result.exit_code, result.output) == (1, "error: span 9: no file matches day-9.csv\n")


def test_a_dry_run_changes_nothing(plan_calls, tmp_path):
    result = call("run", VOWELS, "--root", tmp_path / "root", "--dry-run", "--force", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["retrain"] is True
    assert plan_calls[0]["force"] is True
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize(
    ("outcome", "wrong_config", "code"),
    [
        ("published", False, 0),
        ("not due", False, 0),
        ("refused", False, 3),
        ("failed", False, 1),
        ("failed", True, 2),
        ("interrupted", False, 130),
    ],
)
def test_exit_codes_of_run(monkeypatch, tmp_path, outcome: Outcome, wrong_config, code):
    done = RetrainResult(
        pipeline="japanese-vowels",
        outcome=outcome,
        plan=json.loads(DUE.to_json()),
        error="what happened" if outcome == "failed" else None,
        wrong_config=wrong_config,
        notified=(Delivery("webhook", None),),
    )
    given: dict[str, Any] = {}

    def once(config: Any, **options: Any) -> RetrainResult:
        given.update(options)
        return done

    monkeypatch.setattr(retraining, "retrain_once", once)
    result = call("run", VOWELS, "--root", tmp_path, "--set", "seed=3", "--json")
    assert result.exit_code == code
    reported = json.loads(result.stdout)
    assert (reported["outcome"], reported["run"], reported["plan"]["spans"]) == (outcome, None, "3-9")
    assert reported["notified"] == [{"hook": "webhook", "error": None}]
    assert (given["root"], given["overrides"], given["force"]) == (tmp_path, ["seed=3"], False)
    assert ("error: what happened" in result.stderr) == (outcome == "failed")


def test_a_configuration_that_can_not_be_read_is_json_too(tmp_path):
    result = call("run", tmp_path / "no.yaml", "--json")
    assert result.exit_code == 2
    reported = json.loads(result.stdout)
    assert (reported["outcome"], reported["notified"]) == (None, None)
    assert "No such file" in reported["error"]


@pytest.mark.parametrize("command", [["retrain", "run"], ["run"]])
def test_another_run_is_named_and_has_a_code_of_its_own(tmp_path, command):
    directory = RunDirectory(tmp_path)
    directory.create()
    with directory.locked("noisy-gru retrain run"):
        result = CliRunner().invoke(app, [*command, str(VOWELS), "--root", str(tmp_path)])
    assert result.exit_code == 75
    assert f"error: {tmp_path}: in use by process " in result.stderr
    assert ": noisy-gru retrain run, since 20" in result.stderr
    assert "wait for it" in result.stderr


def test_schedule_needs_a_time(tmp_path):
    result = call("schedule", VOWELS, "--root", tmp_path)
    assert result.exit_code == 2
    assert "no schedule: expected --cron, or retraining.schedule.cron in CONFIG" in result.output


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--cron", "0 24 * * *"], "'24' is not a valid hour; expected 0 to 23"),
        (["--cron", "0 0 31 2 *"], "none of its months has such a day"),
        (["--cron", "@every 6h"], "only Kubeflow's scheduler takes @every"),
        (["--cron", "@daily", "--timezone", "Mars/Base"], "expected a time zone of the IANA database"),
        (["--cron", "@daily", "--timezone", "berlin"], "did you mean Europe/Berlin?"),
        (["--cron", "@daily", "--timezone", "../etc/passwd"], "expected a time zone of the IANA database"),
        (["--cron", "@daily", "--jitter", "soon"], "expected a duration"),
    ],
)
def test_what_schedule_refuses(tmp_path, options, words):
    result = call("schedule", VOWELS, "--root", tmp_path / "root", *options)
    assert result.exit_code == 2, result.output
    assert words in result.output
    assert not (tmp_path / "root").exists()


def test_options_take_the_place_of_the_configuration(monkeypatch, tmp_path):
    given = []
    monkeypatch.setattr(schedule, "run_schedule", lambda config, *rest: given.append((config, *rest)) or 0)
    settings = ["--set", "retraining.schedule={cron: '@hourly', timezone: Asia/Tokyo}", "--set", "seed=5"]
    result = call("schedule", VOWELS, "--root", tmp_path, *settings, "--cron", "0 3 * * *", "--jitter", "5m")
    assert result.exit_code == 0, result.output
    ((config, path, root, overrides),) = given
    rules = config.retraining.schedule
    assert (rules.cron, rules.timezone, rules.jitter) == ("0 3 * * *", "Asia/Tokyo", "5m")
    # Each retraining gets what was set, but has no use for the times.
    assert (path, root, overrides) == (VOWELS, tmp_path, settings[1::2])


HEAVY = """
import sys
from noisy_gru.pipeline.cli.main import app
try:
    app(sys.argv[1:])
except SystemExit as ended:
    assert ended.code == 2, ended.code
import noisy_gru.pipeline.retrain.schedule
print([name for name in ("tensorflow", "tfx", "apache_beam", "keras", "ml_metadata") if name in sys.modules])
"""


def test_the_scheduler_itself_imports_nothing_heavy(tmp_path):
    arguments = ["retrain", "schedule", str(VOWELS)]
    done = subprocess.run(
        [sys.executable, "-c", HEAVY, *arguments], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.splitlines()[-1] == "[]"

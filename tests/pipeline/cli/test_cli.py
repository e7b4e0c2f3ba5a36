"""The command line: what it says, its exit codes, and that the quick commands import nothing heavy."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from noisy_gru.pipeline.cli.main import app
from noisy_gru.pipeline.exit_codes import EXIT_CONFIG, EXIT_FAILED
from tests.patience import PATIENCE

EXAMPLES = Path(__file__).parents[3] / "examples"
VOWELS = EXAMPLES / "japanese_vowels" / "config.yaml"
WEATHER = EXAMPLES / "nycflights_weather" / "config.yaml"


def call(*arguments: object):
    return CliRunner().invoke(app, [str(each) for each in arguments])


def noisy_gru(*arguments: object, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", "from noisy_gru.pipeline.cli.main import main; main()"]
    return subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=PATIENCE, **options
    )


HEAVY = """
import sys
from noisy_gru.pipeline.cli.main import app
try:
    app(sys.argv[1:])
except SystemExit as ended:
    assert not ended.code, ended.code
print([name for name in ("tensorflow", "tfx", "apache_beam", "keras", "ml_metadata") if name in sys.modules])
"""


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["validate", str(VOWELS)], ["runs", "list"]])
def test_quick_commands_import_nothing_heavy(arguments, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", HEAVY, *arguments], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_explains_and_lists_exit_codes():
    text = " ".join(noisy_gru("--help").stdout.split())
    for command in ("init", "validate", "run", "predict", "runs", "retrain", "schema", "doctor"):
        assert f" {command} " in text
    assert "3 run: the model was trained but refused" in text
    assert "75 another run is in progress" in text
    assert "130 interrupted" in text


@pytest.mark.parametrize("config", [VOWELS, WEATHER])
def test_the_examples_are_valid(config):
    result = call("validate", config)
    assert result.exit_code == 0, result.output
    assert result.output.endswith(f"{config}: valid\n")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.files={train: [no-*.csv], test: [test.csv.gz]}", "no-*.csv matches no file"),
        ("data.features.0=c99", "train.csv.gz: expected the column c99; the file has utterance, step, c01"),
        ("data.entity=speaker_id", "expected the column speaker_id"),
        ("schema=missing.pbtxt", "missing.pbtxt: the schema can't be read: No such file or directory"),
        ("schema=config.yaml", "config.yaml: line 3: not a TensorFlow Metadata schema in text form"),
        ("schema=../nycflights_weather/config.yaml", "not a TensorFlow Metadata schema"),
        (
            "schema=../../schema/nycflights_weather/schema.pbtxt",
            "found only others: temp, dewp, humid, wind_dir, wind_speed, precip, pressure, visib and 1 more. Is it the",
        ),
        ("evaluation.thresholds={acuracy: {min: 1}}", "expected a metric of classification, found acuracy"),
        ("evaluation.thresholds={acuracy: {min: 1}}", "did you mean accuracy?"),
        (
            "evaluation.compare.metric=mae",
            "evaluation.compare.metric: expected a metric of classification, found mae",
        ),
        ("evaluation.compare.metric=accuracy_majority", "two models can't be compared by accuracy_majority"),
        ("evaluation.require_each=[horizon]", "evaluation.require_each: classification has no horizons"),
        ("evaluation.comparison={max_regresion: 0.1}", "comparison was replaced by compare: write compare: {accept"),
        ("evaluation={comparison: null, compare: null}", "write compare alone"),
        ("evaluation.slices=[[speeker]]", "evaluation.slices: expected a feature or the label"),
        ("training.epochs=0", "--set training.epochs: expected a value >= 1, found 0"),
    ],
)
def test_validate_says_what_is_wrong(override, message):
    result = call("validate", VOWELS, "--set", override)
    assert result.exit_code == EXIT_CONFIG
    assert message in result.output
    assert "Traceback" not in result.output


def test_validate_tells_all_problems_at_once():
    overrides = ["data.features.0=c99", "evaluation.thresholds={acuracy: {min: 1}}", "evaluation.slices=[[x]]"]
    result = call("validate", VOWELS, *(part for override in overrides for part in ("--set", override)))
    for reported in ("c99", "acuracy", "found x"):
        assert reported in result.output


def test_a_mistake_has_no_traceback_unless_asked():
    plain = noisy_gru("validate", "nothing.yaml")
    assert plain.returncode == EXIT_CONFIG
    assert plain.stdout == ""
    expected = "error: nothing.yaml: 1 problem in the configuration\n  - can't be read: No such file or directory\n"
    assert plain.stderr == expected
    debug = noisy_gru("validate", "nothing.yaml", "--debug")
    assert "Traceback" in debug.stderr
    assert debug.returncode != 0


def test_run_with_a_wrong_configuration_prints_json_alone(tmp_path):
    done = noisy_gru("run", VOWELS, "--set", "training.epochs=x", "--root", tmp_path / "root", "--json")
    assert done.returncode == EXIT_CONFIG
    answer = json.loads(done.stdout)
    assert answer["run_id"] is None
    assert answer["status"] == "failed"
    assert "training.epochs: expected a whole number" in answer["error"]
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("arguments", [[], ["run"], ["predict", str(VOWELS)], ["nothing"], ["run", "a", "--color"]])
def test_wrong_usage(arguments):
    done = noisy_gru(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_predict_needs_a_published_model(tmp_path):
    result = call("predict", VOWELS, EXAMPLES / "japanese_vowels" / "test.csv.gz", "--root", tmp_path)
    assert result.exit_code == EXIT_FAILED
    assert "no published model" in result.output


def test_predict_knows_its_formats(tmp_path):
    result = call("predict", VOWELS, "x.csv", "--root", tmp_path, "--format", "xml")
    assert result.exit_code == EXIT_CONFIG
    assert "--format: expected one of csv, jsonl, parquet, found xml" in result.output


def test_no_runs_yet(tmp_path):
    assert "no runs yet" in call("runs", "list", "--root", tmp_path).output
    assert json.loads(call("runs", "list", "--root", tmp_path, "--json").output) == []
    result = call("runs", "show", "latest", "--root", tmp_path)
    assert result.exit_code == EXIT_FAILED
    assert "no runs here" in result.output


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
def test_what_the_machine_refuses_has_no_traceback(number, monkeypatch, tmp_path):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), str(tmp_path / "file"))

    monkeypatch.setattr("noisy_gru.pipeline.config.checks.check_config", refuse)
    done = call("validate", VOWELS)
    assert done.exit_code == EXIT_FAILED
    assert done.stderr == f"error: {tmp_path / 'file'}: {os.strerror(number)}\n"
    # Anything else is a bug.
    number = errno.EBADF
    assert isinstance(call("validate", VOWELS).exception, OSError)


@pytest.mark.parametrize("command", [["run"], ["retrain", "run"], ["retrain", "schedule", "--cron", "@daily"]])
def test_a_root_that_can_not_be_written(command, tmp_path):
    """Where even who may do all can't write: its lock is a folder."""
    (tmp_path / ".lock").mkdir()
    (tmp_path / ".schedule.lock").mkdir()
    done = call(*command, VOWELS, "--root", tmp_path)
    assert done.exit_code == EXIT_FAILED
    assert done.stderr.endswith(f"error: {tmp_path}: can't be written: Is a directory\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_anything_began_is_an_interrupt(number):
    code = f"""
import os, sys
from noisy_gru.pipeline.config import loading
from noisy_gru.pipeline.cli.main import main
loading.load_config = lambda *_: os.kill(os.getpid(), {int(number)})
sys.argv[1:] = ["validate", "config.yaml"]
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=VOWELS.parent)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_a_worker_that_waits_for_ever_does_not_keep_an_interrupted_command_from_ending():
    """As Beam's may, when the thread that ran the step is gone."""
    code = """
import os, signal, sys, threading
from noisy_gru.pipeline.config import loading
from noisy_gru.pipeline.runs import process_setup
from noisy_gru.pipeline.cli.main import main
process_setup._END_SECONDS = 0.5
def interrupted(*_):
    threading.Thread(target=threading.Event().wait).start()
    os.kill(os.getpid(), signal.SIGTERM)
loading.load_config = interrupted
sys.argv[1:] = ["validate", "config.yaml"]
main()
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=VOWELS.parent, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")

"""Whole runs, as a user starts them: the console command in a process of its own, on real data with few epochs."""

from __future__ import annotations

import csv
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from noisy_gru.pipeline.exit_codes import EXIT_BUSY, EXIT_INTERRUPTED, EXIT_REFUSED
from noisy_gru.registry.publish import publish
from tests import preloaded
from tests.patience import PATIENCE, until

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
VOWELS = EXAMPLES / "japanese_vowels" / "config.yaml"
WEATHER = EXAMPLES / "nycflights_weather" / "config.yaml"
COMMAND = [sys.executable, "-c", "from noisy_gru.pipeline.cli.main import main; main()"]
# Importing TFX takes three times as long where Python may not keep bytecode.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@dataclass
class Done:
    """A finished command: its exit code, what it printed, and that as JSON where it is."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.out)

    def steps(self, key: str = "status") -> dict[str, Any]:
        return {step["name"]: step[key] for step in self.json["steps"]}


def noisy_gru(*arguments: object) -> Done:
    """The command, in a process of which only the imports of TFX have been done already."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        process = preloaded.Popen([*COMMAND, *map(str, arguments)], stdout=out, stderr=err, env=ENVIRONMENT)
        return Done(process.wait(900), out.read_text(), err.read_text())


def noisy_gru_anew(*arguments: object) -> Done:
    """The command, in a process of its own from the first line on."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=900, env=ENVIRONMENT
    )
    return Done(done.returncode, done.stdout, done.stderr)


def overrides(*values: str) -> list[str]:
    return [part for value in values for part in ("--set", value)]


FEW_EPOCHS = ("training.epochs=3", "training.schedule={kind: constant}", "model.bidirectional=false")
QUICK = overrides(*FEW_EPOCHS, "evaluation.thresholds={accuracy: {min: 0.2}}")


@pytest.fixture(scope="module")
def vowels(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """A root with one run of Japanese Vowels, and what it said."""
    root = tmp_path_factory.mktemp("vowels")
    return root, noisy_gru_anew("run", VOWELS, "--root", root, "--json", *QUICK)


def published(root: Path, model: str = "japanese-vowels") -> list[str]:
    return sorted(path.name for path in (root / "serving" / model).glob("[0-9]*"))


def test_japanese_vowels_from_csv_to_a_published_model(vowels):
    root, done = vowels
    assert done.code == 0, done.err
    answer = done.json
    assert (answer["status"], answer["blessed"], answer["error"], answer["refusals"]) == ("succeeded", True, None, [])
    assert answer["rows"] == {"read": 9961, "kept": 9961, "dropped": {}, "quarantined": {}}
    assert answer["sequences"]["test"] == 370
    assert sum(answer["sequences"].values()) == 640
    assert answer["metrics"]["accuracy"] > 0.2
    assert answer["metrics"]["example_count"] == 370
    assert set(done.steps().values()) == {"complete"}
    assert all(seconds > 0 for seconds in done.steps("seconds").values())
    assert done.steps("numbers")["Trainer"]["epochs"] == 3
    folder = Path(answer["published_path"])
    assert folder.parent == root / "serving" / "japanese-vowels"
    assert int(folder.name) == answer["version"]
    assert (folder / "saved_model.pb").is_file()
    # The report stands beside the record, with the run's numbers; its own test opens it in a browser.
    page = root / "runs" / f"{answer['run_id']}.html"
    assert answer["report"] == str(page)
    text = page.read_text()
    account = json.loads(text.partition('id="account">')[2].partition("</script>")[0])
    assert account["notes"] == {}
    assert account["evaluation"]["metrics"] == answer["metrics"]
    assert sum(map(sum, account["evaluation"]["confusion"]["counts"])) == 370
    assert len(account["evaluation"]["curves"]) == 9
    assert len(account["training"]["history"]["learning_rate"]) == 3
    assert len(account["training"]["epoch_seconds"]) == 2
    assert len(account["worst"]["cases"]) == 4 and all(case["sequence"] for case in account["worst"]["cases"])
    assert all(step["peak_mb"] for step in account["resources"]["steps"])
    assert len(text) < 1e6
    # The terminal gets the record, the log gets TFX's, Beam's and TensorFlow's lines.
    assert "epoch 3/3" in done.err or "3 epochs" in done.err
    assert "absl" not in done.err
    log = Path(answer["log"]).read_text(errors="replace")
    assert "absl" in log and "apache_beam" in log and "cpu_feature_guard" in log


def test_a_second_run_with_nothing_new_trains_and_publishes_nothing(vowels):
    root, first = vowels
    done = noisy_gru("run", VOWELS, "--root", root, "--json", *QUICK)
    assert done.code == 0, done.err
    steps = done.steps()
    assert {name for name, status in steps.items() if status != "cached"} == {"Pusher"}
    assert done.json["published_path"] == first.json["published_path"]
    assert published(root) == [str(first.json["version"])]
    assert done.json["metrics"] == first.json["metrics"]
    # Still compared with nothing, though a model is published by now: that is this very one.
    assert done.steps("numbers")["LatestBlessed"] == {"version": None}
    assert done.json["rows"] == first.json["rows"]


def test_a_withdrawn_model_does_not_come_back_and_damage_ends_a_run(vowels, tmp_path):
    """Under another root, of which only the serving directory is left, the same model is trained and exported anew."""
    root, first = vowels
    version = first.json["version"]
    serving = tmp_path / "moved" / "serving"
    older = tmp_path / "older"
    older.mkdir()
    (older / "saved_model.pb").write_bytes(b"of before")
    publish(older, serving, "japanese-vowels", clock=lambda: 100.0)
    model_dir = serving / "japanese-vowels"
    shutil.copytree(root / "serving" / "japanese-vowels" / str(version), model_dir / f"withdrawn-{version}")
    run = ("run", VOWELS, "--root", tmp_path / "moved", "--json", *QUICK, "--set", "evaluation.comparison=null")
    done = noisy_gru(*run)
    assert done.code == EXIT_REFUSED, done.err
    assert done.steps()["Trainer"] == "complete"
    (reason,) = done.json["refusals"]
    assert reason.startswith(f"Pusher: this model was published as version {version} and withdrawn, so it isn't")
    assert reason in done.err.replace("\n", "")
    assert published(tmp_path / "moved") == ["100"]
    # A person may bring it back; then the run has nothing to publish.
    assert noisy_gru("runs", "restore", version, "--root", tmp_path / "moved").code == 0
    done = noisy_gru(*run)
    assert (done.code, done.json["version"]) == (0, version), done.err
    assert published(tmp_path / "moved") == ["100", str(version)]
    # A byte is flipped.
    file = model_dir / str(version) / "variables" / "variables.data-00000-of-00001"
    content = bytearray(file.read_bytes())
    content[5000] ^= 1
    file.write_bytes(content)
    done = noisy_gru(*run)
    assert (done.code, done.json["steps"]) == (1, [])
    assert f"{file} differs from what was published" in done.json["error"]
    assert "noisy-gru runs rollback" in done.json["error"]


def test_a_refused_model_publishes_nothing(vowels):
    root, _ = vowels
    before = published(root)
    demanding = overrides(*FEW_EPOCHS, "evaluation.thresholds={accuracy: {min: 0.9999}}")
    done = noisy_gru("run", VOWELS, "--root", root, "--json", *demanding)
    assert done.code == 3
    answer = done.json
    assert (answer["status"], answer["blessed"], answer["published_path"]) == ("refused", False, None)
    assert any("accuracy is 0." in reason and "must be at least 0.9999" in reason for reason in answer["refusals"])
    assert "must be at least 0.9999" in done.err
    assert published(root) == before
    listed = json.loads(noisy_gru("runs", "list", "--root", root, "--json").out)
    assert [run["status"] for run in listed][-1] == "refused"
    shown = noisy_gru("runs", "show", "latest", "--root", root).out
    assert "must be at least 0.9999" in shown


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_predictions_of_the_published_model(vowels, tmp_path, form):
    root, first = vowels
    out = tmp_path / f"answers.{form}"
    done = noisy_gru("predict", VOWELS, VOWELS.parent / "test.csv.gz", "--root", root, "--out", out)
    assert (done.code, done.out, done.err) == (0, "", "")
    if form == "csv":
        with out.open() as stream:
            answers = list(csv.DictReader(stream))
    else:
        answers = [json.loads(line) for line in out.read_text().splitlines()]
    with gzip.open(VOWELS.parent / "test.csv.gz", "rt") as stream:
        truth = {row["utterance"]: row["speaker"] for row in csv.DictReader(stream)}
    assert {answer["sequence_id"] for answer in answers} == set(truth)
    right = np.mean([answer["speaker"] == truth[answer["sequence_id"]] for answer in answers])
    # What a client is answered is what the Evaluator measured.
    assert right == pytest.approx(first.json["metrics"]["accuracy"], abs=1e-9)
    sums = [sum(float(answer[f"probability_{speaker}"]) for speaker in range(1, 10)) for answer in answers]
    assert sums == pytest.approx([1.0] * 370, abs=1e-5)


def test_predictions_tell_what_they_could_not_use(vowels, tmp_path):
    root, _ = vowels
    frame = pd.read_csv(VOWELS.parent / "test.csv.gz", dtype=str).drop(columns="speaker").head(60)
    frame.loc[3, "c05"] = "loud"
    frame.to_csv(tmp_path / "new.csv", index=False)
    done = noisy_gru("predict", VOWELS, tmp_path / "new.csv", "--root", root, "--format", "jsonl")
    assert done.code == 4
    assert "not used: 1 row: unparsable_value" in done.err
    assert "new.csv, row 4, column c05" in done.err
    names = [json.loads(line)["sequence_id"] for line in done.out.splitlines()]
    assert names == list(frame["utterance"].unique())


def test_bad_cells_are_counted_and_an_anomaly_stops_the_run(vowels, tmp_path):
    root, _ = vowels
    frame = pd.read_csv(VOWELS.parent / "train.csv.gz", dtype=str)
    frame.loc[[5, 77], "c02"] = ["?", "12,5"]
    frame.loc[100, "c03"] = "99"
    frame.to_csv(tmp_path / "train.csv", index=False)
    files = f"data.files={{train: [{tmp_path / 'train.csv'}], test: [test.csv.gz]}}"
    done = noisy_gru("run", VOWELS, "--root", root, "--json", *QUICK, *overrides(files))
    assert done.code == 1
    answer = done.json
    assert (answer["status"], answer["blessed"], answer["published_path"]) == ("failed", None, None)
    assert answer["rows"]["quarantined"] == {"unparsable_value": 2}
    assert "c03" in answer["error"] and "from -4 to 4" in answer["error"]
    assert done.steps()["AnomalyGate"] == "failed"
    assert "Trainer" not in done.steps()
    assert "Traceback" not in done.err
    assert "c03" in done.err


def test_a_policy_of_error_names_file_row_and_column(vowels, tmp_path):
    root, _ = vowels
    frame = pd.read_csv(VOWELS.parent / "train.csv.gz", dtype=str)
    frame.loc[5, "c02"] = "?"
    frame.to_csv(tmp_path / "train.csv", index=False)
    files = f"data.files={{train: [{tmp_path / 'train.csv'}], test: [{VOWELS.parent / 'test.csv.gz'}]}}"
    strict = overrides(files, "data.policies.unparsable_value=error")
    done = noisy_gru("run", VOWELS, "--root", root, "--json", *QUICK, *strict)
    assert done.code == 1
    assert "row 6, column c02" in done.json["error"]
    assert "Traceback" not in done.err


@pytest.mark.long
def test_weather(tmp_path):
    quick = overrides(
        "training.epochs=1", "task.stride=16", "evaluation.baselines=report", "evaluation.thresholds={mae: {max: 40}}"
    )
    done = noisy_gru("run", WEATHER, "--root", tmp_path, "--json", *quick)
    assert done.code == 0, done.err
    answer = done.json
    assert answer["rows"]["read"] == 26115
    assert answer["metrics"]["mae_naive_last"] == pytest.approx(4.3, abs=0.5)
    assert answer["metrics"]["mae_naive_seasonal"] == pytest.approx(7.2, abs=1)
    predicted = noisy_gru("predict", WEATHER, WEATHER.parent / "weather.csv.gz", "--root", tmp_path, *overrides())
    assert predicted.code in (0, 4), predicted.err
    rows = list(csv.DictReader(predicted.out.splitlines()))
    assert [row["sequence_id"].split("@")[0] for row in rows] == ["EWR", "JFK", "LGA"]
    assert all(-40 < float(row["temp@6"]) < 130 for row in rows)


def test_a_root_in_use_and_a_run_that_is_interrupted(tmp_path):
    """What becomes of it when it is run again: test_resume."""
    command = ("run", VOWELS, "--root", tmp_path, "--json", *QUICK)
    process = subprocess.Popen(
        [*COMMAND, *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    until(lambda: process.poll() is not None or bool(list(tmp_path.glob("runs/[!.]*.json"))))
    assert process.poll() is None, process.communicate()
    busy = noisy_gru(*command)
    assert busy.code == EXIT_BUSY
    assert "in use by process" in busy.err
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == EXIT_INTERRUPTED
    assert json.loads(out)["status"] == "interrupted"
    (listed,) = json.loads(noisy_gru("runs", "list", "--root", tmp_path, "--json").out)
    assert listed["status"] == "interrupted"

"""``noisy-gru kubeflow``: found by the command line, tells what it does, and ends with the right code."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from noisy_gru.kubeflow.commands import app
from tests.patience import PATIENCE, until

COMPILED = """
schemaVersion: 2.1.0
pipelineInfo: {name: tiny}
root:
  inputDefinitions: {parameters: {text: {parameterType: STRING, defaultValue: hello}}}
  dag:
    tasks:
      Say:
        taskInfo: {name: Say}
        componentRef: {name: Say}
        inputs: {parameters: {text: {componentInputParameter: text}}}
components:
  Say: {executorLabel: say, inputDefinitions: {parameters: {text: {parameterType: STRING}}}}
deploymentSpec:
  executors:
    say:
      container:
        image: none
        command: [sh, -c]
        args: ["test \\"{{$.inputs.parameters['text']}}\\" != bad || { echo 'error: it is bad'; exit 1; }"]
---
platforms:
  kubernetes:
    deploymentSpec:
      executors:
        say:
          pvcMount: [{mountPath: /mnt/data, constant: data}]
          secretAsEnv: [{secretName: s, keyToEnv: [{secretKey: k, envVar: TOKEN}]}]
"""


@pytest.fixture
def compiled(tmp_path: Path) -> Path:
    file = tmp_path / "pipeline.yaml"
    file.write_text(COMPILED)
    return file


def test_the_command_line_finds_it() -> None:
    code = "import sys; sys.argv[1:] = ['kubeflow', '--help']; from noisy_gru.pipeline.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "compile" in done.stdout and "dry-run" in done.stdout


def test_the_pipeline_room_does_not_import_it() -> None:
    code = (
        "import sys, noisy_gru.pipeline.cli.main, noisy_gru.pipeline.config.pipeline_config\n"
        "print([name for name in sys.modules if 'kubeflow' in name])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['noisy_gru.pipeline.config.kubeflow_config']"


def test_a_dry_run_says_what_it_did_and_what_is_not_here(compiled: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["dry-run", str(compiled), "--root", str(tmp_path / "root")])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0].startswith("tiny  run ")
    assert "note: no volumes here: /mnt/data are this machine's own" in lines[1]
    assert lines[2].endswith("note: no secrets here: TOKEN stay unset")
    assert lines[3].split()[0] == "Say" and lines[3].endswith("succeeded")
    folder = Path(lines[4].rpartition(": ")[2])
    assert lines[4].startswith("succeeded in ")
    assert json.loads((folder / "run.json").read_text())["tasks"][0]["state"] == "SUCCEEDED"


def test_a_failed_dry_run_ends_with_1_and_names_the_log(compiled: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["dry-run", str(compiled), "--root", str(tmp_path / "root"), "--parameter", "text=bad"]
    )
    assert done.exit_code == 1
    assert "ended with 1. error: it is bad" in done.output
    log = next(line for line in done.output.splitlines() if line.strip().startswith("log: ")).partition("log: ")[2]
    assert Path(log).read_text() == "error: it is bad\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--parameter", "text"], "--parameter: expected NAME=VALUE. Received: 'text'"),
        (["--parameter", "other=1"], "parameter other: tiny has no such parameter. It has: text"),
    ],
)
def test_a_wrong_command_ends_with_2(compiled: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["dry-run", str(compiled), "--root", str(tmp_path / "root"), *arguments])
    assert done.exit_code == 2
    assert message in done.output


def test_a_file_name_that_kfp_does_not_take_is_refused(tmp_path: Path) -> None:
    config = Path(__file__).parents[2] / "examples" / "japanese_vowels" / "config.yaml"
    done = CliRunner().invoke(app, ["compile", str(config), "-o", str(tmp_path / "pipeline.json")])
    assert done.exit_code == 2
    assert "expected a name that ends in .yaml" in done.output


def alive(group: str) -> list[str]:
    """The processes of a group, but for those that are dead and not yet waited for."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # After the name in brackets: state, parent, group.
            state, _, of, *_ = file.read_text().rpartition(")")[2].split()
            found += [file.parent.name] if of == group and state != "Z" else []
    return found


def test_an_interrupt_ends_the_steps_too(tmp_path: Path) -> None:
    started, file = tmp_path / "started", tmp_path / "pipeline.yaml"
    spec, platform = yaml.safe_load_all(COMPILED)
    # Says which process group it is, and goes on for longer than a test may.
    script = f"echo $$ >{started}.new; mv {started}.new {started}; sleep 600"
    spec["deploymentSpec"]["executors"]["say"]["container"]["args"] = [script]
    file.write_text(yaml.safe_dump_all([spec, platform]))
    code = "from noisy_gru.pipeline.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "kubeflow", "dry-run", str(file), "--root", str(tmp_path / "root")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: started.exists() or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, err
    assert "was interrupted" in out and err.strip() == "interrupted"
    group = started.read_text().strip()
    until(lambda: alive(group) == [])
    (record,) = (tmp_path / "root" / "runs").glob("*/run.json")
    assert json.loads(record.read_text())["status"] == "failed"

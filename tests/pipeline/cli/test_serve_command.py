"""``noisy-gru serve``: what it starts, what it says, and how it ends."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from noisy_gru.pipeline.cli.main import app
from noisy_gru.pipeline.exit_codes import EXIT_FAILED
from tests.patience import PATIENCE, until
from tests.ports import free_port

VOWELS = Path(__file__).parents[3] / "examples" / "japanese_vowels" / "config.yaml"
NAME = "japanese-vowels"
COMMAND = [sys.executable, "-W", "error", "-c", "from noisy_gru.pipeline.cli.main import main; main()"]


def test_nothing_is_published(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["serve", str(VOWELS), "--root", str(tmp_path)])
    assert result.exit_code == EXIT_FAILED
    assert "no published model. Run the pipeline first" in result.output


def test_ports_and_seconds_have_bounds(tmp_path: Path) -> None:
    for option in (["--grpc-port", "70000"], ["--poll-seconds", "0"]):
        result = CliRunner().invoke(app, ["serve", str(VOWELS), "--root", str(tmp_path), *option])
        assert result.exit_code == 2


def program(folder: Path, script: str) -> dict[str, str]:
    """An environment whose first tensorflow_model_server is this script."""
    folder.mkdir()
    file = folder / "tensorflow_model_server"
    file.write_text(f"#!{sys.executable}\n{textwrap.dedent(script)}")
    file.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.slow
def test_the_real_server_is_started_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "root" / "serving" / NAME / "3").mkdir(parents=True)
    environment = program(tmp_path / "bin", "import sys; print('told', *sys.argv[1:], flush=True); sys.exit(9)")
    done = subprocess.run(
        [*COMMAND, "serve", str(VOWELS), "--root", str(tmp_path / "root"), "--grpc-port", "9123"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 9, done.stderr
    reported = re.search("^told (.*)$", done.stdout, re.MULTILINE)
    assert reported is not None
    flags = reported[1].split()
    assert "--port=9123" in flags
    assert f"--model_base_path={tmp_path / 'root' / 'serving' / NAME}" in flags
    assert "listens on all addresses of this machine" in done.stdout


@pytest.fixture
def root(exported: tuple[Path, Any], tmp_path: Path) -> Path:
    """A root under which version 1 of a small model is published."""
    folder = tmp_path / "root" / "serving" / NAME
    folder.mkdir(parents=True)
    (tmp_path / "root" / "logs").mkdir()
    shutil.copytree(exported[0], folder / "1")
    return tmp_path / "root"


@pytest.mark.slow
def test_the_stand_in_says_what_it_is_and_its_lines_work(root: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "serve", str(VOWELS), "--root", str(root), "--stand-in", "--grpc-port", "0", "--rest-port", "0"],
        # Other tests may have told this process' TensorFlow to say less.
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    watchdog = threading.Timer(PATIENCE, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None
        lines = []
        while not lines or "Stop it with Ctrl-C" not in lines[-1]:
            lines.append(process.stdout.readline())
            assert lines[-1], f"it ended: {lines}"
        reported = "".join(lines)
        assert "stand-in for TF Serving, for development and tests" in reported
        assert "started because --stand-in was given" in reported
        assert f"model  {NAME}, version 1\n" in reported
        status, predict = (shlex.split(line) for line in lines if line.startswith("  curl "))
        assert httpx.get(status[1], timeout=PATIENCE).json()["model_version_status"][0]["state"] == "AVAILABLE"
        assert predict[1] == "-d"
        answer = httpx.post(predict[3], content=predict[2], timeout=PATIENCE)
        assert answer.status_code == 200, answer.text
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate()
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert rest.startswith("Stopping")
    assert "Reading SavedModel" not in reported + rest, "TensorFlow's lines belong into the log"
    assert "SavedModel" in (root / "logs" / "serve.log").read_text()


def served_in_here(root: Path, ask: Callable[[str], None]) -> int:
    """Serves in this process; ``ask`` gets the model's address when the server answers, and SIGTERM follows."""
    from noisy_gru.pipeline.config.loading import load_config
    from noisy_gru.pipeline.local_serving import Listening, serve_published

    listening = Listening(grpc_port=0, rest_port=free_port())

    def when_it_answers() -> None:
        url = f"http://127.0.0.1:{listening.rest_port}/v1/models/{NAME}"
        try:
            until(lambda: ended.is_set() or _is_available(url))
            if not ended.is_set():
                ask(url)
        finally:
            # Else it would end the tests.
            if not ended.is_set():
                os.kill(os.getpid(), signal.SIGTERM)

    ended = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        requested = threads.submit(when_it_answers)
        try:
            code = serve_published(
                load_config(VOWELS), config_path=VOWELS, root=root, listening=listening, stand_in=True
            )
        finally:
            ended.set()
    requested.result()
    return code


def _is_available(url: str) -> bool:
    try:
        return "AVAILABLE" in httpx.get(url, timeout=PATIENCE).text
    except httpx.TransportError:
        return False


@pytest.mark.slow
def test_sigterm_ends_it_in_peace_and_the_files_of_the_pusher_are_used(root: Path) -> None:
    from noisy_gru.registry.config import BatchingConfig
    from noisy_gru.registry.labels import Labels, ServedVersions
    from noisy_gru.registry.server_files import MODELS_CONFIG, render

    model = ServedVersions(name=NAME, labels=Labels(stable=1, canary=1), num_versions=1)
    (root / "serving" / MODELS_CONFIG).write_text(render(MODELS_CONFIG, [model], BatchingConfig()))
    before = signal.getsignal(signal.SIGTERM)
    codes = []
    # A tf.Example of the feature a, without a step.
    requested = b'{"instances": [{"b64": "CgcKBQoBYRIA"}]}'

    def ask(url: str) -> None:
        codes.append(httpx.post(f"{url}/labels/stable:predict", content=requested, timeout=PATIENCE).status_code)

    assert served_in_here(root, ask) == 0
    assert codes == [200]
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.slow
def test_a_taken_port_and_another_address(root: Path) -> None:
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
        arguments = ["--root", str(root), "--stand-in", "--host", "127.0.0.2", "--grpc-port", "0", "--rest-port", port]
        result = CliRunner().invoke(app, ["serve", str(VOWELS), *map(str, arguments)])
    assert result.exit_code == EXIT_FAILED
    assert (
        "warning: listening on 127.0.0.2 without authentication or encryption: whoever reaches this machine"
        in result.output
    )
    assert f"error: The REST API can't listen on 127.0.0.2:{port}" in result.output
    assert "--rest-port" in result.output

"""Starting the real TF Serving: its command lines, and signals and exit codes with programs that stand for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from noisy_gru.registry.config import BatchingConfig
from noisy_gru.registry.labels import Labels, ServedVersions
from noisy_gru.registry.server_files import BATCHING_FLAGS, FLAGS, IMAGE, MODELS_CONFIG, render
from noisy_gru.schema.errors import UserError
from noisy_gru.serving.model_server import (
    Listening,
    ModelServer,
    command,
    find_model_server,
    read_models_config,
    run,
)

PROGRAM = ModelServer("program", "/bin/tensorflow_model_server")
DOCKER = ModelServer("docker", "/bin/docker")
LISTENING = Listening(grpc_port=9000, rest_port=9001, poll_seconds=2.4)


def flags_of(line: list[str]) -> dict[str, str]:
    return dict(word.split("=", 1) for word in line if word.startswith("--") and "=" in word)


@pytest.fixture
def serving_dir(tmp_path: Path) -> Path:
    """A serving directory with the files that the Pusher writes."""
    folder = tmp_path / "serving"
    (folder / "vowels" / "1").mkdir(parents=True)
    model = ServedVersions(name="vowels", labels=Labels(stable=1, canary=1), num_versions=2)
    for name in (MODELS_CONFIG, "monitoring.config"):
        (folder / name).write_text(render(name, [model], BatchingConfig()))
    return folder


@pytest.mark.slow
def test_the_program_over_a_serving_directory(serving_dir: Path, tmp_path: Path) -> None:
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    line = command(PROGRAM, serving_dir, "vowels", LISTENING, tmp_path)
    assert line[0] == PROGRAM.path
    flags = flags_of(line)
    assert (flags["--port"], flags["--rest_api_port"]) == ("9000", "9001")
    assert (flags["--file_system_poll_wait_seconds"], flags["--model_config_file_poll_wait_seconds"]) == ("2", "2")
    assert flags["--monitoring_config_file"] == str(serving_dir / "monitoring.config")
    config = text_format.Parse(
        Path(flags["--model_config_file"]).read_text(), model_server_config_pb2.ModelServerConfig()
    )
    (entry,) = config.model_config_list.config
    assert (entry.name, entry.base_path) == ("vowels", str(serving_dir / "vowels"))
    assert dict(entry.version_labels) == {"stable": 1, "canary": 1}
    assert entry.model_version_policy.latest.num_versions == 2


@pytest.mark.parametrize("server", [PROGRAM, DOCKER])
def test_a_serving_directory_without_files(server: ModelServer, tmp_path: Path) -> None:
    flags = flags_of(command(server, tmp_path, "vowels", LISTENING, tmp_path))
    base = tmp_path if server is PROGRAM else Path("/models")
    assert (flags["--model_name"], flags["--model_base_path"]) == ("vowels", str(base / "vowels"))
    assert not {"--model_config_file", "--model_config_file_poll_wait_seconds", "--monitoring_config_file"} & set(flags)


def test_docker_publishes_its_ports_on_one_address(serving_dir: Path) -> None:
    line = command(DOCKER, serving_dir, "vowels", LISTENING)
    assert line[:2] == [DOCKER.path, "run"]
    assert line.index(IMAGE) > line.index("--entrypoint")
    published = [line[index + 1] for index, word in enumerate(line) if word == "-p"]
    assert published == ["127.0.0.1:9000:8500", "127.0.0.1:9001:8501"]
    assert f"{serving_dir}:/models:ro" in line
    assert flags_of(line)["--model_config_file"] == "/models/models.config"
    six = command(DOCKER, serving_dir, "vowels", Listening(host="::1"))
    assert "[::1]:8500:8500" in six


@pytest.mark.slow
def test_the_flags_are_those_of_the_readme(serving_dir: Path, tmp_path: Path) -> None:
    reported = {flag.partition("=")[0] for flag in FLAGS}
    assert reported <= set(flags_of(command(DOCKER, serving_dir, "vowels", LISTENING)))
    assert reported <= set(flags_of(command(PROGRAM, serving_dir, "vowels", LISTENING, tmp_path)))
    assert not {flag.partition("=")[0] for flag in BATCHING_FLAGS} & reported


@pytest.mark.slow
def test_a_config_that_cannot_be_read(serving_dir: Path) -> None:
    file = serving_dir / MODELS_CONFIG
    file.write_text("model_config_list { config { nome: 1 } }")
    with pytest.raises(UserError, match=r"models\.config: expected a ModelServerConfig.*nome"):
        read_models_config(file)


def executable(folder: Path, name: str, script: str) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!{sys.executable}\n{textwrap.dedent(script)}")
    file.chmod(0o755)
    return file


def test_what_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert find_model_server() == (None, "tensorflow_model_server and docker are not on PATH")
    docker = executable(tmp_path / "bin", "docker", "import sys; sys.exit('Cannot connect to the Docker daemon')")
    server, found = find_model_server()
    assert (server, found) == (None, "tensorflow_model_server is not on PATH, and docker is, but no engine of it runs")
    executable(tmp_path / "bin", "docker", "print('27.0')")
    assert find_model_server()[0] == ModelServer("docker", str(docker))
    program = executable(tmp_path / "bin", "tensorflow_model_server", "")
    assert find_model_server()[0] == ModelServer("program", str(program))


def test_exit_codes(tmp_path: Path) -> None:
    assert run([sys.executable, "-c", "raise SystemExit(7)"]) == 7
    assert run([sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"]) == 128 + 9
    with pytest.raises(UserError, match="can't be started"):
        run([str(tmp_path / "nothing")])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_handed_on(tmp_path: Path, number: int) -> None:
    ready = tmp_path / "ready"
    program = executable(
        tmp_path / "bin",
        "server",
        f"""
        import pathlib, signal, sys, time
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: sys.exit(40 + number))
        pathlib.Path({str(ready)!r}).touch()
        time.sleep(60)
        """,
    )
    reported: list[Any] = []

    def each_second() -> None:
        if ready.exists() and not reported:
            reported.append(os.kill(os.getpid(), number))

    before = signal.getsignal(number)
    assert run([str(program)], each_second=each_second) == 40 + number
    assert signal.getsignal(number) == before


def test_a_server_does_not_outlive_an_error(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    script = f"import os, time; open({str(file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"

    def each_second() -> None:
        if file.exists() and file.read_text():
            raise RuntimeError("something else went wrong")

    with pytest.raises(RuntimeError, match="something else"):
        run([sys.executable, "-c", script], each_second=each_second)
    assert subprocess.run(["kill", "-0", file.read_text()], capture_output=True, check=False).returncode != 0

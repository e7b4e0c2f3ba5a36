"""Start TF Serving over a serving directory: its binary, or its image with docker.

>>> found, _ = find_model_server()  # doctest: +SKIP
>>> code = run(command(found, serving_dir, "vowels", Listening()))  # doctest: +SKIP
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from google.protobuf import text_format

from noisy_gru.registry.server_files import (
    GRPC_PORT,
    IMAGE,
    MODELS,
    MODELS_CONFIG,
    MONITORING_CONFIG,
    REST_PORT,
)
from noisy_gru.schema.errors import UserError
from noisy_gru.storage.atomic_files import write_atomically

PROGRAM = "tensorflow_model_server"
_ENGINE_SECONDS = 15
_FOLLOW_SECONDS = 1.0


@dataclass(frozen=True)
class ModelServer:
    """A way to start TF Serving.

    Attributes:
        kind: the program itself, or docker with its image.
        path: of the executable.
    """

    kind: Literal["program", "docker"]
    path: str


@dataclass(frozen=True)
class Listening:
    """Where a server listens, and how often it looks for versions (in seconds)."""

    host: str = "127.0.0.1"
    grpc_port: int = GRPC_PORT
    rest_port: int = REST_PORT
    poll_seconds: float = 1.0


def find_model_server() -> tuple[ModelServer | None, str]:
    """Find TF Serving on this machine; return it, or None, and a description of what was found.

    Docker counts only if its engine answers.
    """
    program = shutil.which(PROGRAM)
    if program is not None:
        return ModelServer("program", program), f"{PROGRAM} is on PATH"
    docker = shutil.which("docker")
    if docker is None:
        return None, f"{PROGRAM} and docker are not on PATH"
    try:
        answer = subprocess.run(
            [docker, "info", "--format", "{{.ServerVersion}}"],
            capture_output=True,
            timeout=_ENGINE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, f"{PROGRAM} is not on PATH, and docker does not answer ({error})"
    if answer.returncode != 0:
        return None, f"{PROGRAM} is not on PATH, and docker is, but no engine of it runs"
    return ModelServer("docker", docker), "docker has a running engine"


def read_models_config(file: Path) -> Any:
    """Read the ``models.config`` of a serving directory, with the folders of this machine.

    The file names folders as a container sees them, under ``/models``; here they are beside the file.

    Raises:
        UserError: if it can't be read.
    """
    from tensorflow_serving.config import model_server_config_pb2

    message: Any = vars(model_server_config_pb2)["ModelServerConfig"]()
    try:
        config = text_format.Parse(file.read_text(encoding="utf-8"), message)
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise UserError(f"{file}: expected a ModelServerConfig of TF Serving as text: {error}") from error
    for entry in config.model_config_list.config:
        inside = entry.base_path.removeprefix(f"{MODELS}/")
        if inside != entry.base_path:
            entry.base_path = str(file.absolute().parent / inside)
    return config


def localized(serving_dir: Path, scratch: Path) -> Path:
    """Write ``models.config`` with this machine's folders to ``scratch`` atomically, and return the file."""
    file = scratch / MODELS_CONFIG
    write_atomically(file, text_format.MessageToString(read_models_config(serving_dir / MODELS_CONFIG)))
    return file


def command(
    server: ModelServer, serving_dir: Path, model_name: str, listening: Listening, scratch: Path | None = None
) -> list[str]:
    """Return the command that starts TF Serving. Batching stays off, as in the serving directory's README.

    Args:
        server: to start.
        serving_dir: folder that holds a folder for each model, and beside them the files that the Pusher writes.
        model_name: the model to serve where there is no ``models.config``.
        listening: where to listen. The program has no flag for an address: it listens on all of them.
        scratch: folder for the ``models.config`` with this machine's folders; the program needs it.
    """
    serving_dir = serving_dir.absolute()
    has_config = (serving_dir / MODELS_CONFIG).is_file()
    if server.kind == "docker":
        host = f"[{listening.host}]" if ":" in listening.host else listening.host
        ports = GRPC_PORT, REST_PORT
        folder = Path(MODELS)
        config = folder / MODELS_CONFIG
        start = [
            *(server.path, "run", "--rm", "--init"),
            *("-p", f"{host}:{listening.grpc_port}:{GRPC_PORT}", "-p", f"{host}:{listening.rest_port}:{REST_PORT}"),
            *("-v", f"{serving_dir}:{MODELS}:ro", "--user", f"{os.getuid()}:{os.getgid()}"),
            *("--entrypoint", PROGRAM, IMAGE),
        ]
    else:
        ports = listening.grpc_port, listening.rest_port
        folder = serving_dir
        config = localized(serving_dir, scratch) if has_config and scratch is not None else folder / MODELS_CONFIG
        start = [server.path]
    poll = max(1, round(listening.poll_seconds))
    flags = [
        f"--port={ports[0]}",
        f"--rest_api_port={ports[1]}",
        f"--file_system_poll_wait_seconds={poll}",
        "--allow_version_labels_for_unavailable_models=true",
        "--enable_grpc_healthcheck_service=true",
    ]
    if has_config:
        flags += [f"--model_config_file={config}", f"--model_config_file_poll_wait_seconds={poll}"]
    else:
        flags += [f"--model_name={model_name}", f"--model_base_path={folder / model_name}"]
    if (serving_dir / MONITORING_CONFIG).is_file():
        flags.append(f"--monitoring_config_file={folder / MONITORING_CONFIG}")
    return [*start, *flags]


def run(line: list[str], *, each_second: Callable[[], None] = lambda: None) -> int:
    """Run a server in the foreground, and forward SIGINT and SIGTERM to it.

    Args:
        line: program and arguments.
        each_second: called about once a second while it runs.

    Returns:
        Its exit code; 128 and the signal's number if a signal ended it, as in a shell.

    Raises:
        UserError: if it can't be started.
    """
    try:
        # Its own process group: else Ctrl-C reaches it twice, from the terminal and from here.
        process = subprocess.Popen(line, process_group=0)
    except OSError as error:
        raise UserError(f"{line[0]} can't be started: {error}") from error

    def forward(number: int, _: Any) -> None:
        process.send_signal(number)

    before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        while True:
            try:
                code = process.wait(_FOLLOW_SECONDS)
            except subprocess.TimeoutExpired:
                each_second()
            else:
                return code if code >= 0 else 128 - code
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if process.poll() is None:
            process.terminate()
            process.wait()

"""Serve a published model on this machine with TF Serving, or with the stand-in server.

>>> code = serve_published(config, root=Path("runs/vowels"), listening=Listening())  # doctest: +SKIP
"""

from __future__ import annotations

import base64
import json
import os
import shlex
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import typer

from noisy_gru.compat.extras import require
from noisy_gru.pipeline.batch_prediction.published_model import published_model
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.runs.interrupts import stop_on_signals
from noisy_gru.pipeline.runs.output_redirection import output_to
from noisy_gru.pipeline.runs.run_directory import RunDirectory
from noisy_gru.registry.server_files import MODELS_CONFIG
from noisy_gru.saved_model.example_validation import empty_example
from noisy_gru.schema.config import DatasetConfig, ForecastingConfig
from noisy_gru.schema.errors import UserError
from noisy_gru.serving.model_server import (
    Listening,
    ModelServer,
    command,
    find_model_server,
    localized,
    read_models_config,
    run,
)

if TYPE_CHECKING:
    from noisy_gru.saved_model.session import TensorSpec
    from noisy_gru.serving.local_server import LocalServer

LOOPBACK = ("127.0.0.1", "::1", "localhost")
# Most features of a step in the example request, which is one line.
_LONGEST_STEP = 16


def serve_published(
    config: PipelineConfig,
    *,
    config_path: Path,
    root: Path,
    listening: Listening,
    stand_in: bool = False,
    log: Callable[[str], None] = typer.echo,
) -> int:
    """Serve the published model until SIGINT or SIGTERM.

    Args:
        config: configuration of the model.
        config_path: its file, for the example commands.
        root: root of the runs.
        listening: host, ports and polling interval.
        stand_in: whether to start the stand-in even if TF Serving is available.
        log: receives messages before the server runs.

    Returns:
        The exit code: that of TF Serving, or 0 for the stand-in.

    Raises:
        UserError: no version is published, or a port is in use.
    """
    published_model(root, config.model_name)
    serving_dir = RunDirectory(root).serving
    if listening.host not in LOOPBACK:
        log(
            f"warning: listening on {listening.host} without authentication or encryption: whoever reaches this "
            "machine can send requests to the model."
        )
    server, found = (None, "--stand-in was given") if stand_in else find_model_server()
    if server is not None:
        return _run_real(server, serving_dir, config.model_name, listening, log)
    return _run_stand_in(config, config_path, root, listening, found)


def _run_real(
    server: ModelServer, serving_dir: Path, model_name: str, listening: Listening, log: Callable[[str], None]
) -> int:
    if server.kind == "program" and listening.host in LOOPBACK:
        log("note: tensorflow_model_server can't be bound to an address: it listens on all addresses of this machine.")
    with tempfile.TemporaryDirectory(prefix="noisy-gru-serve-") as folder:
        scratch = Path(folder)
        line = command(server, serving_dir, model_name, listening, scratch)
        log(f"Starting TF Serving: {shlex.join(line)}")
        sync = _ModelsConfigSync(serving_dir, scratch, log) if server.kind == "program" else lambda: None
        return run(line, each_second=sync)


class _ModelsConfigSync:
    """Copy the serving directory's ``models.config`` to the program's own when a publication changes its labels."""

    def __init__(self, serving_dir: Path, scratch: Path, log: Callable[[str], None]) -> None:
        self._serving_dir = serving_dir
        self._scratch = scratch
        self._log = log
        self._seen = self._stamp()

    def _stamp(self) -> Any:
        try:
            status = (self._serving_dir / MODELS_CONFIG).stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns

    def __call__(self) -> None:
        stamp = self._stamp()
        if stamp is None or stamp == self._seen:
            return
        self._seen = stamp
        try:
            localized(self._serving_dir, self._scratch)
        except UserError as error:
            self._log(f"warning: {error}. The server keeps its labels.")


def _run_stand_in(config: PipelineConfig, config_path: Path, root: Path, listening: Listening, found: str) -> int:
    require("tensorflow", "the stand-in server")
    directory = RunDirectory(root)
    log = directory.logs / "serve.log" if directory.logs.is_dir() else Path(os.devnull)
    # TensorFlow writes to standard error on its own, when it is imported and later.
    with output_to(log) as (out, _):
        from noisy_gru.serving.local_server import LocalServer

        config_file = directory.serving / MODELS_CONFIG
        has_config = config_file.is_file()
        server = LocalServer(
            None if has_config else {config.model_name: directory.serving / config.model_name},
            config_file=config_file if has_config else None,
            host=listening.host,
            grpc_port=listening.grpc_port,
            rest_port=listening.rest_port,
            poll_seconds=listening.poll_seconds,
            log=lambda line: print(line, file=out, flush=True),
            read_config=read_models_config,
        )
        with stop_on_signals() as stop, server:
            _print_banner(out, server, config, config_path, found)
            stop.wait()
            print("Stopping after the requests in progress.", file=out, flush=True)
    return 0


def _print_banner(out: TextIO, server: LocalServer, config: PipelineConfig, config_path: Path, found: str) -> None:
    name = config.model_name
    versions = server.models.available().get(name) or []
    rest = f"http://{server.rest_address}"
    request = example_request(server.models.inputs(name, "serving_tensors"), config.dataset)
    lines = [
        "",
        "noisy-gru's stand-in for TF Serving, for development and tests: one process, no TLS, no batching.",
        f"It was started because {found}.",
        f"  model  {name}, version {', '.join(map(str, versions)) or 'none yet, waiting for one that can be loaded'}",
        f"  gRPC   {server.grpc_address}",
        f"  REST   {rest}",
        "Try it:",
        f"  curl {rest}/v1/models/{name}",
        f"  curl -d {shlex.quote(request)} {rest}/v1/models/{name}:predict",
        f"  noisy-gru predict {shlex.quote(str(config_path))} INPUT… --server {server.grpc_address}",
        "Stop it with Ctrl-C.",
    ]
    print("\n".join(lines), file=out, flush=True)


def example_request(inputs: Mapping[str, TensorSpec], dataset: DatasetConfig) -> str:
    """Return the JSON of a request that the model answers: one sequence of one step, zeros and empty texts.

    Args:
        inputs: of `serving_tensors`. Where they are none, or a step has many features, the request is an empty
            tf.Example for `serving_default`.
        dataset: the configuration.
    """
    width = (inputs["features"].shape or (0,))[-1] if "features" in inputs else None
    if width is None or width > _LONGEST_STEP or any(spec.shape is None for spec in inputs.values()):
        # A feature with steps: a static one has a value.
        name = next((each.name for each in dataset.data.features if not each.static), dataset.data.features[0].name)
        return json.dumps({"instances": [{"b64": base64.b64encode(empty_example(name)).decode()}]})
    task = dataset.task
    is_known = any(feature.known_in_advance for feature in dataset.data.features)
    steps = 1 + (task.max_horizon if is_known and isinstance(task, ForecastingConfig) else 0)
    values = {key: _zeros(spec, steps) if key != "lengths" else [1] for key, spec in sorted(inputs.items())}
    return json.dumps({"signature_name": "serving_tensors", "inputs": values})


def _zeros(spec: TensorSpec, steps: int) -> Any:
    """Return nested lists of one sequence's zeros or empty texts; free axes but the first are steps."""
    value: Any = "" if spec.dtype == "string" else 0.0
    for size in reversed((spec.shape or ())[1:]):
        value = [value] * (steps if size is None else size)
    return [value]

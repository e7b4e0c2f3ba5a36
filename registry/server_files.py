"""Write TF Serving's start files beside the published models, in the serving directory.

`models.config` says which versions are loaded and labelled; it follows every push, rollback and promotion, and a server
that polls it follows, too. The rest is to start one: `batching.config`, `monitoring.config`, `compose.yaml`,
`kubernetes.yaml`, `kserve.yaml` (and one for KServe before 0.16), and a `README.md` with the lines for docker. Why they
are as they are: docs/decisions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from noisy_gru.registry.config import BatchingConfig
from noisy_gru.registry.labels import ServedVersions, all_served_versions
from noisy_gru.storage.atomic_files import write_atomically

# Its image holds TensorFlow of the same number.
SERVER_VERSION = "2.20.0"
IMAGE = f"tensorflow/serving:{SERVER_VERSION}"
GRPC_PORT = 8500
REST_PORT = 8501
# Where the serving directory is inside a container.
MODELS = "/models"
METRICS_PATH = "/monitoring/prometheus/metrics"
POLL_SECONDS = 10

MODELS_CONFIG = "models.config"
BATCHING_CONFIG = "batching.config"
MONITORING_CONFIG = "monitoring.config"
FILES = (
    *(MODELS_CONFIG, BATCHING_CONFIG, MONITORING_CONFIG),
    *("compose.yaml", "kubernetes.yaml", "kserve.yaml", "kserve-before-0.16.yaml", "README.md"),
)
# Stands in the first line of every file; a file without it is a person's, and left alone.
MARK = "Written by noisy-gru after each change of the versions; delete this line to keep the file as you edit it."
_TEMPLATES = Path(__file__).parent / "templates"

# What is off by default and people need. A flag that TF Serving doesn't know would only be reported by it.
FLAGS = (
    f"--port={GRPC_PORT}",
    f"--rest_api_port={REST_PORT}",
    f"--model_config_file={MODELS}/{MODELS_CONFIG}",
    f"--model_config_file_poll_wait_seconds={POLL_SECONDS}",
    "--allow_version_labels_for_unavailable_models=true",
    "--enable_grpc_healthcheck_service=true",
    f"--monitoring_config_file={MODELS}/{MONITORING_CONFIG}",
)
# Off: requests for `serving_tensors` or `serving_step` whose numbers of steps differ can't be put into one batch.
BATCHING_FLAGS = ("--enable_batching=true", f"--batching_parameters_file={MODELS}/{BATCHING_CONFIG}")


def render(name: str, models: Sequence[ServedVersions], batching: BatchingConfig) -> str:
    """Return the content of one of ``FILES``.

    Args:
        name: of the file.
        models: to serve; at least one.
        batching: of `batching.config`; a server has one for all its models.
    """
    values: dict[str, Any] = {
        "mark": MARK,
        "models": models,
        "batching": batching,
        "image": IMAGE,
        "server_version": SERVER_VERSION,
        "flags": FLAGS,
        "batching_flags": BATCHING_FLAGS,
        "grpc_port": GRPC_PORT,
        "rest_port": REST_PORT,
        "metrics_path": METRICS_PATH,
        "models_path": MODELS,
        "poll_seconds": POLL_SECONDS,
    }
    return _environment().get_template(f"{name}.j2").render(values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["quoted"] = json.dumps
    return environment


def write_server_files(
    serving_dir: Path,
    batching: BatchingConfig,
    *,
    without: Mapping[str, Collection[int]] | None = None,
    at: Callable[[str], None] = lambda step: None,
) -> list[str]:
    """Write ``FILES`` for every model that noisy-gru published in a serving directory, each file whole.

    For one writer at a time. A file without the mark in its first line is left as it is.

    Args:
        serving_dir: folder that holds a folder for each model.
        batching: of `batching.config`.
        without: versions to leave out, because they are about to be withdrawn, by model.
        at: called with each file before it is written; for tests.

    Returns:
        The names of the files that were left alone.
    """
    models = all_served_versions(serving_dir, without or {})
    left_alone = []
    for name in FILES:
        at(f"write {name}")
        file = serving_dir / name
        if file.exists() and not _is_ours(file):
            left_alone.append(name)
            continue
        content = render(name, models, batching)
        if not file.exists() or file.read_text(encoding="utf-8") != content:
            write_atomically(file, content)
    return left_alone


def _is_ours(file: Path) -> bool:
    with file.open(encoding="utf-8", errors="replace") as stream:
        return MARK in stream.readline()

"""Shared by the commands for a Kubeflow Pipelines server: options, connection, the pipeline to upload."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from noisy_gru.kubeflow.cluster.connection import Connection
    from noisy_gru.kubeflow.compiled_pipeline import CompiledPipeline
    from noisy_gru.pipeline.config.pipeline_config import PipelineConfig

PipelineArgument = Annotated[
    Path,
    typer.Argument(
        metavar="CONFIG|PIPELINE",
        help="The YAML file of the configuration, or a compiled pipeline.",
        show_default=False,
    ),
]
HostOption = Annotated[
    str | None,
    typer.Option(help="URL of the API; NOISY_GRU_KFP_HOST, or kfp's KF_PIPELINES_ENDPOINT.", show_default=False),
]
NamespaceOption = Annotated[
    str | None,
    typer.Option(
        help="The profile's namespace, on a multi-user installation; NOISY_GRU_KFP_NAMESPACE.", show_default=False
    ),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        help="File with a bearer token; NOISY_GRU_KFP_TOKEN_FILE, or kfp's KF_PIPELINES_SA_TOKEN_PATH. The token "
        "itself can be in NOISY_GRU_KFP_TOKEN.",
        show_default=False,
    ),
]
CaOption = Annotated[
    Path | None,
    typer.Option(help="PEM file of the CA of the server's certificate; NOISY_GRU_KFP_CA.", show_default=False),
]
ParameterOption = Annotated[
    list[str] | None,
    typer.Option(
        "--parameter",
        metavar="NAME=VALUE",
        help="Value of a pipeline parameter. Can be given again.",
        show_default=False,
    ),
]
ExperimentOption = Annotated[
    str | None,
    typer.Option(help="Experiment that runs are shown in. Default: the pipeline's name.", show_default=False),
]


def connection_of(host: str | None, namespace: str | None, token_file: Path | None, ca: Path | None) -> Connection:
    from noisy_gru.kubeflow.cluster.connection import Connection

    return Connection.choose(host=host, namespace=namespace, token_file=token_file, ca=ca, environment=os.environ)


@contextmanager
def compiled_of(
    path: Path, overrides: list[str], *, scheduled: bool = False
) -> Iterator[tuple[CompiledPipeline, PipelineConfig | None]]:
    """The pipeline to send, for a recurring run if ``scheduled``, and the configuration if that is what is named."""
    from noisy_gru.kubeflow.compiled_pipeline import CompiledPipeline, is_compiled
    from noisy_gru.schema.errors import ConfigError

    if is_compiled(path):
        if overrides:
            raise ConfigError(
                f"--set changes a configuration, and {path} is compiled already; use --parameter, or name CONFIG"
            )
        yield CompiledPipeline.read(path), None
        return
    from noisy_gru.pipeline.config.loading import load_config

    loaded = load_config(path, overrides)
    from noisy_gru.pipeline.config.checks import check_config

    check_config(loaded, files=False)
    if loaded.kubeflow.platform == "vertex":
        raise ConfigError(
            "kubeflow.platform is vertex: these commands talk to open-source Kubeflow Pipelines. Write the file with "
            "`noisy-gru kubeflow compile`, and submit it with aiplatform.PipelineJob (docs/kubeflow.md)"
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from noisy_gru.kubeflow.compiler.compile import compile_config

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pipeline.yaml"
        file.write_text(compile_config(loaded, scheduled=scheduled))
        yield CompiledPipeline.read(file), loaded


ServiceAccountOption = Annotated[
    str | None, typer.Option(help="Of the pods. Default: CONFIG's, else the installation's.", show_default=False)
]

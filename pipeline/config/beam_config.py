"""Configuration of Beam: the runner of the Beam steps, and the arguments that it becomes.

    >>> beam_arguments(load_config("config.yaml", ["beam={workers: 2}"]).beam)  # doctest: +SKIP
    ['--runner=apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner', ...]

Imports no Beam; pipeline/config/beam_options.py checks the options with Beam's own parser. docs/scale.md has recipes.
"""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from noisy_gru.pipeline.config.beam_environment import (
    DockerEnvironment,
    Environment,
    ExternalEnvironment,
    HostAndPort,
    NonEmpty,
)
from noisy_gru.schema.config import Section

# Bytes of input from which worker processes save more time than they need to start (each imports TensorFlow).
WORKERS_PAY_FROM = 64 * 1024 * 1024
# How long a worker process without work is kept within a job; Beam's default, 0, starts one anew, with TensorFlow's
# import, whenever a machine has no bundle for a moment.
WORKER_KEPT_MILLISECONDS = 60_000
# TFX packs itself anew for every step if no image is named; only Dataflow reads the name.
NO_IMAGE = "none"

Bucket = Annotated[str, Field(pattern=r"^gs://[^/\s]+/")]
OptionValue = bool | int | float | str | list[str]


class _Beam(Section):
    """Base of all runners."""

    # Key that sets each of Beam's options.
    OPTIONS: ClassVar[dict[str, str]] = {}
    # Key that replaces each of these options.
    ALSO: ClassVar[dict[str, str]] = {}

    options: dict[str, OptionValue] = Field(
        default={},
        description="Further options of Beam, by name without dashes; `true` is a bare flag, a list repeats the "
        "option.",
    )

    @field_validator("options")
    @classmethod
    def _not_set_by_keys(cls, options: dict[str, OptionValue]) -> dict[str, OptionValue]:
        for name in options:
            if name.startswith("-") or "=" in name:
                raise ValueError(f"expected names without dashes, such as max_num_workers, found {name}")
            key = {"runner": "runner", **cls.OPTIONS, **cls.ALSO}.get(name)
            if key is not None:
                raise ValueError(f"{name} is set by the key {key}, beside options; remove it here")
        return options

    def arguments(self, input_bytes: int | None) -> list[str]:
        """Return Beam's arguments; ``input_bytes`` as in ``beam_arguments``."""
        values = ((option, getattr(self, key)) for option, key in self.OPTIONS.items())
        return [f"--{option}={value}" for option, value in values if value is not None]


class InProcessBeam(_Beam):
    """On this machine, in the process of the run or in worker processes."""

    ALSO: ClassVar = {"direct_running_mode": "workers", "direct_num_workers": "workers"}

    runner: Literal["in_process"] = "in_process"
    workers: int = Field(
        default=0,
        ge=0,
        description="Processes for Beam steps: 1 runs them in the process of the run, 0 starts one for each core if "
        "the files are large enough (64 MiB).",
    )

    def arguments(self, input_bytes: int | None) -> list[str]:
        """Return the arguments of the in-process runner, with worker processes for large inputs."""
        workers = self.workers
        if workers == 0:
            workers = (os.cpu_count() or 1) if (input_bytes or 0) >= WORKERS_PAY_FROM else 1
        return [
            # DirectRunner would first try to download Prism, another runner.
            "--runner=apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner",
            f"--direct_running_mode={'in_memory' if workers == 1 else 'multi_processing'}",
            f"--direct_num_workers={workers}",
            f"--sdk_container_image={NO_IMAGE}",
        ]


class _JobServerBeam(_Beam):
    """Base of the runners behind a job server."""

    CLASS: ClassVar = "noisy_gru.compat.beam_runners.PortableRunner"
    OPTIONS: ClassVar = {
        "job_endpoint": "job_endpoint",
        "artifact_endpoint": "artifact_endpoint",
        "sdk_worker_parallelism": "sdk_worker_parallelism",
    }
    ALSO: ClassVar = dict.fromkeys(
        ("environment_type", "environment_config", "environment_option", "environment_options"), "environment"
    )

    environment: Environment = Field(description="Environment that runs the Python code of the steps.")
    artifact_endpoint: HostAndPort | None = Field(
        default=None, description="`host:port` of the artifact service; null: as the job server says."
    )
    sdk_worker_parallelism: int = Field(
        default=1, ge=0, description="Python processes on each worker; 0: the runner's default."
    )
    job_server_options: dict[str, OptionValue] = Field(
        default={},
        description="Options that only the job server knows, such as Flink's `checkpointing_interval`. They are not "
        "checked, and a job server ignores unknown ones.",
    )

    def arguments(self, input_bytes: int | None) -> list[str]:
        """Return the arguments of the job server and the environment."""
        environment = self.environment
        config = None
        if isinstance(environment, ExternalEnvironment):
            config = environment.address
        elif isinstance(environment, DockerEnvironment):
            config = environment.image
        return [
            f"--runner={self.CLASS}",
            *super().arguments(input_bytes),
            f"--environment_cache_millis={WORKER_KEPT_MILLISECONDS}",
            f"--environment_type={environment.kind.upper()}",
            *([f"--environment_config={config}"] if config is not None else []),
            f"--sdk_container_image={environment.image if isinstance(environment, DockerEnvironment) else NO_IMAGE}",
            *option_arguments(self.job_server_options),
        ]


class PortableBeam(_JobServerBeam):
    """On any runner behind a Beam job server."""

    runner: Literal["portable"]
    job_endpoint: HostAndPort = Field(description="`host:port` of a running job server.")


class _ClusterBeam(_JobServerBeam):
    """Base of clusters, reached through a running job server or their master."""

    job_endpoint: HostAndPort | None = Field(default=None, description="`host:port` of a running job server.")
    master: NonEmpty | None = None

    @model_validator(mode="after")
    def _one_way(self) -> _ClusterBeam:
        if (self.job_endpoint is None) == (self.master is None):
            raise ValueError(
                "expected either job_endpoint, for a running job server, or master, for which Beam starts a job server "
                "here with Java"
            )
        return self


class FlinkBeam(_ClusterBeam):
    """On a Flink cluster."""

    CLASS: ClassVar = "noisy_gru.compat.beam_runners.FlinkRunner"
    OPTIONS: ClassVar = {**_JobServerBeam.OPTIONS, "flink_master": "master", "parallelism": "parallelism"}

    runner: Literal["flink"]
    master: NonEmpty | None = Field(
        default=None,
        description="`host:port` of Flink's REST interface, or `[local]` for a Flink inside the job server.",
    )
    parallelism: int | None = Field(default=None, ge=1, description="Slots for a step; null: Flink's default.")


class SparkBeam(_ClusterBeam):
    """On a Spark cluster."""

    CLASS: ClassVar = "noisy_gru.compat.beam_runners.SparkRunner"
    OPTIONS: ClassVar = {**_JobServerBeam.OPTIONS, "spark_master_url": "master"}

    runner: Literal["spark"]
    master: NonEmpty | None = Field(
        default=None, description="`spark://host:port`, or `local[4]` for a Spark inside the job server."
    )


class DataflowBeam(_Beam):
    """On Google Cloud Dataflow."""

    OPTIONS: ClassVar = {
        "project": "project",
        "region": "region",
        "temp_location": "temp_location",
        "staging_location": "staging_location",
        "sdk_container_image": "sdk_container_image",
        "setup_file": "setup_file",
        "max_num_workers": "max_num_workers",
        "machine_type": "machine_type",
        "service_account_email": "service_account",
        "subnetwork": "subnetwork",
    }
    ALSO: ClassVar = {
        "worker_harness_container_image": "sdk_container_image",
        "worker_machine_type": "machine_type",
    }

    runner: Literal["dataflow"]
    project: NonEmpty = Field(description="Id of the Google Cloud project.")
    region: NonEmpty = Field(description="Region of the workers, for example europe-west4.")
    temp_location: Bucket = Field(description="Folder for temporary files, gs://bucket/folder.")
    staging_location: Bucket | None = Field(
        default=None, description="Folder for staged files, gs://bucket/folder; null: `temp_location`."
    )
    sdk_container_image: NonEmpty | None = Field(
        default=None, description="Image of the workers: Beam's SDK image with this package installed."
    )
    setup_file: NonEmpty | None = Field(
        default=None, description="`./setup.py` of this package, which every worker installs when it starts."
    )
    max_num_workers: int | None = Field(
        default=None, ge=1, description="Maximum number of workers; null: Dataflow's limit."
    )
    machine_type: NonEmpty | None = Field(
        default=None, description="Machine type of the workers; null: Dataflow's default."
    )
    service_account: NonEmpty | None = Field(default=None, description="E-mail of the workers' service account.")
    subnetwork: NonEmpty | None = Field(default=None, description="Subnetwork of the workers.")

    @field_validator("setup_file")
    @classmethod
    def _with_a_folder(cls, path: str | None) -> str | None:
        if path is None:
            return None
        if PurePath(path).name != "setup.py":
            raise ValueError(f"expected the path of a setup.py, such as ./setup.py, found {path}")
        # Beam changes into the folder of the path, and a bare name has none.
        return path if "/" in path else f"./{path}"

    @model_validator(mode="after")
    def _package_on_the_workers(self) -> DataflowBeam:
        if self.sdk_container_image is None and self.setup_file is None:
            raise ValueError(
                "the workers need this package: set sdk_container_image to an image that holds it, or setup_file to "
                "./setup.py"
            )
        return self

    def arguments(self, input_bytes: int | None) -> list[str]:
        """Return the arguments of Dataflow."""
        return ["--runner=DataflowRunner", *super().arguments(input_bytes)]


def option_arguments(options: dict[str, OptionValue]) -> list[str]:
    """Return options as arguments: a bare flag for ``true``, nothing for ``false``, one argument per item of a list."""
    arguments = []
    for name, value in options.items():
        if isinstance(value, bool):
            arguments += [f"--{name}"] if value else []
        else:
            arguments += [f"--{name}={each}" for each in (value if isinstance(value, list) else [value])]
    return arguments


def _default_runner(section: Any) -> Any:
    return {"runner": "in_process", **section} if isinstance(section, dict) else section


BeamConfig = Annotated[
    InProcessBeam | PortableBeam | FlinkBeam | SparkBeam | DataflowBeam,
    Field(discriminator="runner"),
    BeforeValidator(_default_runner),
]


def beam_arguments(beam: BeamConfig, input_bytes: int | None = None) -> list[str]:
    """Return Beam's arguments for every step, here and on Kubeflow.

    Args:
        beam: section of the configuration.
        input_bytes: size of the input in bytes, which decides ``workers: 0`` on this machine. None: another machine
            runs the steps, and ``workers: 0`` is one process.
    """
    return [*beam.arguments(input_bytes), *option_arguments(beam.options)]

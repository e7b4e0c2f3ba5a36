"""The part of the configuration that says where Beam's steps run, and Beam's arguments made of it.

    >>> beam_arguments(load_config("config.yaml", ["beam={workers: 2}"]).beam)  # doctest: +SKIP
    ['--runner=apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner', ...]

Imports nothing of Beam: pipeline/config/beam_options.py asks Beam's own parser. docs/scale.md has the recipes.
"""

from __future__ import annotations

import json
import os
from pathlib import PurePath
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from noisy_gru.pipeline.config.beam_environment import (
    DockerEnvironment,
    Environment,
    ExternalEnvironment,
    HostAndPort,
    ProcessEnvironment,
    Word,
)
from noisy_gru.pipeline.config.beam_runners import with_a_runner
from noisy_gru.schema.config import Section

# Below this many bytes of input, the start of worker processes (each imports TensorFlow) takes longer than they save.
WORKERS_PAY_FROM = 64 * 1024 * 1024
# Without the name of an image, TFX packs itself anew for every step; only Dataflow reads it.
NO_IMAGE = "none"

Bucket = Annotated[str, Field(pattern=r"^gs://[^/\s]+/")]
OptionValue = bool | int | float | str | list[str]


class _Beam(Section):
    """What all runners have."""

    # Beam's option to the key that says it.
    OPTIONS: ClassVar[dict[str, str]] = {}
    # More options that a key stands for.
    ALSO: ClassVar[dict[str, str]] = {}

    options: dict[str, OptionValue] = Field(
        default={},
        description="More of Beam's options, by name without dashes; `true` is a bare flag, a list repeats it.",
    )

    @field_validator("options")
    @classmethod
    def _said_by_keys(cls, options: dict[str, OptionValue]) -> dict[str, OptionValue]:
        for name in options:
            if name.startswith("-") or "=" in name:
                raise ValueError(f"write names without dashes, such as max_num_workers; found {name}")
            key = {"runner": "runner", **cls.OPTIONS, **cls.ALSO}.get(name)
            if key is not None:
                raise ValueError(f"{name} is set by the key {key}, beside options; take it out here")
        return options

    def arguments(self, input_bytes: int | None) -> list[str]:
        """Beam's arguments; ``input_bytes`` as in ``beam_arguments``."""
        values = ((option, getattr(self, key)) for option, key in self.OPTIONS.items())
        return [f"--{option}={value}" for option, value in values if value is not None]


class InProcessBeam(_Beam):
    """On this machine: in the process of the run, or in worker processes besides it."""

    ALSO: ClassVar = {"direct_running_mode": "workers", "direct_num_workers": "workers"}

    runner: Literal["in_process"] = "in_process"
    workers: int = Field(
        default=0,
        ge=0,
        description="Processes for Beam steps; 1 is none besides this, and 0 takes one for each core where the files "
        "are large enough to gain by it.",
    )

    def arguments(self, input_bytes: int | None) -> list[str]:
        """Worker processes for large inputs, or as the configuration says."""
        workers = self.workers
        if workers == 0:
            workers = (os.cpu_count() or 1) if (input_bytes or 0) >= WORKERS_PAY_FROM else 1
        return [
            # Bare DirectRunner would first try to download another one.
            "--runner=apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner",
            f"--direct_running_mode={'in_memory' if workers == 1 else 'multi_processing'}",
            f"--direct_num_workers={workers}",
            f"--sdk_container_image={NO_IMAGE}",
        ]


class _JobServerBeam(_Beam):
    """What runners behind a job server have."""

    CLASS: ClassVar = "PortableRunner"
    OPTIONS: ClassVar = {
        "job_endpoint": "job_endpoint",
        "artifact_endpoint": "artifact_endpoint",
        "sdk_worker_parallelism": "sdk_worker_parallelism",
    }
    ALSO: ClassVar = dict.fromkeys(
        ("environment_type", "environment_config", "environment_option", "environment_options"), "environment"
    )

    environment: Environment = Field(description="Where the Python code of the steps runs.")
    artifact_endpoint: HostAndPort | None = Field(
        default=None, description="`host:port` for what is staged; null is what the job server says."
    )
    sdk_worker_parallelism: int = Field(
        default=1, ge=0, description="Python processes on each machine of the cluster; 0 leaves it to the runner."
    )
    job_server_options: dict[str, OptionValue] = Field(
        default={},
        description="Options that only the job server knows, such as Flink's `checkpointing_interval`. Not checked: a "
        "job server ignores what it doesn't know.",
    )

    def arguments(self, input_bytes: int | None) -> list[str]:
        """The job server and the environment."""
        where = self.environment
        config = None
        if isinstance(where, ExternalEnvironment):
            config = where.address
        elif isinstance(where, DockerEnvironment):
            config = where.image
        elif isinstance(where, ProcessEnvironment):
            config = json.dumps({"command": where.command, "env": where.variables}, sort_keys=True)
        return [
            f"--runner={self.CLASS}",
            *super().arguments(input_bytes),
            f"--environment_type={where.kind.upper()}",
            *([f"--environment_config={config}"] if config is not None else []),
            f"--sdk_container_image={where.image if isinstance(where, DockerEnvironment) else NO_IMAGE}",
            *option_arguments(self.job_server_options),
        ]


class PortableBeam(_JobServerBeam):
    """Where a job server sends the steps."""

    runner: Literal["portable"]
    job_endpoint: HostAndPort = Field(description="`host:port` of a job server that runs already.")


class _ClusterBeam(_JobServerBeam):
    """A cluster, by its job server or by its master."""

    job_endpoint: HostAndPort | None = Field(default=None, description="`host:port` of a job server that runs already.")
    master: Word | None = None

    @model_validator(mode="after")
    def _one_way(self) -> _ClusterBeam:
        if (self.job_endpoint is None) == (self.master is None):
            raise ValueError(
                "expected either job_endpoint, for a job server that runs already, or master, for which Beam starts "
                "one here with Java"
            )
        return self


class FlinkBeam(_ClusterBeam):
    """On a Flink cluster."""

    CLASS: ClassVar = "FlinkRunner"
    OPTIONS: ClassVar = {**_JobServerBeam.OPTIONS, "flink_master": "master", "parallelism": "parallelism"}

    runner: Literal["flink"]
    master: Word | None = Field(
        default=None,
        description="`host:port` of Flink's REST interface, or `[local]` for a Flink inside the job server.",
    )
    parallelism: int | None = Field(default=None, ge=1, description="Slots that a step takes; null is Flink's default.")


class SparkBeam(_ClusterBeam):
    """On a Spark cluster."""

    CLASS: ClassVar = "SparkRunner"
    OPTIONS: ClassVar = {**_JobServerBeam.OPTIONS, "spark_master_url": "master"}

    runner: Literal["spark"]
    master: Word | None = Field(
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
    project: Word = Field(description="Id of the Google Cloud project.")
    region: Word = Field(description="Region that the workers run in, for example europe-west4.")
    temp_location: Bucket = Field(description="Folder for temporary files, gs://bucket/folder.")
    staging_location: Bucket | None = Field(
        default=None, description="Folder for what is staged, gs://bucket/folder; null is `temp_location`."
    )
    sdk_container_image: Word | None = Field(
        default=None, description="Image of the workers: Beam's, with this package in it."
    )
    setup_file: Word | None = Field(
        default=None, description="`./setup.py` of this package, which every worker then installs when it starts."
    )
    max_num_workers: int | None = Field(default=None, ge=1, description="Most workers; null is Dataflow's limit.")
    machine_type: Word | None = Field(
        default=None, description="Machine type of the workers; null is Dataflow's choice."
    )
    service_account: Word | None = Field(default=None, description="E-mail of the workers' service account.")
    subnetwork: Word | None = Field(default=None, description="Subnetwork of the workers.")

    @field_validator("setup_file")
    @classmethod
    def _with_a_folder(cls, path: str | None) -> str | None:
        if path is None:
            return None
        if PurePath(path).name != "setup.py":
            raise ValueError(f"expected the path of a setup.py, such as ./setup.py, found {path}")
        # Beam goes into the folder that the path names, and a bare name has none.
        return path if "/" in path else f"./{path}"

    @model_validator(mode="after")
    def _package_on_the_workers(self) -> DataflowBeam:
        if self.sdk_container_image is None and self.setup_file is None:
            raise ValueError(
                "the workers need this package: give sdk_container_image, an image that holds it, or setup_file: "
                "./setup.py"
            )
        return self

    def arguments(self, input_bytes: int | None) -> list[str]:
        """As the keys say."""
        return ["--runner=DataflowRunner", *super().arguments(input_bytes)]


def option_arguments(options: dict[str, OptionValue]) -> list[str]:
    """Options as arguments: a bare flag for ``true``, nothing for ``false``, a list repeated."""
    arguments = []
    for name, value in options.items():
        if isinstance(value, bool):
            arguments += [f"--{name}"] if value else []
        else:
            arguments += [f"--{name}={each}" for each in (value if isinstance(value, list) else [value])]
    return arguments


BeamConfig = Annotated[
    InProcessBeam | PortableBeam | FlinkBeam | SparkBeam | DataflowBeam,
    Field(discriminator="runner"),
    BeforeValidator(with_a_runner),
]


def beam_arguments(beam: BeamConfig, input_bytes: int | None = None) -> list[str]:
    """Beam's arguments for every step, here and on Kubeflow.

    Args:
        beam: the section of the configuration.
        input_bytes: size of the input, by which ``workers: 0`` is decided for this machine; None: another machine will
            run the steps, and ``workers: 0`` is one process.
    """
    return [*beam.arguments(input_bytes), *option_arguments(beam.options)]

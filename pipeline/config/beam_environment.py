"""Where the Python code of Beam's steps runs when a job server runs them: Beam calls it their environment."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from noisy_gru.schema.config import Section

HostAndPort = Annotated[str, Field(pattern=r"^([^\s/:]+|\[[0-9a-fA-F:]+\]):\d+$")]
Word = Annotated[str, Field(min_length=1)]


class ExternalEnvironment(Section):
    """Worker pools that run already, one on every machine of the cluster."""

    kind: Literal["external"]
    address: HostAndPort = Field(
        description="`host:port` of a worker pool, as a machine of the cluster sees it: mostly localhost:50000."
    )


class LoopbackEnvironment(Section):
    """Threads of the process that submits, for a job server on the same machine."""

    kind: Literal["loopback"]


class DockerEnvironment(Section):
    """Containers, which the machines of the cluster start."""

    kind: Literal["docker"]
    image: Word = Field(description="Image that holds Beam's boot program and this package.")


class ProcessEnvironment(Section):
    """Processes, which the machines of the cluster start."""

    kind: Literal["process"]
    command: Word = Field(description="Path of Beam's boot program on the machines of the cluster.")
    variables: dict[str, str] = Field(default={}, description="Environment variables of the processes.")


Environment = Annotated[
    ExternalEnvironment | LoopbackEnvironment | DockerEnvironment | ProcessEnvironment, Field(discriminator="kind")
]

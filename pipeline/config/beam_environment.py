"""Configuration of Beam's environments, which run the Python code of steps behind a job server."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from noisy_gru.schema.config import Section

HostAndPort = Annotated[str, Field(pattern=r"^([^\s/:]+|\[[0-9a-fA-F:]+\]):\d+$")]
NonEmpty = Annotated[str, Field(min_length=1)]


class ExternalEnvironment(Section):
    """Running worker pools, one on every machine of the cluster."""

    kind: Literal["external"]
    address: HostAndPort = Field(
        description="`host:port` of the worker pool as seen from a machine of the cluster, mostly localhost:50000."
    )


class LoopbackEnvironment(Section):
    """Threads of the submitting process, for a job server on the same machine."""

    kind: Literal["loopback"]


class DockerEnvironment(Section):
    """Containers that the machines of the cluster start."""

    kind: Literal["docker"]
    image: NonEmpty = Field(description="Image with Beam's boot program and this package.")


Environment = Annotated[ExternalEnvironment | LoopbackEnvironment | DockerEnvironment, Field(discriminator="kind")]

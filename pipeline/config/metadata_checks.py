"""Check the section `metadata` without TFX: the password's variable, and whether the server answers at all."""

from __future__ import annotations

import os
import socket

from noisy_gru.pipeline.config.pipeline_config import MetadataConfig

_CONNECT_SECONDS = 5.0


def metadata_problems(config: MetadataConfig) -> list[str]:
    """Return what keeps a run from the server of ML Metadata, as far as one sees without logging in."""
    if config.host is None:
        return []
    if problem := password_problem(config):
        return [problem]
    if problem := unreachable(config.host, config.server_port):
        return [
            f"metadata.host: the server at {config.host}:{config.server_port} can't be reached: {problem}. Start it, "
            "or correct metadata.host and metadata.port"
        ]
    return []


def password_problem(config: MetadataConfig) -> str:
    """Return that the variable of the password is not set; empty if it is, or if there is none."""
    if config.password_env is None or config.password_env in os.environ:
        return ""
    return (
        f"metadata.password_env: expected the {config.server_name} password in the environment variable "
        f"{config.password_env}, which is not set"
    )


def unreachable(host: str, port: int) -> str:
    """Return why no connection to a port can be made; empty if it can."""
    try:
        socket.create_connection((host, port), _CONNECT_SECONDS).close()
    except OSError as error:
        return str(error)
    return ""

"""ML Metadata on a MySQL or PostgreSQL server: check it before a run, and wait for it where it is away for a while.

MLMD's own errors of a connection are empty (``mysql_real_connect failed: errno: , error: ``, ``connection pointer is
NULL``; libpq's reason is on stderr alone), and TFX gives up after
about 5 seconds, with which the work of a step that has just ended would be lost.
"""

from __future__ import annotations

import logging
import random
import re
import time
from typing import Any

from tfx.orchestration import metadata

from noisy_gru.pipeline.config.metadata_checks import metadata_problems
from noisy_gru.pipeline.config.pipeline_config import MetadataConfig
from noisy_gru.schema.errors import ConfigError, UserError

# A server's restart, or that of the machine that it runs on.
PATIENCE_SECONDS = 300.0
_MOST_PAUSE_SECONDS = 10.0
_NO_DATABASE = re.compile(r"Access denied|to database|Unknown database|permission denied")
_LOGIN = {
    "mysql": "the user has to log in by mysql_native_password, which alone ML Metadata's client knows",
    "postgresql": "ML Metadata's client has no TLS, so pg_hba.conf needs a line `host` (not `hostssl`) for the user, "
    "for its database and for `postgres`",
}
logger = logging.getLogger("noisy_gru.progress")


class MetadataServerError(UserError):
    """The server of ML Metadata stays away; what is finished is kept."""


def check_server(config: MetadataConfig, connection: Any) -> None:
    """Connect once to the server of the configuration; SQLite isn't checked.

    Args:
        config: the section `metadata`.
        connection: what ``connection_config`` made of it.

    Raises:
        ConfigError: it can't be reached, or refuses; without the password.
    """
    if config.host is None:
        return
    server = f"{config.server_name} at {config.host}:{config.server_port}"
    if problems := metadata_problems(config):
        raise ConfigError(problems[0])
    try:
        with metadata.Metadata(connection):
            return
    except RuntimeError as error:
        if _NO_DATABASE.search(str(error)):
            raise ConfigError(
                f"metadata.database: {server} doesn't let {config.user} use or make the database "
                f"{config.database}. Make it, and grant {config.user} all privileges on it"
            ) from None
        password = f"the password in {config.password_env}" if config.password_env else "no password (password_env)"
        raise ConfigError(
            f"metadata.user: {server} refuses {config.user} with {password}. Correct them; "
            f"{_LOGIN[config.kind or 'mysql']}"
        ) from None


class ServerMetadata(metadata.Metadata):
    """TFX's handle of ML Metadata, which waits for a server that is away, as it is during a restart."""

    def __enter__(self) -> metadata.Metadata:
        """Connect; raise ``MetadataServerError`` if the server stays away."""
        deadline, pause, logged = time.monotonic() + PATIENCE_SECONDS, 1.0, False
        while True:
            try:
                return super().__enter__()
            except RuntimeError as error:
                config: Any = self.connection_config
                server = getattr(config, config.WhichOneof("config"))
                address = f"{server.host}:{server.port}"
                if time.monotonic() >= deadline:
                    raise MetadataServerError(
                        f"the server of ML Metadata at {address} has been away for {PATIENCE_SECONDS:g} s. When it is "
                        "back, run it again: it resumes after the last finished step"
                    ) from error
                if not logged:
                    logger.warning("waiting for the server of ML Metadata at %s", address)
                    logged = True
            time.sleep(pause * (0.5 + random.random() / 2))
            pause = min(2 * pause, _MOST_PAUSE_SECONDS)


def metadata_handle(connection: Any) -> metadata.Metadata:
    """Return the handle for a connection: of a server one that waits for it."""
    is_server = getattr(connection, "WhichOneof", None) and connection.WhichOneof("config") in _LOGIN
    return ServerMetadata(connection) if is_server else metadata.Metadata(connection)

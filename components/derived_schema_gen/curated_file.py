"""Read the curated schema, on this machine or in an object store. Imports no TFX."""

from __future__ import annotations

from typing import Any

from noisy_gru.schema.errors import ConfigError
from noisy_gru.schema.loading import load_schema, parse_schema
from noisy_gru.storage.object_stores import is_remote, open_file


def read_curated(path: str) -> Any:
    """Load a ``schema_pb2.Schema`` from a path (or file://), or from s3:// or gs://.

    Raises:
        ConfigError: there is no such file, or it is no schema.
        StoreError: the store refuses, or can't be reached.
    """
    path = path.removeprefix("file://")
    if not is_remote(path):
        return load_schema(path)
    try:
        with open_file(path) as stream:
            return parse_schema(stream.read().decode(), path)
    except FileNotFoundError as error:
        message = f"{path}: the schema can't be read: no such file. Correct `schema` in the configuration"
        raise ConfigError(message) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: the schema can't be read: {error}") from error

"""Read the curated schema of a configuration, on this machine or in a remote file system."""

from __future__ import annotations

from typing import Any

from noisy_gru.schema.loading import load_schema


def read_curated(path: str) -> Any:
    """Load a ``schema_pb2.Schema`` from a path, or from a URI that TensorFlow reads, such as gs://.

    Raises:
        ConfigError: there is no such file, or it is no schema.
    """
    if "://" not in path:
        return load_schema(path)
    # Its module imports TFX, which only a remote file needs here.
    from noisy_gru.components.derived_schema_gen.executor import read_schema

    return read_schema(path)

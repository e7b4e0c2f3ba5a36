"""Artifact URIs as folders and back: the launcher copies ``minio://bucket/x`` to ``/minio/bucket/x``, and results back.

TensorFlow's file system doesn't know ``minio://`` or ``s3://``, so executors are given the folders.

    >>> to_path("s3://bucket/run/Trainer/model"), to_uri("/s3/bucket/run/Trainer/model")
    ('/s3/bucket/run/Trainer/model', 's3://bucket/run/Trainer/model')
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from noisy_gru.schema.errors import UserError

# The launcher's names for what it mounts.
FOLDERS = {"minio": "/minio/", "s3": "/s3/", "gs": "/gcs/"}
# A prefix of these folders, for where nobody can make folders in the root: `noisy-gru kubeflow dry-run` sets it.
PREFIX_VARIABLE = "NOISY_GRU_LAUNCHER_ROOT"


def to_path(uri: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the folder or file that the launcher has for a URI.

    Raises:
        UserError: it has none.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme not in FOLDERS:
        raise UserError(f"expected an artifact in {', '.join(f'{each}://' for each in FOLDERS)}. Received: {uri!r}")
    return environment.get(PREFIX_VARIABLE, "") + FOLDERS[scheme] + rest


def to_uri(path: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the URI of what is below one of the launcher's folders; any other text stays as it is."""
    prefix = environment.get(PREFIX_VARIABLE, "")
    for scheme, folder in FOLDERS.items():
        if path.startswith(prefix + folder):
            return f"{scheme}://{path.removeprefix(prefix + folder)}"
    return path

"""The clients of object stores, one for each bucket and process, with credentials from the environment."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from noisy_gru.schema.errors import ConfigError

SCHEMES = ("s3", "gs")
# Environment variables that hold the address of a store, as AWS' and Google's own clients read them.
S3_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
GS_ENDPOINT = "STORAGE_EMULATOR_HOST"
_CONNECT_SECONDS = 10.0
_REQUEST_SECONDS = 60.0
_ATTEMPTS = 6


def client_of(scheme: str, bucket: str) -> Any:
    """Return pyarrow's file system of a bucket, `s3` or `gs`.

    Raises:
        ConfigError: the address in the environment is no URL.
    """
    endpoint = next(filter(None, map(os.environ.get, S3_ENDPOINTS)), "") if scheme == "s3" else ""
    if scheme == "gs":
        endpoint = os.environ.get(GS_ENDPOINT, "")
    return _client(scheme, bucket, endpoint, os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION", ""))


@lru_cache(maxsize=64)
def _client(scheme: str, bucket: str, endpoint: str, region: str) -> Any:
    from pyarrow import fs

    address = _address(endpoint) if endpoint else {}
    if scheme == "gs":
        # Its default is 15 minutes of attempts.
        limit = timedelta(seconds=_REQUEST_SECONDS)
        return fs.GcsFileSystem(anonymous=bool(endpoint), retry_time_limit=limit, **address)
    if not endpoint:
        with suppress(OSError):  # a bucket may be in another region than the environment says
            region = fs.resolve_s3_region(bucket) or region
    return fs.S3FileSystem(
        region=region or None,
        connect_timeout=_CONNECT_SECONDS,
        request_timeout=_REQUEST_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
        **address,
    )


def _address(endpoint: str) -> dict[str, str]:
    """Return scheme and host of a URL; Arrow takes the whole URL for a host."""
    parts = urlsplit(endpoint if "://" in endpoint else f"http://{endpoint}")
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/"):
        raise ConfigError(
            f"{' or '.join((*S3_ENDPOINTS, GS_ENDPOINT))}: expected the URL of an object store, such as "
            f"http://minio:9000, received {endpoint}"
        )
    return {"scheme": parts.scheme, "endpoint_override": parts.netloc}

"""Private names of the Kubeflow Pipelines SDK, as read in kfp 2.16 (kfp/client/client.py): the APIs that it generates.

``Client``: a `kfp.client.Client`, whose generated types say that every value may be None or a thread.
"""

from __future__ import annotations

from typing import Any

Client = Any


def read_health(client: Client, limits: tuple[float, float]) -> bytes:
    """Return the body of the health answer, in one attempt; kfp's own type drops the release.

    Args:
        client: to ask with.
        limits: seconds to connect, and to read.
    """
    answer = client._healthz_api.healthz_service_get_healthz(_request_timeout=limits, _preload_content=False)
    return answer.data


def create_pipeline(client: Client, pipeline: Any) -> str:
    """Make a pipeline without a version, and return its id; `upload_pipeline` would make a version, too."""
    return client._pipelines_api.pipeline_service_create_pipeline(pipeline=pipeline).pipeline_id


def rest_client(client: Client) -> Any:
    """Return the HTTP client that all of a client's APIs send their requests through."""
    return client._run_api.api_client.rest_client

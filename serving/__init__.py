"""Serving of published models: client, local server, and TF Serving.

    from noisy_gru.serving import Client

Names are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from noisy_gru.schema.lazy_names import lazy_names

if TYPE_CHECKING:
    from noisy_gru.serving.client.async_client import AsyncClient
    from noisy_gru.serving.client.client import Client
    from noisy_gru.serving.client.connection import Tls
    from noisy_gru.serving.client.errors import (
        DeadlineExceeded,
        InvalidRequest,
        NotFound,
        Refused,
        ServingError,
        Unavailable,
    )
    from noisy_gru.serving.client.predictions import Predictions
    from noisy_gru.serving.client.stream import AsyncStream, Stream
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "AsyncClient": ".client.async_client",
            "AsyncStream": ".client.stream",
            "Client": ".client.client",
            "DeadlineExceeded": ".client.errors",
            "InvalidRequest": ".client.errors",
            "NotFound": ".client.errors",
            "Predictions": ".client.predictions",
            "Refused": ".client.errors",
            "ServingError": ".client.errors",
            "Stream": ".client.stream",
            "Tls": ".client.connection",
            "Unavailable": ".client.errors",
        },
    )


__all__ = [
    "AsyncClient",
    "AsyncStream",
    "Client",
    "DeadlineExceeded",
    "InvalidRequest",
    "NotFound",
    "Predictions",
    "Refused",
    "ServingError",
    "Stream",
    "Tls",
    "Unavailable",
]

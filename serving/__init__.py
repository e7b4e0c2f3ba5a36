"""Serving of published models: client, local server, and TF Serving.

    from noisy_gru.serving import Client

Names are imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

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
    _HOMES = {
        "AsyncClient": "async_client",
        "AsyncStream": "stream",
        "Client": "client",
        "DeadlineExceeded": "errors",
        "InvalidRequest": "errors",
        "NotFound": "errors",
        "Predictions": "predictions",
        "Refused": "errors",
        "ServingError": "errors",
        "Stream": "stream",
        "Tls": "connection",
        "Unavailable": "errors",
    }

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{__name__}.client.{_HOMES[name]}"), name)


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

"""Predictions of a model on TF Serving with asyncio; ``Client`` is the same for blocking code.

async with AsyncClient("127.0.0.1:8500", dataset=config.dataset, model_name="vowels") as client:
    predictions = await client.predict(rows)
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from noisy_gru.serving.client.calls import ModelMetadata, VersionStatus
from noisy_gru.serving.client.core import ClientCore
from noisy_gru.serving.client.predictions import Predictions
from noisy_gru.serving.client.settings import OnError
from noisy_gru.serving.client.stream import AsyncStream


class AsyncClient(ClientCore):
    """A client for one event loop. Its arguments are those of ``ClientSettings``; its methods are ``Client``'s."""

    async def predict(self, data: Any, *, on_error: OnError = "raise") -> Predictions:
        """Return the model's prediction for each sequence; see ``Client.predict``. The data is read in a thread."""
        return await self._predict(await asyncio.to_thread(self.plan_data, data, on_error))

    async def predict_examples(
        self, examples: Iterable[Any], *, ids: Sequence[str] | None = None, on_error: OnError = "raise"
    ) -> Predictions:
        """Return the model's predictions for tf.Examples; see ``Client.predict_examples``."""
        return await self._predict(self.plan_examples(examples, ids, on_error))

    async def metadata(self) -> ModelMetadata:
        """Return the version that answers now, and its signatures; see ``Client.metadata``."""
        return await self._metadata()

    async def status(self) -> list[VersionStatus]:
        """Return the versions that the server knows of; see ``Client.status``."""
        return await self._status()

    async def health(self) -> bool:
        """Return whether the server is healthy and answers for the model now; see ``Client.health``."""
        return await self._health()

    async def stream(self) -> AsyncStream:
        """Open a stream over the signature `serving_step`; see ``Client.stream``."""
        return AsyncStream(await self._open_states(), self._send)

    async def close(self) -> None:
        """Close the connections; further calls do nothing."""
        await self._close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

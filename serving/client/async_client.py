"""Asks a model on TF Serving with asyncio; the same as ``Client``, word for word, but for ``await``.

async with AsyncClient("127.0.0.1:8500", dataset=config.dataset, model_name="vowels") as client:
    predictions = await client.predict(rows)
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from noisy_gru.serving.client.calls import Call, MetadataCall, ModelMetadata, Reply, VersionStatus
from noisy_gru.serving.client.errors import ServingError, Unavailable
from noisy_gru.serving.client.predictions import Predictions
from noisy_gru.serving.client.request_flow import Answered, Flow, asked, healthy, run_async, statuses
from noisy_gru.serving.client.retrying import async_attempts, given_up
from noisy_gru.serving.client.settings import ClientSettings, OnError
from noisy_gru.serving.client.stream import AsyncStream
from noisy_gru.serving.client.stream_states import opened_stream


class AsyncClient(ClientSettings):
    """Asks a server with asyncio, within one event loop. Its arguments are those of ``ClientSettings``."""

    def _start(self) -> None:
        self._opened: Any = None
        self._closed = False
        self._opening = asyncio.Lock()

    async def _transport(self) -> Any:
        """The transport, made at the first call: a channel belongs to the event loop in which it is made."""
        if self._closed:
            raise ServingError(f"the client of {self.connection.target} is closed", code="CANCELLED")
        async with self._opening:
            if self._opened is None:
                kind = await asyncio.to_thread(_imported, self.connection.transport)
                self._opened = kind(self.connection)
        return self._opened

    async def predict(self, data: Any, *, on_error: OnError = "raise") -> Predictions:
        """The model's answer for each sequence; see ``Client.predict``. The data is read in a thread of its own."""
        plan = await asyncio.to_thread(self.plan_data, data, on_error)
        return plan.predictions(await self._run_all(plan.flows))

    async def predict_examples(
        self, examples: Iterable[Any], *, ids: Sequence[str] | None = None, on_error: OnError = "raise"
    ) -> Predictions:
        """The model's answers for tf.Examples; see ``Client.predict_examples``."""
        plan = self.plan_examples(examples, ids, on_error)
        return plan.predictions(await self._run_all(plan.flows))

    async def metadata(self) -> ModelMetadata:
        """The version that answers now, and its signatures; see ``Client.metadata``."""
        return await run_async(asked(MetadataCall(self.model)), self._ask)

    async def status(self) -> list[VersionStatus]:
        """The versions that the server knows of; see ``Client.status``."""
        return await run_async(statuses(self.model), self._ask)

    async def health(self) -> bool:
        """Whether the server is well and answers for the model now; see ``Client.health``."""
        return await run_async(healthy(self.model), self._ask_once)

    async def stream(self) -> AsyncStream:
        """A stream over the signature `serving_step`; see ``Client.stream``."""
        states = await run_async(opened_stream(self), self._ask)
        return AsyncStream(states, self._ask)

    async def close(self) -> None:
        """Closes the connections; calling it again does nothing."""
        self._closed = True
        if self._opened is not None:
            await self._opened.close()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _run_all(self, flows: Sequence[Flow[Answered]]) -> list[Answered]:
        room = asyncio.Semaphore(self.concurrency)

        async def one(flow: Flow[Answered]) -> Answered:
            async with room:
                return await run_async(flow, self._ask)

        tasks = [asyncio.ensure_future(one(flow)) for flow in flows]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, call: Call) -> Reply:
        transport = await self._transport()
        deadline = self.clock() + self.connection.timeout
        retrying = async_attempts(self.connection, deadline, clock=self.clock, sleep=self.sleep or asyncio.sleep)

        async def attempt() -> Reply:
            return await transport.ask(call, max(deadline - self.clock(), 1e-3))

        try:
            return await retrying(attempt)
        except Unavailable as error:
            raise given_up(error, retrying) from error

    async def _ask_once(self, call: Call) -> Reply:
        return await (await self._transport()).ask(call, self.connection.timeout)


def _imported(transport: str) -> Any:
    """The kind of transport; importing TensorFlow's messages takes seconds, in which the event loop goes on."""
    if transport == "rest":
        from noisy_gru.serving.client.rest_transport import AsyncRestTransport

        return AsyncRestTransport
    from noisy_gru.serving.client.grpc_transport import AsyncGrpcTransport, import_messages

    import_messages()
    return AsyncGrpcTransport

"""The client's requests: the one implementation behind ``AsyncClient`` and ``Client``.

They are coroutines that wait in three places: opening and using the transport, sleeping, and for several batches at
a time. ``Client`` overrides these with ones that block, so its coroutines never suspend, and ``run_blocking`` runs them
in the calling thread: an event loop in a thread of its own would double the time of a small request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from noisy_gru.compat.extras import require
from noisy_gru.serving.client.calls import Call, MetadataCall, ModelMetadata, PredictCall, Reply, VersionStatus
from noisy_gru.serving.client.connection import GRPC_NEEDED
from noisy_gru.serving.client.errors import ServingError, Unavailable
from noisy_gru.serving.client.predictions import Predictions
from noisy_gru.serving.client.request_flow import BatchResult, is_healthy, predict_batch, send, version_statuses
from noisy_gru.serving.client.retrying import add_attempts, retries
from noisy_gru.serving.client.settings import ClientSettings, RequestPlan
from noisy_gru.serving.client.stream_states import States, open_states

T = TypeVar("T")


class ClientCore(ClientSettings):
    """A client's requests as coroutines; here those of an event loop."""

    def _start(self) -> None:
        self._transport: Any = None
        self._closed = False
        self._opening = asyncio.Lock()

    async def _predict(self, plan: RequestPlan) -> Predictions:
        """Send the batches of a plan, ``concurrency`` at a time; the first error cancels the others."""
        slots = asyncio.Semaphore(self.concurrency)

        async def predict(*batch: Any) -> BatchResult:
            async with slots:
                return await self._predict_batch(plan, *batch)

        tasks = [asyncio.ensure_future(predict(*batch)) for batch in plan.batches]
        try:
            return plan.predictions(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _predict_batch(self, plan: RequestPlan, call: PredictCall, places: Sequence[int]) -> BatchResult:
        target = self.connection.target
        return await predict_batch(call, self._send, target=target, collect=plan.collect, places=places)

    async def _metadata(self) -> ModelMetadata:
        return await send(MetadataCall(self.model), self._send)

    async def _status(self) -> list[VersionStatus]:
        return await version_statuses(self.model, self._send)

    async def _health(self) -> bool:
        return await is_healthy(self.model, self._send_once)

    async def _open_states(self) -> States:
        return await open_states(self, self._send)

    async def _send(self, call: Call) -> Reply:
        """Send a call until it is answered or its time is over."""
        transport = await self._open()
        deadline = self.clock() + self.connection.timeout
        retrying = retries(self.connection, deadline, clock=self.clock, sleep=self._wait)

        async def attempt() -> Reply:
            return await transport.send(call, max(deadline - self.clock(), 1e-3))

        try:
            return await retrying(attempt)
        except Unavailable as error:
            raise add_attempts(error, retrying) from error

    async def _send_once(self, call: Call) -> Reply:
        return await (await self._open()).send(call, self.connection.timeout)

    async def _open(self) -> Any:
        """The transport, opened by the first call."""
        if self._closed:
            raise self._closed_error()
        async with self._opening:
            if self._transport is None:
                self._transport = (await asyncio.to_thread(import_transport, self.connection.transport))(
                    self.connection
                )
        return self._transport

    async def _wait(self, seconds: float) -> None:
        await (self.sleep or asyncio.sleep)(seconds)

    async def _close(self) -> None:
        self._closed = True
        if self._transport is not None:
            await self._transport.close()

    def _closed_error(self) -> ServingError:
        return ServingError(f"the client of {self.connection.target} is closed", code="CANCELLED")


def import_transport(name: str, *, blocking: bool = False) -> Any:
    """Import the class of a transport, and with it the libraries that it needs.

    Raises:
        MissingExtraError: gRPC is not installed.
    """
    if name == "rest":
        from noisy_gru.serving.client.rest_transport import BlockingRestTransport, RestTransport

        return BlockingRestTransport if blocking else RestTransport
    require("grpc", GRPC_NEEDED)
    from noisy_gru.serving.client.grpc_transport import BlockingGrpcTransport, GrpcTransport

    return BlockingGrpcTransport if blocking else GrpcTransport


def run_blocking(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends, in the calling thread."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    finally:
        coroutine.close()
    raise RuntimeError("a blocking client's coroutine waited for an event loop")

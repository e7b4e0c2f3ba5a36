"""What the server takes on at once: the size of a request, the requests that run, the requests that wait."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from grpc import StatusCode

from noisy_gru.serving.local_server.errors import RequestError

Result = TypeVar("Result")


@dataclass(frozen=True)
class Limits:
    """Bounds of the local server.

    Attributes:
        request_bytes: size of a request's message (gRPC) or body (REST, after decompression).
        workers: requests that run side by side; each runs in a thread, and TensorFlow has more of its own.
        waiting: requests that wait for a worker; the next one is refused as UNAVAILABLE (503), which is what TF Serving
            answers when its batching queue is full, and what a client may send again.
        body_seconds: how long a body may take to arrive over REST.
    """

    request_bytes: int = 64 << 20
    workers: int = field(default_factory=lambda: max(2, os.cpu_count() or 2))
    waiting: int = 256
    body_seconds: float = 60.0

    @property
    def most_requests(self) -> int:
        """Requests that run or wait."""
        return self.workers + self.waiting


class Workers:
    """Threads, and a bounded number of requests that are in or before them.

    Args:
        limits: how many threads, and how many requests may wait.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._threads = ThreadPoolExecutor(limits.workers, thread_name_prefix="serve")
        self._places = threading.BoundedSemaphore(limits.most_requests)

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place for one request: to take before anything of it is kept in memory.

        Raises:
            RequestError: UNAVAILABLE, if as many requests as are allowed wait already.
        """
        if not self._places.acquire(blocking=False):
            raise RequestError(
                StatusCode.UNAVAILABLE,
                f"The server is busy: {self._limits.workers} requests run and {self._limits.waiting} wait. Send it "
                "again.",
            )
        try:
            yield
        finally:
            self._places.release()

    async def run(self, function: Callable[..., Result], *args: Any, held: ExitStack) -> Result:
        """``function(*args)`` in a thread.

        Args:
            function: what to call.
            args: its arguments.
            held: what the request holds; closed when the function has ended or will not be called. Never while it still
                runs, not even when the waiting coroutine is cancelled because the client is gone.

        Raises:
            RequestError: UNAVAILABLE, after `close`.
        """
        try:
            future = self._threads.submit(function, *args)
        except RuntimeError as error:
            held.close()
            raise RequestError(StatusCode.UNAVAILABLE, "The server is shutting down.") from error
        future.add_done_callback(lambda _: held.close())
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Waits for what runs; what waits is cancelled."""
        self._threads.shutdown(wait=True, cancel_futures=True)

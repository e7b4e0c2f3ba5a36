"""Limits of the server: the size of a request, running requests, waiting requests, and their deadlines."""

from __future__ import annotations

import asyncio
import os
import threading
import time
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
        connections: that are open over REST; where one more comes, the one that has waited longest is closed.
        header_seconds: how long the header of a request may take to arrive over REST.
        body_seconds: how long a body may take to arrive over REST.
        held_bytes: of all bodies that are there over REST, or on their way.
        steps: of a sequence.
        run_seconds: how long a request may run, and wait for its turn; less where a client of gRPC says so.
    """

    request_bytes: int = 64 << 20
    workers: int = field(default_factory=lambda: max(2, os.cpu_count() or 2))
    waiting: int = 256
    connections: int = 256
    header_seconds: float = 10.0
    body_seconds: float = 60.0
    held_bytes: int = 256 << 20
    steps: int = 100_000
    run_seconds: float = 30.0

    @property
    def most_requests(self) -> int:
        """Most running and waiting requests."""
        return self.workers + self.waiting


@dataclass(frozen=True)
class Deadline:
    """The deadline of a request, on the clock of `time.monotonic`."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The deadline this many seconds from now."""
        return cls(time.monotonic() + seconds)

    @property
    def seconds(self) -> float:
        """Seconds that are left."""
        return self.at - time.monotonic()

    def check(self) -> None:
        """Raise RequestError, DEADLINE_EXCEEDED, after the deadline."""
        if self.seconds <= 0:
            raise RequestError(
                StatusCode.DEADLINE_EXCEEDED, "The request's time was over before it was answered. Send fewer steps."
            )


class Workers:
    """A thread pool with a bounded number of running and waiting requests.

    Args:
        limits: how many threads, and how many requests may wait.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._threads = ThreadPoolExecutor(limits.workers, thread_name_prefix="serve")
        self._slots = threading.BoundedSemaphore(limits.most_requests)

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Take a slot for one request, before anything of it is kept in memory.

        Raises:
            RequestError: UNAVAILABLE, if too many requests wait already.
        """
        if not self._slots.acquire(blocking=False):
            raise RequestError(
                StatusCode.UNAVAILABLE,
                f"The server is busy: {self._limits.workers} requests run and {self._limits.waiting} wait. Send it "
                "again.",
            )
        try:
            yield
        finally:
            self._slots.release()

    async def run(self, function: Callable[..., Result], *args: Any, held: ExitStack) -> Result:
        """Run ``function(*args)`` in a thread.

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
        """Wait for running requests, and cancel waiting ones."""
        self._threads.shutdown(wait=True, cancel_futures=True)

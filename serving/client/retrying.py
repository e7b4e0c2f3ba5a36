"""Retry while a server is unavailable, with growing waits, until the request's time is over.

    reply = await retries(connection, deadline, clock=time.monotonic, sleep=asyncio.sleep)(attempt)

A retry is harmless: the server keeps nothing of a request, the state of a stream is the client's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential, wait_random

from noisy_gru.serving.client.connection import ConnectionOptions
from noisy_gru.serving.client.errors import Unavailable

Clock = Callable[[], float]


def retries(
    connection: ConnectionOptions, deadline: float, *, clock: Clock, sleep: Callable[[float], Any]
) -> AsyncRetrying:
    """Return a caller of coroutine functions that retries while the server is unavailable.

    Args:
        connection: most attempts, and the waits between them.
        deadline: of the request, on ``clock``; no wait ends after it.
        clock: seconds, of any beginning.
        sleep: coroutine function that waits for seconds.
    """
    growing = wait_exponential(multiplier=connection.first_wait, max=connection.longest_wait / 1.5)
    jitter = wait_random(0.0, 0.5)

    def wait(state: RetryCallState) -> float:
        # A part of the wait is random, so that clients that failed together do not come back together.
        return growing(state) * (1 + jitter(state))

    def stop(state: RetryCallState) -> bool:
        used_up = connection.attempts is not None and state.attempt_number >= connection.attempts
        return used_up or clock() + state.upcoming_sleep >= deadline

    return AsyncRetrying(sleep=sleep, retry=retry_if_exception_type(Unavailable), wait=wait, stop=stop, reraise=True)


def add_attempts(error: Unavailable, retrying: AsyncRetrying) -> Unavailable:
    """Return the last error of a request that failed, with the number of attempts in its message."""
    count = retrying.statistics.get("attempt_number", 1)
    message = f"{error} (after {count} attempts)" if count > 1 else str(error)
    return Unavailable(message, code=error.code, details=error.details)

"""Another attempt where a server is unavailable, with longer and longer waits, until the request's time is over.

    reply = attempts(connection, deadline, clock=time.monotonic, sleep=time.sleep)(ask, call)

Asking again is harmless: the server keeps nothing of a request, the state of a stream is the client's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tenacity import AsyncRetrying, RetryCallState, Retrying, retry_if_exception_type, wait_exponential, wait_random

from noisy_gru.serving.client.connection import ConnectionOptions
from noisy_gru.serving.client.errors import Unavailable

Clock = Callable[[], float]


def _options(connection: ConnectionOptions, deadline: float, clock: Clock) -> dict[str, Any]:
    growing = wait_exponential(multiplier=connection.first_wait, max=connection.longest_wait / 1.5)
    jitter = wait_random(0.0, 0.5)

    def wait(state: RetryCallState) -> float:
        # A part of the wait is random, so that clients that failed together do not come back together.
        return growing(state) * (1 + jitter(state))

    def stop(state: RetryCallState) -> bool:
        used_up = connection.attempts is not None and state.attempt_number >= connection.attempts
        return used_up or clock() + state.upcoming_sleep >= deadline

    return {"retry": retry_if_exception_type(Unavailable), "wait": wait, "stop": stop, "reraise": True}


def attempts(
    connection: ConnectionOptions, deadline: float, *, clock: Clock, sleep: Callable[[float], Any]
) -> Retrying:
    """What calls a function until it answers; the request has to be answered by ``deadline`` of the clock."""
    return Retrying(sleep=sleep, **_options(connection, deadline, clock))


def async_attempts(
    connection: ConnectionOptions, deadline: float, *, clock: Clock, sleep: Callable[[float], Any]
) -> AsyncRetrying:
    """The same for coroutine functions; ``sleep`` is one, too."""
    return AsyncRetrying(sleep=sleep, **_options(connection, deadline, clock))


def given_up(error: Unavailable, retrying: Retrying | AsyncRetrying) -> Unavailable:
    """The last error of a request that was given up, with the number of attempts."""
    count = retrying.statistics.get("attempt_number", 1)
    said = f"{error} (after {count} attempts)" if count > 1 else str(error)
    return Unavailable(said, code=error.code, details=error.details)

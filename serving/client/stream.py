"""Streams: each event is sent once, and the client keeps what the model has seen of each entity.

    with Client(...) as client:
        stream = client.stream()
        print(stream.send([{"pump": "p1", "time": 17, "pressure": 2.5}]).answers)
        redis.set("pumps", json.dumps(stream.state_dict()))

The model has to be exported with `model.serving_step: true`. The answers are those to an entity's whole history in one
request. A call that fails changes nothing, so the same events can be sent again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from noisy_gru.serving.client.calls import Call, ModelChoice, Reply
from noisy_gru.serving.client.predictions import Predictions
from noisy_gru.serving.client.request_flow import run, run_async
from noisy_gru.serving.client.stream_states import States


class _Stream:
    """What both kinds of stream have."""

    def __init__(self, states: States) -> None:
        self._states = states

    @property
    def model(self) -> ModelChoice:
        """The model and the version that the states belong to; all calls go to it."""
        return self._states.model

    @property
    def entities(self) -> list[str]:
        """The entities that have a state."""
        return self._states.entities

    def state_dict(self, entities: Iterable[str] | None = None) -> dict[str, Any]:
        """The states of all entities, or of some, as JSON can hold them.

        Raises:
            DataError: an entity has none.
        """
        return self._states.state_dict(entities)

    def load_state_dict(self, states: Mapping[str, Any]) -> None:
        """Put states back that ``state_dict`` gave, beside those that are there.

        Raises:
            DataError: they are of another model or version, or none at all.
        """
        self._states.load_state_dict(states)

    def forget(self, entities: Iterable[str]) -> None:
        """Drop the states of entities: their next event is their first."""
        self._states.forget(entities)


class Stream(_Stream):
    """Sends events, and waits. Made by ``Client.stream``; several threads may use it, one call after the other."""

    def __init__(self, states: States, ask: Callable[[Call], Reply]) -> None:
        super().__init__(states)
        self._ask, self._lock = ask, threading.Lock()

    def send(self, data: Any) -> Predictions:
        """Send new events, and get an answer for each of their entities.

        Args:
            data: rows, a DataFrame, a pyarrow Table or files, as for ``Client.predict``. The rows of an entity that are
                not later than its last one are unusable.

        Returns:
            The answers, with entities as ids; unusable rows beside them.

        Raises:
            DataError: the data can't be read, or a policy that says ``error`` has found a case.
            ServingError: no answer; all states are as before.
        """
        with self._lock:
            return run(self._states.sent(self._states.read(data)), self._ask)

    def send_arrays(self, arrays: Mapping[str, Any]) -> Predictions:
        """Send new events as they go to the model: for each entity [steps, F] or [F], float32, NaN where missing.

        Args:
            arrays: channels are the numeric features in the order of the configuration, those of the calendar too. No
                steps ([0, F]) ask for an answer as of now.

        Raises:
            DataError: an array has another shape, or the model reads other features than numeric ones.
            ServingError: no answer; all states are as before.
        """
        with self._lock:
            return run(self._states.sent(self._states.take(arrays)), self._ask)


class AsyncStream(_Stream):
    """The same with asyncio. Made by ``AsyncClient.stream``."""

    def __init__(self, states: States, ask: Callable[[Call], Awaitable[Reply]]) -> None:
        super().__init__(states)
        self._ask, self._lock = ask, asyncio.Lock()

    async def send(self, data: Any) -> Predictions:
        """Send new events, and get an answer for each of their entities; see ``Stream.send``."""
        async with self._lock:
            steps = await asyncio.to_thread(self._states.read, data)
            return await run_async(self._states.sent(steps), self._ask)

    async def send_arrays(self, arrays: Mapping[str, Any]) -> Predictions:
        """Send new events as they go to the model; see ``Stream.send_arrays``."""
        async with self._lock:
            return await run_async(self._states.sent(self._states.take(arrays)), self._ask)

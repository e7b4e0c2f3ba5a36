"""Streams: each event is sent once, and the client keeps the model's state of each entity.

    with Client(...) as client:
        stream = client.stream()
        print(stream.send([{"pump": "p1", "time": 17, "pressure": 2.5}]).answers)
        redis.set("pumps", json.dumps(stream.state_dict()))

The model has to be exported with `model.serving_step: true`. The predictions are those for an entity's whole
history in one request. A call that fails changes nothing, so the same events can be sent again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Mapping
from typing import Any

from noisy_gru.serving.client.calls import ModelChoice
from noisy_gru.serving.client.core import run_blocking
from noisy_gru.serving.client.predictions import Predictions
from noisy_gru.serving.client.request_flow import Send
from noisy_gru.serving.client.stream_states import States


class _Stream:
    """The states of a stream, blocking or not."""

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
        """Return the states of all entities, or of some, for JSON.

        Raises:
            DataError: an entity has no state.
        """
        return self._states.state_dict(entities)

    def load_state_dict(self, states: Mapping[str, Any]) -> None:
        """Add the states that ``state_dict`` returned.

        Raises:
            DataError: they are of another model or version, or invalid.
        """
        self._states.load_state_dict(states)

    def forget(self, entities: Iterable[str]) -> None:
        """Remove the states of entities: their next event is their first."""
        self._states.forget(entities)


class Stream(_Stream):
    """A blocking stream, opened by ``Client.stream``; several threads may use it, one call after the other."""

    def __init__(self, states: States, send: Send) -> None:
        super().__init__(states)
        self._send, self._lock = send, threading.Lock()

    def send(self, data: Any) -> Predictions:
        """Send new events, and return a prediction for each of their entities.

        Args:
            data: rows, a DataFrame, a pyarrow Table or files, as for ``Client.predict``. Rows of an entity that are
                not later than its last one are unusable.

        Returns:
            The predictions, with entities as ids, and the unusable rows.

        Raises:
            DataError: the data can't be read, or a policy that says ``error`` has found a case.
            ServingError: the request failed; all states are as before.
        """
        with self._lock:
            return run_blocking(self._states.advance(self._states.read(data), self._send))

    def send_arrays(self, arrays: Mapping[str, Any]) -> Predictions:
        """Send new events as the model reads them: for each entity [steps, F] or [F], float32, NaN where missing.

        Args:
            arrays: channels are the numeric features in the order of the configuration, those of the calendar too. No
                steps ([0, F]) ask for a prediction as of now.

        Raises:
            DataError: an array has another shape, or the model reads other features than numeric ones.
            ServingError: the request failed; all states are as before.
        """
        with self._lock:
            return run_blocking(self._states.advance(self._states.take(arrays), self._send))


class AsyncStream(_Stream):
    """A stream with asyncio, opened by ``AsyncClient.stream``."""

    def __init__(self, states: States, send: Send) -> None:
        super().__init__(states)
        self._send, self._lock = send, asyncio.Lock()

    async def send(self, data: Any) -> Predictions:
        """Send new events, and return a prediction for each of their entities; see ``Stream.send``."""
        async with self._lock:
            return await self._states.advance(await asyncio.to_thread(self._states.read, data), self._send)

    async def send_arrays(self, arrays: Mapping[str, Any]) -> Predictions:
        """Send new events as the model reads them; see ``Stream.send_arrays``."""
        async with self._lock:
            return await self._states.advance(self._states.take(arrays), self._send)

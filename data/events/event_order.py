"""Put the events of a partition in the order of their time, with a watermark that decides which are late.

>>> order = EventOrder(lambda times: times, lateness=30)  # doctest: +SKIP
>>> late = order.add(events)  # doctest: +SKIP
>>> released = order.release()  # doctest: +SKIP

The watermark is the largest time so far less ``lateness``. An event before it when it arrives is late; all others are
held until the watermark has passed them, and leave in the order of time, of equal times by offset. Both depend on the
messages alone, not on how many are read at a time: a replay gives the same order.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

import numpy as np

from noisy_gru.data.events.event_reader import Event, Time
from noisy_gru.data.sequences.steps import parse_steps
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import ConfigError

# From times [N] to the steps that they belong to, as times that rise with them.
StepOf = Callable[[np.ndarray], np.ndarray]


def step_of_times(dataset: DatasetConfig) -> StepOf:
    """Return the step of each time by `data.resample` or `data.time.align`; without them each time is its own.

    A step is complete when the watermark is in a later one, since all its rows make one row.

    Raises:
        ConfigError: there is no `data.time`.
    """
    time = dataset.data.time
    if time is None:
        raise ConfigError("a stream needs data.time, the column that orders events")
    steps = parse_steps(time)
    if steps is not None and dataset.data.resample is not None:
        return steps.label
    if steps is not None and time.align != "exact":
        return steps.floor if time.align == "floor" else steps.nearest
    return lambda times: times


class EventOrder:
    """The events of a partition that wait for the watermark.

    Args:
        step_of: see ``step_of_times``.
        lateness: how long an event may come after later ones, in the unit of times.
        watermark: of a checkpoint; None: no event came so far.
    """

    def __init__(self, step_of: StepOf, lateness: Time, watermark: Time | None = None) -> None:
        self._step_of, self._lateness = step_of, lateness
        self.watermark = watermark
        self._held: list[tuple[Time, int, Time, Event]] = []  # time, offset, step

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, events: Sequence[Event]) -> None:
        """Put back the held events of a checkpoint."""
        if events:
            steps = self._steps([event.time for event in events])
            for event, step in zip(events, steps, strict=True):
                heapq.heappush(self._held, (event.time, event.message.offset, step, event))

    def add(self, events: Sequence[Event]) -> list[Event]:
        """Take events in the order of their offsets; return those that are late, which are not held."""
        if not events:
            return []
        before: list[Time] = []
        watermark = self.watermark
        for event in events:
            before.append(event.time if watermark is None else watermark)
            new = self._behind(event.time)
            watermark = new if watermark is None else max(watermark, new)
        self.watermark = watermark
        steps, least = self._steps([event.time for event in events]), self._steps(before)
        late = []
        for event, step, lowest in zip(events, steps, least, strict=True):
            if step < lowest:
                late.append(event)
            else:
                heapq.heappush(self._held, (event.time, event.message.offset, step, event))
        return late

    def release(self) -> list[tuple[Time, Event]]:
        """Remove and return the events before the watermark, each with its step, in order."""
        if self.watermark is None or not self._held:
            return []
        (reached,) = self._steps([self.watermark])
        released = []
        while self._held and self._held[0][2] < reached:
            _, _, step, event = heapq.heappop(self._held)
            released.append((step, event))
        return released

    def _behind(self, time: Time) -> Time:
        new = time - self._lateness
        return max(new, -(2**63)) if isinstance(new, int) else new

    def _steps(self, times: list[Time]) -> list[Time]:
        return self._step_of(np.array(times, np.int64 if isinstance(times[0], int) else np.float64)).tolist()

"""The clock of the simulated world: the simulation sets it, and every process of the world reads it.

It is the machine's clock moved by an offset that stands in a file, so that it goes on by itself between two settings.
What waits on the machine's own clock, such as gRPC, sees nothing of it.
"""

from __future__ import annotations

import json
import os
import select
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

_POLL_SECONDS = 0.02


class WorldClock:
    """Reads and sets it.

    Args:
        folder: of the simulation.
    """

    def __init__(self, folder: Path):
        self._file = folder / "clock.json"

    def set(self, moment: datetime) -> int:
        """Sets it forward or back; returns the number of the setting."""
        number = self.setting + 1
        offset = (moment - datetime.now(UTC)).total_seconds()
        partial = self._file.with_suffix(".partial")
        partial.write_text(json.dumps({"setting": number, "offset": offset}))
        partial.replace(self._file)
        return number

    @property
    def setting(self) -> int:
        """The number of its last setting; 0: it was never set."""
        return self._read()[0]

    def now(self) -> datetime:
        """The time in UTC."""
        return self.look()[1]

    def look(self) -> tuple[int, datetime]:
        """The number of the last setting, and the time."""
        number, offset = self._read()
        return number, datetime.now(UTC) + timedelta(seconds=offset)

    def _read(self) -> tuple[int, float]:
        if not self._file.exists():
            return 0, 0.0
        content = json.loads(self._file.read_text())
        return content["setting"], content["offset"]


class WaitingClock:
    """The clock of one scheduler, which notes the setting that it has seen whenever it waits.

    Args:
        clock: of the world.
        seen: file for the number of that setting.
    """

    def __init__(self, clock: WorldClock, seen: Path):
        self._clock = clock
        self._seen = seen
        self._setting = 0

    def now(self) -> datetime:
        """As the scheduler's ``now``."""
        self._setting, moment = self._clock.look()
        return moment

    def sleep(self, seconds: float) -> None:
        """As the scheduler's ``sleep``, but for its end when the clock is set: nobody waits for five seconds of it."""
        partial = self._seen.with_suffix(".partial")
        partial.write_text(f"{os.getpid()} {self._setting}")
        partial.replace(self._seen)
        end = time.monotonic() + seconds
        while time.monotonic() < end and self._clock.setting == self._setting:
            select.select([], [], [], _POLL_SECONDS)

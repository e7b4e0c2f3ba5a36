"""Asks at set times whether to retrain, for as long as it is left alone.

>>> ScheduleLoop(following=following, state=root / STATE, retrain=child.run, …).run()  # doctest: +SKIP

One thread waits and retrains: so there is one run at a time, and times that pass meanwhile become one. It waits in
short steps and looks at the clock after each, since a machine may sleep, and its clock be set forward or back. The time
of the last call is kept in a file, so that times which passed while nothing was running are known, too.
"""

from __future__ import annotations

import json
import random
import select
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from noisy_gru.pipeline.runs.interrupts import signals_as_interrupts
from noisy_gru.pipeline.runs.run_directory import timestamp
from noisy_gru.schema.errors import UserError
from noisy_gru.storage.atomic_files import write_atomically

STATE = "schedule.json"
# The longest wait between two looks at the clock.
_LOOK = timedelta(seconds=5)
# How late a time may be and still count as kept.
_PUNCTUAL = timedelta(seconds=60)
# A clock is always being corrected a little. cron(8) takes up to three hours for a correction, and repeats nothing.
_CORRECTION = timedelta(hours=3)
# How far ahead of the clock a record may be before the clock that wrote it counts as wrong.
_AHEAD = timedelta(minutes=5)


def _sleep(seconds: float) -> None:
    """Waits; a signal ends it. ``time.sleep`` asks for a moment of the clock, which libfaketime, in tests, moves."""
    select.select([], [], [], seconds)


class ScheduleLoop:
    """Calls ``retrain`` at set times.

    Args:
        following: the next time after a moment, in UTC; None: there is none.
        state: the file that keeps when it was last called.
        retrain: retrains; a KeyboardInterrupt in it ends that gracefully.
        catch_up: whether times that passed are made up for, all of them by one call.
        unfinished: whether a retraining was cut off, which is then gone on with at once.
        say: is given what a person should know.
        local: how a time reads in the schedule's zone.
        jitter: each call is up to this much later.
        uniform: draws how much, in seconds.
        now: the clock.
        sleep: waits for so many seconds.
    """

    def __init__(
        self,
        *,
        following: Callable[[datetime], datetime | None],
        state: Path,
        retrain: Callable[[], None],
        catch_up: bool,
        unfinished: Callable[[], bool],
        say: Callable[[str], None],
        local: Callable[[datetime], str] = timestamp,
        jitter: timedelta = timedelta(),
        uniform: Callable[[float, float], float] = random.uniform,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = _sleep,
    ):
        self._following = following
        self._state = state
        self._retrain = retrain
        self._catch_up = catch_up
        self._unfinished = unfinished
        self._say = say
        self._local = local
        self._jitter = jitter
        self._uniform = uniform
        self._now = now
        self._sleep = sleep
        # The time that is waited for, and when it is called for, which is later by the jitter.
        self._next: datetime | None = None
        self._due: datetime | None = None

    def run(self) -> int:
        """Goes on until a SIGTERM or SIGINT; returns which of both it was."""
        with signals_as_interrupts(signal.SIGTERM, signal.SIGINT) as received:
            try:
                began = self._now()
                at_once = self._look_back(began)
                self._plan(began)
                while True:
                    now = self._now()
                    if self._planned - now > _CORRECTION:
                        self._set_back(now)
                    if at_once or self._is_due(now):
                        at_once = False
                        self._call(now)
                    else:
                        self._sleep(self._wait(now).total_seconds())
            except KeyboardInterrupt:
                self._say(f"stopped by {signal.Signals(received[0]).name}")
        return received[0]

    def _plan(self, after: datetime) -> None:
        """Chooses the next time after a moment, up to which the times that came are dealt with."""
        self._planned = after
        self._next = self._due = self._following(after)
        if self._next is None:
            self._say("WARNING: the schedule has no further time")
            return
        if self._jitter:
            self._due = self._next + timedelta(seconds=self._uniform(0.0, self._jitter.total_seconds()))
        self._say(f"next time: {self._local(self._due or self._next)}")

    def _is_due(self, now: datetime) -> bool:
        if self._due is None or now < self._due:
            return False
        if self._catch_up or now - self._due <= _PUNCTUAL:
            return True
        self._say(f"the time {self._local(self._due)} passed while nothing could run: skipped")
        self._plan(now)
        return False

    def _wait(self, now: datetime) -> timedelta:
        return _LOOK if self._due is None else min(_LOOK, self._due - now)

    def _set_back(self, now: datetime) -> None:
        """The clock is behind where it was, and what is waited for perhaps years ahead of the times to come."""
        self._say(f"WARNING: the clock was set back to {timestamp(now)}, from {timestamp(self._planned)} or later")
        self._keep(now)
        self._plan(now)

    def _call(self, now: datetime) -> None:
        try:
            self._keep(now)
            self._retrain()
        except (OSError, UserError) as error:
            # A full disk or no memory for a process may be over the next time.
            self._say(f"WARNING: no retraining: {error}")
        # Times that passed during the call are one more call, or none.
        self._plan(now if self._catch_up else max(now, self._now()))

    def _look_back(self, now: datetime) -> bool:
        """Whether to call at once, for what passed before this process began."""
        missed = self._missed(now)
        if missed:
            self._say(missed)
        else:
            self._keep(now)
        if self._unfinished():
            self._say("a retraining was cut off: it goes on now")
            return True
        return bool(missed)

    def _missed(self, now: datetime) -> str:
        """What calls for making up for times that passed; nothing if it was never called, or they are skipped."""
        try:
            last = datetime.fromisoformat(json.loads(self._state.read_text())["asked"]).astimezone(UTC)
        except FileNotFoundError:
            return ""
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._say(f"WARNING: {self._state}: can't be read ({error}); whether a time was missed is not known")
            return "asking now, since a time may have been missed" if self._catch_up else ""
        if last > now + _AHEAD:
            self._say(
                f"WARNING: {self._state}: asked at {timestamp(last)}, and the clock says {timestamp(now)}: one of both "
                "was wrong; whether a time was missed is not known"
            )
            return "asking now, since a time may have been missed" if self._catch_up else ""
        missed = self._following(last)
        if not self._catch_up or missed is None or missed > now:
            return ""
        return f"nothing was running at {self._local(missed)}: asking now"

    def _keep(self, when: datetime) -> None:
        """Records when it was last called. Where the disk is full it goes on all the same: a retraining tells why."""
        try:
            write_atomically(self._state, json.dumps({"asked": timestamp(when)}) + "\n")
        except OSError as error:
            self._say(f"WARNING: {self._state}: can't be written ({error}); after a stop a time may be asked twice")

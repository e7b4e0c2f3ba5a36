"""Asks at set times whether to retrain, for as long as it is left alone, with APScheduler underneath.

>>> RetrainSchedule(trigger=trigger, state=root / STATE, retrain=child.run, …).run()  # doctest: +SKIP

At a time of the schedule APScheduler raises a flag, and the main thread retrains: so there is one run at a time, and
times that pass meanwhile become one. The time of the last call is kept in a file, so that times which passed while
nothing was running are known, too. Only the main thread gets signals, and it is the one that waits for the retraining.
"""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from noisy_gru.pipeline.interrupts import signals_as_interrupts
from noisy_gru.pipeline.runs import timestamp, write_atomically
from noisy_gru.schema.errors import UserError

STATE = "schedule.json"
# Seconds between two looks at the clock: APScheduler's own waiting neither sees a machine sleep nor its clock set.
_LOOK = 5.0
# Seconds that a time may be late and still count as kept.
_PUNCTUAL = 60


class RetrainSchedule:
    """Calls ``retrain`` at the times of a trigger.

    Args:
        trigger: when, with the jitter.
        nominal: the same without the jitter.
        state: the file that keeps when it was last called.
        retrain: retrains; a KeyboardInterrupt in it ends that gracefully.
        catch_up: whether times that passed are made up for, all of them by one call.
        unfinished: whether a retraining was cut off, which is then gone on with at once.
        say: is given what a person should know.
        now: the clock of what passed; APScheduler has its own.
    """

    def __init__(
        self,
        *,
        trigger: BaseTrigger,
        nominal: BaseTrigger,
        state: Path,
        retrain: Callable[[], None],
        catch_up: bool,
        unfinished: Callable[[], bool],
        say: Callable[[str], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ):
        self._trigger = trigger
        self._nominal = nominal
        self._state = state
        self._retrain = retrain
        self._catch_up = catch_up
        self._unfinished = unfinished
        self._say = say
        self._now = now
        self._due = threading.Event()

    def run(self) -> int:
        """Goes on until a SIGTERM or SIGINT; returns which of both it was."""
        scheduler = BackgroundScheduler(timezone=UTC)
        job = scheduler.add_job(
            self._due.set,
            self._trigger,
            coalesce=True,
            max_instances=1,
            misfire_grace_time=None if self._catch_up else _PUNCTUAL,
        )
        with signals_as_interrupts(signal.SIGTERM, signal.SIGINT) as received:
            try:
                self._look_back()
                scheduler.start()
                self._say(f"next time: {job.next_run_time:%Y-%m-%d %H:%M:%S %Z}")
                while True:
                    if self._due.wait(_LOOK):
                        self._call()
                        self._say(f"next time: {job.next_run_time:%Y-%m-%d %H:%M:%S %Z}")
                    scheduler.wakeup()
            except KeyboardInterrupt:
                self._say(f"stopped by {signal.Signals(received[0]).name}")
            finally:
                if scheduler.running:
                    scheduler.shutdown()
        return received[0]

    def _call(self) -> None:
        self._due.clear()
        try:
            self._keep(self._now())
            self._retrain()
        except (OSError, UserError) as error:
            # A full disk or no memory for a process may be over the next time.
            self._say(f"WARNING: no retraining: {error}")
        if not self._catch_up:
            self._due.clear()

    def _look_back(self) -> None:
        """Finds out what passed before this process began."""
        now, last = self._now(), self._last()
        if last is None:
            self._keep(now)
        elif self._catch_up:
            missed = self._nominal.get_next_fire_time(last, last)
            if missed is not None and missed <= now:
                self._say(f"nothing was running at {missed:%Y-%m-%d %H:%M:%S %Z}: made up for now")
                self._due.set()
        if self._unfinished():
            self._say("a retraining was cut off: it goes on now")
            self._due.set()

    def _keep(self, when: datetime) -> None:
        write_atomically(self._state, json.dumps({"asked": timestamp(when)}) + "\n")

    def _last(self) -> datetime | None:
        try:
            when = datetime.fromisoformat(json.loads(self._state.read_text())["asked"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            self._say(f"WARNING: {self._state}: can't be read ({error}); whether a time was missed is not known")
            return None
        return when.astimezone(UTC)

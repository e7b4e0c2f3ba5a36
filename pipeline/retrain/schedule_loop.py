"""Loop that calls a function at scheduled times until a signal ends it.

>>> ScheduleLoop(next_time=next_time, state=root / STATE, retrain=child.run, …).run()  # doctest: +SKIP

One thread waits and retrains, so there is one run at a time, and times that pass during a run are made up for by one
call. It waits in short steps and reads the clock after each, since a machine may sleep, and its clock be set forward or
back. A file keeps the time of the last call, so that times missed while the scheduler was down are known.
"""

from __future__ import annotations

import json
import random
import select
import signal
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from noisy_gru.pipeline.runs.interrupts import signals_as_interrupts
from noisy_gru.pipeline.runs.run_record import timestamp
from noisy_gru.schema.errors import UserError
from noisy_gru.storage.atomic_files import write_atomically

STATE = "schedule.json"
# The longest wait before the clock is read again.
_POLL = timedelta(seconds=5)
# How late a call may be and still count as on time.
_PUNCTUAL = timedelta(seconds=60)
# A clock is always being corrected a little. cron(8) takes up to three hours for a correction, and repeats nothing.
_CORRECTION = timedelta(hours=3)
# How far ahead of the clock a recorded time may be before one of both clocks counts as wrong.
_AHEAD = timedelta(minutes=5)


def _sleep(seconds: float) -> None:
    """Wait, or return at a signal. ``time.sleep`` waits for a time of the clock, which libfaketime moves in tests."""
    select.select([], [], [], seconds)


class ScheduleLoop:
    """Call ``retrain`` at scheduled times.

    Args:
        next_time: returns the next scheduled time after a moment, in UTC; None if there is none.
        state: file that keeps the time of the last call.
        retrain: retrains once; a KeyboardInterrupt ends it gracefully.
        catch_up: whether missed times are made up for, all of them by one call.
        has_run_to_resume: returns whether an interrupted or killed retraining is to be resumed, which is done at once.
        log: receives one line at a time for the operator.
        local: formats a time in the schedule's zone.
        jitter: each call is delayed by up to this much.
        uniform: draws the delay, in seconds.
        now: clock.
        sleep: waits for a number of seconds.
    """

    def __init__(
        self,
        *,
        next_time: Callable[[datetime], datetime | None],
        state: Path,
        retrain: Callable[[], None],
        catch_up: bool,
        has_run_to_resume: Callable[[], bool],
        log: Callable[[str], None],
        local: Callable[[datetime], str] = timestamp,
        jitter: timedelta = timedelta(),
        uniform: Callable[[float, float], float] = random.uniform,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = _sleep,
    ):
        self._next_time = next_time
        self._state = state
        self._retrain = retrain
        self._catch_up = catch_up
        self._has_run_to_resume = has_run_to_resume
        self._log = log
        self._local = local
        self._jitter = jitter
        self._uniform = uniform
        self._now = now
        self._sleep = sleep
        # The time of the next call: the scheduled time and the jitter.
        self._due: datetime | None = None
        self._last_check: datetime | None = None

    def run(self) -> int:
        """Run until SIGTERM or SIGINT; return the number of the signal."""
        with signals_as_interrupts(signal.SIGTERM, signal.SIGINT) as received:
            try:
                began = self._now()
                at_once = self._catches_up(began)
                self._schedule_next(began)
                while True:
                    now = self._now()
                    if self._handled_until - now > _CORRECTION:
                        self._set_back(now)
                    if at_once or self._is_due(now):
                        at_once = False
                        self._call(now)
                    else:
                        self._sleep(self._wait(now).total_seconds())
            except KeyboardInterrupt:
                self._log(f"stopped by {signal.Signals(received[0]).name}")
        return received[0]

    def _schedule_next(self, after: datetime) -> None:
        """Set the next time after a moment; earlier times are handled."""
        self._handled_until = after
        self._due = self._next_time(after)
        if self._due is None:
            self._log("WARNING: the schedule has no further times")
            return
        if self._jitter:
            self._due += timedelta(seconds=self._uniform(0.0, self._jitter.total_seconds()))
        self._log(f"next time: {self._local(self._due)}")
        if self._last_check is not None:
            # For people to read; a disk that is full was reported when the last call was saved.
            with suppress(OSError):
                self._write_state()

    def _is_due(self, now: datetime) -> bool:
        if self._due is None or now < self._due:
            return False
        if self._catch_up or now - self._due <= _PUNCTUAL:
            return True
        self._log(f"missed run at {self._local(self._due)}: skipped (retraining.schedule.missed is skip)")
        self._schedule_next(now)
        return False

    def _wait(self, now: datetime) -> timedelta:
        return _POLL if self._due is None else min(_POLL, self._due - now)

    def _set_back(self, now: datetime) -> None:
        """Choose the next time anew: the one waited for may be years ahead of the clock that was set back."""
        self._log(
            f"WARNING: the clock was set back to {timestamp(now)}, from {timestamp(self._handled_until)} or later"
        )
        self._save(now)
        self._schedule_next(now)

    def _call(self, now: datetime) -> None:
        try:
            self._save(now)
            self._retrain()
        except (OSError, UserError) as error:
            # A full disk or a lack of memory may have passed by the next time.
            self._log(f"WARNING: the retraining could not be started: {error}")
        # Times that passed during the call become one more call, or none.
        self._schedule_next(now if self._catch_up else max(now, self._now()))

    def _catches_up(self, now: datetime) -> bool:
        """Return whether to call at once, for a time missed before this process began or a retraining to resume."""
        missed = self._missed(now)
        if missed:
            self._log(missed)
        else:
            self._save(now)
        if self._has_run_to_resume():
            self._log("an interrupted retraining is resumed now")
            return True
        return bool(missed)

    def _missed(self, now: datetime) -> str:
        """Return a message if a missed time is made up for now; empty if there is none, or they are skipped."""
        try:
            last = datetime.fromisoformat(json.loads(self._state.read_text())["asked"]).astimezone(UTC)
        except FileNotFoundError:
            return ""
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._log(f"WARNING: {self._state}: can't be read ({error}), so a missed run can't be detected")
            return "a run may have been missed: starting now" if self._catch_up else ""
        if last > now + _AHEAD:
            self._log(
                f"WARNING: {self._state}: the last check was at {timestamp(last)}, but the clock says "
                f"{timestamp(now)}: one of them is wrong, so a missed run can't be detected"
            )
            return "a run may have been missed: starting now" if self._catch_up else ""
        missed = self._next_time(last)
        if not self._catch_up or missed is None or missed > now:
            return ""
        return f"missed run at {self._local(missed)}: starting now"

    def _save(self, when: datetime) -> None:
        """Save the time of the last call. On a full disk the loop continues: the retraining reports the reason."""
        try:
            self._last_check = when
            self._write_state()
        except OSError as error:
            self._log(f"WARNING: {self._state}: can't be written ({error}); after a restart a time may run twice")

    def _write_state(self) -> None:
        """Write the time of the last call, and the next time where it is known already."""
        state = {} if self._last_check is None else {"asked": timestamp(self._last_check)}
        if self._due is not None and self._last_check is not None and self._due > self._last_check:
            state["next"] = timestamp(self._due)
        write_atomically(self._state, json.dumps(state) + "\n")

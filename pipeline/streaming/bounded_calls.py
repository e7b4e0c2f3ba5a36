"""Calls of a client library that may never return, with a limit of our own.

librdkafka's `send_offsets_to_transaction` doesn't keep its timeout when the group's coordinator goes away (issue 5456
of its project). A thread that is in C can't be interrupted, and a client with a stuck request can't be closed; so the
process ends itself. That is right at any point: what is not committed is read again by the next process.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from queue import SimpleQueue
from typing import Any, NoReturn, TypeVar

from noisy_gru.data.events.event_reader import Message
from noisy_gru.pipeline.exit_codes import EXIT_STALLED
from noisy_gru.pipeline.streaming.event_log import EventLog, Transaction

# Twice what one request to Kafka is given (KafkaLog), and what an operation is given that a signal interrupts.
LIMIT_SECONDS = 60.0
STOP_SECONDS = 10.0
_TICK_SECONDS = 1.0
_REPORT_SECONDS = 5.0
Result = TypeVar("Result")


class _Job:
    def __init__(self, call: Callable[[], Any]) -> None:
        self._call, self.done = call, threading.Event()
        self._result: Any = None
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._result = self._call()
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits
            self._error = error
        self.done.set()

    def result(self) -> Any:
        error, self._error = self._error, None
        if error is None:
            return self._result
        try:
            raise error
        finally:
            del error  # with its traceback it would keep clients


class BoundedCalls:
    """Make calls one after another in a thread of their own; if one doesn't return, end the process.

    The thread of the caller waits in Python, so signals are handled meanwhile.

    Args:
        stopped: whether the process was asked to stop.
        report: takes a line for the user.
        limit: seconds that a step of a call may take.
        stop_limit: seconds that a call may go on once the process was asked to stop.
    """

    def __init__(
        self,
        stopped: Callable[[], bool],
        report: Callable[[str], None],
        *,
        limit: float = LIMIT_SECONDS,
        stop_limit: float = STOP_SECONDS,
    ) -> None:
        self._stopped, self._report, self._limit, self._stop_limit = stopped, report, limit, stop_limit
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._job: _Job | None = None
        self._step: tuple[str | None, float] = (None, 0.0)
        threading.Thread(target=self._work, name="bounded-calls", daemon=True).start()

    def _work(self) -> None:
        while True:
            self._jobs.get().run()

    def step(self, name: str | None) -> None:
        """Note what the call does from now on, with a limit of its own; None: work that has no limit."""
        self._step = (name, time.monotonic())

    def run(self, name: str, call: Callable[[], Result]) -> Result:
        """Return what a call returns, or raise what it raises; it begins with the step ``name``."""
        if self._job is not None:  # KeyboardInterrupt has ended the wait for it
            self._wait(self._job)
        self.step(name)
        job = self._job = _Job(call)
        self._jobs.put(job)
        self._wait(job)
        self._job = None
        return job.result()

    def _wait(self, job: _Job) -> None:
        asked: float | None = None
        while not job.done.wait(min(_TICK_SECONDS, self._limit, self._stop_limit)):
            now, (name, since) = time.monotonic(), self._step
            if asked is None and self._stopped():
                asked = now
            if name is not None and now - since > self._limit:
                self._end(name, now - since)
            if asked is not None and now - asked > self._stop_limit:
                self._end(name or "reading a checkpoint", now - since)

    def _end(self, name: str, seconds: float) -> NoReturn:
        # Standard error may be a pipe that nobody reads.
        timer = threading.Timer(_REPORT_SECONDS, os._exit, (EXIT_STALLED,))
        timer.daemon = True
        timer.start()
        since = datetime.now(UTC) - timedelta(seconds=seconds)
        try:
            self._report(
                f"error: Kafka's client has not returned from {name} for {seconds:.0f} s (since "
                f"{since:%Y-%m-%d %H:%M:%S} UTC), and can't be interrupted: this process ends itself, with exit code "
                f"{EXIT_STALLED}. Nothing is lost and nothing is answered twice: when the stream is started again (by "
                "hand, by systemd's Restart=on-failure, by Kubernetes), the open transaction is aborted, and it goes "
                "on from its checkpoint"
            )
        finally:
            os._exit(EXIT_STALLED)


class BoundedLog:
    """An ``EventLog`` whose calls are bounded.

    Args:
        calls: makes them.
        open_log: opens the log.
    """

    def __init__(self, calls: BoundedCalls, open_log: Callable[[], EventLog]) -> None:
        self._calls = calls
        self._log = calls.run("opening the clients", open_log)

    def poll(self, most: int, seconds: float) -> list[Message]:
        """See ``EventLog.poll``."""
        return self._calls.run("consume", lambda: self._log.poll(most, seconds))

    def commit(self, transaction: Transaction) -> None:
        """See ``EventLog.commit``."""
        self._calls.run("commit", lambda: self._log.commit(transaction))

    def lag(self) -> int | None:
        """See ``EventLog.lag``."""
        return self._calls.run("position", self._log.lag)

    def at_end(self) -> bool:
        """See ``EventLog.at_end``."""
        return self._log.at_end()

    def close(self) -> None:
        """See ``EventLog.close``."""
        self._calls.run("close", self._log.close)

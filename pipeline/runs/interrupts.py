"""Signals that ask a process to end, such as service managers and Kubernetes send, end what goes on as Ctrl-C does.

>>> with deferred_signals(signal.SIGTERM) as signals:  # doctest: +SKIP
...     begin()                                     # noted, and raised on entering the next block
...     with signals.raising():
...         work()                                  # KeyboardInterrupt
...     end()                                       # noted
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# After an exception that is known to be lost, and after one that may be: its block should have ended by then.
_AGAIN_SECONDS = 0.05
_STILL_THERE_SECONDS = 5.0


class Signals:
    """The signals that came, and whether they interrupt.

    Python raises KeyboardInterrupt wherever the main thread is. In the callback of a weak reference or in a `__del__`
    it is told of and forgotten, and what was asked to end would go on: it is raised again a moment later. A callback
    from C++, or a library that catches everything, doesn't even tell of it.

    Attributes:
        received: their numbers, in order.
        is_lost: whether the last exception was lost, and is still to be raised again.
    """

    def __init__(self) -> None:
        self.received: list[int] = []
        self.is_lost = False
        self._raising = False
        self._insists = False
        self._pending = False
        self._repeating = False
        self._timer: threading.Timer | None = None

    @contextmanager
    def raising(self, *, noted: bool = True, until_it_ends: bool = False) -> Iterator[None]:
        """Within the block they raise KeyboardInterrupt.

        Args:
            noted: whether one that was noted before is raised on entering.
            until_it_ends: whether it is raised again and again as long as the block goes on.
        """
        before, self._insists = (self._raising, self._insists), until_it_ends
        try:
            self._raising = True
            if noted and self._pending:
                self._pending = False
                raise KeyboardInterrupt
            yield
        finally:
            self._set(*before)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within the block they are noted, so that it is done whole."""
        before = self._raising, self._insists
        self._set(False)
        try:
            yield
        finally:
            self._set(*before)

    def hold(self) -> None:
        """From here on they are noted."""
        self._set(False)

    def handle(self, number: int, _: Any) -> None:
        """The handler of the signals."""
        if self._repeating:
            self._repeating = False
        else:
            self.received.append(number)
        if not self._raising:
            self._pending = True
            return
        self.is_lost = False
        if self._insists:
            self._repeat_after(_STILL_THERE_SECONDS)
        raise KeyboardInterrupt

    def lost(self) -> None:
        """The exception is lost: it is raised again."""
        self.is_lost = True
        self._repeat_after(_AGAIN_SECONDS)

    def _set(self, raising: bool, insists: bool = False) -> None:
        # One that comes just here is noted: what goes on has ended anyway.
        while True:
            try:
                self._raising, self._insists = raising, insists
                if not insists:
                    self._cancel()
                return
            except KeyboardInterrupt:
                continue

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _repeat_after(self, seconds: float) -> None:
        self._cancel()
        self._timer = threading.Timer(seconds, self._repeat)
        self._timer.daemon = True
        self._timer.start()

    def _repeat(self) -> None:
        main = threading.main_thread().ident
        if self._raising and main is not None:
            self._repeating = True
            signal.pthread_kill(main, self.received[-1] if self.received else signal.SIGINT)


_active: list[Signals] = []


@contextmanager
def deferred_signals(*numbers: int) -> Iterator[Signals]:
    """These signals are noted in the block, and raise KeyboardInterrupt where it says so.

    Within another such block it is that one's. Signals that this process ignores stay ignored, as for what a shell
    started in the background. Does nothing outside of the main thread, where signals can't be set.
    """
    if _active or threading.current_thread() is not threading.main_thread():
        yield _active[-1] if _active else Signals()
        return
    signals = Signals()

    def unraisable(lost: sys.UnraisableHookArgs) -> None:
        if lost.exc_type is KeyboardInterrupt:
            signals.lost()
        else:
            previous_hook(lost)

    previous_hook, sys.unraisablehook = sys.unraisablehook, unraisable
    previous = {
        number: signal.signal(number, signals.handle)
        for number in numbers
        if signal.getsignal(number) != signal.SIG_IGN
    }
    _active.append(signals)
    try:
        yield signals
    finally:
        signals.hold()
        _active.remove(signals)
        for number, handler in previous.items():
            signal.signal(number, handler)
        sys.unraisablehook = previous_hook


@contextmanager
def signals_as_interrupts(*numbers: int) -> Iterator[list[int]]:
    """These signals raise KeyboardInterrupt in the block, at the latest at its end; yields those that came."""
    with deferred_signals(*numbers) as signals, signals.raising():
        yield signals.received
        if signals.is_lost:
            signals.is_lost = False
            raise KeyboardInterrupt

"""Handle SIGTERM and SIGINT: raise KeyboardInterrupt in chosen blocks, and defer it in all others.

>>> with deferred_signals(signal.SIGTERM) as signals:  # doctest: +SKIP
...     begin()                                     # deferred, and raised on entering the next block
...     with signals.raising():
...         work()                                  # KeyboardInterrupt
...     end()                                       # deferred
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Delay of raising again: after an exception that was lost, and after one that may have been.
_AGAIN_SECONDS = 0.05
_STILL_THERE_SECONDS = 5.0


class Signals:
    """The signals received, and whether they raise KeyboardInterrupt.

    Python raises KeyboardInterrupt wherever the main thread is. In the callback of a weak reference or in a `__del__`
    it is reported as unraisable and lost, so it is raised again a moment later. A callback from C++, or a library that
    catches every exception, loses it without a report.

    Attributes:
        received: numbers of the signals, in order.
        is_lost: whether the last exception was lost and is still to be raised again.
    """

    def __init__(self) -> None:
        self.received: list[int] = []
        self.is_lost = False
        self._raising = False
        self._repeats = False
        self._pending = False
        self._stop: threading.Event | None = None
        self._repeating = False
        self._timer: threading.Timer | None = None

    @contextmanager
    def raising(self, *, pending: bool = True, until_it_ends: bool = False) -> Iterator[None]:
        """Raise KeyboardInterrupt for signals in the block.

        Args:
            pending: whether a deferred signal is raised on entering.
            until_it_ends: whether it is raised again and again until the block ends.
        """
        before, self._repeats = (self._raising, self._repeats), until_it_ends
        try:
            self._raising = True
            if pending and self._pending:
                self._pending = False
                raise KeyboardInterrupt
            yield
        finally:
            self._set(*before)

    @contextmanager
    def deferring(self) -> Iterator[None]:
        """Defer signals in the block, so that it is executed completely."""
        before = self._raising, self._repeats
        self._set(False)
        try:
            yield
        finally:
            self._set(*before)

    @contextmanager
    def stopping(self) -> Iterator[threading.Event]:
        """Yield an event that the first signal in the block sets; a second one raises KeyboardInterrupt."""
        before, self._stop = self._stop, threading.Event()
        try:
            yield self._stop
        finally:
            self._stop = before

    def defer(self) -> None:
        """Defer signals from here on."""
        self._set(False)

    def handle(self, number: int, _: Any) -> None:
        """Handle a signal."""
        if self._repeating:
            self._repeating = False
        else:
            self.received.append(number)
        if self._stop is not None:
            if self._stop.is_set():
                raise KeyboardInterrupt
            self._stop.set()
            return
        if not self._raising:
            self._pending = True
            return
        self.is_lost = False
        if self._repeats:
            self._repeat_after(_STILL_THERE_SECONDS)
        raise KeyboardInterrupt

    def lost(self) -> None:
        """Raise a lost exception again."""
        self.is_lost = True
        self._repeat_after(_AGAIN_SECONDS)

    def _set(self, raising: bool, insists: bool = False) -> None:
        # A signal right here is deferred: the block has ended anyway.
        while True:
            try:
                self._raising, self._repeats = raising, insists
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
    """Defer these signals in the block, except where ``Signals.raising`` is entered.

    A nested block yields the signals of the outer one. Signals that this process ignores stay ignored, as for processes
    that a shell starts in the background. Does nothing outside of the main thread, where handlers can't be set.
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
        signals.defer()
        _active.remove(signals)
        for number, handler in previous.items():
            signal.signal(number, handler)
        sys.unraisablehook = previous_hook


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """Yield an event that the first SIGTERM or SIGINT in the block sets; a second one raises KeyboardInterrupt."""
    with deferred_signals(signal.SIGTERM, signal.SIGINT) as signals, signals.stopping() as stop:
        yield stop


@contextmanager
def signals_as_interrupts(*numbers: int) -> Iterator[list[int]]:
    """Raise KeyboardInterrupt for these signals in the block, at the latest at its end; yield the received ones."""
    with deferred_signals(*numbers) as signals, signals.raising():
        yield signals.received
        if signals.is_lost:
            signals.is_lost = False
            raise KeyboardInterrupt

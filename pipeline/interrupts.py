"""Signals that ask a process to end, such as service managers and Kubernetes send, end what goes on as Ctrl-C does."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_AGAIN_AFTER_SECONDS = 0.05


@contextmanager
def signals_as_interrupts(*numbers: int) -> Iterator[list[int]]:
    """These signals raise KeyboardInterrupt in the block, and no KeyboardInterrupt gets lost in it.

    Python raises it wherever the main thread is. In the callback of a weak reference or in a `__del__` it is told of
    and forgotten, and what was asked to end would go on: such a one is raised again a moment later, at the latest at
    the end of the block. Does nothing outside of the main thread, where signals can't be set.

    Yields:
        The numbers that came, in order.
    """
    received: list[int] = []
    main = threading.main_thread()
    if threading.current_thread() is not main:
        yield received
        return
    waiting: list[threading.Timer] = []

    def interrupt(number: int, _: Any) -> None:
        received.append(number)
        raise KeyboardInterrupt

    def tell(unraisable: sys.UnraisableHookArgs) -> None:
        if unraisable.exc_type is not KeyboardInterrupt:
            previous_hook(unraisable)
            return
        number = received[-1] if received else numbers[0]
        waiting.append(threading.Timer(_AGAIN_AFTER_SECONDS, signal.pthread_kill, (main.ident, number)))
        waiting[-1].start()

    previous_hook, sys.unraisablehook = sys.unraisablehook, tell
    previous = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield received
        for timer in waiting:
            timer.join()
    finally:
        for timer in waiting:
            timer.cancel()
            timer.join()
        for number, handler in previous.items():
            signal.signal(number, handler)
        sys.unraisablehook = previous_hook

"""SIGTERM, which service managers and Kubernetes send, ends what goes on as Ctrl-C does."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_AGAIN_AFTER_SECONDS = 0.05


@contextmanager
def terminations_as_interrupts() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt in the block, and no KeyboardInterrupt gets lost in it.

    Python raises it wherever the main thread is. In the callback of a weak reference or in a `__del__` it is told of
    and forgotten, and what was asked to end would go on: such a one is raised again a moment later. Does nothing
    outside of the main thread, where signals can't be set.
    """
    main = threading.main_thread()
    if threading.current_thread() is not main:
        yield
        return
    waiting: list[threading.Timer] = []

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    def tell(unraisable: sys.UnraisableHookArgs) -> None:
        if unraisable.exc_type is not KeyboardInterrupt:
            previous_hook(unraisable)
            return
        waiting.append(threading.Timer(_AGAIN_AFTER_SECONDS, signal.pthread_kill, (main.ident, signal.SIGTERM)))
        waiting[-1].start()

    previous_hook, sys.unraisablehook = sys.unraisablehook, tell
    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        for timer in waiting:
            timer.cancel()
            timer.join()
        signal.signal(signal.SIGTERM, previous)
        sys.unraisablehook = previous_hook

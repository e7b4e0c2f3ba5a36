"""How long tests wait for what has to happen. A machine under load is slow; where all is well, nobody waits so long.

>>> until(lambda: 1 + 1 == 2)
"""

from __future__ import annotations

import time
from collections.abc import Callable

# Seconds, for the end of a process, an answer over a socket, an element of a page.
PATIENCE = 600.0


def until(condition: Callable[[], bool], what: Callable[[], str] = lambda: "it did not happen") -> None:
    """Wait until a condition holds.

    Args:
        condition: asked again and again.
        what: returns what to say where it doesn't hold within ``PATIENCE``.

    Raises:
        AssertionError: it never held.
    """
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"{what()} within {PATIENCE:g} s"
        time.sleep(0.02)

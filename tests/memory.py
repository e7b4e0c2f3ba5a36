"""Memory that a block takes, told apart from what else is in the process of the tests."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def allocations() -> Iterator[Callable[[], int]]:
    """Trace a block; yield a function that returns the peak so far, in bytes, of what Python and NumPy allocated in it.

    The peak of the process (``ru_maxrss``) doesn't move where other tests have taken more before, and moves for what
    servers and libraries beside the block load.
    """
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

"""Set up a process before it imports TensorFlow and TFX, and end it after a signal."""

from __future__ import annotations

import atexit
import gc
import os
import sys
import threading

# Thresholds of gc.set_threshold; Python's own are 700, 10 and 10.
_COLLECT_AFTER = (20_000, 10, 10)
_END_SECONDS = 10.0


def prepare_process() -> None:
    """Configure TensorFlow's allocator, unless the environment does, and Python's garbage collector.

    TensorFlow then keeps the memory of a step for the next: fresh pages from the kernel take half of a long step's
    time. Python's collector walks through the millions of objects of TFX again and again, and for 3 s when the process
    ends: it is run less often, and not at the end.
    """
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")
    gc.set_threshold(*_COLLECT_AFTER)
    # The interpreter's last collection skips frozen objects, and could only free memory of a process that ends anyway.
    atexit.register(gc.freeze)


def end_soon(code: int) -> None:
    """End the process with this code within 10 s, even if a thread waits for ever.

    After a signal interrupted the thread of a step, Beam's workers may wait for it (once in 28 interrupted runs), and
    Python, at its end, for them.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    timer = threading.Timer(_END_SECONDS, os._exit, (code,))
    timer.daemon = True
    timer.start()

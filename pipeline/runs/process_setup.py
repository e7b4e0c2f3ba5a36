"""What a process that runs steps is set to before it imports TensorFlow and TFX, and how it ends after a signal."""

from __future__ import annotations

import atexit
import gc
import os
import sys
import threading

# Of objects that hold others, made and not given back; Python's own are 700, 10 and 10.
_COLLECT_AFTER = (20_000, 10, 10)
_END_SECONDS = 10.0


def prepare_process() -> None:
    """Sets TensorFlow's allocator, unless the environment does, and Python's garbage collector.

    TensorFlow keeps the memory of a step for the next: pages fresh from the kernel cost half of a long step's time.
    Python's collector walks through the millions of objects that importing TFX makes again and again, and once more
    when the process ends, for 3 s; it is told to do so less often, and to leave them to the end of the process.
    """
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "1")
    gc.set_threshold(*_COLLECT_AFTER)
    # Frozen objects aren't looked through by the interpreter's last collection, which can only free what ends anyway.
    atexit.register(gc.freeze)


def end_soon(code: int) -> None:
    """Ends the process with this code, though a thread may wait for ever.

    Where a signal cut off the thread that ran a step, Beam's workers may wait for it (once in 28 interrupted runs), and
    Python, at its end, for them.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    timer = threading.Timer(_END_SECONDS, os._exit, (code,))
    timer.daemon = True
    timer.start()

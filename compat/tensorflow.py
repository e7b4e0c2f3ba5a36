"""Private names of TensorFlow, as read in TensorFlow 2.21 (tensorflow/python/framework/ops.py)."""

from __future__ import annotations

import os

CACHE_OPTION = "--tf_xla_persistent_cache_directory="
XLA_FLAGS = "TF_XLA_FLAGS"
_STRIDE = 1_000_000


def align_function_names() -> None:
    """Let functions that are traced from now on have the same names in every process with a cache of XLA's executables.

    A name ends with a number that each eager tensor raises, too, and XLA's cache finds an executable by its function's
    name: so the number goes on from the next million.
    """
    if CACHE_OPTION not in os.environ.get(XLA_FLAGS, ""):
        return
    from tensorflow.python.framework import ops

    while not (number := ops.uid()) or number % _STRIDE:
        pass

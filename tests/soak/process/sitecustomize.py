"""Python imports this when a process begins: those of the simulated year get its clock, and the night's fault."""

import os
import sys

if "SOAK_FOLDER" in os.environ and "noisy_gru.pipeline" in sys.orig_argv:
    from pathlib import Path

    import soak_process

    soak_process.prepare(Path(os.environ["SOAK_FOLDER"]), sys.orig_argv)

"""What a benchmark ran on, and how fast the machine multiplies matrices."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np


def describe() -> dict[str, Any]:
    """The machine, and how busy it is: other work beside a benchmark makes its numbers worthless."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "load_average": [round(each, 2) for each in os.getloadavg()],
    }


def gemm_peak(size: int = 1024, tries: int = 10) -> float:
    """Most floating-point operations a second that a float32 matrix product reaches here, on all cores."""
    a, b = (np.random.default_rng(seed).random((size, size), np.float32) for seed in (0, 1))
    seconds = []
    for _ in range(tries):
        began = time.perf_counter()
        np.matmul(a, b)
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / min(seconds)

"""Machine description, matrix-product peak and result output, shared by all benchmarks."""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np


def describe() -> dict[str, Any]:
    """Describe the machine and its load: other work beside a benchmark makes its numbers worthless."""
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
    """Measure the floating-point operations per second of a large float32 matrix product on all cores."""
    a, b = (np.random.default_rng(seed).random((size, size), np.float32) for seed in (0, 1))
    seconds = []
    for _ in range(tries):
        began = time.perf_counter()
        np.matmul(a, b)
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / min(seconds)


def headline(machine: dict[str, Any]) -> str:
    """Return a line about what `describe` gives, with `load_average_after` and, where measured, `gemm_gflops`."""
    speed = f", {machine['gemm_gflops']} GFLOP/s" if "gemm_gflops" in machine else ""
    loads = f"load {machine['load_average']} before, {machine['load_average_after']} after"
    return f"{machine['cpu']}, {machine['cores']} cores{speed}; {loads}"


def write_result(table: str, result: dict[str, Any], out: Path | None) -> None:
    """Print the table, and write the result as JSON if ``out`` is given."""
    print(table)
    if out is not None:
        out.write_text(json.dumps(result, indent=1) + "\n")

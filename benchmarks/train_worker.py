"""One contender of `benchmarks.train_step`, in a process of its own.

It reads the problem, writes its loss and gradients without noise, says what it is (or null, where its library is not
there), and then answers each number of steps on its standard input with the seconds of each.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

STDDEVS = (0.1, 0.05, 0.025)
LEARNING_RATE = 1e-3

Arrays = dict[str, np.ndarray]
Timed = Callable[[int], list[float]]


def keras_contender(problem: Arrays, name: str) -> tuple[Arrays, Timed, dict[str, str]]:
    """Stock GRUs in a layer by hand, or this package's."""
    import keras
    import tensorflow as tf

    if "case" in problem:
        from benchmarks.keras_models import make

        found, step = make(problem, xla=name == "ours_xla")
        return found, each_call(step), {"tensorflow": tf.__version__, "keras": keras.__version__}

    from benchmarks.keras_contenders import build, compiled_step, fitting, gradients

    model = build(problem, by_hand=name.startswith("hand"), xla=name not in ("hand", "ours"))
    found = gradients(model, problem)
    versions = {"tensorflow": tf.__version__, "keras": keras.__version__}
    if name == "ours_fit":
        return found, fitting(model, problem), versions
    return found, each_call(compiled_step(model, problem)), versions


def jax_contender(problem: Arrays, name: str) -> tuple[Arrays, Timed, dict[str, str]]:
    """JAX on the CPU."""
    import jax

    from benchmarks.jax_contender import make

    found, step = make(problem, custom_gradient=name == "jax_custom", stddevs=STDDEVS, learning_rate=LEARNING_RATE)
    return found, each_call(step), {"jax": jax.__version__}


def torch_contender(problem: Arrays, name: str) -> tuple[Arrays, Timed, dict[str, str]]:
    """PyTorch on the CPU."""
    import torch

    if "case" in problem:
        from benchmarks.torch_models import make as make_model

        found, step = make_model(problem)
        return found, each_call(step), {"torch": torch.__version__}

    from benchmarks.torch_contender import make

    found, step = make(problem, stddevs=STDDEVS, learning_rate=LEARNING_RATE)
    return found, each_call(step), {"torch": torch.__version__}


def each_call(step: Callable[[], None]) -> Timed:
    """Time a function that returns when a step is done."""

    def run(calls: int) -> list[float]:
        seconds = []
        for _ in range(calls):
            began = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - began)
        return seconds

    return run


def main(name: str, problem_file: str, gradients_file: str) -> None:
    """Run a contender until standard input ends."""
    # What libraries print would be taken for an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_CPU_ALLOCATOR_USE_BFC": "1"}  # as `noisy-gru` does
    library = {"jax": "jax", "jax_custom": "jax", "torch": "torch"}.get(name, "tensorflow")
    if find_spec(library) is None:
        print("null", file=answers, flush=True)
        return
    make: Any = {"jax": jax_contender, "torch": torch_contender, "tensorflow": keras_contender}[library]
    with np.load(Path(problem_file)) as stored:
        problem = dict(stored)
    found, run, versions = make(problem, name)
    np.savez(Path(gradients_file), **found)
    print(json.dumps(versions), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(run(int(line))), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A training step of a noisy GRU stack: this package beside what is written by hand in Keras, JAX and PyTorch.

    python -m benchmarks.train_step --case base --peers keras,jax,torch [--python PATH] [--out train_step.json]
    python -m benchmarks.train_step --case segments --peers torch [--python PATH]

A step is forward, backward and Adam, float32, from a random first state. Every contender lives in a process of its own
and gets its turn round after round, so that a noisy minute hits all. Before it is timed, its loss and gradients for the
same weights and data, without noise, have to agree with Keras' own to 1e-4. `benchmarks/requirements.txt` holds the
peers; `--python` names an interpreter that has them, where this one must stay as it is. Peers that are not there are
left out. `bound` is the time that the step's matrix products take at the speed of one large product. The cases
segments, convolutions and members are this package's models beside the same ones by hand in PyTorch, by whose gradients
they are checked.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import describe, gemm_peak, headline, write_result
from benchmarks.model_cases import MODEL_CASES
from benchmarks.model_cases import make_problem as make_model_problem

TOLERANCE = 1e-4
CONTENDERS = {
    "keras": ["hand", "hand_xla"],
    "ours": ["ours", "ours_xla", "ours_fit"],
    "jax": ["jax", "jax_custom"],
    "torch": ["torch"],
}
NAMES = {
    "hand": "by hand: a layer around `keras.layers.GRU`",
    "hand_xla": "the same, `jit_compile=True`",
    "ours": "NoisyGRU",
    "ours_xla": "NoisyGRU, XLA",
    "ours_fit": "NoisyGRU, XLA, `model.fit` on the input pipeline",
    "jax": "JAX, `lax.scan`",
    "jax_custom": "JAX, with a gradient of its own",
    "torch": "PyTorch `nn.GRU`, fused Adam",
}
MODELS = {
    "ours": "this package's model",
    "ours_xla": "the same, XLA",
    "torch": "by hand in PyTorch, fused Adam",
}


@dataclass(frozen=True)
class Case:
    """Shapes of a step, and how often it is timed: rounds, and steps in one."""

    batch: int
    steps: int
    features: int
    units: tuple[int, ...]
    rounds: int
    calls: int

    @property
    def operations(self) -> int:
        """Floating-point operations of the matrix products of a step, the backward ones included."""
        total, width = 0, self.features
        for layer, units in enumerate(self.units):
            own = 2 * self.batch * self.steps * units * 3 * units
            inputs = 2 * self.batch * self.steps * width * 3 * units
            # Nobody asks for the gradient of the data.
            total += 3 * own + (3 if layer else 2) * inputs
            width = units
        return total


CASES = {
    "base": Case(32, 20, 10, (64, 32, 16), rounds=40, calls=20),
    "large": Case(256, 100, 32, (256, 128, 64), rounds=8, calls=2),
    "long": Case(32, 500, 10, (64, 32, 16), rounds=15, calls=2),
}


def make_problem(case: Case, path: Path) -> None:
    """Write data and weights that all contenders start from."""
    random = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {
        "x": random.normal(size=(case.batch, case.steps, case.features)),
        "y": random.normal(size=(case.batch, 1)),
    }
    width = case.features
    for layer, units in enumerate(case.units):
        shapes = {"kernel": (width, 3 * units), "recurrent": (units, 3 * units), "bias": (2, 3 * units)}
        for name, shape in shapes.items():
            arrays[f"{name}_{layer}"] = random.normal(scale=0.5 / np.sqrt(shape[0]), size=shape)
        width = units
    arrays["head_kernel"], arrays["head_bias"] = random.normal(size=(width, 1)), np.zeros(1)
    stored: dict[str, Any] = {name: array.astype(np.float32) for name, array in arrays.items()}
    np.savez(path, **stored)


class Worker:
    """A contender in its process."""

    def __init__(self, name: str, folder: Path, python: str):
        self.name = name
        self.gradients = folder / f"{name}.npz"
        command = [python, "-m", "benchmarks.train_worker", name, str(folder / "problem.npz"), str(self.gradients)]
        self.errors = (folder / f"{name}.txt").open("w+")
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait(60)
        self.errors.close()

    def answer(self) -> Any:
        """Return the next line of the worker's output; None if it can't run here."""
        line = self.process.stdout.readline() if self.process.stdout is not None else ""
        if not line:
            self.errors.seek(0)
            raise RuntimeError(f"{self.name} ended:\n{self.errors.read()[-3000:]}")
        return json.loads(line)

    def time(self, calls: int) -> list[float]:
        """Return the seconds of each of ``count`` steps."""
        if self.process.stdin is not None:
            self.process.stdin.write(f"{calls}\n")
            self.process.stdin.flush()
        return self.answer()


def check(worker: Worker, expected: dict[str, np.ndarray]) -> None:
    """Raise unless a contender computes the same loss and gradients.

    Raises:
        RuntimeError: a loss or gradient is too far from the expected one.
    """
    with np.load(worker.gradients) as found:
        if set(found) != set(expected):
            raise RuntimeError(f"{worker.name} gives {sorted(found)}, expected {sorted(expected)}")
        for name, wanted in expected.items():
            difference = float(np.abs(found[name] - wanted).max()) / max(float(np.abs(wanted).max()), 1e-6)
            if not difference <= TOLERANCE:
                raise RuntimeError(f"{worker.name}: {name} is {difference:.2g} from the reference's; nothing is timed")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Check and time all contenders of a case, interleaved."""
    is_model = options.case in MODEL_CASES
    case = MODEL_CASES[options.case] if is_model else CASES[options.case]
    rounds = options.rounds or case.rounds
    contenders = {"ours": ["ours", "ours_xla"], "torch": ["torch"]} if is_model else CONTENDERS
    reference = "torch" if is_model else "hand"
    peers = (
        list(contenders)
        if is_model
        else ["keras", "ours", *(peer for peer in options.peers.split(",") if peer in ("jax", "torch"))]
    )
    machine = describe()
    peak = gemm_peak()
    with ExitStack() as keep:
        folder = Path(keep.enter_context(tempfile.TemporaryDirectory(prefix="train-step-")))
        if isinstance(case, Case):
            make_problem(case, folder / "problem.npz")
        else:
            make_model_problem(case, folder / "problem.npz")
        workers: dict[str, Worker] = {}
        versions: dict[str, str] = {}
        for peer in peers:
            python = options.python if peer in ("jax", "torch") else sys.executable
            for name in contenders[peer]:
                worker = keep.enter_context(Worker(name, folder, python))
                answer = worker.answer()
                if answer is None:
                    if name == reference:
                        raise RuntimeError(
                            f"--case {options.case} needs PyTorch: --python names an interpreter with it"
                        )
                    print(f"{NAMES[name]}: not installed, left out", file=sys.stderr)
                    continue
                versions |= answer
                workers[name] = worker
        with np.load(workers[reference].gradients) as stored:
            expected = dict(stored)
        for worker in workers.values():
            check(worker, expected)
        for worker in workers.values():
            worker.time(3)
        times: dict[str, list[float]] = {name: [] for name in workers}
        for _ in range(rounds):
            for name, worker in workers.items():
                times[name] += worker.time(case.calls)
            peak = max(peak, gemm_peak(tries=2))
    bound = case.operations / peak
    reference_seconds = float(np.percentile(times[reference], 10))
    rows = []
    for name, seconds in times.items():
        p10, median, p90 = (float(np.percentile(seconds, q)) for q in (10, 50, 90))
        rows.append(
            {
                "contender": name,
                "case": options.case,
                "p10_ms": round(1e3 * p10, 3),
                "median_ms": round(1e3 * median, 3),
                "p90_ms": round(1e3 * p90, 3),
                "ratio": round(p10 / reference_seconds, 3),
                "bound_ms": round(1e3 * bound, 3),
                "steps": len(seconds),
            }
        )
    machine |= {"gemm_gflops": round(peak / 1e9), "load_average_after": describe()["load_average"]}
    return {"machine": machine, "versions": versions, "case": options.case, "rows": rows}


def table(result: dict[str, Any]) -> str:
    """Return the result as Markdown."""
    names = MODELS if result["case"] in MODEL_CASES else NAMES
    lines = [
        headline(result["machine"]),
        "",
        f"| {result['case']} | p10 ms | median ms | p90 ms | p10 / by hand | bound ms |",
        "|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        lines.append(
            f"| {names[row['contender']]} | {row['p10_ms']:.2f} | {row['median_ms']:.2f} | {row['p90_ms']:.2f} "
            f"| {row['ratio']:.2f} | {row['bound_ms']:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table, and write the result as JSON if ``--out`` is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=[*CASES, *MODEL_CASES], default="base")
    parser.add_argument("--peers", default="keras,jax,torch", help="keras is always there")
    parser.add_argument("--python", default=sys.executable, help="interpreter with JAX and PyTorch")
    parser.add_argument("--rounds", type=int, help="times that every contender gets its turn")
    parser.add_argument("--out", type=Path, help="JSON file for the result")
    options = parser.parse_args()
    result = measure(options)
    write_result(table(result), result, options.out)


if __name__ == "__main__":
    main()

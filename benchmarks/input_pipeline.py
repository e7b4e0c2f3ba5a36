"""Examples a second: the input pipeline alone, the training step alone, and both together.

    python -m benchmarks.input_pipeline [--case base] [--sequences 20000] [--out input_pipeline.json]

The pipeline reads gzipped TFRecords of transformed sequences, as Transform leaves them, of 1/2 to 1 times the case's
steps: `read` is the first pass over the files (parse, check, keep), `from memory` and `from files` are epochs of
shuffled, padded batches with nothing behind them. The step is timed on a batch that is there; together is
`run_epochs`, which the Trainer calls. All but `read` are interleaved.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import describe, headline, write_result
from benchmarks.train_step import CASES, make_problem

SHARDS = 4


def write_sequences(folder: Path, problem: dict[str, np.ndarray], count: int) -> list[str]:
    """TFRecords of sequences of different lengths, in shards."""
    import tensorflow as tf

    from benchmarks.keras_contenders import example

    steps = problem["x"].shape[1]
    lengths = np.random.default_rng(1).integers(max(steps // 2, 1), steps + 1, count)
    paths = [str(folder / f"{shard}.gz") for shard in range(SHARDS)]
    for shard, path in enumerate(paths):
        with tf.io.TFRecordWriter(path, "GZIP") as writer:
            for index in range(shard, count, SHARDS):
                row = index % len(problem["x"])
                writer.write(example(problem["x"][row, : lengths[index]], problem["y"][row]))
    return paths


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure the examples per second of each part."""
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_CPU_ALLOCATOR_USE_BFC": "1"}  # as `noisy-gru` does
    import tensorflow as tf

    from benchmarks.keras_contenders import SPEC, Training, build, compiled_step, layout_of
    from noisy_gru.trainer.inputs.dataset import BatchConfig, SequenceData

    case, machine = CASES[options.case], describe()
    with tempfile.TemporaryDirectory(prefix="input-pipeline-") as name:
        folder = Path(name)
        make_problem(case, folder / "problem.npz")
        with np.load(folder / "problem.npz") as stored:
            problem = dict(stored)
        files = write_sequences(folder, problem, options.sequences)
        layout = layout_of(problem)

        def data(cache_bytes: float) -> SequenceData:
            read = SequenceData(files, SPEC, layout, BatchConfig(case.batch, cache_bytes=cache_bytes), "train")
            read.pad_to((case.steps,))
            return read

        began = time.perf_counter()
        memory = data(4e9)
        reading = time.perf_counter() - began

        def epochs(of: SequenceData) -> Callable[[], float]:
            @tf.function
            def count(first: Any) -> Any:
                return of.epochs(first, first + 1).reduce(tf.constant(0, tf.int64), lambda sum, *_: sum + 1)

            def run() -> float:
                began = time.perf_counter()
                count(tf.constant(0, tf.int64)).numpy()
                return time.perf_counter() - began

            return run

        step = compiled_step(build(problem, by_hand=False, xla=True), problem)
        together = Training(build(problem, by_hand=False, xla=True), memory)

        def steps() -> float:
            began = time.perf_counter()
            for _ in range(memory.steps):
                step()
            return time.perf_counter() - began

        parts = {
            "pipeline, from memory": epochs(memory),
            "pipeline, from files": epochs(data(0)),
            "step": steps,
            "together": lambda: together.take(1)[0],
        }
        for run in parts.values():
            run()
        seconds: dict[str, list[float]] = {part: [] for part in parts}
        for _ in range(options.rounds):
            for part, run in parts.items():
                seconds[part].append(run())
    rows = [{"part": "read", "examples_per_second": round(options.sequences / reading)}]
    for part, times in seconds.items():
        p10, p50, p90 = (options.sequences / float(np.percentile(times, q)) for q in (10, 50, 90))
        rows.append({"part": part, "examples_per_second": round(p50), "best": round(p10), "worst": round(p90)})
    machine["load_average_after"] = describe()["load_average"]
    return {"machine": machine, "case": options.case, "sequences": options.sequences, "rows": rows}


def table(result: dict[str, Any]) -> str:
    """Return the result as Markdown."""
    lines = [
        headline(result["machine"]),
        "",
        f"| {result['case']}, {result['sequences']:,} sequences | median examples/s | p10 to p90 of the epochs |",
        "|---|---|---|",
    ]
    for row in result["rows"]:
        spread = f"{row['worst']:,} to {row['best']:,}" if "best" in row else ""
        lines.append(f"| {row['part']} | {row['examples_per_second']:,} | {spread} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table, and write the result as JSON if ``--out`` is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=sorted(CASES), default="base")
    parser.add_argument("--sequences", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--out", type=Path, help="JSON file for the result")
    options = parser.parse_args()
    result = measure(options)
    write_result(table(result), result, options.out)


if __name__ == "__main__":
    main()

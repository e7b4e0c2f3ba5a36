"""The whole Japanese vowels' pipeline beside TFX's own components, from a process's start to its end.

    python -m benchmarks.pipeline_time [--rounds 3] [--out pipeline_time.json]

Both train the reference stack in both directions for 60 epochs in batches of 32. The stock pipeline
(`benchmarks.stock_pipeline`) gets sequences that are there already, has Keras' GRU, no gate and no baselines. `again`
is a second run of ours with nothing changed. All take turns, each with a root of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import describe, headline, write_result

REPOSITORY = Path(__file__).parents[1]
CONFIG = REPOSITORY / "examples" / "japanese_vowels" / "config.yaml"
NAMES = {"stock": "TFX's own components", "ours": "`noisy-gru run`", "again": "the same again, nothing changed"}


def seconds_of(module: str, *arguments: str | Path, log: Path) -> float:
    """Wall-clock seconds of a module run in a process of its own.

    Raises:
        RuntimeError: it did not end well; the end of what it said is in it.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    began = time.perf_counter()
    with log.open("w") as file:
        ended = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, cwd=REPOSITORY, check=False)
    taken = time.perf_counter() - began
    if ended.returncode:
        raise RuntimeError(f"{module} ended with {ended.returncode}:\n{log.read_text()[-3000:]}")
    return taken


def measure(rounds: int) -> dict[str, Any]:
    """Measure the seconds of every run, and of every step of ours."""
    machine = describe()
    seconds: dict[str, list[float]] = {name: [] for name in NAMES}
    steps: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="pipeline-time-") as name:
        for index in range(rounds):
            folder = Path(name) / str(index)
            folder.mkdir()
            root, log = folder / "ours", folder / "log.txt"
            for run in ("ours", "again"):
                seconds[run].append(seconds_of("noisy_gru.pipeline", "run", CONFIG, "--root", root, log=log))
            first = min((root / "runs").glob("*.json"), key=os.path.getmtime)
            steps.append({step["name"]: step["seconds"] for step in json.loads(first.read_text())["steps"]})
            (examples,) = (root / "artifacts" / "SequenceExampleGen" / "examples").iterdir()
            module = "benchmarks.stock_pipeline"
            # The schema that our run derived: TFX's ImportSchemaGen copies it as it is.
            (schema,) = (root / "inputs").glob("schema-*.pbtxt")
            seconds["stock"].append(seconds_of(module, examples, schema, folder / "stock", log=log))
            print({run: round(taken[-1], 1) for run, taken in seconds.items()}, file=sys.stderr, flush=True)
    stock = float(np.median(seconds["stock"]))
    rows = [
        {
            "run": run,
            "median_s": round(float(np.median(taken)), 1),
            "all_s": [round(each, 1) for each in taken],
            "ratio": round(float(np.median(taken)) / stock, 3),
        }
        for run, taken in seconds.items()
    ]
    machine["load_average_after"] = describe()["load_average"]
    return {"machine": machine, "rows": rows, "steps": steps}


def table(result: dict[str, Any]) -> str:
    """Return the result as Markdown."""
    lines = [
        headline(result["machine"]),
        "",
        "| Japanese vowels, 60 epochs | median s | all | to stock |",
        "|---|---|---|---|",
    ]
    for row in result["rows"]:
        every = ", ".join(f"{each:.1f}" for each in row["all_s"])
        lines.append(f"| {NAMES[row['run']]} | {row['median_s']:.1f} | {every} | {row['ratio']:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table, and write the result as JSON if ``--out`` is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="JSON file for the result")
    options = parser.parse_args()
    result = measure(options.rounds)
    write_result(table(result), result, options.out)


if __name__ == "__main__":
    main()

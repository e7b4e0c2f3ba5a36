"""CPU time, peak memory and disk of every step of the pipeline against the size and the shape of the data.

    python -m benchmarks.growth --case classification --rows 1000000 [100000 …] [--out FILE] [--svg FILE]

Cases, each with rows in random order of entities:

- `classification`: 12 numeric columns, entities of 100 rows, a class each.
- `forecast`: 12 numeric columns, series of 1,000 hours, windows of 48 hours, horizons 1 and 12.
- `short`: as `classification`, entities of 5 rows.
- `long`: as `classification`, entities of 5,000 rows.
- `wide`: as `classification`, 300 columns.
- `one-series`: as `forecast`, all rows in one series without an entity.

The source is Parquet with zstd. One epoch of one small layer is trained, so that the other steps are what is measured.
A peer, in the same run, does the least that ingestion has to do: pandas reads the file, sorts by entity and time, and
writes it. Ratios to it depend little on the machine; `benchmarks.growth_check` compares them with recorded ones.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from benchmarks.machine import describe, headline, write_result
from noisy_gru.pipeline.exit_codes import EXIT_REFUSED

SEED = 0
HOUR = pd.Timedelta(hours=1)
PEER = """
import pandas, resource, sys, time
taken = []
for _ in range(int(sys.argv[3])):
    began = time.process_time()
    frame = pandas.read_parquet(sys.argv[1])
    keys = [name for name in ("entity", "time") if name in frame]
    frame.sort_values(keys).to_parquet(sys.argv[2], compression="zstd")
    taken.append(time.process_time() - began)
print(min(taken), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""
PEER_ROUNDS = 10  # the lowest counts: its first one also imports and warms up


@dataclass(frozen=True)
class Case:
    """Shape of a data set: numeric ``columns``, ``length`` rows per entity (None: one series), and the task."""

    columns: int
    length: int | None
    forecast: bool = False


CASES = {
    "classification": Case(12, 100),
    "forecast": Case(12, 1_000, forecast=True),
    "short": Case(12, 5),
    "long": Case(12, 5_000),
    "wide": Case(300, 100),
    "one-series": Case(12, None, forecast=True),
}


def make_source(case: Case, rows: int, file: Path) -> None:
    """Write the rows; every class has another mean in the first column."""
    random = np.random.default_rng(SEED)
    length = case.length or rows
    entity = np.arange(rows) // length
    frame = pd.DataFrame(
        random.standard_normal((rows, case.columns), np.float32), columns=[f"x{n:03}" for n in range(case.columns)]
    )
    frame.insert(0, "time", pd.Timestamp("2020-01-01") + HOUR * (np.arange(rows) % length))
    if not case.forecast:
        label = entity % 3
        frame["x000"] += label.astype(np.float32)
        frame["label"] = np.array(["a", "b", "c"])[label]
    if case.length is not None:
        frame.insert(0, "entity", np.char.add("e", entity.astype(str)))
    frame.sample(frac=1, random_state=SEED).to_parquet(file, index=False, compression="zstd")


def config(case: Case) -> dict[str, Any]:
    """Return the configuration of a case."""
    columns = [f"x{n:03}" for n in range(case.columns)]
    task: dict[str, Any] = {"kind": "classification", "label": "label"}
    splits: dict[str, Any] = {"by": "entity", "eval": 0.1, "test": 0.2}
    if case.forecast:
        task = {"kind": "forecasting", "targets": columns[:1], "input_length": 48, "horizons": [1, 12]}
        splits["by"] = "time"
    return {
        "name": "growth",
        "seed": SEED,
        "schema": "schema.pbtxt",
        "data": {
            "files": ["rows.parquet"],
            "entity": "entity" if case.length else None,
            "time": {"column": "time", "kind": "timestamp"} | ({"frequency": "1h"} if case.forecast else {}),
            "features": columns,
            "max_length": max(case.length or 0, 1_000),
        },
        "splits": splits,
        "task": task,
        "model": {"layers": [{"units": 8, "stddev": 0.1}]},
        "training": {"epochs": 1, "batch_size": 256, "early_stopping": None},
        "evaluation": {"baselines": "report", "min_test_sequences": 1},
    }


def peer(source: Path, folder: Path) -> dict[str, float]:
    """Return the CPU seconds and the peak memory of pandas sorting the rows, in a process of its own."""
    command = [sys.executable, "-c", PEER, str(source), str(folder / "sorted.parquet"), str(PEER_ROUNDS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, peak = map(float, done.stdout.split())
    return {"cpu_s": round(seconds, 3), "peak_mb": round(peak / 1e6, 1)}


def measure(name: str, rows: int) -> dict[str, Any]:
    """Run a case of so many rows; return what each step and the peer used.

    Raises:
        RuntimeError: the run failed; the end of its output is in it.
    """
    case = CASES[name]
    with tempfile.TemporaryDirectory(prefix="growth-") as folder:
        base = Path(folder)
        source = base / "rows.parquet"
        make_source(case, rows, source)
        (base / "config.yaml").write_text(yaml.safe_dump(config(case), sort_keys=False))
        command = [sys.executable, "-m", "noisy_gru.pipeline"]
        (base / "schema.pbtxt").touch()
        draft = [*command, "schema", "update", str(base / "config.yaml")]
        _run(draft, base)
        _run([*command, "run", str(base / "config.yaml"), "--root", str(base / "root")], base)
        (record,) = (json.loads(file.read_text()) for file in (base / "root" / "runs").glob("*.json"))
        return {
            "case": name,
            "rows": rows,
            "source_bytes": source.stat().st_size,
            "peer": peer(source, base),
            "steps": {
                step["name"]: {
                    "cpu_s": step["cpu_seconds"],
                    "peak_mb": step["peak_mb"],
                    "disk_bytes": step["disk_bytes"],
                    "seconds": step["seconds"],
                }
                for step in record["steps"]
            },
        }


def _run(command: Sequence[str], folder: Path) -> None:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, EXIT_REFUSED):
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}")


def totals(row: dict[str, Any]) -> dict[str, float]:
    """Return a run's CPU seconds, the highest peak of its steps, and the bytes on disk."""
    steps = row["steps"].values()
    return {
        "cpu_s": sum(step["cpu_s"] for step in steps),
        "peak_mb": max(step["peak_mb"] for step in steps),
        "disk_bytes": sum(step["disk_bytes"] for step in steps),
    }


def table(machine: dict[str, Any], runs: Sequence[dict[str, Any]]) -> str:
    """Return the rows as Markdown: per step CPU seconds, peak MB, disk as a multiple of the source."""
    lines = [headline(machine)]
    for row in runs:
        source = row["source_bytes"]
        lines += [
            "",
            f"`{row['case']}`, {row['rows']:,} rows, source {source / 1e6:.1f} MB; pandas sorts it in "
            f"{row['peer']['cpu_s']:.2f} CPU s and {row['peer']['peak_mb']:.0f} MB",
            "",
            "| step | CPU s | peak MB | disk / source |",
            "|---|---|---|---|",
        ]
        for name, step in [*row["steps"].items(), ("all", totals(row))]:
            lines.append(
                f"| {name} | {step['cpu_s']:.2f} | {step['peak_mb']:.0f} | {step['disk_bytes'] / source:.2f} |"
            )
    return "\n".join(lines)


def draw(runs: Sequence[dict[str, Any]], file: Path) -> None:
    """Draw CPU seconds, peak memory and disk against rows, a line for each step (matplotlib)."""
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(name for row in runs for name in row["steps"]))
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.5), layout="constrained")
    for axis, (key, title, scale) in zip(
        axes, (("cpu_s", "CPU s", 1), ("peak_mb", "peak MB", 1), ("disk_bytes", "disk MB", 1e-6)), strict=True
    ):
        for name in names:
            points = [(row["rows"], row["steps"][name][key] * scale) for row in runs if name in row["steps"]]
            axis.plot(*zip(*sorted(points), strict=True), marker="o", label=name)
        axis.set(xscale="log", yscale="log", xlabel="rows", title=title)
    axes[-1].legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(file)
    plt.close(figure)


def main() -> None:
    """Measure, print the table, and write the result as JSON and as a picture if asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=[*CASES], default="classification")
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000])
    parser.add_argument("--out", type=Path, help="JSON file for the result; `runs` is a list if there are several")
    parser.add_argument("--svg", type=Path, help="file for the picture")
    options = parser.parse_args()
    machine = describe()
    runs = []
    for rows in sorted(options.rows):
        runs.append(measure(options.case, rows))
        print(f"{options.case} {rows:,}: {totals(runs[-1])['cpu_s']:.1f} CPU s", file=sys.stderr, flush=True)
    machine["load_average_after"] = describe()["load_average"]
    written = {"machine": machine, **(runs[0] if len(runs) == 1 else {"runs": runs})}
    write_result(table(machine, runs), written, options.out)
    if options.svg is not None:
        draw(runs, options.svg)


if __name__ == "__main__":
    main()

"""The adding problem, and what the noise of the first state costs where the first steps must be remembered.

    python -m benchmarks.adding_problem --out adding
    noisy-gru noise adding/config.yaml --root adding/runs --scales 0,1,10 --kinds none --seeds 8 --out adding/noise.json
    python -m benchmarks.adding_problem --report adding/noise.json

Hochreiter and Schmidhuber (1997), Long Short-Term Memory, experiment 4, in the form of Le, Jaitly and Hinton (2015):
each step has a value from U(0, 1) and a mark, which is 1 at two steps, one in each half, and 0 elsewhere; the target is
the sum of the two marked values. Its variance is 1/6, the error of a model that has learned nothing.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

STEPS = 100
VARIANCE = 1 / 6
CONFIG = """\
name: adding
seed: 0
schema: schema.pbtxt
data: {files: [rows.csv], entity: sequence, time: {column: step, kind: integer}, features: [value, mark]}
task: {kind: regression, label: total}
splits: {by: entity, eval: 0.2, test: 0.02}
model:
  layers: [{units: 32, stddev: 0.1}]
training:
  epochs: 12
  batch_size: 64
  learning_rate: 0.005
  loss: mse
  clip_norm: 1.0
  early_stopping: null
"""


def adding_rows(sequences: int, *, steps: int = STEPS, seed: int = 0) -> pd.DataFrame:
    """Return the rows: `sequence`, `step`, `value`, `mark`, and `total`, the target of the sequence.

    Args:
        sequences: their number.
        steps: of each, at least two.
        seed: of all draws.
    """
    random = np.random.default_rng(seed)
    values = random.random((sequences, steps)).round(6)
    rows, half = np.arange(sequences), steps // 2
    first, second = random.integers(0, half, sequences), random.integers(half, steps, sequences)
    marks = np.zeros((sequences, steps), int)
    marks[rows, first] = marks[rows, second] = 1
    columns = {
        "sequence": np.repeat([f"s{number}" for number in rows], steps),
        "step": np.tile(np.arange(steps), sequences),
        "value": values.ravel(),
        "mark": marks.ravel(),
        "total": np.repeat((values * marks).sum(axis=1).round(6), steps),
    }
    return pd.DataFrame(columns)


def squared_errors(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return by scale the mean squared error as served and its difference from no noise, in units of the target.

    Args:
        report: of `noisy-gru noise`, whose loss is that of targets scaled to variance 1.
    """
    found = {}
    for scale in report["scales"]:
        measure = scale["measures"]["loss"]
        against = measure["against_none"]
        difference = against and {
            key: None if against[key] is None else against[key] * VARIANCE for key in ("mean", "low", "high")
        }
        found[scale["name"]] = {"mse": measure["mean"] * VARIANCE, "against_none": difference}
    return found


def main() -> None:
    """Write the data and the configuration, or print a report's errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder for rows.csv and config.yaml")
    parser.add_argument("--sequences", type=int, default=6000)
    parser.add_argument("--report", type=Path, help="JSON of noisy-gru noise")
    options = parser.parse_args()
    if options.report:
        print(json.dumps(squared_errors(json.loads(options.report.read_text())), indent=1))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        adding_rows(options.sequences).to_csv(options.out / "rows.csv", index=False)
        (options.out / "config.yaml").write_text(CONFIG)
        (options.out / "schema.pbtxt").write_text("")


if __name__ == "__main__":
    main()

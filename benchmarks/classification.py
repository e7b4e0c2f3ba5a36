"""Classes of published data sets through `noisy-gru run`, beside MiniRocket.

    python -m benchmarks.classification [--seeds 3] [--data-sets JapaneseVowels ArrowHead …] [--out FILE]

The data are those of aeon's wheel (`benchmarks/requirements.txt`), in its published splits and with the lengths that
they have; MiniRocket (Dempster et al. 2021, aeon's) has those of equal length, as it takes no others. Each data set
and seed runs the whole pipeline on the files as they are, with one configuration for all (`config`), and the accuracy
is the Evaluator's on the published test half, which nothing else sees.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.machine import describe

GOALS = ("JapaneseVowels", "ArrowHead", "GunPoint", "ACSF1", "PickupGestureWiimoteZ")
OTHERS = ("ItalyPowerDemand", "OSULeaf", "BasicMotions")
# Accuracies that others published on the same splits.
PUBLISHED = {"JapaneseVowels": {"MiniRocket, equal length": 0.984, "best of the UEA archive": 0.986}}


def config(name: str, files: dict[str, Path], dimensions: int, longest: int) -> dict[str, Any]:
    """Configuration of a data set: the columns and the longest sequence are all that differs between them."""
    return {
        "name": name.lower(),
        "data": {
            "files": {part: [str(file)] for part, file in files.items()},
            "entity": "case",
            "time": {"column": "step"},
            "features": [f"dim_{index}" for index in range(dimensions)],
            "max_length": longest,
        },
        "task": {"kind": "classification", "label": "class"},
        # With some 50 sequences to learn from, none is spared for early stopping: all epochs are trained.
        "splits": {"by": "files"},
        "model": {"preset": "classification"},
        "training": {
            "epochs": 100,
            "batch_size": 16,
            "learning_rate": 1e-3,
            "schedule": {"kind": "cosine", "warmup_epochs": 2},
            "early_stopping": None,
        },
        "schema": "schema.pbtxt",
    }


def cases(file: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the series of a file, [dimensions, steps] each, and their classes."""
    from aeon.datasets import load_from_ts_file

    series, classes = load_from_ts_file(str(file))
    return list(series), classes


def files_of(name: str, *, equal_length: bool = False) -> dict[str, Path]:
    """Return the two halves of a data set in aeon's wheel; its version of equal length where there is one."""
    import aeon

    folder = Path(aeon.__file__).parent / "datasets" / "data" / name
    padded = f"{name}_eq" if equal_length and (folder / f"{name}_eq_TRAIN.ts").exists() else name
    return {part: folder / f"{padded}_{part.upper()}.ts" for part in ("train", "test")}


def run(name: str, seed: int, settings: list[str]) -> dict[str, Any]:
    """Run the pipeline on a data set, and return its accuracy on test and the seconds it took."""
    files = files_of(name)
    series = [each for file in files.values() for each in cases(file)[0]]
    made = config(name, files, len(series[0]), max(each.shape[1] for each in series))
    with tempfile.TemporaryDirectory(prefix="classification-") as folder:
        # Values are not bounded: the schema holds nothing beyond what the configuration says.
        (Path(folder) / "schema.pbtxt").touch()
        (Path(folder) / "config.yaml").write_text(yaml.safe_dump({**made, "seed": seed}))
        command = [sys.executable, "-m", "noisy_gru.pipeline", "run", "config.yaml", "--root", "root", "--json"]
        began = time.perf_counter()
        changes = [word for each in settings for word in ("--set", each)]
        ended = subprocess.run([*command, *changes], cwd=folder, check=False, capture_output=True, text=True)
        # 3: a model that the gate refused, which is measured all the same.
        if ended.returncode not in (0, 3):
            raise RuntimeError(f"noisy-gru run ended with {ended.returncode}: {ended.stdout}{ended.stderr[-2000:]}")
    record = json.loads(ended.stdout)
    return {"accuracy": record["metrics"]["accuracy"], "run_seconds": round(time.perf_counter() - began, 1)}


def minirocket(name: str, seed: int) -> float:
    """Return the accuracy of aeon's MiniRocket with its own settings on test."""
    from aeon.classification.convolution_based import MiniRocketClassifier

    (train, train_classes), (test, test_classes) = (cases(file) for file in files_of(name, equal_length=True).values())
    fitted = MiniRocketClassifier(random_state=seed).fit(np.stack(train), train_classes)
    return float((fitted.predict(np.stack(test)) == test_classes).mean())


def measure(name: str, seeds: int, settings: list[str]) -> dict[str, Any]:
    """Return the accuracies of a data set: each run's, their mean and spread, and MiniRocket's."""
    runs = []
    for seed in range(seeds):
        runs.append({"seed": seed, **run(name, seed, settings)})
        print(name, json.dumps(runs[-1]), file=sys.stderr, flush=True)
    accuracies = [each["accuracy"] for each in runs]
    peers = [minirocket(name, seed) for seed in range(seeds)]
    return {
        "accuracy": float(np.mean(accuracies)),
        "spread": float(np.std(accuracies)),
        "minirocket": float(np.mean(peers)),
        "minirocket_spread": float(np.std(peers)),
        "runs": runs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-sets", nargs="+", default=[*GOALS, *OTHERS], metavar="NAME")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="another setting of each run")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    found: dict[str, dict[str, Any]] = {}
    for name in arguments.data_sets:
        found[name] = measure(name, arguments.seeds, arguments.set)
        print(name, json.dumps({key: value for key, value in found[name].items() if key != "runs"}), flush=True)
        groups = {"goals": [each for each in GOALS if each in found], "all": list(found)}
        means = {
            group: {key: float(np.mean([found[each][key] for each in names])) for key in ("accuracy", "minirocket")}
            for group, names in groups.items()
            if names
        }
        result = {"data_sets": found, "means": means, "published": PUBLISHED, "machine": describe()}
        if arguments.out:
            # After each data set, so that an interrupted run leaves what it has.
            arguments.out.write_text(json.dumps(result, indent=1))
    print(json.dumps(means, indent=1))


if __name__ == "__main__":
    main()

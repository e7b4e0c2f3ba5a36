"""Forecasts of published data sets through `noisy-gru run`, beside published results.

    python -m benchmarks.forecasts --data FOLDER --case etth1-96 [--seeds 3] [--out FILE]

FOLDER holds `ett/ETTh1.csv` (Zhou et al. 2021) and `m4/Hourly-train.csv`, `m4/Hourly-test.csv` (Makridakis et al.
2018). Each case writes a configuration and its rows to a temporary folder, runs the pipeline for each seed, and
measures what the exported model answers on the test split.

- `etth1-96`, `-192`, `-336`, `-720`: rows 0-8639 train, 8640-11519 eval, 11520-14399 test, all windows of 96 steps; MSE
  and MAE of the columns z-scored on train, as Lin et al. (2023) and others report them.
- `m4-hourly`: the last 48 hours of 414 series; sMAPE, MASE and OWA as the competition defines them. Naive2's are
  computed by the same script and must be 18.383 and 2.395.

Coverage and mean scaled interval score are those of 95 % (`coverage`, `msis`) and 90 %. M4 Hourly has no eval split to
calibrate intervals on: quantiles are trained beside the median. `--members 5` forecasts with the mean of five models.
`--held-out` measures the last 48 hours of M4's training part, which the training then lacks: by these the configuration
was chosen.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.machine import describe
from noisy_gru.data.sequences.example_files import example_files, read_examples
from noisy_gru.pipeline.config.loading import load_config
from noisy_gru.schema.config import ForecastingConfig
from noisy_gru.schema.interval_config import levels_of

HORIZONS = (96, 192, 336, 720)
COLUMNS = ["HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT"]
ETT_ROWS, TRAIN_ROWS = 14_400, 8_640
DAY, M4_HORIZON, M4_INPUT = 24, 48, 168
# MSE and MAE: SegRNN's of Lin et al. (2023), the others' of Liu et al. (2024), iTransformer.
PUBLISHED = {
    "etth1-96": {"SegRNN": (0.368, 0.395), "PatchTST": (0.414, 0.419), "DLinear": (0.386, 0.400)},
    "etth1-192": {"SegRNN": (0.408, 0.419), "PatchTST": (0.460, 0.445), "DLinear": (0.437, 0.432)},
    "etth1-336": {"SegRNN": (0.444, 0.440), "PatchTST": (0.501, 0.466), "DLinear": (0.481, 0.459)},
    "etth1-720": {"SegRNN": (0.446, 0.457), "PatchTST": (0.500, 0.488), "DLinear": (0.519, 0.516)},
}
# The competition's sMAPE and MASE of Naive2 on the 414 hourly series (Makridakis et al. 2020).
NAIVE2 = (18.383, 2.395)
# The data has no dates: all series get this one for their last training hour.
M4_LAST_HOUR = datetime(2020, 1, 1)


def ett_config(horizon: int) -> dict[str, Any]:
    """Configuration of a case of ETTh1: sizes of a prototype, and the loss that is better on eval; none from test."""
    return {
        "name": f"etth1-{horizon}",
        "data": {
            "files": ["rows.csv"],
            "entity": None,
            "time": {"column": "date", "kind": "timestamp", "frequency": "1h"},
            "features": COLUMNS,
        },
        # A window belongs to the split of its last input step, whose targets begin one step later.
        "splits": {"by": "time", "eval": "2017-06-25 23:00:00", "test": "2017-10-23 23:00:00"},
        "task": {
            "kind": "forecasting",
            "targets": COLUMNS,
            "input_length": 96,
            "horizons": list(range(1, horizon + 1)),
            "season_length": DAY,
            "intervals": [0.9, 0.95],
            "calibration": {"scale": "window"},
        },
        "model": {
            "layers": [{"units": 256, "stddev": 0.1}],
            "segment": DAY if horizon == 96 else 2 * DAY,
            "channels": "shared",
            "window_normalization": "last",
            "head_dropout": 0.5,
        },
        "training": {
            "epochs": 20,
            "batch_size": 256,
            "learning_rate": 1e-3,
            "loss": "mae",
            "schedule": {"kind": "step", "hold_epochs": 4, "factor": 0.8},
            "early_stopping": {"patience": 5},
        },
    }


def m4_config() -> dict[str, Any]:
    """Configuration of M4 Hourly: one model for all series, which have sizes of their own."""
    last = M4_LAST_HOUR.isoformat(sep=" ")
    return {
        "name": "m4-hourly",
        "data": {
            "files": ["rows.csv"],
            "entity": "series",
            "time": {"column": "hour", "kind": "timestamp", "frequency": "1h"},
            "features": [{"name": "value", "scale": "none"}],
        },
        "splits": {"by": "time", "eval": last, "test": last},
        "task": {
            "kind": "forecasting",
            "targets": ["value"],
            "input_length": M4_INPUT,
            "horizons": list(range(1, M4_HORIZON + 1)),
            "stride": 5,
            "season_length": DAY,
            "quantiles": [0.025, 0.5, 0.975],
            "calibration": {"method": "none"},
            # No value of the training part is less.
            "output": {"min": 10.0},
        },
        "model": {
            "layers": [{"units": 128, "stddev": 0.1}],
            "segment": DAY,
            "window_normalization": "mean_abs",
            "linear_path": True,
            "head_dropout": 0.2,
        },
        "training": {
            "epochs": 40,
            "batch_size": 128,
            "learning_rate": 2e-3,
            # Of the median: sMAPE and MASE, nearly in the proportion that they have in OWA.
            "loss_units": {"value": 1.0, "season": 0.1},
            "schedule": {"kind": "cosine", "warmup_epochs": 4, "final_fraction": 0.01},
            "early_stopping": None,
        },
    }


def m4_series(file: Path) -> list[np.ndarray]:
    """Return the series of a file of the competition, a row each."""
    with file.open() as lines:
        return [np.array([float(cell) for cell in row[1:] if cell]) for row in list(csv.reader(lines))[1:]]


def write_ett(data: Path, file: Path) -> None:
    """Write the rows that the published protocol reads."""
    lines = (data / "ett" / "ETTh1.csv").read_text().splitlines(keepends=True)
    file.write_text("".join(lines[: ETT_ROWS + 1]))


def m4_parts(data: Path, held_out: bool) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return past and future of each series; held out: those of the training hours alone, to choose settings by."""
    past = m4_series(data / "m4" / "Hourly-train.csv")
    if held_out:
        return [each[:-M4_HORIZON] for each in past], [each[-M4_HORIZON:] for each in past]
    return past, m4_series(data / "m4" / "Hourly-test.csv")


def write_m4(parts: tuple[list[np.ndarray], list[np.ndarray]], file: Path, input_length: int, stride: int) -> None:
    """Write a row for each hour; a series begins so that one of its windows ends with the last training hour."""
    past, future = parts
    with file.open("w") as out:
        out.write("series,hour,value\n")
        for number, (train, test) in enumerate(zip(past, future, strict=True)):
            values = np.concatenate([train[(len(train) - input_length) % stride :], test])
            first = M4_LAST_HOUR - timedelta(hours=len(values) - len(test) - 1)
            for hour, value in enumerate(values):
                out.write(f"H{number + 1},{first + timedelta(hours=hour)},{value:g}\n")


def split_answers(
    root: Path, name: str, targets: list[str], split: str, output: str = "predictions"
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return an output of the exported model for a split, [N, H, K, ...], the true values, and sequence ids."""
    import tensorflow as tf

    record = json.loads(max((root / "runs").glob("*.json")).read_text())
    model = tf.saved_model.load(f"{record['artifacts']['Trainer']['model'][0]}/Format-Serving")
    serve: Any = model.signatures["serving_default"]  # pyright: ignore[reportAttributeAccessIssue]
    folder = Path(record["artifacts"]["SequenceExampleGen"]["examples"][0]) / f"Split-{split}"
    examples = (example for file in example_files(folder) for example in read_examples(file))
    predicted, truth, ids = [], [], []
    while batch := list(itertools.islice(examples, 512)):
        predicted.append(serve(examples=tf.constant(batch))[output].numpy())
        for each in batch:
            values = tf.train.Example.FromString(each).features.feature
            truth.append(np.stack([values[f"target/{target}"].float_list.value for target in targets], axis=-1))
            ids.append(values["sequence_id"].bytes_list.value[0].decode())
    print(f"{name}: {len(ids)} windows of {split}", file=sys.stderr)
    return np.concatenate(predicted), np.stack(truth), ids


def ett_measures(data: Path, predicted: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Return MSE and MAE of the columns z-scored on the train rows."""
    rows = np.loadtxt(data / "ett" / "ETTh1.csv", delimiter=",", skiprows=1, usecols=range(1, 8))
    errors = (predicted.astype(np.float64) - truth) / rows[:TRAIN_ROWS].std(axis=0)
    return {"mse": float((errors**2).mean()), "mae": float(np.abs(errors).mean()), "windows": len(errors)}


def interval_measures(quantiles: np.ndarray, truth: np.ndarray, scale: np.ndarray) -> dict[str, float]:
    """Return coverage and mean scaled interval score of the intervals, as the competition defines them.

    Args:
        quantiles: [N, H, K, Q], rising, of levels that lie symmetrically: the outermost are those of 95 %.
        truth: [N, H, K].
        scale: mean absolute difference over a season in the past, [K] or [N, 1, 1].
    """
    found = {}
    for name, place, share in (("", 0, 0.95), ("_90", 1, 0.9)):
        if quantiles.shape[-1] > 2 * place + 1:
            lower, upper = (quantiles[..., at].astype(np.float64) for at in (place, -1 - place))
            missed = np.maximum(lower - truth, 0) + np.maximum(truth - upper, 0)
            found[f"coverage{name}"] = float((missed == 0).mean())
            found[f"msis{name}"] = float(((upper - lower + 2 / (1 - share) * missed) / scale).mean())
    return found


def ett_seasonal_differences(data: Path) -> np.ndarray:
    """Return the mean absolute difference over a day of the train rows, by column."""
    rows = np.loadtxt(data / "ett" / "ETTh1.csv", delimiter=",", skiprows=1, usecols=range(1, 8))[:TRAIN_ROWS]
    return np.abs(rows[DAY:] - rows[:-DAY]).mean(axis=0)


def m4_seasonal_differences(data: Path, ids: list[str], held_out: bool) -> np.ndarray:
    """Return the mean absolute difference over a day of the past of each sequence's series, [N, 1, 1]."""
    past = m4_parts(data, held_out)[0]
    series = [past[int(name.split("@")[0].removeprefix("H")) - 1] for name in ids]
    return np.array([np.abs(each[DAY:] - each[:-DAY]).mean() for each in series])[:, None, None]


def m4_measures(data: Path, predicted: np.ndarray, ids: list[str], held_out: bool) -> dict[str, float]:
    """Return sMAPE, MASE and OWA of the forecasts, [N, 48, 1], of all series; OWA is relative to Naive2 there."""
    past, future = m4_parts(data, held_out)
    place = {name.split("@")[0]: index for index, name in enumerate(ids)}
    forecasts = [predicted[place[f"H{number + 1}"], :, 0].astype(np.float64) for number in range(len(past))]
    smape, mase = _smape_and_mase(past, future, forecasts)
    naive = _smape_and_mase(past, future, [naive2(train) for train in past])
    if not held_out and not np.allclose(naive, NAIVE2, atol=6e-4):
        raise RuntimeError(f"Naive2 has sMAPE and MASE {naive} here, and {NAIVE2} in the competition")
    owa = (smape / naive[0] + mase / naive[1]) / 2
    return {"smape": smape, "mase": mase, "owa": owa, "naive2_smape": naive[0], "naive2_mase": naive[1]}


def _smape_and_mase(
    past: list[np.ndarray], future: list[np.ndarray], forecasts: list[np.ndarray]
) -> tuple[float, float]:
    smape, mase = [], []
    for train, actual, forecast in zip(past, future, forecasts, strict=True):
        smape.append(np.mean(200 * np.abs(actual - forecast) / (np.abs(actual) + np.abs(forecast))))
        mase.append(np.mean(np.abs(actual - forecast)) / np.mean(np.abs(train[DAY:] - train[:-DAY])))
    return float(np.mean(smape)), float(np.mean(mase))


def naive2(train: np.ndarray) -> np.ndarray:
    """Return the competition's Naive2: the last value, seasonally adjusted by a multiplicative classical decomposition.

    The season is used where the autocorrelation at its lag is significant at 90 %, as in the organizers' code.
    """
    repeats = -(-M4_HORIZON // DAY)
    centred = train - train.mean()
    correlations = np.array([np.sum(centred[lag:] * centred[: len(train) - lag]) for lag in range(DAY + 1)])
    correlations /= correlations[0]
    limit = 1.645 * np.sqrt((1 + 2 * np.sum(correlations[1:DAY] ** 2)) / len(train))
    if abs(correlations[DAY]) <= limit:
        return np.full(M4_HORIZON, train[-1])
    weights = np.r_[0.5, np.ones(DAY - 1), 0.5] / DAY
    trend = np.convolve(train, weights, mode="valid")
    ratios = train[DAY // 2 : DAY // 2 + len(trend)] / trend
    phases = (np.arange(len(ratios)) + DAY // 2) % DAY
    index = np.array([ratios[phases == phase].mean() for phase in range(DAY)])
    index /= index.mean()
    level = train[-1] / index[(len(train) - 1) % DAY]
    return level * np.tile(index, repeats + 1)[len(train) % DAY :][:M4_HORIZON]


def run_case(
    case: str, data: Path, seeds: Iterable[int], settings: list[str], *, held_out: bool = False
) -> Iterator[dict[str, Any]]:
    """Run a case for each seed, with these settings in place of its own, and return its measures.

    Args:
        case: of those above.
        data: folder of the data sets.
        seeds: of the trainings.
        settings: `KEY=VALUE`, as for `noisy-gru run --set`.
        held_out: of M4, measure the last training hours, which the training then lacks.
    """
    is_ett = case.startswith("etth1")
    config = ett_config(int(case.split("-")[1])) if is_ett else m4_config()
    for seed in seeds:
        with tempfile.TemporaryDirectory(prefix="forecasts-") as name:
            folder = Path(name)
            # Values are not bounded: the schema holds nothing beyond what the configuration says.
            (folder / "schema.pbtxt").touch()
            (folder / "config.yaml").write_text(yaml.safe_dump({**config, "seed": seed, "schema": "schema.pbtxt"}))
            task = load_config(folder / "config.yaml", settings).task
            assert isinstance(task, ForecastingConfig)
            if is_ett:
                write_ett(data, folder / "rows.csv")
            else:
                write_m4(m4_parts(data, held_out), folder / "rows.csv", task.input_length, task.stride)
            began = time.perf_counter()
            command = [sys.executable, "-m", "noisy_gru.pipeline", "run", "config.yaml", "--root", "root"]
            command += [part for setting in settings for part in ("--set", setting)]
            ended = subprocess.run(command, cwd=folder, check=False)
            # 3: a model that the gate refused, which is measured all the same.
            if ended.returncode not in (0, 3):
                raise RuntimeError(f"noisy-gru run ended with {ended.returncode}")
            seconds = time.perf_counter() - began
            targets = task.targets
            predicted, truth, ids = split_answers(folder / "root", case, targets, "test")
            if is_ett:
                measures = ett_measures(data, predicted, truth)
                # By these a configuration is chosen.
                on_eval = ett_measures(data, *split_answers(folder / "root", case, targets, "eval")[:2])
                measures |= {f"eval_{key}": value for key, value in on_eval.items()}
            else:
                measures = m4_measures(data, predicted, ids, held_out)
            if levels_of(task):
                quantiles = split_answers(folder / "root", case, targets, "test", "quantiles")[0]
                scale = ett_seasonal_differences(data) if is_ett else m4_seasonal_differences(data, ids, held_out)
                measures |= interval_measures(quantiles, truth, scale)
            yield {"seed": seed, "run_seconds": round(seconds, 1), **measures}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--case", required=True, choices=[*(f"etth1-{each}" for each in HORIZONS), "m4-hourly"])
    parser.add_argument("--seeds", type=int, default=3, help="trainings, of the seeds 0, 1, ...")
    parser.add_argument("--first-seed", type=int, default=0, help="in place of 0")
    parser.add_argument("--members", type=int, default=1, help="models in each forecast, trained one after the other")
    parser.add_argument("--held-out", action="store_true", help="M4: measure the last 48 training hours, to choose by")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="another setting, to compare")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    runs = []
    if arguments.held_out and arguments.case != "m4-hourly":
        parser.error(f"--held-out is of m4-hourly, received --case {arguments.case}, which has an eval split")
    settings = [f"training.members={arguments.members}"] if arguments.members > 1 else []
    settings += arguments.set
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    for measures in run_case(arguments.case, arguments.data, seeds, settings, held_out=arguments.held_out):
        print(json.dumps(measures), flush=True)
        runs.append(measures)
    keys = [key for key in runs[0] if key not in ("seed", "windows", "eval_windows")]
    summary = {key: float(np.mean([run[key] for run in runs])) for key in keys}
    spread = {key: float(np.std([run[key] for run in runs])) for key in keys}
    result = {
        "case": arguments.case,
        "settings": settings,
        "held_out": arguments.held_out,
        **summary,
        "spread": spread,
        "runs": runs,
        "machine": describe(),
    }
    result["published"] = PUBLISHED.get(arguments.case, {})
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1))
    print(json.dumps({key: result[key] for key in ("case", *keys, "spread", "published")}, indent=1))


if __name__ == "__main__":
    main()

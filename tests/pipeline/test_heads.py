"""Other heads through TFX's launcher, from a CSV file to answers: a class or number for each step, several of both."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    log_loss,
    mean_absolute_error,
    mean_squared_error,
    precision_score,
    r2_score,
    recall_score,
    roc_auc_score,
)

from noisy_gru import load_config, predict

# TFX, Beam and ML Metadata warn of their own use of what they deprecated.
pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.filterwarnings("default")]

CONFIG = """\
name: heads
schema: schema.pbtxt
data:
  files: [rows.csv]
  entity: id
  time: {{column: t, kind: integer}}
  max_length: 30
  features: [x]
task: {task}
splits: {{by: entity, eval: 0.2, test: 0.3}}
model: {{layers: [{{units: 12, stddev: 0.05}}], serving_step: true}}
training: {{epochs: 15, batch_size: 16, learning_rate: 0.02}}
"""


def trained(folder: Path, task: str, frame: pd.DataFrame) -> dict[str, Any]:
    """The result of a run in a process of its own."""
    frame.to_csv(folder / "rows.csv", index=False)
    (folder / "schema.pbtxt").touch()
    (folder / "config.yaml").write_text(CONFIG.format(task=task))
    command = [sys.executable, "-c", "from noisy_gru.pipeline.cli.main import main; main()", "run"]
    given = [str(folder / "config.yaml"), "--root", str(folder / "runs"), "--json"]
    done = subprocess.run([*command, *given], capture_output=True, text=True, check=False, timeout=1500)
    assert done.stdout, done.stderr
    result = json.loads(done.stdout)
    assert result["status"] == "succeeded", (result["error"], result["refusals"])
    return result


def names_of_test(folder: Path) -> set[str]:
    """The names of the test split's sequences."""
    files = (folder / "runs" / "artifacts" / "Evaluator" / "evaluation").glob("*/answers/*.parquet")
    return {name for file in files for name in pq.read_table(file)["sequence_id"].to_pylist()}


def test_a_class_for_each_step(tmp_path: Path) -> None:
    random, parts = np.random.default_rng(0), []
    for number in range(120):
        steps = int(random.integers(8, 25))
        states = np.cumsum(random.random(steps) < 0.15) % 2
        labels = np.where(random.random(steps) < 0.2, "", np.array(["off", "on"])[states])
        x = 2 * states + random.normal(0, 0.6, steps)
        parts.append(pd.DataFrame({"id": f"m{number}", "t": range(steps), "x": x, "state": labels}))
    frame = pd.concat(parts, ignore_index=True)
    metrics = trained(tmp_path, "{kind: classification, label: state, per_step: true}", frame)["metrics"]
    config = load_config(tmp_path / "config.yaml")
    found = predict(config, frame[["id", "t", "x"]], root=tmp_path / "runs").to_pandas()
    assert found[["sequence_id", "time"]].values.tolist() == frame[["id", "t"]].values.tolist()
    chosen = (frame["state"] != "") & frame["id"].isin(names_of_test(tmp_path))
    true, answered = frame["state"][chosen], found["state"][chosen]
    assert metrics["example_count"] == chosen.sum()
    assert metrics["accuracy"] == pytest.approx(accuracy_score(true, answered))
    assert metrics["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(true, answered))
    assert metrics["accuracy"] > 0.85


def test_several_numbers(tmp_path: Path) -> None:
    random, parts = np.random.default_rng(0), []
    for number in range(150):
        steps, level = int(random.integers(5, 20)), random.normal()
        x = level + random.normal(0, 0.3, steps)
        size = 1e5 * x[-1] if random.random() < 0.7 else np.nan
        parts.append(pd.DataFrame({"id": f"m{number}", "t": range(steps), "x": x, "level": level, "size": size}))
    frame = pd.concat(parts, ignore_index=True)
    metrics = trained(tmp_path, "{kind: regression, targets: [level, size]}", frame)["metrics"]
    config = load_config(tmp_path / "config.yaml")
    found = predict(config, frame[["id", "t", "x"]], root=tmp_path / "runs").to_pandas().set_index("sequence_id")
    names = sorted(names_of_test(tmp_path))
    truth = frame.groupby("id")[["level", "size"]].max().loc[names]
    for name in ("level", "size"):
        known = truth[name].notna()
        expected = r2_score(truth[name][known], found.loc[names, name][known])
        assert metrics[f"r2/{name}"] == pytest.approx(expected, rel=1e-4)
        assert expected > 0.7
    assert metrics["example_count"] == len(names)


LABELS = ["tag_high", "tag_long", "tag_rough"]


def recordings_of_labels() -> pd.DataFrame:
    """Sequences with three labels that the numbers tell; one is missing in a fifth of them, one spelt yes and no."""
    random, parts = np.random.default_rng(0), []
    for number in range(240):
        steps, level = int(random.integers(5, 20)), random.normal()
        rough = random.random() < 0.4
        x = level + random.normal(0, 0.9 if rough else 0.1, steps)
        part = pd.DataFrame({"id": f"m{number}", "t": range(steps), "x": x})
        known = random.random() < 0.8
        part["tag_high"] = float(level + random.normal(0, 0.2) > 0.5) if known else np.nan
        part["tag_long"], part["tag_rough"] = int(steps > 12), "yes" if rough else "no"
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def test_several_labels(tmp_path: Path) -> None:
    frame = recordings_of_labels()
    task = f"{{kind: classification, labels: [{', '.join(LABELS)}], thresholds: {{tag_rough: {{recall: 0.8}}}}}}"
    metrics = trained(tmp_path, task, frame)["metrics"]
    config = load_config(tmp_path / "config.yaml")
    answers = predict(config, frame[["id", "t", "x"]], root=tmp_path / "runs")
    found = answers.to_pandas().set_index("sequence_id")
    names = sorted(names_of_test(tmp_path))
    frame["tag_rough"] = (frame["tag_rough"] == "yes").astype(float)
    truth, found = frame.groupby("id")[LABELS].max().loc[names], found.loc[names]
    assert metrics["example_count"] == len(names)
    for name in LABELS:
        known = truth[name].notna()
        true, answered = truth[name][known], found[name][known]
        scores = found[f"probability_{name}"][known].astype(float)
        for metric, expected in (
            ("accuracy", accuracy_score(true, answered)),
            ("precision", precision_score(true, answered)),
            ("recall", recall_score(true, answered)),
            ("f1", f1_score(true, answered)),
            ("balanced_accuracy", balanced_accuracy_score(true, answered)),
            ("log_loss", log_loss(true, scores)),
            ("frequency", true.mean()),
        ):
            assert metrics[f"{metric}/{name}"] == pytest.approx(expected, rel=1e-5), metric
        # Scores are counted in 256ths of the log-odds.
        assert metrics[f"pr_auc/{name}"] == pytest.approx(average_precision_score(true, scores), abs=0.01)
        assert metrics[f"roc_auc/{name}"] == pytest.approx(roc_auc_score(true, scores), abs=0.01)
        assert roc_auc_score(true, scores) > 0.7
    (folder,) = (tmp_path / "runs" / "artifacts" / "Trainer" / "model").glob("*/Format-Keras")
    thresholds = [each["threshold"] for each in json.loads((folder / "decision.json").read_text())["labels"]]
    assert thresholds[:2] == [0.5, 0.5]
    for name, threshold in zip(LABELS, thresholds, strict=True):
        assert (found[name] == (found[f"probability_{name}"] >= np.float32(threshold))).all()


def test_a_number_for_each_step(tmp_path: Path) -> None:
    random, parts = np.random.default_rng(0), []
    for number in range(120):
        steps = int(random.integers(8, 25))
        x = np.cumsum(random.normal(0, 0.5, steps))
        level = 50 + 10 * np.convolve(x, [0.5, 0.5])[:steps] + random.normal(0, 0.5, steps)
        level[random.random(steps) < 0.2] = np.nan
        parts.append(pd.DataFrame({"id": f"m{number}", "t": range(steps), "x": x, "level": level}))
    frame = pd.concat(parts, ignore_index=True)
    metrics = trained(tmp_path, "{kind: regression, label: level, per_step: true}", frame)["metrics"]
    config = load_config(tmp_path / "config.yaml")
    found = predict(config, frame[["id", "t", "x"]], root=tmp_path / "runs").to_pandas()
    assert found[["sequence_id", "time"]].values.tolist() == frame[["id", "t"]].values.tolist()
    chosen = frame["level"].notna() & frame["id"].isin(names_of_test(tmp_path))
    true, answered = frame["level"][chosen], found["level"][chosen]
    assert metrics["example_count"] == chosen.sum()
    assert metrics["mae"] == pytest.approx(mean_absolute_error(true, answered), rel=1e-5)
    assert metrics["rmse"] == pytest.approx(mean_squared_error(true, answered) ** 0.5, rel=1e-5)
    assert metrics["r2"] == pytest.approx(r2_score(true, answered), rel=1e-4)
    assert metrics["rmse_naive_mean"] == pytest.approx(np.std(true), rel=1e-5)
    assert metrics["r2"] > 0.7

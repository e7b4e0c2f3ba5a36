"""`noisy-gru validate` compares the classes that a configuration names with those that the schema knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from noisy_gru.pipeline.cli.main import app
from noisy_gru.pipeline.exit_codes import EXIT_CONFIG

SCHEMA = """
feature { name: "a" type: FLOAT }
feature { name: "state" type: BYTES string_domain { value: "good" value: "bad" %s } }
"""


def validated(folder: Path, values: str = "", **config: Any) -> Any:
    (folder / "schema.pbtxt").write_text(SCHEMA % values)
    (folder / "rows.csv").write_text("id,t,a,state\n1,1,2.0,good\n")
    content = {
        "name": "machines",
        "schema": "schema.pbtxt",
        "data": {"files": ["rows.csv"], "entity": "id", "time": {"column": "t"}, "features": ["a"]},
        "task": {"kind": "classification", "label": "state", **config.pop("task", {})},
        **config,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    return CliRunner().invoke(app, ["validate", str(folder / "config.yaml")])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"training": {"class_weights": {"bat": 2}}},
            "training.class_weights: bat is not a class of state (did you mean bad?). The schema has good, bad",
        ),
        ({"task": {"positive": "worse"}}, "task.positive: worse is not a class of state"),
        (
            {"evaluation": {"thresholds": {"recall/x": {"min": 0.5}}}},
            "evaluation.thresholds.recall/x: x is not a class",
        ),
        ({"evaluation": {"compare": {"metric": "recall/x"}}}, "evaluation.compare.metric: x is not a class of state"),
        ({"evaluation": {"baseline_metric": "precision/x"}}, "evaluation.baseline_metric: x is not a class of state"),
        ({"evaluation": {"baseline_metric": "log_loss"}}, "log_loss can't be measured of always answering a class"),
        ({"evaluation": {"compare": {"metric": "pr_auc"}}}, "two models can't be compared by pr_auc"),
        ({"task": {"threshold": {"recall": 0.9}}}, "threshold is that of one class: name it"),
        (
            {
                "task": {"positive": "bad", "threshold": {"recall": 0.9}},
                "splits": {"by": "entity", "eval": 0},
                "training": {"early_stopping": None},
            },
            "task.threshold is chosen on the eval split, and there is none",
        ),
    ],
)
def test_a_class_or_metric_that_cannot_be_is_named(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    done = validated(tmp_path, **config)
    assert done.exit_code == EXIT_CONFIG
    assert message in done.stderr


def test_a_threshold_is_of_two_classes(tmp_path: Path) -> None:
    done = validated(tmp_path, 'value: "worse"', task={"positive": "bad", "threshold": 0.3})
    assert "task.threshold is about two classes, and the schema has 3 of state (good, bad, worse)" in done.stderr


def test_what_can_be_is_valid(tmp_path: Path) -> None:
    done = validated(
        tmp_path,
        task={"positive": "bad", "threshold": {"cost": {"false_positive": 1, "false_negative": 5}}},
        training={"class_weights": {"bad": 2}},
        evaluation={
            "thresholds": {"recall/bad": {"min": 0.5}, "pr_auc": {"min": 0.1}, "balanced_accuracy": {"min": 0.5}},
            "compare": {"metric": "recall/bad"},
            "baseline_metric": "macro_f1",
        },
    )
    assert done.exit_code == 0, done.stderr

"""`noisy-gru validate` refuses what has no form for several labels (`task.labels`), and says why."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from noisy_gru.pipeline.cli.main import app
from noisy_gru.pipeline.exit_codes import EXIT_CONFIG

CONFIG = """\
name: signs
schema: schema.pbtxt
data:
  files: [rows.csv]
  entity: id
  time: {column: t}
  features: [x]
task: {kind: classification, labels: [fever, cough]}
splits: {by: entity}
"""


def validate(folder: Path, *settings: str) -> tuple[int, str]:
    (folder / "rows.csv").write_text("id,t,x,fever,cough\na,0,1,1,0\n")
    (folder / "schema.pbtxt").touch()
    (folder / "config.yaml").write_text(CONFIG)
    given = [part for each in settings for part in ("--set", each)]
    done = CliRunner().invoke(app, ["validate", str(folder / "config.yaml"), *given])
    return done.exit_code, " ".join(done.output.split())


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("task.per_step=true", "per_step is of one class for each sequence or step"),
        ("task.label=fever", "label is of one class for each sequence or step"),
        ("task.thresholds={rash: 0.5}", "thresholds are of labels (fever, cough), received one of rash"),
        ("task.thresholds={fever: 2}", "task.thresholds"),
        ("task.labels=[fever]", "task.labels: expected at least 2 item"),
        ("task.output={min: 0}", "output is of predicted numbers"),
        ("training.sampling=balanced", "with task.labels a sequence has several labels"),
        ("training.class_weights={rash: 2}", "expected labels (fever, cough), received one of rash"),
        ("model.onnx=true", "model.onnx: true has no form for several labels"),
        ("evaluation.thresholds={recall/rash: {min: 0.5}}", "evaluation.thresholds.recall/rash: expected a metric"),
        ("evaluation.baseline_metric=accuracy", "Expected one of log_loss, balanced_accuracy"),
        ("training.early_stopping.monitor=val_balanced_accuracy", "expected one of loss, accuracy, pr_auc"),
    ],
)
def test_what_has_no_form_for_labels_is_refused(tmp_path: Path, setting: str, message: str) -> None:
    code, output = validate(tmp_path, setting)
    assert code == EXIT_CONFIG and message in output, output


def test_what_fits_is_valid(tmp_path: Path) -> None:
    settings = (
        "task.threshold={recall: 0.9}",
        "task.thresholds={cough: {cost: {false_positive: 1, false_negative: 5}}}",
        "training.class_weights={cough: 3}",
        "model.bidirectional=true",
        "model.pooling=attention",
        "evaluation.thresholds={f1/cough: {min: 0.2}, hamming_loss: {max: 0.3}}",
        "evaluation.compare={metric: macro_f1}",
    )
    code, output = validate(tmp_path, *settings)
    assert code == 0, output
    code, output = validate(tmp_path, "task.threshold={recall: 0.9}", "splits.eval=0", "training.early_stopping=null")
    assert code == EXIT_CONFIG and "chosen on the eval split, and there is none" in output, output

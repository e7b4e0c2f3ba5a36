"""`noisy-gru validate` refuses what has no form for a class at each step (`task.per_step`), and says why."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from noisy_gru.pipeline.cli.main import app
from noisy_gru.pipeline.exit_codes import EXIT_CONFIG

CONFIG = """\
name: states
schema: schema.pbtxt
data:
  files: [rows.csv]
  entity: id
  time: {column: t}
  features: [x]
task: {kind: classification, label: y, per_step: true}
splits: {by: entity}
"""
SCHEMA = 'feature { name: "y" string_domain { value: "up" value: "down" value: "" } }'


def validate(folder: Path, *settings: str) -> tuple[int, str]:
    (folder / "rows.csv").write_text("id,t,x,y\na,0,1,up\n")
    (folder / "schema.pbtxt").write_text(SCHEMA)
    (folder / "config.yaml").write_text(CONFIG)
    given = [part for each in settings for part in ("--set", each)]
    done = CliRunner().invoke(app, ["validate", str(folder / "config.yaml"), *given])
    return done.exit_code, done.output


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.pooling=attention", "answers at each step, and model.pooling: attention is taken over all steps"),
        ("model.convolutions={}", "model.convolutions has no form for an answer at each step"),
        ("model.preset=classification", "model.random_kernels has no form for an answer at each step"),
        ("training.sampling=balanced", "with task.per_step: true a sequence has several"),
        ("evaluation.slices=[[y]]", "a label of each step divides no sequences"),
        ("task.kind=forecasting", "per_step"),
    ],
)
def test_what_has_no_form_for_steps_is_refused(tmp_path: Path, setting: str, message: str) -> None:
    code, output = validate(tmp_path, setting)
    assert code == EXIT_CONFIG and message in output, output


def test_what_fits_is_valid(tmp_path: Path) -> None:
    # Two classes: the empty text of the schema is a missing label.
    code, output = validate(tmp_path, "model.bidirectional=true", "task.positive=up", "task.threshold=0.3")
    assert code == 0, output

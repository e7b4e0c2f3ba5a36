"""`noisy-gru validate` refuses, before any run, a model that can't be trained or served as the configuration wants."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from noisy_gru.pipeline.cli.main import app
from noisy_gru.pipeline.exit_codes import EXIT_CONFIG

EXAMPLES = Path(__file__).parents[3] / "examples"
VOWELS = EXAMPLES / "japanese_vowels" / "config.yaml"
WEATHER = EXAMPLES / "nycflights_weather" / "config.yaml"
STEP = "model.serving_step=true"


@pytest.mark.parametrize(
    ("config", "settings", "told"),
    [
        (VOWELS, [STEP], "model.serving_step: true reads steps as they come"),
        (VOWELS, [STEP, "model.pooling=mean"], "needs model.pooling: last, received mean"),
        (WEATHER, [STEP, "data.features.0={name: temp, known_in_advance: true}"], "known_in_advance"),
        (VOWELS, ["model.target=difference"], "needs task.kind: forecasting, received classification"),
    ],
)
def test_a_model_that_cannot_be_served_so_is_refused(config: Path, settings: list[str], told: str) -> None:
    arguments = ["validate", str(config), *(part for each in settings for part in ("--set", each))]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == EXIT_CONFIG
    assert told in done.stderr


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("gone.csv", None, "evaluation.reference.files: {path} matches no file"),
        ("empty.csv", "", "evaluation.reference.files: {path}: is empty; expected a header"),
        ("short.csv", "utterance,step\n", "evaluation.reference.files: {path}: expected the columns c01, "),
    ],
)
def test_a_reference_file_that_cannot_be_used_is_named_with_its_own_key(tmp_path, name, content, told) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    done = CliRunner().invoke(app, ["validate", str(VOWELS), "--set", f"evaluation.reference.files=['{path}']"])
    assert done.exit_code == EXIT_CONFIG
    assert told.format(path=path) in done.stderr
    assert "data.files" not in done.stderr


def test_a_model_that_can_is_fine() -> None:
    done = CliRunner().invoke(app, ["validate", str(VOWELS), "--set", STEP, "--set", "model.bidirectional=false"])
    assert done.exit_code == 0, done.stderr

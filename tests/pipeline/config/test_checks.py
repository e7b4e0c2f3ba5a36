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
    ("config", "settings", "expected_message"),
    [
        (VOWELS, [STEP], "model.serving_step: true reads steps as they come"),
        (VOWELS, [STEP, "model.pooling=mean"], "needs model.pooling: last, received mean"),
        (WEATHER, [STEP, "data.features.0={name: temp, known_in_advance: true}"], "known_in_advance"),
        (VOWELS, ["model.target=difference"], "needs task.kind: forecasting, received classification"),
        (
            VOWELS,
            ["model.onnx=true", "data.features=[c01, {name: c02, kind: categorical, static: true}]"],
            "model.onnx: true takes numbers alone, but c02 is categorical",
        ),
    ],
)
def test_a_model_that_cannot_be_served_so_is_refused(config: Path, settings: list[str], expected_message: str) -> None:
    arguments = ["validate", str(config), *(part for each in settings for part in ("--set", each))]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == EXIT_CONFIG
    assert expected_message in done.stderr


@pytest.mark.parametrize(
    ("name", "content", "expected_message"),
    [
        ("gone.csv", None, "evaluation.reference.files: {path} matches no file"),
        ("empty.csv", "", "evaluation.reference.files: {path}: is empty; expected a header"),
        ("short.csv", "utterance,step\n", "evaluation.reference.files: {path}: expected the columns c01, "),
    ],
)
def test_a_reference_file_that_cannot_be_used_is_named_with_its_own_key(
    tmp_path, name, content, expected_message
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    done = CliRunner().invoke(app, ["validate", str(VOWELS), "--set", f"evaluation.reference.files=['{path}']"])
    assert done.exit_code == EXIT_CONFIG
    assert expected_message.format(path=path) in done.stderr
    assert "data.files" not in done.stderr


@pytest.mark.parametrize(
    ("config", "settings", "expected_message"),
    [
        (
            VOWELS,
            "data.features=[{name: c01, static: true}]",
            "every feature is static (c01), so a sequence",
        ),
        (
            WEATHER,
            "data.features=[temp, {calendar: hour_of_day, static: true}]",
            "hour_of_day_sin is static, one value for each entity, so it takes no calendar",
        ),
        (
            WEATHER,
            "data.features=[temp, {name: dewp, static: true, known_in_advance: true}]",
            "dewp is static, one value for each entity, so it takes no known_in_advance",
        ),
        (WEATHER, "data.features=[{name: temp, static: true}, dewp]", "target temp must not be static"),
        (
            WEATHER,
            "data.features=[temp, {elapsed: seconds_since_last, static: true}]",
            "seconds_since_last is static, one value for each entity, so it takes no elapsed",
        ),
        (
            WEATHER,
            "data.features=[temp, {name: dewp, static: true}, {elapsed: steps_since_observed, column: dewp}]",
            "needs column, a feature that is measured (one of temp); received dewp",
        ),
        (VOWELS, "data.features=[c01, {name: speaker, kind: categorical, static: true}]", "speaker is also a feature"),
        (VOWELS, "data.features=[c01, {name: nowhere, static: true}]", "nowhere"),
        (VOWELS, "data.features=[c01, {name: c02, static: maybe}]", "static"),
    ],
)
def test_static_where_it_means_nothing_is_refused(config: Path, settings: str, expected_message: str) -> None:
    done = CliRunner().invoke(app, ["validate", str(config), "--set", settings])
    assert done.exit_code == EXIT_CONFIG
    assert expected_message in done.stderr


def test_one_series_has_no_static_feature() -> None:
    settings = ["data.entity=null", "splits={by: time}", "data.features=[temp, {name: dewp, static: true}]"]
    done = CliRunner().invoke(app, ["validate", str(WEATHER), *(part for each in settings for part in ("--set", each))])
    assert done.exit_code == EXIT_CONFIG
    assert "entity: null is one series" in done.stderr


def test_a_model_that_can_is_fine() -> None:
    done = CliRunner().invoke(app, ["validate", str(VOWELS), "--set", STEP, "--set", "model.bidirectional=false"])
    assert done.exit_code == 0, done.stderr


@pytest.mark.parametrize(
    ("config", "settings", "message"),
    [
        (VOWELS, ["tuner.enabled=true"], "tuner compares models on the eval split, and there is none"),
        (
            VOWELS,
            ["retraining.warm_start={enabled: true, prove: true}"],
            "retraining.warm_start.prove compares two trainings on the eval split, and there is none",
        ),
        (VOWELS, ["training.early_stopping={}"], "training.early_stopping needs an eval split"),
        (WEATHER, ["training.class_weights=balanced"], "training.class_weights is about classes, and task.kind is"),
        (WEATHER, ["training.loss={focal: {}}"], "training.loss: {focal: …} is about classes"),
        (VOWELS, ["training.class_weights={a: -1}"], "training.class_weights.a: expected a value > 0, found -1"),
        (VOWELS, ["training.loss={focal: {gama: 1}}"], "training.loss.focal.gama: is not a key here"),
        (
            WEATHER,
            ["training.early_stopping.monitor=val_accuracy"],
            "training.early_stopping.monitor: expected one of loss, mae, val_loss, val_mae; received val_accuracy",
        ),
        (WEATHER, ["splits.eval='2013-13-01'"], "splits.eval: expected a time (timestamp) or a part below 1"),
        (WEATHER, ["splits.test=x"], "splits.test: expected a time (timestamp) or a part below 1, received 'x'"),
        (WEATHER, ["splits={by: time, eval: '2013-12-01', test: '2013-11-01'}"], "starts after splits.test"),
        (WEATHER, ["data.time.frequency=1 fortnight"], "data.time.frequency: expected a fixed duration such as 1h"),
        (VOWELS, ["data.time={column: step, frequency: 1h, gaps: fill}"], "expected a positive whole number"),
        (
            WEATHER,
            ["data.time.align=floor", "data.time.tolerance=soon"],
            "data.time.tolerance: expected a fixed duration",
        ),
        (VOWELS, ["data.resample={frequency: 1h}"], "data.time.frequency: expected a positive whole number"),
        (
            WEATHER,
            ["model.serving_step=true", "data.features=[temp, {elapsed: steps_since_observed, column: temp}]"],
            "but steps_since_observed_temp (elapsed: steps_since_observed) counts back over steps",
        ),
        (
            VOWELS,
            ["data.files=[train.csv.gz]", "splits={by: time, embargo: 3}"],
            "splits.embargo counts steps, so for whole sequences it needs data.time.frequency",
        ),
        (WEATHER, ["data.features.9={calendar: holiday, country: XX}"], "expected a country that the package holidays"),
        (
            WEATHER,
            ["data.features.9={calendar: holiday, country: US, subdivision: BY}"],
            "expected a subdivision of US that the package holidays",
        ),
        (VOWELS, ["data.features.0=sequence_id"], "the columns sequence_id have names that are reserved"),
        (VOWELS, ["data.features.0=target/a"], "the columns target/a have names that are reserved"),
    ],
)
def test_what_a_step_would_refuse_is_refused_before_the_run(config: Path, settings: list[str], message: str) -> None:
    arguments = ["validate", str(config), *(part for each in settings for part in ("--set", each))]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == EXIT_CONFIG
    assert done.stderr.count(message) == 1


@pytest.mark.parametrize(
    ("settings", "note"),
    [
        (["training.strategy=multi_worker"], "training.strategy: multi_worker needs TF_CONFIG"),
        (["training.early_stopping={monitor: val_mae, mode: max}"], "mode: max keeps the epoch with the worst val_mae"),
        (
            ["metadata={host: h, database: d, user: u, password_env: NOT_SET_HERE}"],
            "metadata.password_env: the environment variable NOT_SET_HERE is not set here",
        ),
        (["splits.eval='2013-09-01'"], "schema: 18 columns"),
        (["splits={by: time, eval: '2013-09-01', test: '2013-11-01'}"], "schema: 18 columns"),
        (["tuner.enabled=true"], "schema: 18 columns"),
    ],
)
def test_what_depends_on_the_machine_or_is_fine_is_valid(settings: list[str], note: str, monkeypatch) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    arguments = ["validate", str(WEATHER), *(part for each in settings for part in ("--set", each))]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.stderr
    assert note in done.stdout


@pytest.mark.parametrize(
    ("settings", "note"),
    [
        (["task.input_length=48"], None),
        (["task.horizons=[1,3,6]"], None),
        (["task={kind: forecasting, targets: [temp, dewp], input_length: 24, horizons: [6]}"], None),
        (
            ["data.features=[temp, {calendar: day_of_week}]", "evaluation.slices=[]"],
            "not in the configuration",
        ),
        (["data.features.1={name: time_hour, kind: categorical}"], "values of time_hour are not bounded"),
        (
            ["data.features.1={name: dewp, kind: categorical}"],
            "dewp has a float_domain, which bounds no values",
        ),
    ],
)
def test_an_edit_of_the_configuration_needs_none_of_the_schema(settings: list[str], note: str | None) -> None:
    arguments = ["validate", str(WEATHER), *(part for each in settings for part in ("--set", each))]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.stderr
    assert note is None or note in done.stdout

"""`noisy-gru init` guesses what columns are from values and names, says why, and proposes files that validate."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from noisy_gru.pipeline.cli.main import app
from noisy_gru.pipeline.config.checks import check_config, input_files
from noisy_gru.pipeline.config.loading import load_config
from noisy_gru.pipeline.exit_codes import EXIT_CONFIG
from noisy_gru.pipeline.init.proposal import propose
from noisy_gru.pipeline.init.sizing import prefers_segments
from noisy_gru.schema.derivation import check_schema, derive_schema
from noisy_gru.schema.errors import ConfigError, DataError
from noisy_gru.schema.loading import load_schema

EXAMPLES = Path(__file__).parents[3] / "examples"


def proposed(folder: Path, *files: Path, **given) -> Any:
    """The configuration that is proposed, once it has passed its validation."""
    propose([str(file) for file in files], out=folder, **given).write(folder)
    config = load_config(folder / "config.yaml")
    check_config(config)
    return config


def table(sequences: int = 30, steps: int = 8, **columns) -> pd.DataFrame:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "pump_run": np.repeat([f"p{index}" for index in range(sequences)], steps),
            "t": np.tile(np.arange(steps), sequences),
            "pressure": random.normal(5, 1, sequences * steps),
            "mode": random.choice(["idle", "busy"], sequences * steps),
            "outcome": np.repeat(random.choice(["ok", "broken"], sequences), steps),
        }
    )
    return frame.assign(**columns)


def test_japanese_vowels(tmp_path):
    folder = EXAMPLES / "japanese_vowels"
    config = proposed(tmp_path, folder / "train.csv.gz", folder / "test.csv.gz")
    assert (config.task.kind, config.task.label) == ("classification", "speaker")
    assert (config.data.entity, config.data.time.column, config.data.time.kind) == ("utterance", "step", "integer")
    assert [feature.name for feature in config.data.features] == [f"c{index:02d}" for index in range(1, 13)]
    assert config.splits.by == "files"
    assert config.data.files["test"] == [str(folder / "test.csv.gz")]
    assert config.data.max_length >= 29
    schema = {feature.name: feature for feature in load_schema(tmp_path / "schema.pbtxt").feature}
    assert list(schema["speaker"].string_domain.value) == [str(index) for index in range(1, 10)]
    assert schema["c01"].float_domain.min < -0.79 and schema["c01"].float_domain.max > 2.21


@pytest.mark.parametrize(
    ("frame", "preset"),
    [
        (table(), "classification"),
        (table(sequences=1001), None),
        (table(steps=6), None),
        (table().drop(columns="pressure"), None),
        (table().assign(level=np.repeat(np.arange(30) * 1.5 + 0.25, 8)).drop(columns="outcome"), None),
    ],
    ids=["few", "many", "short", "no numbers", "regression"],
)
def test_few_labelled_sequences_have_convolutions(tmp_path, frame, preset):
    frame.to_csv(tmp_path / "rows.csv", index=False)
    task = {"task": "regression", "targets": ["level"]} if "level" in frame else {}
    config = proposed(tmp_path, tmp_path / "rows.csv", **task)
    assert config.trainer.model.preset == preset
    text = (tmp_path / "config.yaml").read_text()
    assert ("random kernels beside them" in text) == ("preset classification" in text) == (preset is not None)
    assert (config.trainer.model.random_kernels is not None) == (preset is not None)


@pytest.mark.parametrize(
    ("sequences", "steps", "expected"), [(1001, 300, True), (1000, 300, False), (1001, 299, False), (0, 0, False)]
)
def test_more_sequences_that_are_long_are_read_in_segments(sequences, steps, expected):
    assert prefers_segments(np.full(sequences, steps)) is expected


def test_a_long_forecast_with_a_season_is_made_by_segments(tmp_path):
    """Quarters of an hour, with the season of a day: 96 steps."""
    quarters = np.arange(96 * 60)
    load = 9 + np.sin(quarters * 2 * np.pi / 96) + np.random.default_rng(0).normal(0, 0.1, len(quarters))
    times = pd.date_range("2025-01-01", periods=len(quarters), freq="15min")
    pd.DataFrame({"at": times, "load": load}).to_csv(tmp_path / "rows.csv", index=False)
    config = proposed(tmp_path, tmp_path / "rows.csv")
    assert (config.task.season_length, config.task.input_length, config.task.horizons[-1]) == (96, 96, 48)
    assert (config.model.preset, config.model.segment, config.model.target) == ("forecasting", 24, "level")
    assert "# Noisy GRUs over segments of 24 steps, relative to" in (tmp_path / "config.yaml").read_text()


def test_weather(tmp_path):
    config = proposed(tmp_path, EXAMPLES / "nycflights_weather" / "weather.csv.gz")
    assert config.task.model_dump(exclude_defaults=True) == {
        "kind": "forecasting",
        "targets": ["temp"],
        "input_length": 48,
        "horizons": [1, 2, 3, 6, 12, 24],
        "season_length": 24,
    }
    time = config.data.time
    assert (time.column, time.kind, time.frequency, time.gaps) == ("time_hour", "timestamp", "1h", "fill")
    features = {feature.name: feature for feature in config.data.features}
    assert features["wind_speed"].scale == "robust"
    assert features["pressure"].missing == "mask"
    assert features["origin"].kind == "categorical"
    assert features["hour_of_day_sin"].calendar == "hour_of_day"
    assert config.model.target == "difference"
    text = (tmp_path / "config.yaml").read_text()
    assert text.count("{calendar: hour_of_day, known_in_advance: true}") == 1
    assert "NOT SURE" in text
    assert "# numeric feature; seen: 0 to 1048.36, 4 missing" in (tmp_path / "schema.pbtxt").read_text()


def test_parquet_with_splits_by_column_and_odd_columns(tmp_path):
    frame = table(
        split=np.repeat(["train"] * 20 + ["test"] * 10, 8),
        note=[f"free text {index}" for index in range(240)],
        empty=np.nan,
        site=np.repeat(np.arange(30) % 3, 8),
    )
    frame.to_parquet(tmp_path / "rows.parquet")
    config = proposed(tmp_path / "out", tmp_path / "rows.parquet", targets=["outcome"])
    assert (config.task.kind, config.task.label) == ("classification", "outcome")
    assert config.splits.model_dump()["values"] == {"train": ["train"], "test": ["test"]}
    assert [(feature.name, feature.kind) for feature in config.data.features] == [
        ("pressure", "numeric"),
        ("mode", "categorical"),
    ]
    text = (tmp_path / "out" / "config.yaml").read_text()
    assert "# left out: note (another value in each row: an id)" in text
    assert "# left out: empty (at most one value)" in text
    assert "# left out: site (constant within a pump_run" in text
    assert config.name == "out"


def test_a_number_for_each_sequence_is_regression(tmp_path):
    frame = table().drop(columns="outcome")
    frame["lifetime"] = np.repeat(np.linspace(0.5, 9.5, 30), 8)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    config = proposed(tmp_path, tmp_path / "rows.csv")
    assert config.task.model_dump(exclude_defaults=True) == {"kind": "regression", "label": "lifetime"}
    assert config.splits.by == "entity"


def test_options_replace_guesses(tmp_path):
    frame = table().rename(columns={"pump_run": "a", "t": "b"})
    frame.to_csv(tmp_path / "rows.csv", index=False)
    config = proposed(
        tmp_path, tmp_path / "rows.csv", task="forecasting", targets=["pressure"], entity="a", time="b", name="mine"
    )
    assert (config.name, config.data.entity, config.task.kind) == ("mine", "a", "forecasting")
    assert config.task.targets == ["pressure"]


def test_names_and_values_that_yaml_would_misread(tmp_path):
    frame = table().rename(columns={"pressure": "on", "mode": "1: x #", "outcome": "déjà vu"})
    frame.to_csv(tmp_path / "rows.csv", index=False)
    config = proposed(tmp_path, tmp_path / "rows.csv", task="classification")
    assert [feature.name for feature in config.data.features] == ["on", "1: x #"]
    assert config.task.label == "déjà vu"


@pytest.mark.parametrize(
    "word", ["400", "true", "null", "1e3", "2024-01-01", "yes", "0x10", "a: b", "a #b", "- a", "a\x07b"]
)
def test_folders_files_and_columns_that_yaml_would_misread(tmp_path, monkeypatch, word):
    (tmp_path / word).mkdir()
    monkeypatch.chdir(tmp_path / word)
    names = {"pump_run": word, "t": f"{word} t", "pressure": f"{word}.5", "mode": f"{word} mode", "outcome": f"{word}y"}
    frame = table(text=[f"free text {index}" for index in range(240)])
    frame.rename(columns={**names, "text": f"{word}z"}).to_csv(f"{word}.csv", index=False)
    config = proposed(
        Path(), Path(f"{word}.csv"), entity=word, time=f"{word} t", task="classification", targets=[f"{word}y"]
    )
    assert config.name == re.sub("[^a-z0-9]+", "-", word).strip("-")
    assert (config.data.entity, config.data.time.column, config.task.label) == (word, f"{word} t", f"{word}y")
    assert [each.name for each in config.data.features] == [f"{word}.5", f"{word} mode"]
    assert input_files(config) == [str(tmp_path / word / f"{word}.csv")]


def test_a_name_that_no_pipeline_may_have(tmp_path):
    table().to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(ConfigError, match="--name: expected lower case, digits and hyphens, received 'My: model'"):
        propose([str(tmp_path / "rows.csv")], out=tmp_path, name="My: model")


def test_values_that_a_schema_has_to_escape(tmp_path):
    """By protobuf's own parser of the text form."""
    words = ["up\n(late)", "\r", "\t ", 'a"b', "C:\\n", "nul\0", "😀é", "\u2028", "x" * 3000, "\x85"]
    frame = table()
    frame["mode"] = [words[place % len(words)] for place in range(len(frame))]
    frame = frame.rename(columns={"mode": "mode\n😀"})
    frame.to_parquet(tmp_path / "rows.parquet")
    config = proposed(tmp_path, tmp_path / "rows.parquet")
    assert "mode\n😀" in [feature.name for feature in config.data.features]
    (feature,) = [each for each in load_schema(tmp_path / "schema.pbtxt").feature if each.name == "mode\n😀"]
    assert sorted(feature.string_domain.value) == sorted([*words, ""])
    assert max(map(len, (tmp_path / "schema.pbtxt").read_text().partition("string_domain")[0].splitlines())) < 500


@pytest.mark.parametrize("column", ["pressure", "t"])
@pytest.mark.parametrize("cell", ["err", "NAN", "now"])
def test_one_odd_cell_makes_no_other_column(tmp_path, column, cell):
    frame = table().astype({column: object})
    expected = proposed(tmp_path / "plain", _written(frame, tmp_path / "plain.csv"))
    frame.loc[17, column] = cell
    found = proposed(tmp_path / "odd", _written(frame, tmp_path / "odd.csv"))
    assert [each.name for each in found.data.features] == [each.name for each in expected.data.features]
    assert (found.data.time, found.task) == (expected.data.time, expected.task)


def _written(frame: pd.DataFrame, path: Path) -> Path:
    frame.to_csv(path, index=False)
    return path


def test_an_offset_is_proposed_where_float32_needs_it(tmp_path):
    frame = table()
    frame["seen"] = 1_700_000_000 + np.arange(len(frame)) % 40
    frame.to_csv(tmp_path / "rows.csv", index=False)
    config = proposed(tmp_path, tmp_path / "rows.csv")
    offsets = {feature.name: feature.offset for feature in config.data.features}
    assert offsets == {"pressure": 0, "mode": 0, "seen": 1_700_000_000}
    assert "128 apart" in (tmp_path / "config.yaml").read_text()
    frame.drop(columns="outcome").to_csv(tmp_path / "rows.csv", index=False)
    proposed(tmp_path / "forecast", tmp_path / "rows.csv", task="forecasting", targets=["seen"])
    assert "subtract a constant from it in the data" in (tmp_path / "forecast" / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"task": "clustering"}, "--task: expected classification, regression or forecasting, received clustering"),
        ({"targets": ["nothing"]}, "--target: expected one of outcome, pressure, mode, received nothing"),
        ({"entity": "nothing"}, "--entity: expected one of the columns pump_run, t"),
        ({"time": "mode"}, "--time mode: expected numbers or ISO timestamps"),
        (
            {"task": "classification", "targets": ["pressure"]},
            "--target pressure: classification needs one label, a column that never changes",
        ),
    ],
)
def test_what_cannot_be(tmp_path, given, message):
    table().to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(ConfigError, match="^" + message.replace("(", r"\(")):
        propose([str(tmp_path / "rows.csv")], out=tmp_path, **given)


def test_without_a_time_it_says_what_to_do(tmp_path):
    pd.DataFrame({"pressure": [1.5, 2.5], "flow": [0.25, 0.75]}).to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(ConfigError, match=r"no column of pressure, flow looks like .* --time .* --entity"):
        propose([str(tmp_path / "rows.csv")], out=tmp_path)


def test_a_feature_with_a_slash_has_bounds_of_its_own(tmp_path):
    hours = pd.date_range("2025-01-01", periods=400, freq="h").astype(str)
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"station": np.repeat(["a", "b"], 400), "time": np.tile(hours, 2)})
    frame["temp"] = random.uniform(17, 23, 800)
    frame["outside/temp"] = random.uniform(800, 1200, 800)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    config = proposed(tmp_path, tmp_path / "rows.csv")
    curated = load_schema(tmp_path / "schema.pbtxt")
    assert {feature.name for feature in curated.feature} == {"temp", "outside/temp", "station"}
    schema = {feature.name: feature.float_domain for feature in derive_schema(curated, config.dataset).feature}
    assert schema["outside/temp"].max > 1100
    assert schema["temp"].max < 50
    assert schema["target/temp"].max < 50


def test_the_schema_of_a_draft_says_what_values_may_be_and_nothing_else(tmp_path):
    table().to_csv(tmp_path / "rows.csv", index=False)
    config = proposed(tmp_path, tmp_path / "rows.csv")
    text = (tmp_path / "schema.pbtxt").read_text()
    for word in ("value_count", "type:", "environment", "steps", "sequence_id"):
        assert word not in text.partition("feature {")[2]
    derivation = check_schema(config.schema_path, config.dataset)
    assert derivation.notes == []
    assert len(derivation.schema.feature) == 5


@pytest.mark.parametrize("folder", ["proj [v2]", "a{SPAN}b", "run*1"])
def test_folders_that_look_like_patterns(tmp_path, monkeypatch, folder):
    (tmp_path / folder).mkdir()
    table().to_csv(tmp_path / folder / "rows [1].csv", index=False)
    monkeypatch.chdir(tmp_path)
    config = proposed(Path("my [out]"), Path(folder) / "rows [1].csv")
    assert [Path(path) for path in input_files(config)] == [tmp_path / folder / "rows [1].csv"]
    monkeypatch.chdir(tmp_path / folder)
    config = proposed(Path("out"), Path("*.csv"))
    assert [Path(path) for path in input_files(config)] == [tmp_path / folder / "rows [1].csv"]


def test_rows_that_cannot_be_used_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = table().to_csv(index=False).splitlines()
    lines[50] += ",extra"
    lines[60] = '"' + lines[60]
    Path("rows.csv").write_text("\n".join(lines))
    reported = "\n".join(propose(["rows.csv"], out=Path("out")).guesses)
    assert "2 unparsable_value" in reported
    assert "rows.csv, row 50: expected 5 cells, received 6" in reported
    assert 'rows.csv, row 60: a quote (") opens a cell' in reported


def test_what_is_no_table_is_told_what_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("part.csv").mkdir()
    with pytest.raises(ConfigError, match=r"part\.csv is a folder\. Give the files in it: part\.csv/\*\.csv"):
        propose(["*.csv"], out=Path("out"))
    Path("rows.csv").write_bytes(gzip.compress(table().to_csv(index=False).encode()))
    with pytest.raises(DataError, match=r"rows\.csv: expected CSV in UTF-8, received gzip"):
        propose(["rows.csv"], out=Path("out"))
    Path("rows.csv").rename("ROWS.CSV.GZ")
    proposed(Path("out"), Path("ROWS.CSV.GZ"))


def test_no_files(tmp_path):
    with pytest.raises(ConfigError, match="matches no file"):
        propose([str(tmp_path / "*.csv")], out=tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_tfrecords(tmp_path):
    import tensorflow as tf

    frame = table()
    with tf.io.TFRecordWriter(str(tmp_path / "rows.tfrecord")) as writer:
        for name, rows in frame.groupby("pump_run"):
            feature = {
                "pump_run": tf.train.Feature(bytes_list=tf.train.BytesList(value=[str(name).encode()])),
                "pressure": tf.train.Feature(float_list=tf.train.FloatList(value=rows["pressure"])),
                "mode": tf.train.Feature(bytes_list=tf.train.BytesList(value=[v.encode() for v in rows["mode"]])),
                "outcome": tf.train.Feature(bytes_list=tf.train.BytesList(value=[rows["outcome"].iloc[0].encode()])),
            }
            writer.write(
                tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString(deterministic=True)
            )
    config = proposed(tmp_path, tmp_path / "rows.tfrecord")
    assert (config.data.format, config.data.entity, config.data.time) == ("example", "pump_run", None)
    assert [(feature.name, feature.kind) for feature in config.data.features] == [
        ("mode", "categorical"),
        ("pressure", "numeric"),
    ]
    assert (config.task.kind, config.task.label) == ("classification", "outcome")


def test_the_command_never_overwrites_unless_forced(tmp_path):
    with gzip.open(tmp_path / "rows.csv.gz", "wt") as stream:
        table().to_csv(stream, index=False)
    arguments = ["init", "--data", str(tmp_path / "rows.csv.gz"), "--out", str(tmp_path / "new")]
    first = CliRunner().invoke(app, arguments)
    assert first.exit_code == 0, first.output
    assert "label outcome: 2 values, one for each pump_run" in first.output
    (tmp_path / "new" / "config.yaml").write_text("mine")
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == EXIT_CONFIG
    assert "already exists. Choose another --out, or overwrite with --force" in again.output
    assert (tmp_path / "new" / "config.yaml").read_text() == "mine"
    assert CliRunner().invoke(app, [*arguments, "--force"]).exit_code == 0


def test_several_files_after_data_as_a_shell_gives_them(tmp_path):
    frame = table()
    frame[:120].to_csv(tmp_path / "a.csv", index=False)
    frame[120:].to_csv(tmp_path / "b.csv", index=False)
    out = tmp_path / "out"
    result = CliRunner().invoke(
        app, ["init", "--data", str(tmp_path / "a.csv"), str(tmp_path / "b.csv"), "--out", str(out)]
    )
    assert result.exit_code == 0, result.output
    assert "read: 240 rows of 30 sequences" in result.output


def test_rows_that_repeat_each_other_count_once(tmp_path) -> None:
    """An export that was appended to itself has the time of its first part, not a time that repeats."""
    hours = pd.date_range("2024-01-01", periods=200, freq="h")
    frame = pd.DataFrame({"meter": "m1", "when": hours, "kwh": np.sin(np.arange(200) / 4).round(3)})
    pd.concat([frame, frame, frame]).to_csv(tmp_path / "rows.csv", index=False)
    proposal = propose([str(tmp_path / "rows.csv")], out=tmp_path / "draft")
    assert "time when" in "\n".join(proposal.guesses)
    assert "copies: 400 of 600 rows repeat another one exactly, and count once" in proposal.guesses

"""Configuration loading: what it accepts, and every problem at once, with line, key, expected and found."""

from __future__ import annotations

from pathlib import Path

import pytest

from noisy_gru.pipeline.config.loading import ConfigFileError, load_config
from noisy_gru.schema.errors import ConfigError

GOOD = """\
name: pumps
schema: schema.pbtxt
data:
  files: [rows/*.csv]
  entity: pump
  time: {column: t}
  features:
    - pressure
    - {name: mode, kind: categorical}
task:
  kind: classification
  label: outcome
"""


@pytest.fixture
def write(tmp_path: Path):
    def _write(text: str) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return path

    return _write


def test_paths_are_relative_to_the_file(write):
    config = load_config(write(GOOD))
    folder = write(GOOD).parent
    assert config.data.files == [str(folder / "rows/*.csv")]
    assert config.schema_path == str(folder / "schema.pbtxt")


def test_paths_of_splits_and_with_a_scheme(write):
    text = GOOD.replace("[rows/*.csv]", "{train: [../a.csv], test: ['gs://bucket/b.csv', /c.csv]}")
    config = load_config(write(text + "splits: {by: files, eval_from_train: 0.1}\n"))
    assert config.data.files == {
        "train": [str(write(text).parent.parent / "a.csv")],
        "test": ["gs://bucket/b.csv", "/c.csv"],
    }


def test_overrides(write):
    config = load_config(
        write(GOOD),
        [
            "training.epochs=5",
            "data.features.1.embedding_dim=3",
            "model.layers=[{units: 4, stddev: 0}]",
            "model.layers.0.units=7",
            "training.early_stopping=null",
            "evaluation.thresholds.accuracy.min=0.5",
            "name=other-name",
        ],
    )
    assert config.training.epochs == 5
    assert config.data.features[1].embedding_dim == 3
    assert [(layer.units, layer.stddev) for layer in config.model.layers] == [(7, 0)]
    assert config.training.early_stopping is None
    assert config.evaluation.thresholds["accuracy"].min == 0.5
    assert config.name == "other-name"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epochs", "--set training.epochs: expected key=value, for example --set training.epochs=5"),
        ("=5", "--set =5: expected key=value"),
        ("data..files=5", "expected key=value"),
        ("training.epochs=[", "--set training.epochs=[: the value is not YAML"),
        ("data.features.2.name=x", "data.features is a list of 2, so expected an index from 0 to 1, found 2"),
        ("data.features.first=x", "expected an index from 0 to 1, found first"),
        ("data.features.0.scale=none", "data.features.0 is 'pressure', which has no keys; set it as a whole"),
        ("name.x=1", "name is 'pumps', which has no keys"),
        ("training.epochs=many", "--set training.epochs: expected a whole number, found 'many'"),
        ("training.epoch=3", "--set training.epoch: is not a key here (did you mean epochs?)"),
    ],
)
def test_bad_overrides(write, override, message):
    with pytest.raises(ConfigFileError) as error:
        load_config(write(GOOD), [override])
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a mapping with keys such as name, data and task, found nothing"),
        ("- a\n- b\n", "found a list"),
        ("just text", "found a single value"),
        ("name: [a\nb: c\n", "line 2, column 2: not YAML"),
        ("name: a\n\tb: c\n", "line 2, column 1: not YAML"),
        (GOOD + "name: again\n", "line 13: name: is already given in line 1; keep one of them"),
        (
            GOOD.replace("  entity: pump\n", "  entity: pump\n  entity: x\n"),
            "line 6: data.entity: is already given in line 5",
        ),
        (GOOD.replace("name: pumps", "name: My Pumps"), "line 1: name: expected text that matches"),
        (GOOD.replace("schema: schema.pbtxt\n", ""), "schema: is missing: Curated schema.pbtxt"),
        (GOOD.replace("  label: outcome\n", ""), "line 10: task.label: is missing: Column that holds the class"),
        (
            GOOD.replace("classification", "clasification"),
            "line 11: task.kind: expected one of classification, regression, forecasting "
            "(did you mean classification?), found 'clasification'",
        ),
        (GOOD.replace("  kind: classification\n", ""), "line 10: task.kind: is missing"),
        (GOOD.replace("[rows/*.csv]", "7"), "line 4: data.files: expected a list or a mapping, found 7"),
        (
            GOOD.replace("label: outcome", "label: 400"),
            "task.label: expected text, found 400 (YAML reads it as a number; write the text in quotes)",
        ),
        (
            GOOD.replace("label: outcome", "label: yes"),
            "task.label: expected text, found true (YAML reads yes, no, on, off, true and false so; write the text in",
        ),
        (
            GOOD.replace("- pressure", "- 400"),
            "data.features.0: expected text or a mapping, found 400 (YAML reads it as a number",
        ),
        (GOOD.replace("kind: categorical", "kind: word"), "data.features.1.kind: expected one of numeric, categorical"),
        (GOOD.replace("label: outcome", "label: pressure"), "task.label pressure is also a feature"),
        (
            GOOD.replace("- pressure", "- {calendar: hour_of_day}\n    - {calendar: month}").replace(
                "{column: t}", "{column: t, kind: timestamp}"
            ),
            "line 9: data.features.1.calendar: expected one of",
        ),
        (
            GOOD.replace("- pressure", "- {calendar: hour_of_day}").replace("kind: categorical", "knd: categorical"),
            "line 9: data.features.1.knd: is not a key here",
        ),
        (GOOD + "seed: -1\n", "line 13: seed: expected a value >= 0, found -1"),
        (GOOD + "seed: 1.5\n", "line 13: seed: expected a whole number, found 1.5"),
        (GOOD + "seeds: 1\n", "line 13: seeds: is not a key here (did you mean seed?). Keys here: beam, data,"),
        (GOOD + "model: {layers: []}\n", "line 13: model.layers: expected at least 1 item, found []"),
        (GOOD + "training: {xla: maybe}\n", "training.xla: expected "),
        (GOOD + "training: 3\n", "training: expected a mapping, found 3"),
        (
            GOOD + "splits: {by: time, test: 2013-11-01}\n",
            "splits.test: expected a number or text, found 2013-11-01 without quotes",
        ),
        (GOOD + "splits: {by: entity, eval: 0.6, test: 0.5}\n", "line 13: splits: eval (0.6) and test (0.5) leave"),
        (GOOD + "evaluation: {thresholds: {accuracy: {}}}\n", "a threshold needs min, max or both"),
        (GOOD + "training: {learning_rate: .inf}\n", "training.learning_rate: expected a finite number, found inf"),
        (GOOD + "splits: {by: entity, eval: 0}\n", "training.early_stopping needs an eval split: set splits.eval"),
        (GOOD + "tuner: {enabled: true, learning_rates: []}\n", "learning_rates must not be empty"),
    ],
)
def test_problems_in_words(write, text, message):
    path = write(text)
    with pytest.raises(ConfigFileError) as error:
        load_config(path)
    assert str(error.value).startswith(f"{path}: 1 problem in the configuration\n  - "), str(error.value)
    assert message in str(error.value)
    assert isinstance(error.value, ConfigError)


def test_all_problems_at_once_in_the_order_of_the_lines(write):
    text = (
        GOOD.replace("name: pumps", "name: Pumps") + "seed: x\ntrainin: {}\nmodel: {layers: [{units: 0}, {unit: 1}]}\n"
    )
    with pytest.raises(ConfigFileError) as error:
        load_config(write(text), ["nothing"])
    starts = [problem.split(": ")[:2] for problem in error.value.problems]
    assert starts == [
        ["--set nothing", "expected key=value, for example --set training.epochs=5"],
        ["line 1", "name"],
        ["line 13", "seed"],
        ["line 14", "trainin"],
        ["line 15", "model.layers.0.units"],
        ["line 15", "model.layers.1.units"],
        ["line 15", "model.layers.1.unit"],
    ]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "can't be read: No such file or directory"),
        (lambda path: path.mkdir(), "can't be read: Is a directory"),
        (lambda path: path.write_bytes(b"name: \xff"), "is not UTF-8 text"),
    ],
)
def test_unreadable_files(tmp_path, make, message):
    path = tmp_path / "config.yaml"
    make(path)
    with pytest.raises(ConfigFileError, match=message):
        load_config(path)

"""`noisy-gru schema update` adds, removes and corrects entries, and leaves what a person wrote as it stands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from noisy_gru.pipeline.cli.main import app
from noisy_gru.pipeline.config.loading import load_config
from noisy_gru.pipeline.exit_codes import EXIT_CONFIG
from noisy_gru.pipeline.schema_file.update import update_schema
from noisy_gru.schema.derivation import check_schema
from noisy_gru.schema.loading import load_schema

COLUMNS = ["load", "price", "wind", "level"]
CONTENT: dict[str, Any] = {
    "name": "m",
    "schema": "schema.pbtxt",
    "data": {
        "files": ["rows.csv"],
        "entity": "site",
        "time": {"column": "time", "kind": "timestamp"},
        "features": ["load", "price", {"name": "mode", "kind": "categorical"}, {"calendar": "hour_of_day"}],
    },
    "task": {"kind": "forecasting", "targets": ["load"], "input_length": 24, "horizons": [1, 6]},
    "splits": {"by": "time", "eval": 0.1, "test": 0.15},
}
HAND_WRITTEN = """# Loads of two sites.

# What the meter can show.   (kept as it stands)
feature {
  name: "load"
  type: FLOAT
  value_count { min: 12 max: 12 }  # half a day
  # kW; the fuse blows beyond.
  float_domain { min: 0 max: 63 disallow_inf: true }
}
# Was dropped last year.
feature { name: "gone" type: FLOAT float_domain { max: 1 } } # with it

string_domain { name: "modes" value: "on" value: "off" value: "" }  # by the manual
feature { name: "mode" domain: "modes" shape { dim { size: 12 } } presence { min_fraction: 0.5 } }
feature {
  name: "steps" type: INT
  int_domain { min: 12 max: 12 }
}
# The end.
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = 200
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"site": "a", "time": pd.date_range("2024-01-01", periods=rows, freq="h")})
    for column in COLUMNS:
        frame[column] = random.uniform(10, 20, rows)
    frame["mode"] = random.choice(["on", "off"], rows)
    frame.assign(load=frame["load"].round(0)).to_csv(tmp_path / "rows.csv", index=False)
    (tmp_path / "schema.pbtxt").write_text(HAND_WRITTEN)
    write(tmp_path, CONTENT)
    return tmp_path


def write(folder: Path, content: dict[str, Any]) -> Path:
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    return folder / "config.yaml"


def call(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["schema", *map(str, arguments)])


def test_the_text_after_an_update(folder):
    result = call("update", folder / "config.yaml")
    assert result.exit_code == 0, result.output
    text = (folder / "schema.pbtxt").read_text()
    kept = HAND_WRITTEN.replace("  value_count { min: 12 max: 12 }  # half a day\n", "")
    kept = kept.replace(
        '# Was dropped last year.\nfeature { name: "gone" type: FLOAT float_domain { max: 1 } } # with it\n', ""
    )
    kept = kept.replace(" shape { dim { size: 12 } }", "").replace("  int_domain { min: 12 max: 12 }\n", "")
    before, _, after = text.partition("# numeric feature; seen: ")
    added, _, rest = after.partition("}\n}\n")
    assert '\nfeature {\n  name: "price"\n  float_domain { min: 5.' in added
    head, _, tail = kept.partition("disallow_inf: true }\n}\n")
    assert before == f"{head}disallow_inf: true }}\n}}\n\n"
    assert rest.strip() == tail.strip()
    for line in ("-# Was dropped last year.", '+  name: "price"', "-  value_count { min: 12 max: 12 }  # half a day"):
        assert line in result.output.splitlines()
    assert result.output.endswith(f"{folder}/schema.pbtxt: written; please review it\n")


def test_it_is_idempotent_and_leaves_nothing_to_note(folder):
    assert call("update", folder / "config.yaml").exit_code == 0
    text = (folder / "schema.pbtxt").read_bytes()
    config = load_config(folder / "config.yaml")
    assert check_schema(config.schema_path, config.dataset).notes == []
    result = call("update", folder / "config.yaml")
    assert (result.exit_code, result.output) == (0, f"{folder}/schema.pbtxt: up to date\n")
    assert (folder / "schema.pbtxt").read_bytes() == text


def test_what_is_curated_of_values_survives(folder):
    call("update", folder / "config.yaml")
    found = {feature.name: feature for feature in load_schema(folder / "schema.pbtxt").feature}
    assert (found["load"].float_domain.min, found["load"].float_domain.max) == (0, 63)
    assert (found["mode"].domain, found["mode"].presence.min_fraction) == ("modes", 0.5)


def test_a_dry_run_writes_nothing_and_json_is_one_object(folder):
    result = call("update", folder / "config.yaml", "--dry-run", "--json")
    found = json.loads(result.output)
    assert (found["changed"], found["written"]) == (True, False)
    assert (found["added"], found["removed"], found["corrected"]) == (["price"], ["gone"], ["load", "mode", "steps"])
    assert "-# Was dropped last year." in found["diff"]
    assert (folder / "schema.pbtxt").read_text() == HAND_WRITTEN


def test_other_files_give_the_bounds(folder):
    for name, price in (("one", 1000), ("two", 2000)):
        frame = pd.read_csv(folder / "rows.csv").assign(price=price)
        frame.to_csv(folder / f"{name}.csv", index=False)
    result = call("update", folder / "config.yaml", "--data", folder / "one.csv", folder / "two.csv")
    assert result.exit_code == 0, result.output
    assert "+# numeric feature; seen: 1000 to 2000" in result.output


def test_a_new_kind_of_column_gets_new_bounds(folder):
    content = json.loads(json.dumps(CONTENT))
    content["data"]["features"][1:3] = [
        {"name": "price", "kind": "categorical"},
        {"name": "mode", "kind": "categorical"},
    ]
    (folder / "schema.pbtxt").write_text(
        '# Of the meter.\nfeature { name: "price" type: FLOAT float_domain { min: 0 } }  # end\n'
        'feature {\n  name: "mode"\n  type: INT\n  int_domain { min: 0 }\n}\nfeature { name: "load" }\n'
    )
    frame = pd.read_csv(folder / "rows.csv").assign(price=["low", "high"] * 100)
    frame.to_csv(folder / "rows.csv", index=False)
    assert call("update", write(folder, content)).exit_code == 0
    text = (folder / "schema.pbtxt").read_text()
    assert text == (
        '# Of the meter.\nfeature { name: "price" string_domain { value: "high" value: "low" value: "" } }  # end\n'
        'feature {\n  name: "mode"\n  string_domain { value: "off" value: "on" value: "" }\n}\n'
        'feature { name: "load" }\n'
    )


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (
            'feature { name: "target/load" float_domain { max: 7 disallow_nan: true disallow_inf: true } }  # mine',
            'feature { name: "target/load" float_domain { max: 7 disallow_inf: true } }  # mine',
        ),
        (
            'feature {\n  name: "target/load"\n  float_domain {\n    max: 7  # kW\n    disallow_nan: true  # no gaps\n'
            "    disallow_inf: true\n  }\n  value_count { min: 5 max: 5 }\n}",
            'feature {\n  name: "target/load"\n  float_domain {\n    max: 7  # kW\n    disallow_inf: true\n  }\n}',
        ),
    ],
)
def test_a_target_that_may_be_missing_loses_disallow_nan_alone(folder, entry, expected):
    path = folder / "schema.pbtxt"
    path.write_text(HAND_WRITTEN + entry + "\n")
    assert call("update", folder / "config.yaml").exit_code == 0
    text = path.read_text()
    assert expected in text and "disallow_nan" not in text
    assert call("update", folder / "config.yaml").exit_code == 0
    assert path.read_text() == text


def test_a_schema_that_is_not_there_yet_is_written(folder):
    (folder / "schema.pbtxt").unlink()
    assert call("update", folder / "config.yaml").exit_code == 0
    assert [each.name for each in load_schema(folder / "schema.pbtxt").feature] == ["load", "price", "mode"]


def test_the_schema_of_another_data_set_is_replaced(folder):
    (folder / "schema.pbtxt").write_text('# ours\n\nfeature { name: "speed" }\n')
    assert call("update", folder / "config.yaml").exit_code == 0
    text = (folder / "schema.pbtxt").read_text()
    assert text.startswith("# ours\n\n# numeric feature")
    assert "speed" not in text


@pytest.mark.parametrize(
    ("schema", "arguments", "message"),
    [
        ('feature { name: "pirce" } feature { name: "load" }', [], "price: not in the schema (numeric feature"),
        ("feature {", [], "not a TensorFlow Metadata schema"),
        ("", ["--set", "schema=gs://b/s.pbtxt"], "schema: gs://b/s.pbtxt is not on this machine"),
        ("", ["--set", "data.files=['hdfs://b/x.csv']"], "data.files: hdfs://b/x.csv: expected a path, s3:// or gs://"),
        ("", ["--data", "no.csv"], "no.csv"),
        ("", ["rows.csv"], "expected one CONFIG, found rows.csv besides; data files follow --data"),
        ('feature: [{ name: "load" }, { name: "x1" }]', [], "can't be edited|write `feature {...}` for each"),
    ],
)
def test_what_it_refuses_leaves_the_file_alone(folder, schema, arguments, message):
    (folder / "schema.pbtxt").write_text(schema)
    result = call("update", folder / "config.yaml", *arguments)
    assert result.exit_code in (EXIT_CONFIG, 1)
    assert any(part in result.output for part in message.split("|")), result.output
    assert (folder / "schema.pbtxt").read_text() == schema


def test_show_prints_what_is_validated(folder):
    result = call("show", folder / "config.yaml")
    assert result.exit_code == 0, result.output
    rows = {line.split()[0]: line for line in result.output.splitlines() if line.split()}
    assert "24" in rows["load"] and "0 to 63, no infinity" in rows["load"] and "yes" in rows["load"]
    assert "on, off, (empty)" in rows["mode"] and "50%" in rows["mode"]
    assert "not bounded" in rows["price"]
    assert "-1 to 1, no NaN, no infinity" in rows["hour_of_day_sin"]
    assert "no" in rows["target/load"].split() and "0 to 63" in rows["target/load"]
    found = json.loads(call("show", folder / "config.yaml", "--json").output)
    assert found["columns"][0] == {
        "name": "load",
        "type": "FLOAT",
        "kind": "numeric feature",
        "min_values": 24,
        "max_values": 24,
        "domain": {"min": 0.0, "max": 63.0, "disallow_inf": True},
        "presence": {"min_fraction": 1.0, "min_count": 1},
        "environments": ["TRAINING", "SERVING"],
    }
    assert len(found["notes"]) == 3


FEATURES = st.lists(st.sampled_from([*COLUMNS, "mode", "hour_of_day", "day_of_week"]), min_size=1, unique=True)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    features=FEATURES,
    entries=st.lists(
        st.tuples(
            st.sampled_from([*COLUMNS, "mode", "old", "target/load", "target/old", "day_of_week_sin", "steps"]),
            st.sampled_from(["", "type: FLOAT", "type: INT", "value_count { max: 3 }", "shape { dim { size: 2 } }"]),
            st.booleans(),
            st.sampled_from(["", "\n", "\n\n"]),
        ),
        unique_by=lambda entry: entry[0],
    ),
    length=st.integers(1, 30),
    horizons=st.sets(st.integers(1, 20), min_size=1).map(sorted),
    target=st.sampled_from(COLUMNS),
    season=st.none() | st.integers(1, 24),
)
def test_any_edit_of_the_configuration_is_followed(folder, features, entries, length, horizons, target, season):
    lines = []
    for name, field, own_lines, gap in entries:
        comma = "\n  " if own_lines else " "
        fields = comma.join(part for part in [f'name: "{name}"', field, "unique_constraints { min: 1 }"] if part)
        lines.append(
            f"# of {name}\nfeature {{{comma}{fields}{' }' if not own_lines else chr(10) + '}'} # end {name}\n{gap}"
        )
    text = "# top\n\n" + "".join(lines) + "\n# last\n"
    (folder / "schema.pbtxt").write_text(text)
    content = json.loads(json.dumps(CONTENT))
    content["data"]["features"] = [
        {"calendar": name} if "_of_" in name else {"name": name, "kind": "categorical"} if name == "mode" else name
        for name in features
    ]
    content["task"] |= {"input_length": length, "horizons": horizons, "targets": [target], "season_length": season}
    config = load_config(write(folder, content))
    before = {feature.name: feature for feature in load_schema(folder / "schema.pbtxt").feature}
    change = update_schema(config)
    change.write()
    after = {feature.name: feature for feature in load_schema(folder / "schema.pbtxt").feature}
    assert check_schema(config.schema_path, config.dataset).notes == []
    assert update_schema(config).after == change.after
    # By hand: the columns that a curated schema may describe.
    columns = {name for name in features if "_of_" not in name} | {target}
    keys = columns | {"steps", "sequence_id", f"target/{target}"}
    keys |= {f"{name}_{part}" for name in features if "_of_" in name for part in ("sin", "cos")}
    if target not in features and f"target/{target}" in before and target not in before:
        columns.remove(target)  # it is described as a target
    assert set(after) == {name for name in before if name in keys} | columns
    lines_after = change.after.splitlines()
    assert lines_after[0] == "# top"
    assert lines_after[-1] == "# last" or set(change.added) - set(before)
    for name in before:
        assert (f"# of {name}" in lines_after) == (name in after)
        assert (f"# end {name}" in change.after) == (name in after)
        if name in after:
            assert after[name].unique_constraints == before[name].unique_constraints

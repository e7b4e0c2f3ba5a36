"""``noisy-gru show predictions``: numbers against pandas and NumPy, from every format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from noisy_gru.pipeline.cli.main import app
from noisy_gru.pipeline.exit_codes import EXIT_FAILED

CONFIG = """\
name: small
schema: schema.pbtxt
data: {files: [rows.csv], entity: id, time: {column: t}, features: [x]}
task: TASK
"""
CLASSES = "{kind: classification, label: way}"
FORECAST = (
    "{kind: forecasting, targets: [x], input_length: 3, horizons: [1, 2, 6], quantiles: [0.1, 0.5, 0.9], units: kWh}"
)


@pytest.fixture
def classes() -> pd.DataFrame:
    random = np.random.default_rng(7)
    frame = pd.DataFrame(random.dirichlet([1, 1, 1], 500).astype(np.float32), columns=["NA", "up", "<b>down</b>"])
    frame = frame.add_prefix("probability_")
    frame.insert(0, "way", frame.idxmax(axis=1).str.removeprefix("probability_"))
    frame.insert(0, "entity", [f"{number:03d}" for number in range(500)])
    frame.insert(0, "sequence_id", frame["entity"])
    return frame.assign(model_version=np.repeat([4, 5], [200, 300]))


def show(folder: Path, task: str, *arguments: object) -> Any:
    (folder / "config.yaml").write_text(CONFIG.replace("TASK", task))
    return CliRunner().invoke(app, ["show", "predictions", str(folder / "config.yaml"), *map(str, arguments)])


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet", "folder"])
def test_classes(tmp_path, classes, form):
    file = tmp_path / f"file.{form}"
    if form == "csv":
        classes.to_csv(file, index=False)
    elif form == "jsonl":
        classes.to_json(file, orient="records", lines=True)
    elif form == "parquet":
        classes.to_parquet(file)
    else:
        for span, part in ((1, classes[:100]), (2, classes[100:])):
            folder = tmp_path / "scores" / f"span={span}"
            folder.mkdir(parents=True)
            part.to_parquet(folder / "part-00000.parquet")
            (folder / "_SUCCESS").write_text("{}")
        file = tmp_path / "scores"
    done = show(tmp_path, CLASSES, file, "--json")
    assert done.exit_code == 0, done.output
    account = json.loads(done.stdout)["predictions"]
    assert account["labels"] == classes["way"].value_counts().to_dict()
    assert account["versions"] == {"4": 200, "5": 300}
    highest = classes.filter(like="probability_").max(axis=1)
    assert account["mean_confidence"] == pytest.approx(highest.mean(), abs=1e-6)
    assert account["confidence"]["counts"] == np.histogram(highest.astype(float), np.linspace(0, 1, 21))[0].tolist()
    least = classes.loc[highest.nsmallest(10).index, "sequence_id"].tolist()
    assert [each["id"] for each in account["unsure"]] == least


def test_forecasts(tmp_path):
    random = np.random.default_rng(3)
    frame = pd.DataFrame({"sequence_id": [f"s{number}" for number in range(40)]})
    for horizon in (1, 2, 6):
        frame[f"x@{horizon}"] = random.normal(size=40)
        for level, offset in ((0.1, -1), (0.5, 0), (0.9, 1)):
            frame[f"x@{horizon}_q{level:g}"] = frame[f"x@{horizon}"] + offset
    frame.to_csv(tmp_path / "file.csv", index=False)
    done = show(tmp_path, FORECAST, tmp_path / "file.csv", "--json")
    assert done.exit_code == 0, done.output
    account = json.loads(done.stdout)["predictions"]
    (forecast,) = account["forecasts"]
    points = frame[["x@1", "x@2", "x@6"]]
    assert forecast["mean"] == pytest.approx(points.mean().tolist())
    assert forecast["spread"]["90% of the sequences"] == pytest.approx(points.quantile(0.9).tolist())
    assert account["units"] == "kWh" and account["versions"] == {}
    assert account["series"][1]["id"] == "s1"
    assert account["series"][1]["lines"]["x q0.9"] == pytest.approx((points.to_numpy()[1] + 1).tolist())
    page = tmp_path / "page.html"
    assert show(tmp_path, FORECAST, tmp_path / "file.csv", "--out", page).exit_code == 0
    text = page.read_text()
    assert "40 predictions" in text and "Forecast of s5" in text and text.count("<svg") == 1 + 6 + 3


def test_the_page_shows_text_as_text_and_no_data_where_that_is_off(tmp_path, classes):
    classes.to_parquet(tmp_path / "file.parquet")
    page = tmp_path / "page.html"
    assert show(tmp_path, CLASSES, tmp_path / "file.parquet", "--out", page).exit_code == 0
    shown = page.read_text()
    assert "500 predictions by version 4, 5" in shown and "Least sure" in shown
    assert "&lt;b&gt;down" in shown and "<b>down" not in shown
    done = show(tmp_path, CLASSES, tmp_path / "file.parquet", "--out", page, "--set", "report.examples=false")
    assert done.exit_code == 0 and "Least sure" not in page.read_text()


def test_files_that_are_something_else(tmp_path, classes):
    assert "can't be read as a file of predictions: No such file" in show(tmp_path, CLASSES, tmp_path / "no.csv").stderr
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    done = show(tmp_path, CLASSES, tmp_path / "torn.parquet")
    assert done.exit_code == EXIT_FAILED and "torn.parquet: can't be read as a file of predictions" in done.stderr
    (tmp_path / "empty").mkdir()
    assert "expected files part-* of noisy-gru predict" in show(tmp_path, CLASSES, tmp_path / "empty").stderr
    classes.to_parquet(tmp_path / "file.parquet")
    done = show(tmp_path, FORECAST, tmp_path / "file.parquet")
    assert done.exit_code == EXIT_FAILED and "expected the columns x@1, x@2, x@6 of predictions" in done.stderr
    long = pd.DataFrame({"sequence_id": ["a"], "horizon": [1], "target": ["x"], "prediction": [2.0]})
    long.to_csv(tmp_path / "long.csv", index=False)
    assert "predict with --layout wide or short" in show(tmp_path, FORECAST, tmp_path / "long.csv").stderr
    (tmp_path / "odd.csv").write_text("sequence_id,x@1,x@2,x@6\na,1,loud,3\n")
    done = show(tmp_path, FORECAST, tmp_path / "odd.csv")
    assert done.exit_code == EXIT_FAILED and "expected numbers in the columns of predictions: " in done.stderr
    # Classes that look like numbers keep their text.
    (tmp_path / "digits.csv").write_text("sequence_id,way,probability_01,probability_02\n007,01,0.75,0.25\n")
    account = json.loads(show(tmp_path, CLASSES, tmp_path / "digits.csv", "--json").stdout)["predictions"]
    assert account["labels"] == {"01": 1} and account["unsure"][0]["id"] == "007"
    (tmp_path / "none.csv").write_text("")
    done = show(tmp_path, CLASSES, tmp_path / "none.csv", "--json")
    assert done.exit_code == 0 and json.loads(done.stdout)["notes"] == {"predictions": "No sequence was predicted."}

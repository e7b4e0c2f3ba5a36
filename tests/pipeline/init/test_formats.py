"""A draft of `noisy-gru init` from each format of files reads all rows, and a request reads the values of training."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from noisy_gru.data.arrow import pa, pa_parquet
from noisy_gru.pipeline.config.checks import check_config
from noisy_gru.pipeline.config.loading import load_config
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.init.proposal import propose
from noisy_gru.pipeline.schema_file.data_profile import measure
from noisy_gru.schema.errors import ConfigError
from noisy_gru.serving.client.requests import prediction_input

HOURS = pd.date_range("2024-01-01", periods=24 * 30, freq="h")


def frame() -> pd.DataFrame:
    random = np.random.default_rng(0)
    parts = []
    for plant in ("Ulm", "Bonn"):
        load = 2000 + 300 * np.sin(np.arange(len(HOURS)) / 24 * 2 * np.pi) + random.normal(0, 20, len(HOURS))
        parts.append(pd.DataFrame({"plant": plant, "when": HOURS, "load": load.round(2), "open": load > 2000}))
    return pd.concat(parts, ignore_index=True)


def drafted(folder: Path, *files: str) -> tuple[PipelineConfig, list[str]]:
    """Draft, write, load and check a configuration."""
    proposal = propose(list(files), out=folder / "draft")
    (folder / "draft").mkdir()
    proposal.write(folder / "draft")
    config = load_config(folder / "draft" / "config.yaml")
    check_config(config)
    return config, proposal.guesses


def json_lines(table: pd.DataFrame) -> str:
    table.to_json("rows.jsonl", orient="records", lines=True, date_format="iso")
    return "rows.jsonl"


def nested_json_lines(table: pd.DataFrame) -> str:
    lines = [
        json.dumps(
            {"plant": row.plant, "when": f"{row.when:%d.%m.%Y %H:%M}", "at": {"load": row.load, "open": row.open}}
        )
        for row in table.itertuples()
    ]
    Path("rows.ndjson").write_text("\n".join(lines))
    return "rows.ndjson"


def json_epochs(table: pd.DataFrame) -> str:
    lines = [
        {
            "plant": row.plant,
            "when": int(pd.Timestamp(str(row.when)).timestamp() * 1000),
            "load": row.load,
            "open": row.open,
        }
        for row in table.itertuples()
    ]
    Path("rows.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))
    return "rows.jsonl.gz"


def feather(table: pd.DataFrame) -> str:
    table.to_feather("rows.feather")
    return "rows.feather"


def workbook(table: pd.DataFrame) -> str:
    pytest.importorskip("openpyxl", reason="pandas writes workbooks by openpyxl")
    with pd.ExcelWriter("rows.xlsx") as writer:
        pd.DataFrame({"note": ["made by hand"]}).to_excel(writer, sheet_name="Notes", index=False)
        table.to_excel(writer, sheet_name="Readings", index=False, startrow=2)
    return "rows.xlsx"


FORMATS: list[tuple[Callable[[pd.DataFrame], str], dict[str, Any]]] = [
    (json_lines, {}),
    (nested_json_lines, {"format": "%d.%m.%Y %H:%M"}),
    (json_epochs, {"format": "epoch_ms"}),
    (feather, {}),
    (workbook, {}),
]


@pytest.mark.parametrize(("write", "time"), FORMATS, ids=[case[0].__name__ for case in FORMATS])
def test_a_draft_reads_all_rows(tmp_path: Path, monkeypatch: Any, write: Any, time: dict[str, Any]) -> None:
    monkeypatch.chdir(tmp_path)
    table = frame()
    name = write(table)
    config, guesses = drafted(tmp_path, name)
    written = yaml.safe_load((tmp_path / "draft" / "config.yaml").read_text())["data"]
    assert {key: written["time"].get(key) for key in ("column", "kind", "format")} == {
        "column": "when",
        "kind": "timestamp",
        "format": time.get("format"),
    }
    assert f"read: {len(table):,} rows of 2 sequences" in guesses
    assert not any("can't be used" in guess for guess in guesses)
    kinds = {feature.name.removeprefix("at."): feature.kind for feature in config.data.features}
    assert (kinds["load"], kinds["open"]) == ("numeric", "boolean")

    given = prediction_input(tmp_path / name, config.dataset)
    renamed = table if write is not nested_json_lines else table.rename(columns={"load": "at.load", "open": "at.open"})
    sent = prediction_input(renamed, config.dataset)
    assert given.ids == sent.ids
    assert given.examples == sent.examples


def archive(folder: Path, name: str, cases: int, label: str) -> None:
    random = np.random.default_rng(len(name))
    lines = ["@problemName x", "@timeStamps false", "@univariate false", label, "@data"]
    for number in range(cases):
        series = random.normal(number % 2, 1, (2, 20)).round(3).astype(str)
        answer = ["walking", "running"][number % 2] if "class" in label else str(number / 7)
        lines.append(":".join([*map(",".join, series), answer]))
    (folder / name).write_text("\n".join(lines))


@pytest.mark.parametrize(
    ("label", "task"),
    [("@classLabel true walking running", "classification"), ("@targetLabel true", "regression")],
)
def test_a_published_split_of_the_archive_is_drafted_as_such(
    tmp_path: Path, monkeypatch: Any, label: str, task: str
) -> None:
    monkeypatch.chdir(tmp_path)
    archive(tmp_path, "Motions_TRAIN.ts", 30, label)
    archive(tmp_path, "Motions_TEST.ts", 25, label)
    config, guesses = drafted(tmp_path, "Motions_TRAIN.ts", "Motions_TEST.ts")
    assert config.dataset.splits.by == "files"
    files = config.data.files
    assert isinstance(files, dict)
    assert {split: [Path(each).name for each in some] for split, some in files.items()} == {
        "train": ["Motions_TRAIN.ts"],
        "test": ["Motions_TEST.ts"],
    }
    assert config.dataset.task.kind == task
    assert [feature.name for feature in config.data.features] == ["dim_0", "dim_1"]
    assert "read: 1,100 rows of 55 sequences" in guesses
    assert "entity case: the file and the number of a case" in guesses
    measures = measure(config.dataset)
    assert measures.rows == 55 * 20
    given = prediction_input(tmp_path / "Motions_TEST.ts", config.dataset)
    assert [Path(name).name for name in given.ids] == [f"Motions_TEST-{number}" for number in range(1, 26)]


def ucr(folder: Path, sep: str, suffix: str) -> list[str]:
    random = np.random.default_rng(0)
    start = sep if not sep.strip() and len(sep) > 1 else ""
    for split in ("TRAIN", "TEST"):
        rows = []
        for number in range(30):
            series = np.sin(np.arange(24) / 4 + number % 2) + random.normal(0, 0.05, 24)
            rows.append(start + sep.join([str(number % 2 + 1), *(f"{value:.5f}" for value in series)]))
        (folder / f"Waves_{split}.{suffix}").write_text("\n".join(rows) + "\n")
    return [f"Waves_TRAIN.{suffix}", f"Waves_TEST.{suffix}"]


@pytest.mark.parametrize(
    ("sep", "suffix", "csv"),
    [
        ("\t", "tsv", {"delimiter": "\t", "header": False}),
        (",", "csv", {"header": False}),
        ("   ", "txt", {"delimiter": "blanks", "header": False}),
    ],
)
def test_ucr_files_are_drafted_as_they_are(
    tmp_path: Path, monkeypatch: Any, sep: str, suffix: str, csv: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    config, guesses = drafted(tmp_path, *ucr(tmp_path, sep, suffix))
    written = yaml.safe_load((tmp_path / "draft" / "config.yaml").read_text())
    assert written["data"]["csv"] == csv
    assert written["data"]["layout"] == {"kind": "wide_steps", "entity": "row", "first_columns": ["class"]}
    assert written["task"] == {"kind": "classification", "label": "class"}
    assert written["splits"]["by"] == "files"
    assert "read: 1,440 rows of 60 sequences" in guesses
    assert len(prediction_input(tmp_path / f"Waves_TEST.{suffix}", config.dataset).ids) == 30


def series_table() -> pd.DataFrame:
    wide = frame().pivot(index="when", columns="plant", values="load")
    wide = pd.concat([wide.add_prefix("load_"), wide.add_prefix("load_").add_suffix("2")], axis=1).reset_index()
    wide.columns = ["when", "load_1", "load_2", "load_3", "load_4"]
    return wide


def month_table() -> pd.DataFrame:
    months = pd.date_range("2018-01-01", periods=72, freq="MS")
    values = 100 + 20 * np.sin(np.arange(72) / 12 * 2 * np.pi) + np.random.default_rng(0).normal(0, 3, (30, 72))
    wide = pd.DataFrame(values.round(1), columns=[f"{month:%Y-%m}" for month in months])
    wide.insert(0, "article", [f"A{number}" for number in range(30)])
    return wide


def m4_table() -> pd.DataFrame:
    wide = pd.DataFrame(np.random.default_rng(0).normal(100, 5, (40, 30)).cumsum(1).round(1))
    wide.insert(0, "name", [f"Y{number}" for number in range(40)])
    wide.columns = [f"V{number}" for number in range(1, 32)]
    wide.iloc[::2, 25:] = np.nan
    return wide


@pytest.mark.parametrize(
    ("table", "layout", "entity", "rows"),
    [
        (series_table, {"kind": "wide_series", "columns": ["load_*"]}, "series", 4 * 720),
        (month_table, {"kind": "wide_steps", "columns": ["20*"], "steps": "name"}, "article", 30 * 72),
        (m4_table, {"kind": "wide_steps", "columns": ["V*"], "first_step": 2}, "V1", 40 * 30 - 20 * 6),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_wide_tables_are_drafted_as_they_are(
    tmp_path: Path, monkeypatch: Any, table: Any, layout: dict[str, Any], entity: str, rows: int, suffix: str
) -> None:
    monkeypatch.chdir(tmp_path)
    wide = table()
    if suffix == "csv":
        wide.to_csv("wide.csv", index=False)
    elif suffix == "parquet":
        wide.to_parquet("wide.parquet", index=False)
    else:
        wide.to_json("wide.jsonl", orient="records", lines=True, date_format="iso")
    config, guesses = drafted(tmp_path, f"wide.{suffix}")
    written = yaml.safe_load((tmp_path / "draft" / "config.yaml").read_text())["data"]
    assert written["layout"] == layout
    assert written["entity"] == entity
    assert measure(config.dataset).rows == rows
    assert not any("can't be used" in guess for guess in guesses)
    given, sent = (prediction_input(each, config.dataset) for each in (tmp_path / f"wide.{suffix}", wide))
    assert dict(zip(given.ids, given.examples, strict=True)) == dict(zip(sent.ids, sent.examples, strict=True))


def test_sensors_of_a_long_table_are_no_steps(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    parts = [
        pd.DataFrame({"unit": unit, "cycle": range(1, 50), "failed": unit % 2})
        .join(pd.DataFrame(random.normal(0, 1, (49, 21)), columns=[f"s{number}" for number in range(1, 22)]))
        for unit in range(1, 30)
    ]  # fmt: skip
    table = pd.concat(parts)
    table.to_csv("header.csv", index=False)
    table.to_csv("plain.csv", index=False, header=False)
    for name in ("header.csv", "plain.csv"):
        proposal = propose([name], out=tmp_path / "draft")
        assert "layout" not in yaml.safe_load(proposal.config)["data"]


def test_an_asked_layout_decides(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    series_table().to_csv("wide.csv", index=False)
    assert "layout" not in yaml.safe_load(propose(["wide.csv"], out=Path("draft"), layout="none").config)["data"]
    frame()[["when", "load"]].drop_duplicates("when").to_csv("one.csv", index=False)
    with pytest.raises(ConfigError, match="--layout wide_steps: expected a row for each sequence"):
        propose(["one.csv"], out=Path("draft"), layout="wide_steps")
    with pytest.raises(ConfigError, match="--layout: expected none, wide_series, wide_steps, received tall"):
        propose(["one.csv"], out=Path("draft"), layout="tall")


def test_partition_columns_are_drafted(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    table = frame()
    pa_parquet.write_to_dataset(pa.Table.from_pandas(table), "sales", partition_cols=["plant"])
    config, guesses = drafted(tmp_path, "sales/**/*.parquet")
    written = yaml.safe_load((tmp_path / "draft" / "config.yaml").read_text())["data"]
    assert written["files"] == ["../sales/**/*.parquet"]
    assert written["entity"] == "plant"
    assert f"read: {len(table):,} rows of 2 sequences" in guesses
    given = prediction_input(sorted(map(str, Path("sales").rglob("*.parquet"))), config.dataset)
    sent = prediction_input(table, config.dataset)
    assert dict(zip(given.ids, given.examples, strict=True)) == dict(zip(sent.ids, sent.examples, strict=True))

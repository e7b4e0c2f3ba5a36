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

from noisy_gru.pipeline.config.checks import check_config
from noisy_gru.pipeline.config.loading import load_config
from noisy_gru.pipeline.config.pipeline_config import PipelineConfig
from noisy_gru.pipeline.init.proposal import propose
from noisy_gru.pipeline.schema_file.data_profile import measure
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
        {"plant": row.plant, "when": int(pd.Timestamp(row.when).timestamp() * 1000), "load": row.load, "open": row.open}
        for row in table.itertuples()
    ]
    Path("rows.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))
    return "rows.jsonl.gz"


def feather(table: pd.DataFrame) -> str:
    table.to_feather("rows.feather")
    return "rows.feather"


FORMATS: list[tuple[Callable[[pd.DataFrame], str], dict[str, Any]]] = [
    (json_lines, {}),
    (nested_json_lines, {"format": "%d.%m.%Y %H:%M"}),
    (json_epochs, {"format": "epoch_ms"}),
    (feather, {}),
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

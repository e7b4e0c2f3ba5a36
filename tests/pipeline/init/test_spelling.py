"""`noisy-gru init` writes how the files are written, and ingestion reads them by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from noisy_gru.pipeline.config.loading import load_config
from noisy_gru.pipeline.init.proposal import propose

HOURS = pd.date_range("2024-01-01", periods=24 * 30, freq="h")


def frame() -> pd.DataFrame:
    random = np.random.default_rng(0)
    parts = []
    for plant in ("Köln", "Bonn"):
        load = 2000 + 300 * np.sin(np.arange(len(HOURS)) / 24 * 2 * np.pi) + random.normal(0, 20, len(HOURS))
        parts.append(pd.DataFrame({"plant": plant, "when": HOURS, "load": load.round(2), "open": load > 2000}))
    return pd.concat(parts, ignore_index=True)


def german(table: Any) -> bytes:
    lines = ["# Export der Anlage", "plant;Datum;Uhrzeit;load;open"]
    for place, row in enumerate(table.itertuples()):
        load = f"{row.load:,.2f}".translate(str.maketrans(",.", ".,")) if place % 97 else "k.A."
        lines.append(f"{row.plant};{row.when:%d.%m.%Y};{row.when:%H:%M};{load};{'ja' if row.open else 'nein'}")
    return "\r\n".join(lines).encode("cp1252")


def american(table: Any) -> bytes:
    rows = (
        f"{row.plant}|{row.when:%m/%d/%Y %I:%M %p}|{row.load}|{'Y' if row.open else 'N'}" for row in table.itertuples()
    )
    return ("plant|when|load|open\n" + "\n".join(rows) + "\n").encode()


def epochs(table: Any) -> bytes:
    rows = (f"{row.plant}\t{int(row.when.timestamp())}\t{row.load}\t{int(row.open)}" for row in table.itertuples())
    return ("plant\ttime\tload\topen\n" + "\n".join(rows) + "\n").encode("utf-16")


def nameless(table: Any) -> bytes:
    rows = (f"{row.plant},{row.when:%Y%m%d%H%M},{row.load},{str(row.open).upper()}" for row in table.itertuples())
    return ("\n".join(rows) + "\n").encode()


CASES = [
    (
        german,
        {
            "delimiter": ";",
            "decimal": ",",
            "thousands": ".",
            "encoding": "cp1252",
            "comment": "#",
            "missing": ["k.A."],
            "true": ["ja"],
            "false": ["nein"],
        },
        {"column": ["Datum", "Uhrzeit"], "format": "%d.%m.%Y %H:%M"},
    ),
    (american, {"delimiter": "|"}, {"column": "when", "format": "%m/%d/%Y %I:%M %p"}),
    (epochs, {"delimiter": "\t", "encoding": "utf-16"}, {"column": "time", "format": "epoch_s"}),
    (nameless, {"header": False}, {"column": "column_2", "format": "%Y%m%d%H%M"}),
]


@pytest.mark.parametrize(("write", "csv", "time"), CASES, ids=[case[0].__name__ for case in CASES])
def test_a_draft_reads_all_rows(tmp_path: Path, monkeypatch: Any, write: Any, csv: Any, time: Any) -> None:
    monkeypatch.chdir(tmp_path)
    table = frame()
    Path("rows.csv").write_bytes(write(table))
    proposal = propose(["rows.csv"], out=tmp_path / "draft")
    (tmp_path / "draft").mkdir()
    proposal.write(tmp_path / "draft")
    written = yaml.safe_load(proposal.config)["data"]
    assert written.get("csv", {}) == csv
    assert written["time"] == {
        **time,
        "kind": "timestamp",
        **{k: v for k, v in written["time"].items() if k in ("frequency", "gaps")},
    }
    config = load_config(tmp_path / "draft" / "config.yaml")
    kinds = {feature.name: feature.kind for feature in config.data.features if feature.calendar is None}
    numeric = "numeric" if write is epochs else "boolean"
    assert [kind for name, kind in kinds.items() if name in ("open", "column_4")] == [numeric]
    assert f"read: {len(table):,} rows of 2 sequences" in proposal.guesses
    assert not any("can't be used" in guess for guess in proposal.guesses)


def test_a_plain_file_gets_no_options(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    frame().to_csv("rows.csv", index=False)
    written = yaml.safe_load(propose(["rows.csv"], out=Path("draft")).config)["data"]
    assert "csv" not in written
    assert "format" not in written["time"]
    assert written["time"]["column"] == "when"


def test_day_or_month_first_is_said_to_be_not_sure(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    days = [f"{day:02d}/{month:02d}/{year}" for year in range(2001, 2021) for month, day in ((3, 5), (5, 3))]
    rows = [f"{name},{day},{place % 7}.5" for name in "abc" for place, day in enumerate(days)]
    Path("rows.csv").write_text("id,when,x\n" + "\n".join(rows) + "\n")
    reported = [guess for guess in propose(["rows.csv"], out=Path("draft")).guesses if guess.startswith("time format")]
    assert len(reported) == 1
    assert "%d/%m/%Y" in reported[0]
    assert "%m/%d/%Y" in reported[0]
    assert "NOT SURE" in reported[0]

"""Each configuration of docs/your-data.md: valid, and its data becomes sequences of all splits without a lost row."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from noisy_gru.pipeline.config.checks import check_config
from noisy_gru.pipeline.config.loading import load_config
from tests.data.conftest import run

PAGE = Path(__file__).resolve().parents[2] / "docs" / "your-data.md"
BLOCKS = dict(re.findall(r"<!-- (\w+) -->\n```\w+\n(.*?)```", PAGE.read_text(), flags=re.DOTALL))


def hours(count: int, step: str = "1h", start: str = "2026-01-01") -> pd.DatetimeIndex:
    return pd.date_range(start, periods=count, freq=step)


def many(entities: int, rows: Callable[[int], dict[str, Any]], name: str) -> pd.DataFrame:
    return pd.concat([pd.DataFrame({name: f"e{number:02}", **rows(number)}) for number in range(entities)])


def sensors(folder: Path, random: np.random.Generator) -> None:
    frame = many(
        30,
        lambda number: {
            "time": hours(40, "10min"),
            "temperature": random.normal(size=40),
            "vibration": random.normal(size=40),
            "mode": random.choice(["idle", "run"], 40),
            "failed": "yes" if number % 5 == 0 else "no",
        },
        "machine",
    )
    (folder / "readings").mkdir()
    frame.to_csv(folder / "readings" / "a.csv", index=False)


def meter(folder: Path, random: np.random.Generator) -> None:
    frame = pd.DataFrame({"time": hours(2000, "15min"), "kwh": random.random(2000)})
    frame.drop(index=range(500, 505)).to_csv(folder / "meter.csv", index=False)


def shops(folder: Path, random: np.random.Generator) -> None:
    frame = many(
        6,
        lambda number: {
            "week": hours(156, "7D", "2023-01-05"),
            "units": random.poisson(10 * (number + 1), 156),
            "promotion": random.integers(0, 2, 156),
        },
        "shop",
    )
    frame.to_csv(folder / "sales.csv", index=False)


def irregular(folder: Path, random: np.random.Generator) -> None:
    frame = many(
        4,
        lambda number: {
            "time": hours(900, "5min") + pd.to_timedelta(random.integers(-60, 60, 900), unit="s"),
            "glucose": random.normal(100, 10, 900).round(1),
            "insulin": random.poisson(0.1, 900),
        },
        "person",
    )
    keep = np.ones(len(frame), bool)
    keep[100:180] = False
    frame[keep].to_csv(folder / "readings.csv", index=False)


def events(folder: Path, random: np.random.Generator) -> None:
    frame = many(
        30,
        lambda number: {
            "time": pd.Timestamp("2026-01-01") + pd.to_timedelta(np.cumsum(random.integers(1, 9999, 15)), unit="s"),
            "amount": random.random(15),
            "action": random.choice(["view", "buy"], 15),
            "churned": number % 3 == 0,
        },
        "user",
    )
    frame.to_csv(folder / "events.csv", index=False)


def holidays(folder: Path, random: np.random.Generator) -> None:
    many(2, lambda _: {"time": hours(900), "load": random.random(900)}, "region").to_csv(
        folder / "load.csv", index=False
    )


def spellings(folder: Path, random: np.random.Generator) -> None:
    lines = ["Anlage;Datum;Uhrzeit;Druck;offen;Ertrag"]
    for entity in range(20):
        for hour in range(5):
            pressure = "k.A." if hour == 2 else f"{random.random():.3f}".replace(".", ",")
            lines.append(
                f"A{entity};{entity + 1:02}.02.2026;{hour:02}:30;{pressure};{'ja' if hour % 2 else 'nein'};{entity},5"
            )
    (folder / "messwerte.csv").write_text("\n".join(lines))


def tfrecords(folder: Path, random: np.random.Generator) -> None:
    tf = pytest.importorskip("tensorflow")
    with tf.io.TFRecordWriter(str(folder / "records-0.tfrecord")) as writer:
        for number in range(40):
            lists = {
                "id": tf.train.Feature(bytes_list=tf.train.BytesList(value=[f"r{number}".encode()])),
                "kind": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"ab"[number % 2 : number % 2 + 1]])),
                "x": tf.train.Feature(float_list=tf.train.FloatList(value=random.random(4))),
            }
            writer.write(
                tf.train.Example(features=tf.train.Features(feature=lists)).SerializeToString(deterministic=True)
            )


def published(folder: Path, random: np.random.Generator) -> None:
    for split, first in (("train", 0), ("test", 100)):
        frame = many(20, lambda number: {"step": range(5), "x": random.random(5), "kind": number % 2}, "id")
        frame.assign(id=frame["id"] + str(first)).to_csv(folder / f"{split}.csv", index=False)


def archive(folder: Path, random: np.random.Generator) -> None:
    for split in ("TRAIN", "TEST"):
        lines = ["@problemName Motions", "@univariate false", "@classLabel true walking running", "@data"]
        for number in range(20):
            series = [",".join(map(str, random.random(5 + number % 3).round(3)))] * 2
            lines.append(":".join([*series, ("walking", "running")[number % 2]]))
        (folder / f"Motions_{split}.ts").write_text("\n".join(lines))


def wide_series(folder: Path, random: np.random.Generator) -> None:
    frame = pd.DataFrame(random.poisson(10, (156, 6)), columns=[f"shop_{number}" for number in range(6)])
    frame.insert(0, "time", hours(156, "7D", "2023-01-05"))
    frame.assign(holiday=random.integers(0, 2, 156)).to_csv(folder / "wide.csv", index=False)


def wide_steps(folder: Path, random: np.random.Generator) -> None:
    months = pd.date_range("2019-01-01", periods=72, freq="MS")
    frame = pd.DataFrame(random.random((12, 72)), columns=[f"{month:%Y-%m}" for month in months])
    frame.insert(0, "article", [f"a{number}" for number in range(12)])
    frame.assign(group="g").to_csv(folder / "sheet.csv", index=False)


def ucr(folder: Path, random: np.random.Generator) -> None:
    for split in ("TRAIN", "TEST"):
        frame = pd.DataFrame(random.random((20, 9)))
        frame.insert(0, "class", np.arange(20) % 2)
        frame.to_csv(folder / f"Waves_{split}.tsv", sep="\t", header=False, index=False)


def steps(folder: Path, random: np.random.Generator) -> None:
    frame = many(
        30,
        lambda number: {
            "time": hours(40, "1min"),
            "power": random.normal(size=40),
            "program": random.choice(["a", "b"], 40),
            "hall": f"h{number % 2}",
            "state": random.choice(["idle", "run", ""], 40),
        },
        "machine",
    )
    frame.to_csv(folder / "log.csv", index=False)


def labels(folder: Path, random: np.random.Generator) -> None:
    frame = many(
        40,
        lambda number: {
            "time": hours(20, "1s"),
            "loudness": random.normal(size=20),
            "pitch": random.normal(size=20),
            "has_speech": number % 2 == 0,
            "has_music": float("nan") if number % 7 == 0 else float(number % 3 == 0),
            "has_noise": number % 4,
        },
        "recording",
    )
    frame["has_noise"] = frame["has_noise"] // 3
    frame.to_parquet(folder / "recordings.parquet")


def step_numbers(folder: Path, random: np.random.Generator) -> None:
    frame = many(
        30,
        lambda number: {
            "time": hours(60),
            "rain": random.random(60),
            "upstream": random.normal(size=60),
            "level": np.where(random.random(60) < 0.4, np.nan, random.normal(3, 1, 60)),
        },
        "gauge",
    )
    frame.to_csv(folder / "gauges.csv", index=False)


KINDS = [
    step_numbers,
    labels,
    steps,
    sensors,
    meter,
    shops,
    irregular,
    events,
    holidays,
    spellings,
    wide_series,
    wide_steps,
    pytest.param(tfrecords, marks=pytest.mark.slow),
]


@pytest.mark.parametrize("write", [*KINDS, published, archive, ucr])
def test_each_kind(write: Callable[[Path, np.random.Generator], None], tmp_path: Path) -> None:
    name = write.__name__
    write(tmp_path, np.random.default_rng(0))
    (tmp_path / "schema.pbtxt").touch()
    (tmp_path / "config.yaml").write_text(BLOCKS[name])
    config = load_config(tmp_path / "config.yaml")
    check_config(config)
    dataset, files = config.dataset, config.dataset.data.files
    if isinstance(files, dict):
        found = run(dataset, {split: [tmp_path / Path(each).name for each in some] for split, some in files.items()})
    else:
        found = run(dataset, sorted(tmp_path.glob(str(Path(files[0]).relative_to(tmp_path)))))
    assert found.report.rows_read > 0
    assert not found.report.quarantined, found.lines
    assert all(found.ids(split) for split in ("train", "eval", "test"))


def test_every_kind_is_tried() -> None:
    tried = {getattr(each, "values", [each])[0].__name__ for each in KINDS} | {"published", "archive", "ucr"}
    assert set(BLOCKS) == tried

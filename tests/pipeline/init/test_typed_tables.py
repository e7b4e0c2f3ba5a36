"""`noisy-gru init` on typed files, long recordings and folders of files: kinds of which a first draft was wrong."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.feather as pa_feather
import pytest

from noisy_gru.data.arrow import pa, pa_parquet
from noisy_gru.data.reading.csv_detection import detect_dialect
from noisy_gru.data.sequences.splits import hash_fraction
from noisy_gru.pipeline.config.checks import check_config, input_files
from noisy_gru.pipeline.config.loading import load_config
from noisy_gru.pipeline.init.proposal import propose

STEPS = 60
HOURS = pd.date_range("2024-01-01", periods=STEPS, freq="h")
SENSORS = [f"s{number}" for number in range(4)]
LOADS = np.random.default_rng(0).normal(10, 3, STEPS * len(SENSORS))


def drafted(folder: Path, *files: Path | str, **given: Any) -> tuple[Any, list[str]]:
    """The configuration of a draft that `validate` accepts, and what was guessed."""
    proposal = propose([str(file) for file in files], out=folder / "out", **given)
    (folder / "out").mkdir(exist_ok=True)
    proposal.write(folder / "out", force=True)
    config = load_config(folder / "out" / "config.yaml")
    check_config(config)
    return config, proposal.guesses


def table(when: Any, load: Any, **columns: Any) -> Any:
    sensors = np.repeat(SENSORS, STEPS).tolist()
    return pa.table({"sensor": sensors, "when": when, "load": load, **columns})


def decimals() -> Any:
    return pa.array([Decimal(f"{load:.3f}") for load in LOADS], pa.decimal128(12, 3))


WHEN = pa.array(HOURS.tolist() * len(SENSORS), pa.timestamp("us"))
COUNT = STEPS * len(SENSORS)
SECONDS = (HOURS - pd.Timestamp("1970-01-01")) // pd.Timedelta("1s")


@pytest.mark.parametrize(
    ("when", "load"),
    [
        (WHEN, decimals()),
        (WHEN, decimals().dictionary_encode()),
        (WHEN, pa.array([f"{load:.3f}" for load in LOADS])),
        (pa.array([f"{hour:%d.%m.%Y %H:%M}" for hour in HOURS] * len(SENSORS)), pa.array(LOADS)),
        (pa.array(SECONDS.tolist() * len(SENSORS)), pa.array(LOADS)),
        (pa.array((SECONDS * 1000).tolist() * len(SENSORS)), pa.array(LOADS)),
    ],
    ids=["decimal", "dictionary of decimals", "text", "day first", "epoch_s", "epoch_ms"],
)
@pytest.mark.parametrize("ending", ["parquet", "feather"])
def test_numbers_and_times_of_typed_files(tmp_path, when, load, ending):
    write = pa_parquet.write_table if ending == "parquet" else pa_feather.write_feather
    # A code of digits is no amount: the file could have stored it as a number.
    write(table(when, load, code=pa.array([f"0{place % 3}" for place in range(COUNT)])), tmp_path / f"rows.{ending}")
    config, guesses = drafted(tmp_path, tmp_path / f"rows.{ending}")
    assert (config.data.entity, config.data.time.column, config.data.time.kind) == ("sensor", "when", "timestamp")
    assert (config.task.targets, config.task.season_length) == (["load"], 24)
    assert "steps 1 hour: the usual distance of times" in guesses
    assert [(each.name, each.kind) for each in config.data.features if each.name == "code"] == [("code", "categorical")]
    assert not any("can't be used" in guess for guess in guesses)


def test_days_as_whole_numbers_of_parquet(tmp_path):
    days = pd.date_range("2024-01-01", periods=STEPS).strftime("%Y%m%d").astype(int).tolist()
    pa_parquet.write_table(table(pa.array(days * len(SENSORS)), pa.array(LOADS)), tmp_path / "rows.parquet")
    config, guesses = drafted(tmp_path, tmp_path / "rows.parquet")
    assert (config.data.time.format, config.task.season_length) == ("%Y%m%d", 7)
    assert "steps 1 day: the usual distance of times" in guesses


@pytest.mark.parametrize("nested", [pa.array([[1.0, 2.0]] * COUNT), pa.array([{"a": 1.0}] * COUNT)])
def test_lists_and_objects_of_parquet_are_left_out(tmp_path, nested):
    pa_parquet.write_table(table(WHEN, pa.array(LOADS), more=nested), tmp_path / "rows.parquet")
    config, guesses = drafted(tmp_path, tmp_path / "rows.parquet")
    assert "left out more: lists or objects: a row has one value of a column" in guesses
    assert "more" not in [feature.name for feature in config.data.features]


@pytest.mark.parametrize("often", [1, 20])
def test_lists_beside_what_is_read_take_no_row_of_json_lines(tmp_path, often):
    rows = [
        {"sensor": sensor, "when": hour.isoformat(), "load": LOADS[place]} | ({} if place % often else {"at": [1, 2]})
        for sensor in SENSORS
        for place, hour in enumerate(HOURS)
    ]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    _, guesses = drafted(tmp_path, tmp_path / "rows.jsonl")
    assert f"entity sensor: {STEPS} rows each (median), and its name suggests it, in blocks" in guesses
    assert "steps 1 hour: the usual distance of times" in guesses


def test_a_label_of_long_recordings(tmp_path):
    """The first 10,000 rows are of four recordings."""
    steps = 3000
    frames = [
        pd.DataFrame({"rec": f"r{number}", "n": range(steps), "ecg": LOADS[0], "label": "AN"[number % 2]})
        for number in range(40)
    ]
    pd.concat(frames).assign(ecg=lambda rows: np.arange(len(rows)) % 977 / 10).to_csv(tmp_path / "ecg.csv", index=False)
    config, _ = drafted(tmp_path, tmp_path / "ecg.csv")
    assert (config.task.kind, config.task.label, config.data.entity) == ("classification", "label", "rec")


def sales(**columns: Any) -> pd.DataFrame:
    weeks = pd.date_range("2022-01-02", periods=80, freq="W").strftime("%Y-%m-%d").tolist()
    random = np.random.default_rng(1)
    shops = np.repeat([f"S{number}" for number in range(12)], len(weeks))
    amounts = {name: values(random, len(shops)) for name, values in columns.items()}
    return pd.DataFrame({"store_id": shops, "week": weeks * 12, **amounts})


def prices(random: Any, count: int) -> np.ndarray:
    return random.normal(10, 1, count).round(2)


def amounts(random: Any, count: int) -> np.ndarray:
    return random.poisson(40, count)


@pytest.mark.parametrize("amount", ["units_sold", "quantity", "qty", "bookings"])
def test_what_is_sold_is_forecast_and_not_its_price(tmp_path, amount):
    sales(price=prices, **{amount: amounts}).to_csv(tmp_path / "rows.csv", index=False)
    config, guesses = drafted(tmp_path, tmp_path / "rows.csv")
    assert config.task.targets == [amount]
    assert f"target {amount}: its name suggests it" in guesses


def test_the_price_of_what_is_traded_is_forecast(tmp_path):
    sales(price=prices, volume=amounts).to_csv(tmp_path / "rows.csv", index=False)
    config, _ = drafted(tmp_path, tmp_path / "rows.csv")
    assert config.task.targets == ["price"]


@pytest.mark.parametrize("label", ["converted", "is_fraud", "Readmitted"])
def test_a_label_of_users_events(tmp_path, label):
    random = np.random.default_rng(2)
    users = np.repeat(np.arange(40), 20)
    times = np.cumsum(random.exponential(9, len(users))) + 1.7e9
    frame = pd.DataFrame({"user_id": users, "time": pd.to_datetime(times, unit="s"), "amount": random.normal(size=800)})
    frame[label] = users % 3 == 0
    frame.to_csv(tmp_path / "events.csv", index=False)
    config, _ = drafted(tmp_path, tmp_path / "events.csv")
    assert (config.task.kind, config.task.label) == ("classification", label)


def test_a_label_of_each_run_of_a_machine(tmp_path):
    random = np.random.default_rng(3)
    runs = [(machine, run) for machine in range(12) for run in range(8)]
    frames = [pd.DataFrame({"machine": machine, "run": run, "temp": random.normal(size=30)}) for machine, run in runs]
    frame = pd.concat(frames, ignore_index=True)
    frame["failure"] = (frame["machine"] + frame["run"]) % 3 // 2
    frame.insert(2, "time", (pd.date_range("2024-01-01", periods=240, freq="10min").tolist()) * 12)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    config, guesses = drafted(tmp_path, tmp_path / "rows.csv")
    assert (config.task.kind, config.task.label) == ("classification", "failure")
    assert config.data.entity == ["machine", "run"]
    why = "a label changes within a machine, not within a run of it"
    assert f"entity machine+run: {why}; or machine  <- NOT SURE, --entity decides" in guesses
    assert any(guess.startswith("read: 2,880 rows of 96 sequences") for guess in guesses)
    config, _ = drafted(tmp_path, tmp_path / "rows.csv", entity="machine")
    assert (config.task.kind, config.data.entity) == ("forecasting", "machine")


@pytest.mark.parametrize("shortest", [1, 5])
def test_few_rows_are_of_entities_too_short_for_a_window(tmp_path, shortest):
    """A run fails where more than 5 % of the rows are quarantined; policies.max_quarantined_fraction."""
    random = np.random.default_rng(4)
    counts = np.concatenate([random.integers(shortest, 60, 120), random.integers(8, 20, 40)])
    frames = [
        pd.DataFrame({"user_id": f"u{user}", "time": np.cumsum(random.exponential(60, count)) + 1.7e9, "amount": 1.0})
        for user, count in enumerate(counts)
    ]
    frame = pd.concat(frames, ignore_index=True)
    frame["time"] = pd.to_datetime(frame["time"], unit="s")
    frame["amount"] = random.gamma(2, 15, len(frame)).round(2)
    frame.to_csv(tmp_path / "events.csv", index=False)
    config, _ = drafted(tmp_path, tmp_path / "events.csv")
    assert config.task.kind == "forecasting"
    too_short = counts[counts < config.task.input_length + config.task.horizons[-1]].sum()
    assert too_short <= 0.05 * counts.sum()
    assert config.data.policies.too_short == "quarantine"


def test_rows_of_entities_too_short_for_any_window_are_dropped(tmp_path):
    counts = np.tile([1, 1, 3, 4], 40)
    users = np.random.default_rng(5).permutation(np.repeat(np.arange(len(counts)), counts))
    times = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(len(users)) ** 1.5, unit="min")
    amounts = np.random.default_rng(5).gamma(2, 15, len(users))
    pd.DataFrame({"user_id": users, "time": times, "amount": amounts}).to_csv(tmp_path / "events.csv", index=False)
    config, guesses = drafted(tmp_path, tmp_path / "events.csv", entity="user_id")
    assert "steps irregular: 100% of the times are off a common grid" in guesses
    assert (config.data.policies.too_short, config.task.season_length) == ("drop", None)
    assert any(guess.startswith("too_short drop: 22% of the rows are of a user_id") for guess in guesses)


@pytest.mark.parametrize("count", [12, 30, 48])
def test_few_sequences_are_tested_on_what_there_is(tmp_path, count):
    frames = [
        pd.DataFrame({"id": f"r{number}", "step": range(12), "x": LOADS[number : number + 12], "grade": number % 2})
        for number in range(count)
    ]
    pd.concat(frames).to_csv(tmp_path / "rows.csv", index=False)
    config, guesses = drafted(tmp_path, tmp_path / "rows.csv")
    tested = sum(hash_fraction(f"r{number}", config.seed) < config.dataset.splits.test for number in range(count))
    assert config.evaluation.min_test_sequences == tested
    assert tested >= count // 5
    assert any(guess.startswith(f"min_test_sequences {tested}: ") for guess in guesses)


def test_the_test_files_hold_as_many_sequences_as_are_required(tmp_path):
    for split, count in (("train", 30), ("test", 7)):
        frames = [
            pd.DataFrame({"id": f"{split}{number}", "step": range(12), "x": LOADS[:12], "grade": number % 2})
            for number in range(count)
        ]
        pd.concat(frames).to_csv(tmp_path / f"{split}.csv", index=False)
    config, _ = drafted(tmp_path, tmp_path / "train.csv", tmp_path / "test.csv")
    assert config.evaluation.min_test_sequences == 7


def test_columns_of_one_value_are_left_out_as_such(tmp_path):
    frame = sales(x=prices)
    frame["label"] = frame["store_id"].isin(["S1", "S2", "S7"])
    frame.assign(unit="kg", gain=1.0).to_csv(tmp_path / "rows.csv", index=False)
    config, guesses = drafted(tmp_path, tmp_path / "rows.csv")
    assert config.task.kind == "classification"
    assert {"left out unit: at most one value", "left out gain: at most one value"} <= set(guesses)


def test_folders_of_many_files_are_patterns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for split, count in (("train", 24), ("test", 12)):
        for number in range(count):
            folder = tmp_path / "all" / split / f"person {number % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            frame = pd.DataFrame({"id": f"{split}{number}", "t": range(20), "x": LOADS[:20], "label": number % 2})
            frame.to_csv(folder / f"part_{number}.csv", index=False)
    config, _ = drafted(tmp_path, "all/**/*.csv")
    assert config.data.files == {split: [f"{tmp_path}/all/{split}/**/*.csv"] for split in ("train", "test")}
    assert len(input_files(config)) == 36
    (tmp_path / "all" / "train" / "person 0" / "part_99.csv").write_text("no file of the draft\n")
    named = sorted(path for path in (tmp_path / "all").rglob("part_*.csv") if path.name != "part_99.csv")
    config, _ = drafted(tmp_path, *named)
    assert len(input_files(config)) == 36
    config, _ = drafted(tmp_path, "all/train/person 1/*.csv")
    assert config.data.files == [f"{tmp_path}/all/train/person 1/*.csv"]


def test_a_file_without_a_header_shows_its_first_cells():
    lines = "\n".join(" ".join(f"{value:.3f}" for value in np.arange(200) / 7 + line) for line in range(5))
    (message,) = [each.why for each in detect_dialect(lines.encode()).findings if each.what == "csv.header false"]
    assert (
        message
        == "the first line is a row like the others: 0.000, 0.143, 0.286, 0.429, 0.571, … (200 cells); name the columns"
    )

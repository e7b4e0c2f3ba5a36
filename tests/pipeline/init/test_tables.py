"""`noisy-gru init` on tables as people have them: what it guesses is what a person who knows the data would say.

The answer stands beside each table: a panel of the literature, and small tables with the columns and steps of meters,
shops, routes, sensors and UCR files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from noisy_gru.data.sequences.splits import hash_fraction
from noisy_gru.pipeline.cli.main import app
from noisy_gru.pipeline.cli.questions import ask_user
from noisy_gru.pipeline.config.checks import check_config
from noisy_gru.pipeline.config.loading import load_config
from noisy_gru.pipeline.init.preview import sparkline
from noisy_gru.pipeline.init.proposal import propose
from noisy_gru.pipeline.init.roles import Guess
from noisy_gru.schema.errors import ConfigError

# Grunfeld (1958), three firms of ten as Baltagi prints them: gross investment and value, 1935 to 1954.
GRUNFELD = {
    "General Motors": (
        "317.6 391.8 410.6 257.7 330.8 461.2 512.0 448.0 499.6 547.5 561.2 688.1 568.9 529.2 555.1 642.9 "
        "755.9 891.2 1304.4 1486.7",
        "3078.5 4661.7 5387.1 2792.2 4313.2 4643.9 4551.2 3244.1 4053.7 4379.3 4840.9 4900.9 3526.5 3254.7 "
        "3700.2 3755.6 4833.0 4924.9 6241.7 5593.6",
    ),
    "US Steel": (
        "209.9 355.3 469.9 262.3 230.4 361.6 472.8 445.6 361.6 288.2 258.7 420.3 420.5 494.5 405.1 418.8 "
        "588.2 645.5 641.0 459.3",
        "1362.4 1807.1 2676.3 1801.9 1957.3 2202.9 2380.5 2168.6 1985.1 1813.9 1850.2 2067.7 1796.7 1625.8 "
        "1667.0 1677.4 2289.5 2159.4 2031.3 2115.5",
    ),
    "General Electric": (
        "33.1 45.0 77.2 44.6 48.1 74.4 113.0 91.9 61.3 56.8 93.6 159.9 147.2 146.3 98.3 93.5 135.2 157.3 179.5 189.6",
        "1170.6 2015.8 2803.3 2039.7 2256.2 2132.2 1834.1 1588.0 1749.4 1687.2 2007.7 2208.3 1656.7 1604.4 "
        "1431.8 1610.5 1819.4 2079.7 2371.6 2759.9",
    ),
}


def grunfeld() -> pd.DataFrame:
    frames = [
        pd.DataFrame({"firm": firm, "year": range(1935, 1955), "inv": inv.split(), "value": value.split()})
        for firm, (inv, value) in GRUNFELD.items()
    ]
    return pd.concat(frames, ignore_index=True)


def draft(folder: Path, frame: pd.DataFrame, name: str = "rows.csv", **given: Any) -> Any:
    """The configuration that is proposed for a table, once it has passed its validation."""
    folder.mkdir(exist_ok=True, parents=True)
    frame.to_csv(folder / name, index=False)
    return drafted(folder, folder / name, **given)


def drafted(folder: Path, *files: Path, **given: Any) -> Any:
    propose([str(file) for file in files], out=folder / "out", **given).write(folder / "out", force=True)
    config = load_config(folder / "out" / "config.yaml")
    check_config(config)
    return config


def message(folder: Path) -> str:
    return (folder / "out" / "config.yaml").read_text()


def waves(steps: int, period: float, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return 50 + 10 * np.sin(2 * np.pi * np.arange(steps) / period) + random.normal(0, 1, steps)


def one_meter(frequency: str, steps: int, period: float, **columns: Any) -> pd.DataFrame:
    when = pd.date_range("2021-01-04", periods=steps, freq=frequency)
    return pd.DataFrame({"when": when.strftime("%Y-%m-%d %H:%M:%S"), "kwh": waves(steps, period), **columns})


def test_a_panel_of_firms_and_years(tmp_path):
    config = draft(tmp_path, grunfeld())
    assert (config.data.entity, config.data.time.column, config.data.time.kind) == ("firm", "year", "integer")
    assert (config.task.kind, config.task.targets, config.task.season_length) == ("forecasting", ["inv"], None)
    assert config.splits.by == "time"
    assert "target inv: its name suggests it; or value  <- NOT SURE, --target decides" in message(tmp_path)


def test_row_numbers_are_no_time(tmp_path):
    frame = grunfeld().drop(columns="value")
    frame.insert(0, "rownames", range(1, len(frame) + 1))
    config = draft(tmp_path, frame)
    assert (config.data.entity, config.data.time.column) == ("firm", "year")
    assert "rownames" not in [feature.name for feature in config.data.features]
    assert "left out: rownames (numbers the rows)" in message(tmp_path)


@pytest.mark.parametrize(
    ("frequency", "steps", "season"),
    [
        ("5min", 2000, 288),
        ("15min", 2000, 96),
        ("30min", 1000, 48),
        ("1h", 1000, 24),
        ("1D", 400, 7),
        ("B", 400, 5),
        ("7D", 300, 52),
        ("MS", 120, 12),
        ("QS", 60, 4),
        ("YS", 60, None),
    ],
)
def test_one_series_and_its_season(tmp_path, frequency, steps, season):
    config = draft(tmp_path, one_meter(frequency, steps, period=season or 9))
    assert config.data.entity is None
    assert (config.data.time.column, config.data.time.kind) == ("when", "timestamp")
    assert (config.task.kind, config.task.targets) == ("forecasting", ["kwh"])
    assert config.task.season_length == season
    assert config.splits.by == "time"
    assert len(config.task.horizons) > 1
    assert config.task.horizons[-1] <= max(12, season or 12)


def test_business_days_of_a_market_are_a_grid(tmp_path):
    """The closed days of New York in 2024, as the exchange printed them."""
    closed = ["2024-01-01", "2024-01-15", "2024-02-19", "2024-03-29", "2024-05-27", "2024-06-19", "2024-07-04",
              "2024-09-02", "2024-11-28", "2024-12-25"]  # fmt: skip
    frame = one_meter("B", 400, 5).assign(when=pd.bdate_range("2023-11-01", periods=400).strftime("%Y-%m-%d"))
    plain = draft(tmp_path / "plain", frame).data.time
    assert (plain.frequency, plain.gaps, plain.holidays) == ("1B", "fill", None)
    open_ = frame[~frame["when"].isin([*closed, "2023-11-23", "2023-12-25", "2025-01-01", "2025-01-09", "2025-01-20",
                                       "2025-02-17", "2025-04-18"])]  # fmt: skip
    time = draft(tmp_path / "market", open_).data.time
    assert (time.frequency, time.gaps, time.holidays.market) == ("1B", "fill", "XNYS")
    # A shop that is closed on Sundays, and days of which many are missing, are not of business days.
    days = pd.date_range("2024-01-01", periods=380)
    for name, left in (("shop", days[days.dayofweek != 6]), ("gaps", days.delete([*range(3, 370, 4)]))):
        found = draft(tmp_path / name, frame[: len(left)].assign(when=left.strftime("%Y-%m-%d")))
        assert (found.data.time.frequency, found.data.time.gaps) == ("1D", "fill")


def test_days_with_the_year_and_without_a_week(tmp_path):
    assert draft(tmp_path, one_meter("1D", 1500, period=365)).task.season_length == 365


def test_a_float_that_rises_and_falls_is_no_entity(tmp_path):
    frame = one_meter("5min", 1500, 288).rename(columns={"kwh": "glucose"})
    frame["glucose"] = frame["glucose"].round()
    config = draft(tmp_path, frame)
    assert (config.data.entity, config.task.targets) == (None, ["glucose"])


def test_rows_from_the_newest_to_the_oldest(tmp_path):
    config = draft(tmp_path, one_meter("7D", 160, 52)[::-1])
    assert (config.data.time.column, config.task.season_length) == ("when", 52)


def stores(**columns: Any) -> pd.DataFrame:
    weeks = pd.date_range("2020-01-03", periods=120, freq="7D").strftime("%Y-%m-%d")
    frame = pd.DataFrame({"store": np.repeat(list("abcd"), 120), "week": np.tile(weeks, 4)})
    frame["sales"] = np.concatenate([waves(120, 52, seed) for seed in range(4)]).round(2)
    return frame.assign(**columns)


def test_what_is_constant_in_a_store_is_no_label(tmp_path):
    config = draft(tmp_path, stores(type=np.repeat(list("AABB"), 120)))
    assert (config.data.entity, config.data.time.column) == ("store", "week")
    assert (config.task.kind, config.task.targets, config.task.season_length) == ("forecasting", ["sales"], 52)
    assert ("type", "categorical") in [(each.name, each.kind) for each in config.data.features if each.static]


def test_numbers_that_were_seen_in_part_are_not_taken_for_static(tmp_path):
    """Only the first 10,000 rows of a file are sampled: a price that held so far may change later."""
    frame = one_meter("1h", 10_500, 24, site=np.where(np.arange(10_500) % 2, "b", "a"))
    frame["when"] = np.repeat(frame["when"][::2], 2).to_numpy()
    frame["price"] = np.where(np.arange(10_500) < 10_200, np.where(frame["site"] == "a", 3.5, 4.0), 5.0)
    frame["zone"] = np.where(frame["site"] == "a", "north", "south")
    features = {each.name: each for each in draft(tmp_path, pd.concat([frame])).data.features}
    assert not features["price"].static


def test_what_is_named_a_label_is_one(tmp_path):
    frame = pd.concat([stores().assign(store=lambda rows, place=place: rows["store"] + place) for place in "abc"])
    frame["failure"] = np.where(frame["store"].isin(["aa", "bc", "cc", "da"]), "yes", "no")
    config = draft(tmp_path, frame)
    assert (config.task.kind, config.task.label) == ("classification", "failure")


@pytest.mark.parametrize("spelling", [("TRUE", "FALSE"), ("true", "false"), ("yes", "no"), ("t", "f"), ("Y", "N")])
def test_flags_are_boolean_features(tmp_path, spelling):
    flag = np.where(np.arange(480) % 7 == 0, *spelling)
    config = draft(tmp_path, stores(holiday=flag))
    (feature,) = [each for each in config.data.features if each.name == "holiday"]
    assert config.task.targets == ["sales"]
    assert feature.kind == "boolean"


def test_two_words_that_are_no_flag(tmp_path):
    config = draft(tmp_path, stores(channel=np.where(np.arange(480) % 3 == 0, "on", "yes")))
    assert ("channel", "categorical") in [(each.name, each.kind) for each in config.data.features]


def test_a_name_of_the_entity_and_the_number_of_a_row_are_left_out(tmp_path):
    frame = stores(store_code=np.repeat([11, 12, 13, 14], 120), guid=[f"{place:x}-77" for place in range(480)])
    config = draft(tmp_path, frame)
    assert config.data.entity == "store"
    assert [each.name for each in config.data.features if each.calendar is None] == ["sales", "store"]
    assert "left out: store_code (another name of store)" in message(tmp_path)
    assert "left out: guid (another value in each row: an id)" in message(tmp_path)


def recordings(count: int, prefix: str, label: str = "class") -> pd.DataFrame:
    random = np.random.default_rng(len(prefix))
    frame = pd.DataFrame({"case": np.repeat([f"{prefix}{place}" for place in range(count)], 40)})
    frame["step"] = np.tile(np.arange(40), count)
    frame["value"] = random.normal(size=len(frame)).round(3)
    frame[label] = np.repeat(random.integers(0, 2, count), 40)
    return frame


@pytest.mark.parametrize(
    ("train", "evaluation", "test"),
    [
        ("train.csv", None, "test.csv"),
        ("GunPoint_TRAIN.csv", None, "GunPoint_TEST.csv"),
        ("train/rows.csv", "validation/rows.csv", "test/rows.csv"),
        ("train/test_bench.csv", None, "test/test_bench.csv"),
        ("a/training/x.csv", "a/val/x.csv", "a/holdout/x.csv"),
    ],
)
def test_a_published_split_is_kept(tmp_path, train, evaluation, test):
    files = {"train": train, "eval": evaluation, "test": test}
    files = {split: name for split, name in files.items() if name is not None}
    for split, name in files.items():
        path = tmp_path / "testing" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        recordings(30, split).to_csv(path, index=False)
    config = drafted(tmp_path, *(tmp_path / "testing" / name for name in files.values()))
    assert (config.splits.by, config.task.label) == ("files", "class")
    assert {split: len(patterns) for split, patterns in config.data.files.items()} == dict.fromkeys(files, 1)
    for split, name in files.items():
        assert config.data.files[split][0].endswith(name)


def test_sequences_that_are_numbered_anew_in_each_split_are_refused(tmp_path):
    for name in ("train.csv", "test.csv"):
        recordings(30, "case ").to_csv(tmp_path / name, index=False)
    with pytest.raises(
        ConfigError, match=r"case case 0 is in several of train, test, with the same step.* train-case 0"
    ):
        drafted(tmp_path, tmp_path / "train.csv", tmp_path / "test.csv")


def test_files_of_which_one_has_no_split_are_no_published_split(tmp_path):
    for name in ("train.csv", "test.csv", "rest.csv"):
        recordings(30, name[:2]).to_csv(tmp_path / name, index=False)
    config = drafted(tmp_path, *(tmp_path / name for name in ("train.csv", "test.csv", "rest.csv")))
    assert config.splits.by == "entity"


def test_test_files_that_go_on_in_time_make_a_split_by_time(tmp_path):
    frame = one_meter("1h", 800, 24)
    frame[:600].to_csv(tmp_path / "train.csv", index=False)
    frame[600:].to_csv(tmp_path / "test.csv", index=False)
    config = drafted(tmp_path, tmp_path / "train.csv", tmp_path / "test.csv")
    assert (config.splits.by, config.splits.test) == ("time", frame["when"][600])
    assert config.data.entity is None


def test_short_histories_are_split_by_entity(tmp_path):
    frame = pd.DataFrame({"route": np.repeat(np.arange(40), 4), "year": np.tile([1997, 1998, 1999, 2000], 40)})
    frame["fare"] = np.random.default_rng(0).normal(200, 20, 160).round()
    config = draft(tmp_path, frame)
    assert (config.data.entity, config.data.time.column, config.task.targets) == ("route", "year", ["fare"])
    assert (config.splits.by, config.task.horizons) == ("entity", [1])


@pytest.mark.parametrize("phases", [[0, 130], [0, 61, 200, 17]])
def test_a_sensor_that_restarts_with_another_phase_keeps_its_rows(tmp_path, phases):
    rows = 600 // len(phases)
    seconds = [300 * (number * rows + step) + phase for number, phase in enumerate(phases) for step in range(rows)]
    times = pd.Timestamp("2024-01-01") + pd.to_timedelta(seconds, unit="s")
    frame = pd.DataFrame({"sensor": "s1", "time": times, "glucose": 100 + 9 * np.sin(np.arange(len(seconds)) / 9)})
    time = draft(tmp_path, frame).data.time
    assert (time.frequency, time.gaps) == ("5min", "fill")
    steps = times.floor("5min") if time.align == "floor" else times.round("5min")
    assert time.align != "exact" and steps.nunique() > len(times) - len(phases)


@pytest.mark.parametrize(("phase", "align"), [(0, "nearest"), (20, "nearest"), (130, "floor")])
def test_a_clock_that_jitters_and_drifts_keeps_its_rows(tmp_path, phase, align):
    random = np.random.default_rng(0)
    kept = np.sort(random.choice(900, 850, replace=False))
    seconds = phase + 300.05 * kept + random.integers(-4, 5, 850)
    times = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.round(seconds), unit="s")
    frame = pd.DataFrame({"sensor": "s1", "time": times, "glucose": 100 + 9 * np.sin(kept / 9)})
    time = draft(tmp_path, frame).data.time
    assert (time.frequency, time.align, time.gaps) == ("5min", align, "fill")
    steps = times.floor("5min") if align == "floor" else times.round("5min")
    assert steps.nunique() > 845


def test_times_without_a_usual_distance_have_no_grid(tmp_path):
    seconds = np.cumsum(np.random.default_rng(0).integers(1, 4000, 600))
    times = pd.Timestamp("2024-01-01") + pd.to_timedelta(seconds, unit="s")
    frame = pd.DataFrame({"sensor": "s1", "time": times, "glucose": 100 + 9 * np.sin(seconds / 9999)})
    time = draft(tmp_path, frame).data.time
    assert (time.frequency, time.align, time.gaps) == (None, "exact", "ignore")


def test_gaps_are_filled_on_a_grid_and_left_where_there_is_none(tmp_path):
    frame = one_meter("1h", 900, 24)
    config = draft(tmp_path / "a", frame)
    assert (config.data.time.gaps, config.data.time.frequency) == ("fill", "1h")
    calendars = [feature for feature in config.data.features if feature.calendar]
    assert calendars and all(feature.known_in_advance for feature in calendars)
    time = draft(tmp_path / "b", frame.drop(index=[100, 101, 350])).data.time
    assert (time.gaps, time.frequency) == ("fill", "1h")
    open_hours = frame[pd.to_datetime(frame["when"]).dt.hour.between(8, 19)]
    time = draft(tmp_path / "c", open_hours).data.time
    assert (time.gaps, time.frequency) == ("fill", "1h")
    # A logger that restarts with another phase: rows move to the grid, which would reject most of them.
    when = pd.to_datetime(frame["when"]) + pd.to_timedelta(np.repeat(np.arange(3), 300) * 17, "min")
    frame["when"] = when.dt.strftime("%Y-%m-%d %H:%M:%S")
    config = draft(tmp_path / "d", frame)
    time = config.data.time
    assert (time.gaps, time.align, config.task.season_length) == ("fill", "nearest", 24)


@pytest.mark.parametrize(
    ("freq", "frequency", "season"), [("MS", "MS", 12), ("ME", "ME", 12), ("QS", "QS", 4), ("YS", "YS", None)]
)
def test_steps_of_the_calendar(tmp_path, freq, frequency, season):
    """Months are of different lengths, and every fourth is missing in one series: the season is 12 all the same."""
    found = [one_meter(freq, 96, season or 5, shop=name) for name in ("a", "b", "c")]
    found[1] = found[1].drop(index=range(3, 96, 4))
    config = draft(tmp_path, pd.concat(found))
    time = config.data.time
    assert (time.frequency, time.gaps, config.task.season_length) == (frequency, "fill", season)


def test_months_on_days_that_change(tmp_path):
    frame = one_meter("MS", 96, 12)
    days = np.random.default_rng(2).integers(0, 3, 96)
    frame["when"] = (pd.to_datetime(frame["when"]) + pd.to_timedelta(days, "D")).dt.strftime("%Y-%m-%d")
    config = draft(tmp_path, frame)
    time = config.data.time
    assert (time.frequency, time.align, config.task.season_length) == ("MS", "floor", 12)
    frame["when"] = (pd.to_datetime(frame["when"]) - pd.Timedelta(days=1)).dt.strftime("%Y-%m-%d")
    assert draft(tmp_path / "around", frame).data.time.align == "nearest"


def test_the_training_fits_the_amount_of_data(tmp_path):
    small = draft(tmp_path / "small", one_meter("1D", 120, 7)).training
    large = draft(tmp_path / "large", one_meter("5min", 40_000, 288)).training
    assert small.batch_size < large.batch_size
    assert small.epochs > large.epochs
    config = draft(tmp_path / "large", one_meter("5min", 40_000, 288))
    assert config.task.stride > 1
    assert np.gcd(config.task.stride, 288) == 1  # windows end at all times of the day


def test_entity_none_makes_one_series(tmp_path):
    frame = one_meter("1h", 400, 24, site="north")
    assert draft(tmp_path, frame).data.entity == "site"
    assert draft(tmp_path, frame, entity="none").data.entity is None
    with pytest.raises(ConfigError, match="expected one of the columns when, kwh, site, received nowhere"):
        draft(tmp_path, frame, entity="nowhere")


def test_questions_decide(tmp_path):
    frame = stores(cost=np.round(waves(480, 52, 9), 2), price=np.round(waves(480, 40, 8), 2))
    requested: list[Guess] = []

    def ask(guess: Guess) -> str:
        requested.append(guess)
        return "cost" if guess.option == "--target" else guess.value

    frame = frame.drop(columns="sales")
    config = draft(tmp_path, frame, ask=ask)
    assert config.task.targets == ["cost"]
    assert [(guess.value, guess.others) for guess in requested if guess.option == "--target"] == [("price", ("cost",))]
    assert len(requested) == len({guess.option for guess in requested})
    assert "NOT SURE" not in message(tmp_path)


@pytest.mark.parametrize(
    ("typed", "expected"), [("", "inv"), ("2", "value"), ("capital", "capital"), ("9\n3", "capital")]
)
def test_a_question_takes_a_number_or_a_name(typed, expected):
    import typer

    shell = typer.Typer()
    found = []

    @shell.command()
    def command() -> None:
        found.append(ask_user(Guess("target inv", "why", False, "--target", "inv", ("value", "capital"))))

    result = CliRunner().invoke(shell, [], input=f"{typed}\n")
    assert result.exit_code == 0, result.output
    assert found == [expected]
    assert "2  value" in result.output


def test_the_preview_shows_what_was_read(tmp_path):
    frame = one_meter("1h", 500, 24).drop(index=[10, 20])
    frame.loc[30:39, "kwh"] = np.nan
    frame.to_csv(tmp_path / "rows.csv", index=False)
    result = CliRunner().invoke(app, ["init", "--data", str(tmp_path / "rows.csv"), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    for line in (
        "498 rows, one series",
        "step: 1 hour (0.40% of the steps missing)",
        "missing values: kwh 10",
        "when                 kwh",
        "2021-01-04 00:00:00  ",
    ):
        assert line in result.output
    assert any(bar in result.output for bar in "▁▂▃▄▅▆▇█")


def test_a_sparkline_by_hand():
    assert sparkline(np.array([0.0, 1, 2, 3, 4, 5, 6, 7])) == "▁▂▃▄▅▆▇█"
    assert sparkline(np.array([1.0, np.nan, 3.0])) == "▁ █"
    assert sparkline(np.array([5.0, 5.0])) == "▁▁"
    assert sparkline(np.full(3, np.nan)) == "   "
    assert sparkline(np.arange(600.0)) == sparkline(np.arange(60.0))
    assert sparkline(np.array([])) == ""


def test_what_a_time_hardly_repeats_in_is_no_entity(tmp_path):
    """A state that changes hands in one steady series, and counts that are unique in a day."""
    frame = one_meter("1min", 3000, 500, machine_status=np.where(np.arange(3000) % 1500 > 1400, "BROKEN", "NORMAL"))
    config = draft(tmp_path / "pump", frame)
    assert (config.data.entity, config.data.time.column) == (None, "when")
    when = pd.date_range("2011-01-01", periods=2000, freq="h")
    counts = np.random.default_rng(0).poisson(np.abs(waves(2000, 24)) * 20)
    frame = pd.DataFrame({"instant": range(1, 2001), "dteday": when.strftime("%Y-%m-%d"), "hr": when.hour})
    config = draft(tmp_path / "bikes", frame.assign(windspeed=waves(2000, 50, 1), registered=counts, cnt=counts + 3))
    assert (config.data.entity, config.data.time.column) == (None, "instant")
    assert (config.task.targets, config.task.season_length) == (["cnt"], 24)


def test_events_of_users_belong_to_the_users(tmp_path):
    random = np.random.default_rng(0)
    seconds = np.sort(random.choice(90 * 86400, 4000, replace=False))
    frame = pd.DataFrame({"visitorid": random.integers(0, 100, 4000)})
    frame["timestamp"] = (pd.Timestamp("2024-01-01") + pd.to_timedelta(seconds, "s")).strftime("%Y-%m-%dT%H:%M:%SZ")
    frame["event"] = random.choice(["view", "cart", "buy"], 4000)
    frame["amount"] = random.uniform(0, 100, 4000).round(2)
    frame["churned"] = frame["visitorid"] % 3 == 0
    config = draft(tmp_path, frame)
    assert (config.data.entity, config.task.kind, config.task.label) == ("visitorid", "classification", "churned")


def test_an_axis_is_no_target_and_a_total_is_not_the_first(tmp_path):
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"trial": np.repeat(np.arange(60), 50), "t": np.tile(np.arange(50), 60)})
    for axis in "xyz":
        frame[f"acc_{axis}"] = random.normal(size=3000).round(3)
    frame["surface"] = np.repeat(random.choice(["carpet", "tiles"], 60), 50)
    config = draft(tmp_path / "axes", frame)
    assert (config.task.kind, config.task.label) == ("classification", "surface")
    assert "task classification" in message(tmp_path / "axes")
    assert "NOT SURE, --task decides" in message(tmp_path / "axes")
    daily = one_meter("1D", 300, 7).rename(columns={"kwh": "new_cases"})
    daily.insert(1, "total_cases", daily["new_cases"].cumsum())
    assert draft(tmp_path / "cases", daily).task.targets == ["new_cases"]


def test_two_columns_that_name_a_series_together(tmp_path):
    frame = pd.concat([one_meter("7D", 60, 52, store=s, product=p) for s in ("S1", "S2") for p in ("milk", "bread")])
    config = draft(tmp_path, frame)
    assert config.data.entity == ["store", "product"]
    named = {feature.name: feature.kind for feature in config.data.features}
    assert {"store": "categorical", "product": "categorical"}.items() <= named.items()
    assert "entity store+product" in message(tmp_path)


def test_a_time_that_repeats_within_three_columns(tmp_path):
    """A whole number that changes from step to step would make rows unique, too, and is none of them."""
    keys = [(s, p, c) for s in ("S1", "S2") for p in ("milk", "rye") for c in (1, 2)]
    frame = pd.concat([one_meter("1D", 60, 7, store=s, product=p, channel=c) for s, p, c in keys])
    frame["visitors"] = np.random.default_rng(3).integers(10, 40, len(frame))
    config = draft(tmp_path, frame.sort_values("when"))
    assert config.data.entity == ["store", "product", "channel"]


def test_parts_of_a_date_in_columns(tmp_path):
    tables = {
        "h": {"year": "yr", "month": "Month", "day": "DD", "hour": "hr"},
        "1D": {"year": "YEAR", "day_of_year": "doy"},
        "MS": {"year": "year", "month": "month"},
        "QS": {"year": "year", "quarter": "quarter"},
    }
    for place, (freq, names) in enumerate(tables.items()):
        frame = one_meter(freq, 100, 7)
        when = pd.to_datetime(frame.pop("when"))
        for part, name in names.items():
            frame[name] = getattr(when.dt, part.replace("_", ""))
        if freq == "MS":
            frame["month"] = when.dt.month_name().str[:3]
        config = draft(tmp_path / str(place), frame)
        assert config.data.time is not None and config.data.time.column == names
        assert [feature.name for feature in config.data.features if feature.is_column] == ["kwh"]


def test_no_date_is_made_where_there_is_a_time(tmp_path):
    frame = one_meter("1D", 100, 7)
    when = pd.to_datetime(frame["when"])
    config = draft(tmp_path / "stamps", frame.assign(year=when.dt.year, month=when.dt.month))
    assert config.data.time is not None and config.data.time.column == "when"
    # Months beyond 12 are no months.
    frame = frame.drop(columns="when").assign(year=2020, month=np.arange(100))
    config = draft(tmp_path / "count", frame)
    assert config.data.time is not None and config.data.time.column == "month"


def test_a_time_in_another_format_is_named(tmp_path):
    frame = one_meter("1D", 60, 7)
    frame["when"] = pd.to_datetime(frame["when"]).dt.strftime("%b %d, %Y at noon")
    frame = frame.assign(kwh=waves(60, 7))
    with pytest.raises(ConfigError, match="when holds 'Jan 04, 2021 at noon', which is neither a number nor"):
        draft(tmp_path, frame)


@pytest.mark.parametrize(("steps", "series"), [(60, 1), (100, 1), (144, 1), (20, 10), (12, 30), (1000, 1)])
def test_a_split_by_time_holds_windows_in_each_part(tmp_path, steps, series):
    """Counted from the times, as data-formats.md says; a run needs evaluation.min_test_sequences (20) in test."""
    frame = pd.concat([one_meter("h", steps, 9, site=f"s{place}") for place in range(series)])
    frame["when"] = np.tile(np.arange(1000, 1000 + steps), series)
    config = draft(tmp_path, frame.rename(columns={"when": "year"}))
    task, splits = config.task, config.splits
    assert splits.by == "time"
    test = 999 + steps - round((steps - 1) * splits.test)
    evaluation = test - round((steps - 1) * splits.eval)
    ends = np.arange(1000 + task.input_length - 1, 1000 + steps - task.max_horizon)
    assert series * np.sum(ends >= test) >= 20
    assert np.sum((ends >= evaluation) & (ends < test - task.max_horizon)) >= 1
    assert np.sum(ends < evaluation - task.max_horizon) >= 1


def test_a_split_by_entity_tests_on_enough(tmp_path):
    config = draft(tmp_path, recordings(100, "r"))
    assert config.splits.by == "entity"
    assert sum(hash_fraction(f"r{place}", config.seed) < config.splits.test for place in range(100)) >= 20


def events(label: bool, seed: int = 11) -> pd.DataFrame:
    """A log of about two events of each of 300 users, in the order of time, whose times hardly repeat."""
    random = np.random.default_rng(seed)
    frames = []
    for user in range(300):
        count, bought = int(random.choice([1, 2, 3, 4], p=[0.3, 0.4, 0.2, 0.1])), int(random.random() < 0.3)
        begin = pd.Timestamp("2024-03-01") + pd.Timedelta(minutes=int(random.integers(0, 60 * 24 * 60)))
        when = begin + pd.to_timedelta(np.cumsum(random.integers(1, 900, count)), unit="s")
        kinds = random.choice(["view", "click", "cart"], count, p=[0.2, 0.4, 0.4] if bought else [0.6, 0.3, 0.1])
        frame = pd.DataFrame({"user_id": f"u{user}", "event_time": when.strftime("%Y-%m-%dT%H:%M:%S"), "event": kinds})
        frames.append(
            frame.assign(price=random.exponential(30, count).round(2), **({"purchased": bought} if label else {}))
        )
    return pd.concat(frames).sort_values("event_time")


def test_a_log_of_events_is_of_its_users(tmp_path):
    config = draft(tmp_path / "label", events(label=True))
    assert (config.data.entity, config.data.time.column) == ("user_id", "event_time")
    assert (config.task.kind, config.task.label) == ("classification", "purchased")
    config = draft(tmp_path / "none", events(label=False))
    assert (config.data.entity, config.task.targets) == ("user_id", ["price"])
    assert "entity user_id" in message(tmp_path / "none") and "--entity decides" in message(tmp_path / "none")
    # Devices that take turns at irregular times are no users.
    log = events(label=False).rename(columns={"user_id": "host"})
    log["host"] = np.random.default_rng(2).choice(["web1", "web2", "db1"], len(log))
    assert draft(tmp_path / "log", log).data.entity is None


def test_a_stay_in_hospital_ends_with_its_label(tmp_path):
    frame = events(label=True).rename(columns={"user_id": "stay_id", "purchased": "hospital_expire_flag"})
    assert draft(tmp_path, frame).task.label == "hospital_expire_flag"


def runs_of(entity: str, label: str, values: list[Any], together: bool = False) -> pd.DataFrame:
    """Eighty short recordings, one after the other (or all at the same time), each with one of ``values``."""
    random, parts = np.random.default_rng(5), []
    for number in range(80):
        steps = int(random.integers(15, 40))
        begin = pd.Timestamp("2024-01-01") + pd.Timedelta(seconds=0 if together else number * 7000)
        when = pd.date_range(begin, periods=steps, freq="1min").astype(str)
        speed = random.gamma(2, 3, steps).round(2)
        parts.append(
            pd.DataFrame({entity: number, "timestamp": when, "speed": speed, label: values[number % len(values)]})
        )
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize(
    ("entity", "label", "values", "kind"),
    [
        ("trip_id", "mode", ["walk", "bike", "car"], "classification"),
        ("event_id", "type", ["arc", "surge"], "classification"),
        ("bearing", "status", ["ok", "dead", "degraded"], "classification"),
        ("shipment", "category", ["A", "B", "C"], "classification"),
        ("tube", "quality", ["good", "bad"], "classification"),
        ("card", "is_fraud", [0, 1], "classification"),
        ("id", "y", [0, 1], "classification"),
        ("machineID", "machine_failure", [0, 1], "classification"),
        ("bed", "target", [0.5, 1.25, 7.75], "regression"),
    ],
)
def test_a_label_of_recordings_by_name_and_shape(tmp_path, entity, label, values, kind):
    config = draft(tmp_path, runs_of(entity, label, values))
    assert (config.data.entity, config.data.time.column) == (entity, "timestamp")
    assert (config.task.kind, config.task.label) == (kind, label)


def test_what_series_of_a_panel_are_like_is_no_label(tmp_path):
    config = draft(tmp_path, runs_of("shop_id", "type", ["A", "B"], together=True))
    assert (config.data.entity, config.task.kind) == ("shop_id", "forecasting")


def test_text_that_changes_within_subjects_is_a_label_of_each_step(tmp_path):
    frame = runs_of("subject", "activity", ["walk"]).drop(columns="timestamp")
    frame["activity"] = np.where(np.arange(len(frame)) // 7 % 2, "walk", "run")
    frame["t"] = frame.groupby("subject").cumcount()
    config = draft(tmp_path, frame)
    assert (config.data.entity, config.task.label, config.task.per_step) == ("subject", "activity", True)


def test_trials_of_subjects_without_a_time_that_is_named_so(tmp_path):
    cells = [(f"S{subject}", trial, step) for subject in range(12) for trial in range(6) for step in range(25)]
    frame = pd.DataFrame(cells, columns=["subject", "trial", "sample"])
    frame["Fz"] = np.random.default_rng(0).normal(size=len(frame)).round(4)
    frame["condition"] = np.where((frame["trial"] + frame["subject"].str[1:].astype(int)) % 2, "left", "right")
    config = draft(tmp_path, frame)
    assert (config.data.entity, config.data.time.column) == (["subject", "trial"], "sample")
    assert (config.task.kind, config.task.label) == ("classification", "condition")


def test_a_column_with_gaps_does_not_hide_that_two_columns_name_a_series(tmp_path):
    frame = pd.concat([stores().assign(dept=dept) for dept in (1, 2)], ignore_index=True)
    frame["markdown"] = np.where(np.arange(len(frame)) % 120 < 80, np.nan, np.arange(len(frame)) * 7 % 911)
    config = draft(tmp_path, frame)
    assert (config.data.entity, config.data.time.column) == (["store", "dept"], "week")


@pytest.mark.parametrize("pattern", ["%Y/%m/%d", "%b-%d-%Y", "%Y %b", "%Y-%b"])
def test_months_as_they_are_written(tmp_path, pattern):
    frame = one_meter("MS", 120, 12)
    frame["when"] = pd.to_datetime(frame["when"]).dt.strftime(pattern)
    time = draft(tmp_path, frame).data.time
    assert (time.column, time.kind, time.frequency) == ("when", "timestamp", "MS")


def test_a_column_without_a_name_is_read(tmp_path):
    frame = one_meter("MS", 120, 12).rename(columns={"when": ""})
    assert draft(tmp_path, frame).data.time.column == ""

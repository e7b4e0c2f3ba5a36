"""Steps of business days against pandas, and the closed days that an exchange printed."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noisy_gru.data.reading.in_memory_tables import frame_source
from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.data.requests.prediction_input import read_rows, read_sources
from noisy_gru.data.sequences.business_days import BusinessDaySteps, parse_business_days
from noisy_gru.data.sequences.sequences import regular_series
from noisy_gru.data.sequences.splits import Boundaries, splits_of_ranges
from noisy_gru.data.sequences.steps import parse_steps
from noisy_gru.schema.config import DatasetConfig, TimeConfig
from noisy_gru.schema.errors import DataError
from noisy_gru.schema.holiday_config import HolidayConfig

TIME: dict[str, Any] = {"column": "t", "kind": "timestamp", "frequency": "1B", "gaps": "fill"}
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Africa/Cairo", "Asia/Tokyo")
# Full-day closings as the exchange printed them.
NYSE_2025 = ["2025-01-01", "2025-01-09", "2025-01-20", "2025-02-17", "2025-04-18", "2025-05-26", "2025-06-19",
             "2025-07-04", "2025-09-01", "2025-11-27", "2025-12-25"]  # fmt: skip


def ns(times: Any) -> np.ndarray:
    return pd.DatetimeIndex(times).as_unit("ns").asi8


def in_utc(clock: pd.DatetimeIndex, zone: str) -> np.ndarray:
    first = np.ones(len(clock), bool)
    return ns(clock.tz_localize(zone, ambiguous=first, nonexistent="shift_forward"))


def pandas_offset(dates: list[str]) -> pd.offsets.CustomBusinessDay:
    return pd.offsets.CustomBusinessDay(holidays=[np.datetime64(day) for day in dates])


@given(
    zone=st.sampled_from(ZONES),
    begin=st.dates(pd.Timestamp("1972-01-01").date(), pd.Timestamp("2035-01-01").date()),
    # At midnight to 3, clocks change.
    hour=st.sampled_from([0, 5, 9, 17, 23]),
    holidays=st.sets(st.integers(0, 90), max_size=12),
    steps=st.lists(st.integers(-60, 60), min_size=1, max_size=8),
    weekday=st.integers(0, 6),
)
def test_ahead_is_pandas_custom_business_day(zone, begin, hour, holidays, steps, weekday):
    dates = [(pd.Timestamp(begin) + pd.Timedelta(days=day)).strftime("%Y-%m-%d") for day in sorted(holidays)]
    config = HolidayConfig(dates=dates) if dates else None
    found = BusinessDaySteps(zone, dates_in_utc=False, holidays=config)
    start = pd.DatetimeIndex([pd.Timestamp(begin) + pd.Timedelta(days=40 + weekday, hours=hour)])
    wanted = pd.DatetimeIndex([start[0] + count * pandas_offset(dates) if count else start[0] for count in steps])
    np.testing.assert_array_equal(found.ahead(in_utc(start, zone), np.array(steps)), in_utc(wanted, zone))


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("dates", [[], NYSE_2025])
def test_every_business_day_is_one_step(zone, dates):
    config = HolidayConfig(dates=dates) if dates else None
    found = BusinessDaySteps(zone, dates_in_utc=False, holidays=config)
    every = pd.date_range("2024-11-01", "2026-02-01", freq=pandas_offset(dates))
    wanted = in_utc(every, zone)
    number, off = found.grid(wanted, np.array([0, len(wanted)]))
    assert not off.any() and (np.diff(number) == 1).all()
    time = np.random.default_rng(3).integers(wanted[3], wanted[-3], 400)
    place = np.searchsorted(wanted, time, side="right") - 1
    np.testing.assert_array_equal(found.floor(time), wanted[place])
    later = wanted[place + 1] - time <= time - wanted[place]
    np.testing.assert_array_equal(found.nearest(time), np.where(later, wanted[place + 1], wanted[place]))


def test_dates_of_utc_stay_dates_in_any_zone():
    days = ns(pd.bdate_range("2020-01-01", periods=300))
    for zone in ZONES:
        steps = BusinessDaySteps(zone)
        number, off = steps.grid(days, np.array([0, 300]))
        assert not off.any() and (np.diff(number) == 1).all()
        np.testing.assert_array_equal(steps.ahead(days[:200], 100), days[100:])


def test_weekends_and_another_hour_are_off():
    times = pd.to_datetime(["2026-01-02 16:00", "2026-01-03 16:00", "2026-01-05 16:00", "2026-01-06 09:00",
                            "2026-01-07 16:00"])  # fmt: skip
    number, off = BusinessDaySteps().grid(ns(times), np.array([0, 5]))
    assert off.tolist() == [False, True, False, True, False]
    assert (number - number[0])[~off].tolist() == [0, 1, 3]
    # By a clock with daylight saving an hour is no other time of day, but one of two rows is off.
    twice = pd.to_datetime(["2026-01-02 16:00", "2026-01-05 15:00", "2026-01-05 16:00", "2026-01-06 16:00"])
    _, off = BusinessDaySteps("Europe/Berlin").grid(ns(twice), np.array([0, 4]))
    assert off.tolist() == [False, True, False, False]


def test_the_closed_days_of_a_market():
    steps = parse_business_days("1B", "UTC", holidays=HolidayConfig(market="XNYS"))
    assert steps is not None
    days = ns(pd.date_range("2025-01-02", "2025-12-31", freq=pandas_offset(NYSE_2025)))
    np.testing.assert_array_equal(steps.ahead(days[:1], np.arange(len(days))), days)
    # Germany's Unity Day is a Friday in 2025.
    country = parse_business_days("B", "UTC", holidays=HolidayConfig(country="DE"))
    assert country is not None
    assert country.ahead(ns(["2025-10-02"]), 1).tolist() == ns(["2025-10-06"]).tolist()


@pytest.mark.parametrize("text", ["D", "2B", "BME", "C", "W-MON", ""])
def test_other_frequencies_are_none_of_business_days(text):
    assert parse_business_days(text, "UTC") is None


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"market": "NYSX"}, r"market: NYSX \(did you mean XNYS\?\)"),
        ({"country": "XX"}, r"data\.time\.holidays: expected a country"),
        ({"country": "DE", "subdivision": "by"}, r"received subdivision: by \(did you mean BY\?\)"),
    ],
)
def test_unknown_lists_are_named(given_, message):
    with pytest.raises(DataError, match=message):
        parse_steps(TimeConfig(**TIME, holidays=given_))


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"holidays": {}}, "expected country, market or dates"),
        ({"holidays": {"country": "DE", "market": "XETR"}}, "received both"),
        ({"holidays": {"subdivision": "BY", "dates": ["2026-01-01"]}}, "received none"),
        ({"holidays": {"dates": ["24.12.2026"]}}, "expected a day such as 2026-12-24"),
        ({"holidays": {"market": "XNYS"}, "frequency": "1D"}, "holidays are for frequency: 1B"),
    ],
)
def test_what_holidays_can_t_be(given_, message):
    with pytest.raises(ValueError, match=message):
        TimeConfig(**(TIME | given_))


def dataset(time: dict[str, Any], **data: Any) -> DatasetConfig:
    known = [{"calendar": "day_of_week", "encoding": "category", "known_in_advance": True}]
    return DatasetConfig.model_validate(
        {
            "data": {"files": ["*"], "entity": "id", "time": time, "features": ["x", *known], **data},
            "task": {"kind": "forecasting", "targets": ["x"], "input_length": 6, "horizons": [1, 2, 5]},
            "splits": {"by": "time"},
        }
    )


def rows(times: pd.DatetimeIndex, entity: str = "a") -> pd.DataFrame:
    return pd.DataFrame({"id": entity, "t": times, "x": np.arange(len(times), dtype=float)})


def test_gaps_are_filled_and_the_times_ahead_are_business_days():
    days = pd.bdate_range("2026-06-15", "2026-07-09")  # 3 July 2026: New York is closed
    frame = pd.concat([rows(days.delete([2, 14])), rows(days + pd.Timedelta(hours=16), "b")])
    found = read_sources([frame_source(frame[frame["t"].dt.date != pd.Timestamp("2026-07-03").date()], None)],
                         dataset({**TIME, "holidays": {"market": "XNYS", "dates": ["2026-06-19"]}}))  # fmt: skip
    # 19 June is a row of both, and Juneteenth.
    assert found.report.quarantined == {"off_grid": 2}
    assert found.report.steps_filled == 1
    assert found.origins is not None and found.origins.target_times is not None
    wanted = pd.to_datetime(["2026-07-10", "2026-07-13", "2026-07-16"])
    np.testing.assert_array_equal(found.origins.target_times, [ns(wanted), ns(wanted + pd.Timedelta(hours=16))])


def test_resampled_as_pandas_resamples():
    hours = pd.date_range("2026-01-01 20:00", "2026-03-01", freq="7h", tz="UTC")
    hours = hours[np.random.default_rng(5).random(len(hours)) > 0.4]
    frame = rows(hours)
    time = {"column": "t", "kind": "timestamp", "gaps": "fill"}
    config = dataset(time, resample={"frequency": "1B", "aggregate": {"x": "sum"}})
    quarantine = Quarantine()
    read = read_rows([frame_source(frame, None)], config, quarantine)
    assert read is not None
    series, _ = regular_series(read, config, quarantine, prediction=True)
    # pandas gives the weekend to the Friday before.
    wanted = frame.set_index(frame["t"].dt.tz_localize(None))["x"].resample("B").sum(min_count=1)
    np.testing.assert_array_equal(series.rows.time, ns(wanted.index))
    np.testing.assert_allclose(series.rows.numeric["x"], wanted.to_numpy(np.float32), rtol=1e-6)


def test_an_embargo_of_business_days():
    config = DatasetConfig.model_validate(
        {
            "data": {"files": ["*"], "entity": "id", "time": {**TIME, "gaps": "ignore"}, "features": ["x"]},
            "task": {"kind": "classification", "label": "y"},
            "splits": {"by": "time", "embargo": 2, "eval": 0.1, "test": 0.1},
        }
    )
    last = ns(["2026-01-29", "2026-01-30", "2026-02-02", "2026-02-03"])
    at = pd.Timestamp("2026-02-03").value
    assert splits_of_ranges(last, last, Boundaries(at, at), config).tolist() == [0, -1, -1, 2]

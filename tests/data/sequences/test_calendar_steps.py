"""Steps of months, quarters and years against pandas' date_range, periods and resample."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noisy_gru.data.reading.in_memory_tables import frame_source
from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.data.requests.prediction_input import read_rows, read_sources
from noisy_gru.data.sequences.alignment import check_alignment
from noisy_gru.data.sequences.calendar_steps import CalendarSteps, parse_calendar_steps
from noisy_gru.data.sequences.sequences import regular_series
from noisy_gru.data.sequences.splits import Boundaries, splits_of_ranges
from noisy_gru.schema.config import DatasetConfig, TimeConfig
from noisy_gru.schema.errors import DataError

OFFSETS = ("MS", "ME", "QS", "QE", "YS", "YE", "QS-FEB", "QE-NOV", "YS-APR", "YE-MAR")
# Each with changes of the clock; in Cairo and Beirut midnight is skipped.
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Africa/Cairo", "Asia/Beirut")


def steps_of(offset: str, zone: str = "UTC", **given: Any) -> CalendarSteps:
    found = parse_calendar_steps(offset, zone, **given)
    assert found is not None
    return found


def in_utc(clock: pd.DatetimeIndex, zone: str) -> np.ndarray:
    first = np.ones(len(clock), bool)
    return clock.tz_localize(zone, ambiguous=first, nonexistent="shift_forward").as_unit("ns").asi8


def points(offset: str, zone: str) -> np.ndarray:
    return in_utc(pd.date_range("1940-01-01", "2037-06-01", freq=offset), zone)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("offset", OFFSETS)
def test_steps_are_those_of_date_range(offset, zone):
    steps, wanted = steps_of(offset, zone, dates_in_utc=False), points(offset, zone)
    first, last = pd.Timestamp("1950-01-01").value, pd.Timestamp("2036-01-01").value
    time = np.random.default_rng(7).integers(first, last, 300)
    place = np.searchsorted(wanted, time, side="right") - 1
    np.testing.assert_array_equal(steps.floor(time), wanted[place])
    later = wanted[place + 1] - time <= time - wanted[place]
    np.testing.assert_array_equal(steps.nearest(time), np.where(later, wanted[place + 1], wanted[place]))
    for count in (1, 7, -3):
        np.testing.assert_array_equal(steps.ahead(wanted[5:-9], count), wanted[5 + count : len(wanted) - 9 + count])
    number, off = steps.grid(wanted, np.array([0, len(wanted)]))
    assert not off.any()
    assert (np.diff(number) == 1).all()


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("offset", OFFSETS)
def test_the_rows_of_a_step_are_those_of_a_period(offset, zone):
    """pandas names a period that ends in January Q-JAN; it begins in February."""
    names = {"QS-FEB": "Q-JAN", "QE-NOV": "Q-NOV", "YS-APR": "Y-MAR", "YE-MAR": "Y-MAR"}
    time = np.random.default_rng(8).integers(-(10**18), 2 * 10**18, 300)
    clock = pd.DatetimeIndex(time, tz="UTC").tz_convert(zone).tz_localize(None)
    period = clock.to_period(names.get(offset, offset[0]))
    named = period.start_time if offset[1] == "S" else period.end_time.normalize()
    np.testing.assert_array_equal(steps_of(offset, zone).label(time), in_utc(named, zone))


@settings(max_examples=60, deadline=None)
@given(
    day=st.integers(1, 31), hour=st.integers(0, 23), month=st.integers(1, 12), months=st.sampled_from([1, 2, 3, 6, 12]),
    left_out=st.sets(st.integers(1, 46), max_size=20),
)  # fmt: skip
def test_any_day_of_the_month(day, hour, month, months, left_out):
    """Months on the same day, or their last one, as DateOffset counts them, whatever is missing between."""
    begin = pd.Timestamp(2019, month, 1, hour) + pd.offsets.Day(day - 1)
    every = pd.DatetimeIndex([begin + pd.DateOffset(months=months * place) for place in range(48)])
    kept = np.array([place for place in range(48) if place not in left_out])
    time, steps = every.as_unit("ns").asi8, steps_of(f"{months}MS")
    if begin.day <= 28:
        number, off = steps.grid(time[kept], np.array([0, len(kept)]))
        assert not off.any()
        np.testing.assert_array_equal(number - number[0], kept)
        np.testing.assert_array_equal(steps.ahead(time[:1], np.arange(48)), time)


def test_last_days_and_dates_of_utc_in_a_zone():
    last = pd.date_range("2020-01-31", periods=60, freq="ME").as_unit("ns").asi8
    number, off = steps_of("MS").grid(last, np.array([0, 60]))
    assert not off.any() and (np.diff(number) == 1).all()
    np.testing.assert_array_equal(steps_of("MS").ahead(last[:1], np.arange(60)), last)
    first = pd.date_range("2020-01-01", periods=60, freq="MS").as_unit("ns").asi8
    for zone in ("Europe/Berlin", "America/New_York", "Europe/London"):
        number, off = steps_of("MS", zone).grid(first, np.array([0, 60]))
        assert not off.any() and (np.diff(number) == 1).all()
        np.testing.assert_array_equal(steps_of("MS", zone).ahead(first[:50], 10), first[10:])


def test_other_days_are_off_the_grid_of_most_rows():
    days = pd.to_datetime(["2026-01-15", "2026-02-15", "2026-03-16", "2026-04-15", "2026-07-15"])
    number, off = steps_of("MS").grid(days.as_unit("ns").asi8, np.array([0, 5]))
    assert off.tolist() == [False, False, True, False, False]
    assert (number - number[0])[~off].tolist() == [0, 1, 3, 6]
    days = pd.to_datetime(["2026-02-01", "2026-05-01", "2026-06-01", "2026-08-01"])
    number, off = steps_of("QS").grid(days.as_unit("ns").asi8, np.array([0, 4]))
    assert off.tolist() == [False, False, True, False]


@pytest.mark.parametrize("text", ["1h", "B", "W-SUN", "BMS", "BQE", "SMS", "soon", "-1MS", "0MS"])
def test_what_is_no_step_of_months(text):
    assert parse_calendar_steps(text, "UTC") is None


@pytest.mark.parametrize(("old", "new"), [("M", "ME"), ("2M", "2ME"), ("Q-NOV", "QE-NOV"), ("A", "YE"), ("Y", "YE")])
def test_names_of_older_versions_of_pandas(old, new):
    assert parse_calendar_steps(old, "UTC") == parse_calendar_steps(new, "UTC")


def dataset(**data: Any) -> DatasetConfig:
    known = [{"calendar": "month_of_year", "known_in_advance": True}]
    return DatasetConfig.model_validate(
        {
            "data": {"files": ["*"], "entity": "id", "features": ["x", *known], **data},
            "task": {"kind": "forecasting", "targets": ["x"], "input_length": 6, "horizons": [1, 2, 5]},
            "splits": {"by": "time"},
        }
    )


TIME: dict[str, Any] = {"column": "t", "kind": "timestamp"}


def rows(times: pd.DatetimeIndex, entity: str = "a") -> pd.DataFrame:
    return pd.DataFrame({"id": entity, "t": times, "x": np.arange(len(times), dtype=float)})


def test_gaps_are_filled_and_the_times_ahead_are_months():
    months = pd.date_range("2024-01-01", periods=14, freq="MS")
    frame = pd.concat([rows(months.delete([3, 4, 9])), rows(months + pd.Timedelta(days=9), "b")])
    found = read_sources([frame_source(frame, None)], dataset(time={**TIME, "frequency": "MS", "gaps": "fill"}))
    assert (found.report.steps_filled, found.unusable) == (3, [])
    assert found.ids == ["a@2025-02-01T00:00:00Z", "b@2025-02-10T00:00:00Z"]
    assert found.origins is not None and found.origins.target_times is not None
    wanted = pd.to_datetime([["2025-03-01", "2025-04-01", "2025-07-01"], ["2025-03-10", "2025-04-10", "2025-07-10"]][0])
    np.testing.assert_array_equal(found.origins.target_times[0], wanted.as_unit("ns").asi8)
    later = (wanted + pd.Timedelta(days=9)).as_unit("ns").asi8
    np.testing.assert_array_equal(found.origins.target_times[1], later)


@pytest.mark.parametrize(("zone", "given_"), [("UTC", {}), ("Europe/Berlin", {"timezone": "Europe/Berlin"})])
@pytest.mark.parametrize("offset", ["MS", "ME", "QS", "YE"])
def test_resampled_as_pandas_resamples(offset, zone, given_):
    hours = pd.date_range("2023-12-31 20:00", "2026-03-01", freq="7h", tz="UTC")
    hours = hours[np.random.default_rng(5).random(len(hours)) > 0.4]
    frame = rows(hours)
    config = dataset(time={**TIME, **given_, "gaps": "fill"}, resample={"frequency": offset, "aggregate": {"x": "sum"}})
    quarantine = Quarantine()
    read = read_rows([frame_source(frame, None)], config, quarantine)
    assert read is not None
    series, _ = regular_series(read, config, quarantine, prediction=True)
    # Years end in the clock of the zone.
    wanted = frame.set_index(frame["t"].dt.tz_convert(zone).dt.tz_localize(None))["x"].resample(offset).sum()
    index: Any = wanted.index
    np.testing.assert_array_equal(series.rows.time, in_utc(index, zone))
    np.testing.assert_allclose(series.rows.numeric["x"], wanted.to_numpy(np.float32), rtol=1e-6)


def test_rows_move_to_the_nearest_month():
    days = pd.to_datetime(["2026-01-02", "2026-01-30", "2026-03-03", "2026-03-29", "2026-04-20", "2026-06-01",
                           "2026-07-02"])  # fmt: skip
    config = dataset(time={**TIME, "frequency": "MS", "gaps": "fill", "align": "nearest", "tolerance": "5D"})
    quarantine = Quarantine()
    read = read_rows([frame_source(rows(days), None)], config, quarantine)
    assert read is not None
    series, _ = regular_series(read, config, quarantine, prediction=True)
    wanted = pd.date_range("2026-01-01", "2026-07-01", freq="MS")
    np.testing.assert_array_equal(series.rows.time, wanted.as_unit("ns").asi8)
    np.testing.assert_array_equal(series.rows.numeric["x"], [0, 1, 2, 3, np.nan, 5, 6])
    assert quarantine.report.quarantined == {"off_grid": 1}
    with pytest.raises(DataError, match=r"expected less than data\.time\.frequency"):
        check_alignment(TimeConfig(**TIME, frequency="MS", align="floor", tolerance="28D"))


def test_an_embargo_of_months():
    config = DatasetConfig.model_validate(
        {
            "data": {"files": ["*"], "entity": "id", "time": {**TIME, "frequency": "MS"}, "features": ["x"]},
            "task": {"kind": "classification", "label": "y"},
            "splits": {"by": "time", "embargo": 2, "eval": 0.1, "test": 0.1},
        }
    )
    last = pd.to_datetime(["2026-01-31", "2026-02-01", "2026-03-31", "2026-04-01"]).as_unit("ns").asi8
    at = pd.Timestamp("2026-04-01").value
    assert splits_of_ranges(last, last, Boundaries(at, at), config).tolist() == [0, -1, -1, 2]

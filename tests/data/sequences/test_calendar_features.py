"""Calendar features against times worked by hand, zoneinfo and pandas, and holidays against the laws."""

from __future__ import annotations

import datetime
import zoneinfo
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from noisy_gru.data.sequences.calendar_features import calendar_values, cycle_fraction
from noisy_gru.data.sequences.holiday_dates import check_holidays
from noisy_gru.data.values.wall_clock import wall_clock
from noisy_gru.schema.calendars import CALENDAR_NUMBERS
from noisy_gru.schema.config import DataConfig, FeatureConfig
from noisy_gru.schema.errors import DataError


def ns(*stamps: str) -> np.ndarray:
    return np.array(stamps, "datetime64[ns]").astype(np.int64)


@pytest.mark.parametrize(
    ("calendar", "stamp", "expected"),
    [
        ("minute_of_hour", "2026-11-29T06:45", 0.75),
        ("hour_of_day", "2013-03-10T06:00", 0.25),
        ("hour_of_day", "1969-12-31T18:00", 0.75),
        ("day_of_week", "2026-11-23T00:00", 0.0),  # a Monday
        ("day_of_week", "2026-11-29T12:00", 6.5 / 7),  # a Sunday's noon
        ("day_of_month", "2024-02-15T12:00", 14.5 / 29),
        ("day_of_year", "2024-12-31T00:00", 365 / 366),
        ("day_of_year", "2023-12-31T00:00", 364 / 365),
        ("day_of_year", "2023-01-01T00:00", 0.0),
        ("week_of_year", "2021-01-03T12:00", 52 / 53 + 6.5 / 371),  # still in 2020, a year of 53 weeks
        ("week_of_year", "2021-01-04T00:00", 0.0),
        ("week_of_year", "2024-12-30T00:00", 0.0),  # in 2025 already
        ("month_of_year", "2023-04-16T00:00", 3.5 / 12),
        ("quarter", "2023-08-16T00:00", (2 + 46 / 92) / 4),
    ],
)
def test_phase(calendar, stamp, expected):
    np.testing.assert_allclose(cycle_fraction(ns(stamp), calendar), [expected], atol=1e-12)


def entries(*features: Any, timezone: str = "UTC", **changes: Any) -> DataConfig:
    return DataConfig.model_validate(
        {
            "files": ["a.csv"],
            "entity": "id",
            "time": {"column": "t", "kind": "timestamp", "timezone": timezone},
            "features": ["x", *features],
            **changes,
        }
    )


def feature(**entry: Any) -> FeatureConfig:
    return entries(entry).features[-1]


def test_in_utc_the_first_three_calendars_are_as_they_were():
    """Bit for bit: the models that read them are published. The formulas are those of their release."""
    random = np.random.default_rng(0)
    ranges = [("1678-01-01", "2262-01-01"), ("2013-01-01", "2013-12-31"), ("2023-12-31T23:59", "2024-01-01T00:01")]
    time = np.concatenate([random.integers(*ns(*each).tolist(), size=20_000) for each in ranges])
    stamp = time.astype("datetime64[ns]")
    year, day = stamp.astype("datetime64[Y]"), stamp.astype("datetime64[D]")
    of_day = (stamp - day.astype("datetime64[ns]")) / np.timedelta64(1, "D")
    first, following = year.astype("datetime64[ns]"), (year + 1).astype("datetime64[ns]")
    expected = {
        "hour_of_day": of_day,
        "day_of_week": ((day.astype(np.int64) + 3) % 7 + of_day) / 7,
        "day_of_year": (stamp - first) / (following - first),
    }
    for name, fraction in expected.items():
        angle = 2 * np.pi * fraction
        for part, wave in (("sin", np.sin), ("cos", np.cos)):
            found = calendar_values(
                time,
                next(each for each in entries({"calendar": name}).features if each.name == f"{name}_{part}"),
                "UTC",
            )
            np.testing.assert_array_equal(found, wave(angle).astype(np.float32))


ZONES = sorted(zone for zone in zoneinfo.available_timezones() if not zone.startswith(("posix", "right")))
moments = st.lists(
    st.one_of(
        st.integers(*ns("1678-01-01", "2261-12-31").tolist()),
        # Around the hours at which clocks change.
        st.builds(
            lambda day, second: day * 86400 * 10**9 + second * 10**9,
            st.integers(-15_000, 30_000),
            st.integers(0, 86399),
        ),
    ),
    min_size=1,
    max_size=20,
)


def shown(time: int, zone: str) -> datetime.datetime:
    """The time in a zone, to the microsecond, as zoneinfo has it."""
    since = datetime.timedelta(microseconds=time // 1000)
    return (datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + since).astimezone(zoneinfo.ZoneInfo(zone))


@settings(max_examples=300, deadline=None)
@given(moments, st.sampled_from(ZONES))
@example(ns("2026-03-29T00:59:59.999999999", "2026-03-29T01:00").tolist(), "Europe/Berlin")
@example(ns("2026-10-25T00:30", "2026-10-25T01:30").tolist(), "Europe/Berlin")
@example(ns("2050-07-01").tolist(), "America/New_York")  # after the tables of the tz database
@example(ns("1972-01-07T00:44:29", "1972-01-07T00:44:30").tolist(), "Africa/Monrovia")
@example(ns("2011-12-30T09:59:59", "2011-12-30T10:00").tolist(), "Pacific/Apia")  # a day that never was
@example(ns("2005-04-02T14:59", "2005-04-02T15:31").tolist(), "Australia/Lord_Howe")  # half an hour
def test_the_wall_clock_is_zoneinfos(times, zone):
    found = wall_clock(np.array(times, np.int64), zone)
    epoch = datetime.datetime(1970, 1, 1)
    for time, clock in zip(times, found.tolist(), strict=True):
        expected = (shown(time, zone).replace(tzinfo=None) - epoch) // datetime.timedelta(microseconds=1)
        assert (clock // 1000, clock % 1000) == (expected, time % 1000)


@settings(max_examples=150, deadline=None)
@given(moments, st.sampled_from(ZONES))
def test_categories_are_those_of_pandas_and_zoneinfo(times, zone):
    time = np.array(times, np.int64)
    clocks = [shown(each, zone) for each in times]
    naive = pd.Series(pd.to_datetime([clock.replace(tzinfo=None) for clock in clocks]))
    iso = naive.dt.isocalendar()
    expected: dict[Any, Any] = {
        "minute_of_hour": naive.dt.minute,
        "hour_of_day": naive.dt.hour,
        "day_of_week": iso["day"],
        "day_of_month": naive.dt.day,
        "day_of_year": naive.dt.dayofyear,
        "week_of_month": pd.Series([len(range(clock.day, 0, -7)) for clock in clocks]),
        "week_of_year": iso["week"],
        "month_of_year": naive.dt.month,
        "quarter": naive.dt.quarter,
    }
    assert expected.keys() == CALENDAR_NUMBERS.keys()
    for calendar, numbers in expected.items():
        found = calendar_values(time, feature(calendar=calendar, encoding="category"), zone)
        assert found.tolist() == numbers.tolist(), calendar
        low, high = CALENDAR_NUMBERS[calendar]
        assert low <= found.min() and found.max() <= high
        if calendar == "week_of_month":
            continue
        fraction = cycle_fraction(wall_clock(time, zone), calendar)
        assert fraction.min() >= 0 and fraction.max() < 1
        if calendar not in ("day_of_month", "day_of_year", "week_of_year"):
            # Equal parts of the cycle; the numbers of the others depend on its length.
            assert np.floor(fraction * (high - low + 1)).astype(int).tolist() == (numbers - low).tolist(), calendar
    weekend = calendar_values(time, feature(calendar="weekend"), zone)
    assert weekend.tolist() == [float(clock.weekday() >= 5) for clock in clocks]


def test_a_day_of_the_zone_has_23_24_or_25_hours():
    numbers = feature(calendar="day_of_month", encoding="category")
    for first, day, hours in (("2026-03-28T00:00", 29, 23), ("2026-06-28T00:00", 29, 24), ("2026-10-24T00:00", 25, 25)):
        time = ns(first) + np.arange(72) * 3600 * 10**9
        assert (calendar_values(time, numbers, "Europe/Berlin") == day).sum() == hours
    # 2 o'clock comes twice.
    hour = feature(calendar="hour_of_day", encoding="category")
    time = ns("2026-10-24T23:00") + np.arange(4) * 3600 * 10**9
    assert calendar_values(time, hour, "Europe/Berlin").tolist() == [1, 2, 2, 3]


def test_the_ends_of_int64():
    ends = np.array([np.iinfo(np.int64).min + 1, np.iinfo(np.int64).max])
    for zone in ("Pacific/Kiritimati", "Pacific/Niue", "Europe/Berlin"):
        assert np.all(np.diff(wall_clock(ends, zone)) > 0) or wall_clock(ends, zone)[0] < wall_clock(ends, zone)[1]


# German federal law and the states' holiday acts: of all states, and of Bavaria (with Assumption Day, which most of its
# municipalities have) and Saxony besides.
GERMANY = {
    2024: "01-01 03-29 04-01 05-01 05-09 05-20 10-03 12-25 12-26",
    2025: "01-01 04-18 04-21 05-01 05-29 06-09 10-03 12-25 12-26",
    2026: "01-01 04-03 04-06 05-01 05-14 05-25 10-03 12-25 12-26",
}
SAXONY = {2024: "10-31 11-20", 2025: "10-31 11-19", 2026: "10-31 11-18"}
BADEN_WUERTTEMBERG = {2024: "01-06 05-30 11-01", 2025: "01-06 06-19 11-01", 2026: "01-06 06-04 11-01"}
# 5 U.S.C. 6103, with the days off instead of those at weekends (Executive Order 11582).
UNITED_STATES = {
    2024: "01-01 01-15 02-19 05-27 06-19 07-04 09-02 10-14 11-11 11-28 12-25",
    2025: "01-01 01-20 02-17 05-26 06-19 07-04 09-01 10-13 11-11 11-27 12-25",
    2026: "01-01 01-19 02-16 05-25 06-19 07-03 07-04 09-07 10-12 11-11 11-26 12-25",
}


@pytest.mark.parametrize(
    ("country", "subdivision", "zone", "lists"),
    [
        ("DE", None, "Europe/Berlin", [GERMANY]),
        ("DE", "SN", "Europe/Berlin", [GERMANY, SAXONY]),
        ("DE", "BW", "Europe/Berlin", [GERMANY, BADEN_WUERTTEMBERG]),
        ("US", None, "America/New_York", [UNITED_STATES]),
    ],
)
def test_holidays_are_those_of_the_law(country, subdivision, zone, lists):
    days = pd.date_range("2024-01-01", "2026-12-31")
    # The first and the last minute of a day are in it by the zone's clock.
    for clock in ("00:00", "23:59"):
        local = pd.DatetimeIndex([f"{day.date()} {clock}" for day in days]).tz_localize(zone)
        time = local.tz_convert("UTC").as_unit("ns").asi8
        entry = feature(calendar="holiday", country=country, **({"subdivision": subdivision} if subdivision else {}))
        found = calendar_values(time, entry, zone)
        expected = {f"{year}-{day}" for each in lists for year, text in each.items() for day in text.split()}
        extra = {"2024-12-24", "2025-12-24", "2025-12-26"} if country == "US" else set()  # by executive order
        assert {str(day.date()) for day, is_one in zip(days, found, strict=True) if is_one} - extra == expected


@pytest.mark.parametrize(
    ("country", "subdivision"), [("US", None), ("DE", "BY"), ("IN", None), ("SA", None), ("GB", "SCT")]
)
def test_a_date_is_a_holiday_whatever_the_other_rows_are(country, subdivision):
    """A client's few rows and a training's many years say the same of a day."""
    time = ns("2015-01-01") + np.arange(0, 12 * 366) * 86400 * 10**9
    entry = feature(calendar="holiday", country=country, **({"subdivision": subdivision} if subdivision else {}))
    together = calendar_values(time, entry, "UTC")
    assert together.sum() > 60
    alone = [calendar_values(time[place : place + 1], entry, "UTC")[0] for place in range(len(time))]
    assert together.tolist() == alone


def test_a_holiday_at_the_turn_of_the_year():
    """New Year 2022 was a Saturday: the day off was Friday 31 December 2021 (5 U.S.C. 6103 (b))."""
    entry = feature(calendar="holiday", country="US")
    assert calendar_values(ns("2021-12-30", "2021-12-31", "2022-01-01"), entry, "UTC").tolist() == [0, 1, 1]


def test_countries_that_are_not_there():
    with pytest.raises(DataError, match=r"expected a country .* received country: XX"):
        check_holidays("XX", None)
    with pytest.raises(DataError, match=r"expected a subdivision of DE .*BW.* received subdivision: CA"):
        calendar_values(ns("2026-01-01"), feature(calendar="holiday", country="DE", subdivision="CA"), "UTC")
    with pytest.raises(DataError, match=r"received subdivision: by \(did you mean BY\?\)"):
        check_holidays("DE", "by")


def test_thanksgiving_is_the_fourth_thursday():
    """5 U.S.C. 6103: the fourth Thursday in November; Labor Day is the first Monday in September."""
    time = ns("2020-01-01") + np.arange(6 * 365) * 86400 * 10**9
    found = {
        name: calendar_values(time, feature(calendar=name, encoding="category"), "UTC")
        for name in ("week_of_month", "day_of_week", "month_of_year")
    }
    holiday = calendar_values(time, feature(calendar="holiday", country="US"), "UTC") == 1
    for month, week, day in ((11, 4, 4), (9, 1, 1)):
        chosen = (found["month_of_year"] == month) & (found["week_of_month"] == week) & (found["day_of_week"] == day)
        assert chosen.sum() == 6
        assert holiday[chosen].all()


@pytest.mark.parametrize(
    ("entry", "names", "kind"),
    [
        ({"calendar": "hour_of_day"}, ["hour_of_day_sin", "hour_of_day_cos"], "numeric"),
        ({"calendar": "quarter", "encoding": "cyclic"}, ["quarter_sin", "quarter_cos"], "numeric"),
        ({"calendar": "quarter", "encoding": "category", "embedding_dim": 2}, ["quarter"], "categorical"),
        ({"calendar": "weekend", "known_in_advance": True}, ["weekend"], "numeric"),
        ({"calendar": "holiday", "country": "DE"}, ["holiday_DE"], "numeric"),
        ({"calendar": "holiday", "country": "NO"}, ["holiday_NO"], "numeric"),
        ({"calendar": "holiday", "country": "DE", "subdivision": "BY"}, ["holiday_DE_BY"], "numeric"),
    ],
)
def test_a_calendar_entry_names_its_features_and_survives_a_round_trip(entry, names, kind):
    config = entries(entry)
    assert [each.name for each in config.features] == ["x", *names]
    assert {each.kind for each in config.features[1:]} == {kind}
    if kind == "numeric":
        assert {each.scale for each in config.features[1:]} == {"none"}
    assert DataConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"time": {"column": "t"}}, "needs time.kind: timestamp"),
        ({"time": {"column": "t", "timezone": "Europe/Berlin"}}, "timezone needs kind: timestamp"),
        (
            {"time": {"column": "t", "kind": "timestamp", "timezone": "Europe/Berln"}},
            r"received 'Europe/Berln' \(did you mean Europe/Berlin\?\)",
        ),
        ({"time": {"column": "t", "kind": "timestamp", "timezone": "localtime"}}, "received 'localtime'"),
        ({"features": [{"name": "hour", "calendar": "hour_of_day"}]}, "names its features itself"),
        ({"features": [{"calendar": "hour"}]}, "Input should be 'minute_of_hour'"),
        ({"features": [{"calendar": ["hour_of_day"]}]}, "Input should be 'minute_of_hour'"),
        ({"features": [{"calendar": "holiday"}]}, "needs country"),
        ({"features": [{"calendar": "holiday", "country": False}]}, 'quote the code: "NO"'),
        (
            {"features": [{"calendar": "holiday", "country": "Germany"}]},
            "two capital letters such as DE",
        ),
        ({"features": [{"calendar": "holiday", "country": "de"}]}, r"did you mean DE\?"),
        ({"features": [{"calendar": "week_of_month"}]}, "needs encoding: category"),
        ({"features": [{"calendar": "week_of_month", "encoding": "cyclic"}]}, "needs encoding: category"),
        ({"features": [{"calendar": "holiday", "country": "DE", "encoding": "category"}]}, "takes no encoding"),
        ({"features": [{"calendar": "weekend", "encoding": "cyclic"}]}, "takes no encoding"),
        ({"features": [{"calendar": "hour_of_day", "country": "DE"}]}, "takes no country"),
        ({"features": [{"calendar": "quarter", "kind": "categorical"}]}, "set encoding: category"),
        ({"features": [{"name": "x", "country": "DE"}]}, "country belongs to a calendar"),
        ({"features": [{"calendar": "weekend", "offset": 1.0}]}, "offset is for numeric columns"),
        ({"features": [{"calendar": "weekend"}, {"calendar": "weekend"}]}, "listed more than once"),
    ],
)
def test_calendar_entries_that_make_no_sense(changes, message):
    with pytest.raises(ValueError, match=message):
        entries(**{"time": {"column": "t", "kind": "timestamp"}, "features": [{"calendar": "hour_of_day"}], **changes})

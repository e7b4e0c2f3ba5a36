"""Dates in several columns against pandas; names of entities of several columns."""

import datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from noisy_gru.data.values.cells import CellReader
from noisy_gru.data.values.date_parts import times_of_parts
from noisy_gru.data.values.entity_names import join_names, split_name
from noisy_gru.schema.config import CsvConfig, TimeConfig
from noisy_gru.schema.time_config import TimeSpelling

DAYS = pd.date_range("1700-01-01", "2261-12-29", freq="D")


def test_every_day_is_the_one_of_pandas():
    wanted = DAYS.as_unit("ns").asi8
    iso, starts = DAYS.isocalendar(), DAYS - pd.to_timedelta(DAYS.weekday, unit="D")
    for parts, expected in (
        ({"year": DAYS.year, "month": DAYS.month, "day": DAYS.day}, wanted),
        ({"year": DAYS.year, "day_of_year": DAYS.dayofyear}, wanted),
        ({"year": DAYS.year, "month": DAYS.month}, DAYS.to_period("M").to_timestamp().as_unit("ns").asi8),
        ({"year": DAYS.year, "quarter": DAYS.quarter}, DAYS.to_period("Q").to_timestamp().as_unit("ns").asi8),
        ({"year": iso["year"], "week": iso["week"]}, starts.as_unit("ns").asi8),
    ):
        floats: dict[Any, np.ndarray] = {part: np.asarray(values, np.float64) for part, values in parts.items()}
        times, bad = times_of_parts(floats)
        assert not bad.any()
        np.testing.assert_array_equal(times, expected)


@settings(max_examples=200)
@given(st.tuples(st.integers(1670, 2270), st.integers(-1, 14), st.integers(-1, 33), st.integers(-1, 25),
                 st.integers(-1, 61), st.integers(-1, 61)))  # fmt: skip
def test_a_date_is_read_if_python_has_it(parts):
    names = ("year", "month", "day", "hour", "minute", "second")
    times, bad = times_of_parts({name: np.array([float(value)]) for name, value in zip(names, parts, strict=True)})
    try:
        moment = datetime.datetime(*parts, tzinfo=datetime.UTC)
    except ValueError:
        moment = None
    if moment is None or not 1678 <= parts[0] <= 2261:
        assert bad[0]
    else:
        assert not bad[0]
        assert times[0] == pd.Timestamp(moment).as_unit("ns").value


def read(columns, zone=None, **csv):
    arrays = [each if isinstance(each, pa.Array) else pa.array(each) for each in columns.values()]
    spelling = TimeSpelling(parts=tuple(columns), zone=zone)
    return CellReader(CsvConfig(**csv)).times(arrays, "timestamp", spelling)


def test_cells_as_files_have_them():
    times, bad = read({"year": ["2024"] * 5 + [None], "month": [" 02", "Feb", "FEBRUARY", "2.0", "Febr", "1"],
                       "day": ["29", "29", "29", "29.0", "29", "1"]})  # fmt: skip
    assert bad.tolist() == [False, False, False, False, True, True]
    assert set(times[:4].astype("datetime64[ns]").astype(str)) == {"2024-02-29T00:00:00.000000000"}
    times, bad = read({"year": ["2.024", "-9"], "quarter": ["Q2", "q1"]}, thousands=".", decimal=",", missing=["-9"])
    assert (times[0].astype("datetime64[ns]"), bad.tolist()) == (np.datetime64("2024-04-01"), [False, True])
    stored = pa.array([2024.0, float("nan"), 2024.5])
    assert read({"year": stored, "day_of_year": pa.array([366, 1, 1], pa.int16())})[1].tolist() == [False, True, True]
    assert read({"year": [2025, 2026], "week": [53, 53]})[1].tolist() == [True, False]


def test_a_clock_of_a_zone():
    """In Berlin 2:30 of 29 March 2026 is skipped, and 2:30 of 25 October comes twice."""
    given_ = {"year": [2026] * 3, "month": [3, 7, 10], "day": [29, 1, 25], "hour": [2] * 3, "minute": [30] * 3}
    times, bad = read(given_, zone="Europe/Berlin")
    assert bad.tolist() == [True, False, True]
    assert times[1] == pd.Timestamp("2026-07-01 02:30", tz="Europe/Berlin").as_unit("ns").value


@pytest.mark.parametrize(
    ("column", "problem"),
    [
        ({"month": "M"}, "the column of the year"),
        ({"year": "Y", "day": "D"}, "day needs month"),
        ({"year": "Y", "month": "M", "hour": "h"}, "hour needs day or day_of_year"),
        ({"year": "Y", "month": "M", "quarter": "Q"}, "quarter and month say the same"),
        ({"year": "Y", "month": "Y"}, "another column for each part"),
        ({"year": "Y", "fortnight": "F"}, "fortnight"),
    ],
)
def test_parts_that_are_no_date(column, problem):
    with pytest.raises(ValidationError, match=problem):
        TimeConfig(column=column, kind="timestamp")
    with pytest.raises(ValidationError, match="needs kind: timestamp"):
        TimeConfig(column={"year": "Y"})
    with pytest.raises(ValidationError, match="format is for times in one column"):
        TimeConfig(column={"year": "Y"}, kind="timestamp", format="%Y")


TEXTS = st.text(st.sampled_from("ab|\\ \n\u00e9"), min_size=1, max_size=6)


@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), min_size=1, max_size=6))
def test_names_of_several_columns_are_told_apart(rows):
    columns = [pa.array(list(each), pa.string()) for each in zip(*rows, strict=True)]
    names = join_names(columns).to_pylist()
    assert [tuple(split_name(name)) for name in names] == rows
    assert len(set(names)) == len(set(rows))
    assert join_names(columns[:1]) is columns[0]

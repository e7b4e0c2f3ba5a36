"""Places for spans in file patterns: what they match, what they are filled with, and what is no pattern."""

from __future__ import annotations

import datetime
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from noisy_gru.schema.config import DataConfig, SpansConfig
from noisy_gru.schema.span_patterns import SpanPattern, format_spans, parse_day, pattern_problems


@pytest.mark.parametrize(
    ("pattern", "path", "found"),
    [
        ("day-{SPAN}/*.csv", "day-7/a.csv", (7, None)),
        ("day-{SPAN}/*.csv", "day-007/a.csv", (7, None)),
        ("day-{SPAN}/*.csv", "day-7.tmp/a.csv", None),
        ("day-{SPAN}/*.csv", "day-/a.csv", None),
        ("day-{SPAN}/*.csv", "day-7/b/a.csv", None),
        ("{SPAN:3}.csv", "012.csv", (12, None)),
        ("{SPAN}/v{VERSION:2}/?.csv", "4/v03/x.csv", (4, 3)),
        ("{SPAN}-[!a-c].csv", "4-d.csv", (4, None)),
        ("{SPAN}-[!a-c].csv", "4-b.csv", None),
        ("a/**/{SPAN}.csv", "a/5.csv", (5, None)),
        ("a/**/{SPAN}.csv", "a/b/c/5.csv", (5, None)),
        ("(1+1)/{SPAN}.csv", "(1+1)/5.csv", (5, None)),
        ("{YYYY}{MM}{DD}.csv", "20240301.csv", ((datetime.date(2024, 3, 1) - datetime.date(1970, 1, 1)).days, None)),
        ("{DD}.{MM}.{YYYY}/v{VERSION}.csv", "02.01.1970/v9.csv", (1, 9)),
        ("{DD}.{MM}.{YYYY}/v{VERSION}.csv", "2.1.1970/v9.csv", (1, 9)),
        ("y={YYYY}/m={MM}/d={DD}/*", "y=1970/m=1/d=02/a", (1, None)),
        ("y={YYYY}/m={MM}/d={DD}/*", "y=1970/m=__HIVE_DEFAULT_PARTITION__/d=02/a", None),
        ("day*{SPAN}.csv", "day12.csv", (12, None)),
        ("day*{SPAN}.csv", "day-x12.csv", (12, None)),
        ("day{SPAN:2}*.csv", "day12a.csv", (12, None)),
        ("a [[]2]/{SPAN}.csv", "a [2]/5.csv", (5, None)),
    ],
)
def test_what_a_path_says(pattern, path, found):
    got = SpanPattern(pattern).match(path)
    assert (got and (got.span, got.version)) == found


@pytest.mark.parametrize(
    ("pattern", "path", "message"),
    [
        ("{SPAN:3}.csv", "12.csv", "received 12 for {SPAN}"),
        ("{SPAN:3}.csv", "1000.csv", "received 1000 for {SPAN}"),
        ("{SPAN:2}*.csv", "123.csv", "received 123 for {SPAN}"),
        ("{SPAN}/v{VERSION:2}/?.csv", "4/v3/x.csv", "received 4 for {SPAN}, 3 for {VERSION}"),
        ("{YYYY}-{MM}-{DD}.csv", "26-09-05.csv", "received 26 for {YYYY}"),
        ("{YYYY}-{MM}-{DD}.csv", "2026-009-05.csv", "009 for {MM}"),
        ("{YYYY}{MM}{DD}.csv", "2026905.csv", "expected another number of digits"),
        ("{YYYY}-{MM}-{DD}.csv", "2026-13-05.csv", "month must be in 1..12"),
        ("{SPAN}.csv", "9223372036854775808.csv", "expected at most 9223372036854775807 for {SPAN}"),
        ("{SPAN}/{VERSION}.csv", "1/99999999999999999999.csv", "for {VERSION}, received 99999999999999999999"),
    ],
)
def test_digits_that_are_no_span_are_refused(pattern, path, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        SpanPattern(pattern).match(path)


@given(st.dates(datetime.date(1970, 1, 1)), st.booleans(), st.booleans())
def test_a_date_with_or_without_zeros(day, month_padded, day_padded):
    """strftime's %m and %-m, %d and %-d are the oracle."""
    month, number = day.strftime("%m" if month_padded else "%-m"), day.strftime("%d" if day_padded else "%-d")
    found = SpanPattern("year={YYYY}/month={MM}/day={DD}/*.csv").match(
        f"year={day.year}/month={month}/day={number}/a.csv"
    )
    assert found is not None
    assert found.span == (day - datetime.date(1970, 1, 1)).days


@pytest.mark.parametrize("path", ["2024-02-30.csv", "1969-12-31.csv", "2024-13-01.csv"])
def test_digits_that_are_no_date_are_an_error_and_not_passed_over(path):
    with pytest.raises(ValueError, match=r"day is out of range|spans begin|month must be"):
        SpanPattern("{YYYY}-{MM}-{DD}.csv").match(path)


@pytest.mark.parametrize(
    ("pattern", "span", "version", "filled"),
    [
        ("day-{SPAN}/*.csv", 7, None, "day-7/*.csv"),
        ("day-{SPAN:3}/v{VERSION}/*.csv", 7, 2, "day-007/v2/*.csv"),
        ("day-{SPAN:1}/v{VERSION}/*.csv", 77, None, "day-77/v*/*.csv"),
        ("{YYYY}/{MM}/{DD}/*.csv", 59, None, "1970/03/01/*.csv"),
    ],
)
def test_a_pattern_is_filled(pattern, span, version, filled):
    assert SpanPattern(pattern).fill(span, version) == filled


@given(st.dates(min_value=datetime.date(1970, 1, 1)))
def test_a_date_comes_back(day):
    pattern = SpanPattern("x-{YYYY}_{MM}_{DD}.csv")
    path = f"x-{day.year:04d}_{day.month:02d}_{day.day:02d}.csv"
    found = pattern.match(path)
    assert found is not None and datetime.date(1970, 1, 1) + datetime.timedelta(found.span) == day
    assert pattern.fill(found.span, None) == found.spelled == path
    assert parse_day(day.isoformat()) == found.span


@given(st.sets(st.integers(min_value=0, max_value=40)))
def test_the_text_of_numbers_holds_them_all(numbers):
    text = format_spans(sorted(numbers))
    received: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        received += range(int(first), int(last or first) + 1)
    assert received == sorted(numbers)


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (["{SPAN}/{SPAN}.csv"], "holds {SPAN} 2 times"),
        (["{SPAN:x}.csv"], "expected a number of digits of at least 1"),
        (["{SPAN:0}.csv"], "expected a number of digits of at least 1"),
        (["{YYYY}-{MM}.csv"], "a date needs {YYYY}, {MM} and {DD}"),
        (["{SPAN}/{YYYY}-{MM}-{DD}.csv"], "holds both {SPAN} and a date"),
        (["v{VERSION}.csv"], "{VERSION} needs {SPAN} or a date"),
        (["{SPAN}{VERSION}.csv"], "put something between"),
        (["{SPAN}.csv", "b.csv"], "the same span placeholders in all patterns, or none at all"),
        (["{SPAN}.csv", "{YYYY}{MM}{DD}.csv"], "{SPAN}.csv has {SPAN}; {YYYY}{MM}{DD}.csv has a date"),
        (["{SPAN}/{VERSION}.csv", "{SPAN}.csv"], "{SPAN}/{VERSION}.csv has {SPAN} and {VERSION}"),
    ],
)
def test_what_is_no_pattern_is_told(patterns, message):
    (problem,) = pattern_problems(patterns)
    assert message in problem
    with pytest.raises(ValidationError, match="files: "):
        DataConfig(files=patterns, entity="id", features=["x"], format="example")  # type: ignore[arg-type]


def test_a_window_needs_a_place_for_spans():
    given = {"entity": "id", "features": ["x"], "format": "example", "spans": {"count": 3}}
    with pytest.raises(ValidationError, match=r"spans needs \{SPAN\} or a date"):
        DataConfig.model_validate({"files": ["a.csv"], **given})
    data = DataConfig.model_validate({"files": {"train": ["{SPAN}.csv"], "test": ["t{SPAN}.csv"]}, **given})
    assert DataConfig.model_validate_json(data.model_dump_json()) == data
    assert data.patterns == ["{SPAN}.csv", "t{SPAN}.csv"]


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ({"count": 0}, "greater than or equal to 1"),
        ({"window": "all", "count": 2}, "count is for window: rolling"),
        ({"first": 1}, "first and last are for window: static"),
        ({"window": "static"}, "needs first"),
        ({"window": "static", "first": 4, "last": 3}, r"last \(3\) comes before first \(4\)"),
        ({"window": "static", "first": -1}, "greater than or equal to 0"),
        ({"window": "static", "first": "2024-02-30"}, "valid integer"),
    ],
)
def test_what_is_no_window_is_told(spans, message):
    with pytest.raises(ValidationError, match=message):
        SpansConfig.model_validate(spans)


def test_a_window_may_be_given_by_dates():
    window = SpansConfig.model_validate({"window": "static", "first": datetime.date(1970, 1, 3), "last": "1970-02-01"})
    assert (window.first, window.last) == (2, 31)

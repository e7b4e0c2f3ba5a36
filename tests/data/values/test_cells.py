"""Cells in the spelling of `data.csv`, against Python, pandas and locale-style formatting done by hand."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from noisy_gru.data.arrow import pa
from noisy_gru.data.values.cells import CellReader
from noisy_gru.data.values.spelling_advice import SpellingAdvice
from noisy_gru.schema.csv_config import CsvConfig
from noisy_gru.schema.time_config import TimeSpelling


def reader(**options: Any) -> CellReader:
    return CellReader(CsvConfig(**options))


SPELLINGS = st.one_of(
    st.text("0123456789+-.,eE '_\u00a0", max_size=12),
    st.sampled_from(
        ["1.#IND", " n/a ", "TRUE", "inf", "-1,5e3", "1.234,5", "1 234", "1\u202f234,5", "-999", "-999,0", "?"]
    ),
)


def plain_number(text: str, decimal: str, thousands: str | None) -> float | None:
    """An independent reading: NaN for missing, None for no number."""
    text = text.strip()
    if text.lower() in {"", "1.#ind", "n/a"}:
        return math.nan
    if text.lower() in {"true", "false"}:
        return float(text.lower() == "true")
    if text.lower() == "inf":
        return math.inf
    head, mark, tail = text.partition(decimal)
    body = head.lstrip("+-")
    if len(head) - len(body) > 1:
        return None
    exponent = ""
    if not mark:
        for letter in "eE":
            if letter in body:
                body, _, exponent = body.partition(letter)
                exponent = letter + exponent
                break
    blanks = " \u00a0\u2009\u202f" if thousands == " " else thousands or ""
    if any(each in body for each in blanks):
        for each in blanks:
            body = body.replace(each, "|")
        groups = body.split("|")
        if not (1 <= len(groups[0]) <= 3 and all(len(group) == 3 for group in groups[1:])):
            return None
        body = "".join(groups)
        if not body.isdigit():
            return None
    if any(each not in "0123456789eE+-." if decimal == "." else each not in "0123456789eE+-" for each in body + tail):
        return None
    # Python's float also takes 0_0.
    if "_" in exponent:
        return None
    try:
        return float(("-" if head.startswith("-") else "") + body + ("." if mark else "") + tail + exponent)
    except ValueError:
        return None


@pytest.mark.parametrize(
    ("decimal", "thousands"), [(",", None), (",", "."), (".", ","), (".", "'"), (",", " "), (".", "_"), (".", None)]
)
@settings(deadline=None, max_examples=150)
@given(cells=st.lists(SPELLINGS, min_size=1, max_size=20))
@example(cells=["1.234.567,8", "1.50", "12.34", "1234,5", "1,234.5", "1'000", ",5", "5,", "--1", "+1.000", "1.0000"])
def test_numbers(decimal: str, thousands: str | None, cells: list[str]) -> None:
    values, bad = reader(decimal=decimal, thousands=thousands).numbers(pa.array(cells))
    for cell, value, wrong in zip(cells, values, bad, strict=True):
        truth = plain_number(cell, decimal, thousands)
        assert wrong == (truth is None), cell
        assert (truth is None and math.isnan(value)) or value == truth or (value != value and truth != truth), cell


@settings(deadline=None, max_examples=100)
@given(
    values=st.lists(
        st.one_of(st.integers(-(10**12), 10**12), st.floats(-1e12, 1e12).map(lambda x: round(x, 3))), min_size=1
    ),
    marks=st.sampled_from([(",", "."), (".", ","), (",", " "), (".", "'")]),
)
def test_grouped_numbers_as_pandas_reads_them(values: list[float], marks: tuple[str, str]) -> None:
    decimal, thousands = marks
    cells = [f"{value:,}".translate(str.maketrans({",": thousands, ".": decimal})) for value in values]
    cells = [cell for cell in cells if "e" not in cell]
    if not cells:
        return
    expected = pd.read_csv(
        io.StringIO("x\n" + "\n".join(f'"{cell}"' for cell in cells)),
        decimal=decimal,
        thousands=thousands,
        dtype=float,
        float_precision="round_trip",
        engine="c",
    )["x"].to_numpy()
    found, bad = reader(decimal=decimal, thousands=thousands).numbers(pa.array(cells))
    assert not bad.any()
    np.testing.assert_array_equal(found, expected)


def test_markers_of_missing_values_go_by_text_and_by_value() -> None:
    cells = reader(missing=[-999, "?", "n.a.", "1e3"], decimal=",")
    values, bad = cells.numbers(pa.array(["-999", "-999,0", "?", " n.a. ", "1000", "N.A.", "999", "-999,5"]))
    assert bad.tolist() == [False] * 5 + [True, False, False]
    np.testing.assert_array_equal(values, [np.nan] * 6 + [999.0, -999.5])
    for kind in (pa.int16(), pa.int64(), pa.float32(), pa.float64()):
        values, bad = cells.numbers(pa.array([-999, 5, None], kind))
        np.testing.assert_array_equal(values, [np.nan, 5, np.nan])
        assert not bad.any()
    values, _ = reader(missing=[-999.9]).numbers(pa.array([-999.9, 1.0], pa.float32()))
    np.testing.assert_array_equal(np.isnan(values), [True, False])


def test_markers_of_missing_values_in_text_columns() -> None:
    cells = reader(missing=["?", "-999", "Unbekannt"])
    found, bad = cells.texts(pa.array(["?", "-999.0", "Unbekannt", "unbekannt", "", None, "a?"]))
    assert found.to_pylist() == [None, None, None, "unbekannt", "", None, "a?"]
    assert not bad.any()
    found, _ = cells.texts(pa.array([-999, 3]))
    assert found.to_pylist() == [None, "3"]


def test_booleans() -> None:
    cells = reader(true=["ja"], false=["NEIN", 2], missing=["-", 9])
    texts = ["ja", "JA ", "nein", "2", "true", "F", "on", "0", "1.0", "-", "9", "NA", "", "oui", "3"]
    values, bad = cells.booleans(pa.array(texts))
    known = [1, 1, 0, 0, 1, 0, 1, 0, 1, np.nan, np.nan, np.nan, np.nan, np.nan, np.nan]
    np.testing.assert_array_equal(values, known)
    assert bad.tolist() == [False] * 13 + [True] * 2
    for column in (pa.array([True, False, None]), pa.array([1, 0, None]), pa.array([1.0, 0.0, float("nan")])):
        values, bad = cells.booleans(column)
        np.testing.assert_array_equal(values, [1, 0, np.nan])
        assert not bad.any()
    values, bad = cells.booleans(pa.array([1, 7, 9]))
    assert bad.tolist() == [False, True, False]
    assert np.isnan(values[1:]).all()


def test_times_of_numbers_follow_the_marks() -> None:
    cells = reader(decimal=",", thousands=".", missing=[-1])
    values, bad = cells.times([pa.array(["1.000", "7", "-1", "1.5", "2,0"])], "integer", TimeSpelling())
    assert (values[[0, 1, 4]].tolist(), bad.tolist()) == ([1000, 7, 2], [False, False, True, True, False])
    values, bad = cells.times([pa.array(["0,5", "1.000,25", "-1"])], "float", TimeSpelling())
    assert (values[:2].tolist(), bad.tolist()) == ([0.5, 1000.25], [False, False, True])


DATES = ["2025-12-31", "2025-12-31", "", "2025-02-30"]
CLOCKS = ["06:30", "", "06:30", "06:30"]


def test_a_date_and_a_clock() -> None:
    cells = reader()
    values, bad = cells.times([pa.array(DATES), pa.array(CLOCKS)], "timestamp", TimeSpelling())
    assert bad.tolist() == [False, True, True, True]
    assert values[0] == pd.Timestamp("2025-12-31 06:30").value
    spelled = TimeSpelling("%d.%m.%Y %H:%M")
    values, bad = cells.times([pa.array(["31.12.2025"]), pa.array([" 6:30 "])], "timestamp", spelled)
    assert (values[0], bad[0]) == (pd.Timestamp("2025-12-31 06:30").value, False)


@pytest.mark.parametrize(
    "dates",
    [
        pa.array(pd.Series(["2025-12-31"]).astype("datetime64[ns]")),
        pa.array([20088], pa.int32()).cast(pa.date32()).take(pa.array([0])),
        pa.array([20251231]),
        pa.array([20251231.0]),
    ],
    ids=["timestamp", "date", "integer", "float"],
)
def test_stored_dates_beside_a_clock(dates: Any) -> None:
    if pa.types.is_date(dates.type):
        dates = pa.array([(pd.Timestamp("2025-12-31") - pd.Timestamp(0)).days], pa.int32()).cast(pa.date32())
    numbers = pa.types.is_integer(dates.type) or pa.types.is_floating(dates.type)
    for clock in (pa.array(["06:30:00"]), pa.array([23_400], pa.int32()).cast(pa.time32("s"))):
        for spelled in (None, "%Y%m%d %H:%M:%S" if numbers else "%d.%m.%Y %H:%M"):
            values, bad = reader().times([dates, clock], "timestamp", TimeSpelling(spelled))
            assert (values[0], bad[0]) == (pd.Timestamp("2025-12-31 06:30").value, False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("3,14", ' (a number if data.csv.decimal is ",")'),
        ("1,234", ' (a number if data.csv.decimal is ",", or if data.csv.thousands is ",")'),
        ("1,234.5", ' (a number if data.csv.thousands is ",")'),
        ("1.234,5", ' (a number if data.csv.decimal is "," and data.csv.thousands is ".")'),
        ("12 345", ' (a number if data.csv.thousands is " ")'),
        ("yes", " (a feature of kind: boolean has true and false)"),
        ("?", " (if it stands for a missing value, add it to data.csv.missing)"),
        ("oops", ""),
        ("2020-01-01", ""),
        ("1e39", ""),
    ],
)
def test_advice_on_numbers_names_the_option_that_reads_them(text: str, message: str) -> None:
    assert SpellingAdvice(CsvConfig()).number(text) == message


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("31.12.2025", "timestamp", ' (for another spelling set data.time.format, such as "%d.%m.%Y")'),
        (
            "12/31/2025 6:00",
            "timestamp",
            ' (for another spelling set data.time.format, such as "%m/%d/%Y" or "%d/%m/%Y")',
        ),
        ("1700000000", "timestamp", " (for another spelling set data.time.format, such as epoch_s)"),
        ("1700000000000", "timestamp", " (for another spelling set data.time.format, such as epoch_ms)"),
        ("2025-12-31", "integer", " (dates need data.time.kind: timestamp)"),
        ("oops", "timestamp", ""),
    ],
)
def test_advice_on_times(text: str, kind: str, message: str) -> None:
    assert SpellingAdvice(CsvConfig()).time(text, kind, TimeSpelling()) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"delimiter": '"'}, "delimiter and quote are both"),
        ({"delimiter": "ü"}, "one ASCII character"),
        ({"delimiter": "a"}, "neither a letter nor a digit"),
        ({"decimal": ",", "thousands": ","}, "decimal and thousands are both ','"),
        ({"encoding": "utf-9"}, "expected a text encoding that Python knows"),
        ({"encoding": "base64"}, "expected a text encoding that Python knows"),
        ({"comment": ","}, "begins with neither delimiter nor quote"),
        ({"header": ["a", "a"]}, "listed more than once: a"),
        ({"header": []}, "header: expected the name of each column"),
        ({"true": ["x"], "false": ["X"]}, "true and false both have 'x'"),
        ({"true": [1], "missing": [1]}, "true and missing both have '1'"),
        ({"delimeter": ";"}, "delimeter"),
    ],
)
def test_contradictions_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CsvConfig(**options)

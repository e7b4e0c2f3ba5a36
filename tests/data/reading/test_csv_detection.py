"""What is detected is what the file was written with."""

from __future__ import annotations

import csv
import io
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noisy_gru.data.arrow import pa
from noisy_gru.data.reading.csv_detection import detect_dialect
from noisy_gru.data.values.cell_detection import detect_cells
from noisy_gru.data.values.cells import CellReader
from noisy_gru.data.values.time_detection import clock_format, detect_number_format, detect_time_format
from noisy_gru.data.values.time_formats import formatted_times
from noisy_gru.schema.csv_config import CsvConfig


def spelled(value: float, decimal: str, thousands: str | None) -> str:
    text = f"{value:,.2f}" if thousands else f"{value:.2f}"
    return text.translate(str.maketrans({",": thousands or ",", ".": decimal}))


@settings(deadline=None, max_examples=60)
@given(
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    marks=st.sampled_from([(".", None), (",", None), (",", "."), (",", " "), (".", "'")]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
    comments=st.booleans(),
    words=st.lists(st.sampled_from(["Köln", "a, b", "x; y", 'say "no"', "c"]), min_size=4, max_size=30),
    seed=st.integers(0, 99),
)
def test_a_written_file(delimiter, marks, encoding, comments, words, seed) -> None:
    values = np.random.default_rng(seed).uniform(1000, 99999, len(words))
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter)
    out.write("# Export\n#\n" if comments else "")
    writer.writerow(["name", "day", "x"])
    for place, (word, value) in enumerate(zip(words, values, strict=True)):
        writer.writerow([word, f"2025-03-{1 + place % 28:02d}", spelled(value, *marks)])
    head = out.getvalue().encode(encoding)
    found = detect_dialect(head)
    assert found.columns["name"] == words
    assert found.options.get("delimiter", ",") == delimiter
    assert found.options.get("comment") == ("#" if comments else None)
    assert head.decode(found.options.get("encoding", "utf-8-sig")).lstrip("\ufeff") == out.getvalue()
    cells = detect_cells(found.columns)
    assert (cells.options.get("decimal", "."), cells.options.get("thousands")) == marks
    read, bad = CellReader(CsvConfig(**found.options, **cells.options)).numbers(pa.array(found.columns["x"]))
    assert not bad.any()
    np.testing.assert_allclose(read, np.round(values, 2))


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("id,t,x\na,0,1\nb,1,2\n", True),
        ("a,0,1\nb,1,2\nc,2,3\n", False),
        ("a,2020-01-01,1.5\nb,2020-01-02,2\n", False),
        ("id,2019,2020,2021\na,1,2,3\nb,4,5,6\n", True),
        ("id,name\na,b\nc,d\n", True),
    ],
)
def test_header(text: str, header: bool) -> None:
    found = detect_dialect(text.encode())
    assert found.options.get("header", True) is header
    assert len(found.columns) == text.partition("\n")[0].count(",") + 1


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\n \n",
        b"a,b,c\n",
        b"\0\0\0",
        bytes(range(256)) * 20,
        b"a,b\n" + b"x" * 200_000 + b",1\n",
        b'"' + b"a,b\n" * 50_000,
    ],
    ids=["empty", "blank", "header", "nul", "bytes", "long", "stray quote"],
)
def test_anything_is_read_without_an_error(head: bytes) -> None:
    found = detect_dialect(head)
    CsvConfig(**{**found.options, **detect_cells(found.columns).options})


def test_a_header_that_begins_with_a_mark_is_no_comment() -> None:
    assert list(detect_dialect(b"#id,t,x\na,0,1\n").columns) == ["#id", "t", "x"]


def test_two_readings_of_a_delimiter_are_not_sure() -> None:
    found = detect_dialect(b"a;b|c\n1;2|3\n4;5|6\n")
    assert [finding.sure for finding in found.findings if "delimiter" in finding.what] == [False]
    assert all(finding.sure for finding in detect_dialect(b"id;x\na;1,5\nb;2,5\n").findings)


def test_one_thousand_or_one_point_two() -> None:
    ambiguous = detect_cells({"x": ["1,234", "2,345", "9,100"]})
    assert [finding.sure for finding in ambiguous.findings] == [False]
    # In quotes, between commas.
    quoted = detect_cells({"x": ["1,234", "2,345", "9,100"]}, ",")
    assert (quoted.options, [each.sure for each in quoted.findings]) == ({"thousands": ","}, [True])
    assert detect_cells({"x": ["1,234", "2,345", "9,1"]}, ",").options == {"decimal": ","}
    assert detect_cells({"x": ["1,234", "2,345", "9,100"]}, ";").options == ambiguous.options
    clear = detect_cells({"x": ["1,234", "2,345", "9,1"]})
    assert (clear.options, [finding.sure for finding in clear.findings]) == ({"decimal": ","}, [True])
    assert detect_cells({"x": ["1.234", "2.345"]}).options == {}


def test_markers() -> None:
    found = detect_cells({"x": ["1", "?", "2", "3", "?"], "z": ["a", "-", "b", "c", "d"]})
    assert found.options == {"missing": ["?"]}
    assert [finding.sure for finding in found.findings] == [True]
    assert detect_cells({"x": ["-999", "-998", "-997", "-999"], "y": ["1", "oops", "3", "4", "5"]}).options == {}


def test_booleans() -> None:
    found = detect_cells(
        {
            "a": ["ja", "nein", ""],
            "b": ["TRUE", "FALSE", "NA"],
            "c": ["y", "n", "n"],
            "d": ["1", "0", "1"],
            "e": ["m", "f", "m"],
        }
    )
    assert (found.booleans, found.options) == (["a", "b", "c"], {"true": ["ja"], "false": ["nein"]})


FORMATS = [
    *(
        "%d.%m.%Y",
        "%d.%m.%y %H:%M",
        "%m/%d/%Y",
        "%d/%m/%Y %H:%M:%S",
        "%m/%d/%Y %I:%M %p",
        "%d-%m-%Y",
        "%Y%m%d",
        "%b %d, %Y",
    ),
    *("%d-%b-%Y %H:%M", "%d %B %Y", "%Y.%m.%d %H:%M", "%d/%m/%Y, %H:%M", "%Y%m%d%H%M%S", "%Y/%b/%d"),
]


@pytest.mark.parametrize("written", FORMATS[:-1])
@settings(deadline=None, max_examples=12)
@given(start=st.datetimes(datetime(2001, 1, 1), datetime(2030, 1, 1)), hours=st.sampled_from([1, 24]))
def test_time_formats(written: str, start: datetime, hours: int) -> None:
    """Over 60 steps of an hour or a day, the format that wrote the column reads it."""
    has_clock = "%H" in written or "%I" in written
    first = start.replace(hour=start.hour if has_clock else 0, minute=0, second=0, microsecond=0)
    step = timedelta(hours=hours if has_clock else 24)
    moments = [first + step * place for place in range(900 if step < timedelta(1) else 60)]
    texts = [moment.strftime(written) for moment in moments]
    found = detect_time_format(texts)
    assert found is not None
    read, bad = formatted_times(pa.array(texts), found.format or "")
    assert not bad.any()
    assert read.tolist() == [pd.Timestamp(moment).value for moment in moments]


def test_iso_and_what_is_no_time() -> None:
    assert detect_time_format(["2025-01-01", "2025-01-02T06:00Z"]).format is None  # type: ignore[union-attr]
    for texts in (["a", "b"], ["1.5", "2.5"], ["12", "13"], [], ["10.0.0.1", "10.0.0.2"], ["a1", "b2"]):
        assert detect_time_format(texts) is None, texts


def test_day_or_month_first_is_not_sure_where_the_order_of_rows_does_not_tell() -> None:
    found = detect_time_format(["03/04/2020", "05/06/2020", "01/02/2020"])
    assert found is not None
    assert not found.sure
    assert {found.format, found.other} == {"%d/%m/%Y", "%m/%d/%Y"}


@pytest.mark.parametrize(
    ("values", "named", "expected"),
    [
        ([1.7e9, 1.7e9 + 60], True, "epoch_s"),
        ([1.7e12, 1.7e12 + 60], True, "epoch_ms"),
        ([1.7e15, 1.7e15 + 60], True, "epoch_us"),
        ([1.7e18, 1.7e18 + 600], True, "epoch_ns"),
        ([1.7e9, 1.7e9 + 60], False, None),
        ([20250101, 20250102], True, "%Y%m%d"),
        ([20251301, 20250102], True, None),
        (list(range(20250101, 20250115)), False, "%Y%m%d"),
        ([1, 2, 3], True, None),
        ([2019, 2020], True, None),
    ],
)
def test_numbers_that_are_times(values: list[float], named: bool, expected: str | None) -> None:
    found = detect_number_format(np.array(values, float), named_time=named)
    assert (found.format if found else None) == expected


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["06:00", "7:30"], "%H:%M"),
        (["06:00:01"], "%H:%M:%S"),
        (["1:00 PM"], "%I:%M %p"),
        (["6"], None),
    ],
)
def test_clocks(texts: list[str], expected: Any) -> None:
    assert clock_format(texts) == expected


def test_years_with_gaps_are_names_of_columns() -> None:
    """The World Bank's tables: a column for each year, most of them with gaps."""
    lines = [f"Country {place},{place}.5,{'' if place % 3 else 2},{place},{place + 1}" for place in range(30)]
    found = detect_dialect("\n".join(["Country Name,1960,1961,1962,1964", *lines]).encode())
    assert "header" not in found.options
    assert list(found.columns) == ["Country Name", "1960", "1961", "1962", "1964"]
    # A row of numbers that rise is a row, where no cell names a column.
    rows = "\n".join(f"{1900 + place},{1901 + place},{1903 + place}" for place in range(30))
    assert detect_dialect(rows.encode()).options["header"] is False

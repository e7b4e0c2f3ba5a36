"""Excel workbooks: the values that were written are read, dates as dates; what is no value is named by its cell."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noisy_gru.data.arrow import pa
from noisy_gru.data.reading.files import format_of
from noisy_gru.data.reading.in_memory_tables import rows_source
from noisy_gru.data.reading.reader import Reader
from noisy_gru.data.reading.tables import Source
from noisy_gru.data.reading.workbooks import detect_sheet, workbook_columns
from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import DataError

HEADER = ["id", "t", "x", "c", "y"]
DATA: dict[str, Any] = {
    "time": {"column": "t", "kind": "timestamp"},
    "features": ["x", {"name": "c", "kind": "categorical"}],
}


def write(path: Path, rows: list[list[Any]], header: list[Any] | None = HEADER, sheet: str = "Data") -> Source:
    book = openpyxl.Workbook()
    active: Any = book.active
    active.title = sheet
    for row in ([header] if header else []) + rows:
        active.append(row)
    book.save(path)
    return Source(str(path), path.name, "xlsx")


def read(dataset: DatasetConfig, source: Source) -> tuple[pd.DataFrame, Quarantine]:
    quarantine = Quarantine()
    found = pa.concat_tables(list(Reader(dataset).tables(source, quarantine))).to_pandas()
    report = quarantine.report
    assert report.rows_read == len(found) + report.quarantined.total()
    return found, quarantine


moments = st.datetimes(datetime(1950, 1, 1), datetime(2100, 1, 1)).map(lambda each: each.replace(microsecond=0))
texts = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            texts | st.integers(0, 9),
            moments | st.dates(date(1950, 1, 1), date(2100, 1, 1)),
            st.none() | st.floats(-1e9, 1e9) | st.integers(-99, 99) | st.booleans(),
            st.none() | texts | st.integers(-9, 9) | st.booleans() | st.dates(date(1950, 1, 1), date(2100, 1, 1)),
            st.sampled_from("pq"),
        ).map(list),
        min_size=1,
        max_size=6,
    )
)
def test_values_are_those_that_were_written(
    tmp_path: Path, configured: Callable[..., DatasetConfig], rows: list[list[Any]]
) -> None:
    dataset = configured(**DATA)
    found, quarantine = read(dataset, write(tmp_path / "rows.xlsx", rows))
    sent = rows_source([dict(zip(HEADER, row, strict=True)) for row in rows], HEADER)
    expected, other = read(dataset, sent)
    assert len(quarantine.lines) == len(other.lines)
    pd.testing.assert_frame_equal(found, expected, rtol=1e-6)
    stored = [pd.Timestamp(row[1]).value for row in rows]
    assert found["time"].tolist() == [stored[number - 1] for number in found["row"]]


def test_rows_that_are_empty_are_none_and_errors_are_quarantined(
    tmp_path: Path, configured: Callable[..., DatasetConfig]
) -> None:
    rows = [
        ["a", datetime(2026, 1, 1), 1.5, "k", "p"],
        [],
        ["a", datetime(2026, 1, 2), "#DIV/0!", "k", "p"],
        ["a", datetime(2026, 1, 3), "#N/A", "#N/A", "p"],
        ["a", datetime(2026, 1, 4), 2, "#REF!", "p"],
        ["a", datetime(2026, 1, 5), 3, "k", "p", None, "more"],
        ["a", "soon", 3, "k", "p"],
        ["a", datetime(2026, 1, 7), 4],
    ]
    found, quarantine = read(configured(**DATA), write(tmp_path / "rows.xlsx", rows))
    reported = {(line["row"], line["line"]): line["problem"] for line in quarantine.lines}
    assert reported[2, 4] == "expected a value of x, received the error #DIV/0!"
    assert reported[4, 6] == "expected a value of c, received the error #REF!"
    assert reported[5, 7] == "expected 5 cells, received more: 'more'"
    assert reported[6, 8].startswith("expected an ISO 8601 timestamp, received 'soon'")
    assert found["row"].tolist() == [1, 3, 7]
    np.testing.assert_array_equal(found["n:x"], np.array([1.5, np.nan, 4], np.float32))
    assert found["c:c"].tolist() == ["k", "", ""]


def test_a_date_beside_a_clock(tmp_path: Path, configured: Callable[..., DatasetConfig]) -> None:
    rows = [["a", datetime(2026, 1, 1), time(6, 30), 1, "p"], ["a", date(2026, 1, 2), time(7), 2, "p"]]
    source = write(tmp_path / "rows.xlsx", rows, ["id", "day", "clock", "x", "y"])
    for spelled in (None, "%d.%m.%Y %H:%M"):
        when = {"column": ["day", "clock"], "kind": "timestamp", "format": spelled}
        found, _ = read(configured(time=when), source)
        assert found["time"].tolist() == [pd.Timestamp(2026, 1, 1, 6, 30).value, pd.Timestamp(2026, 1, 2, 7).value]


def test_the_sheet_and_its_header_are_configured(tmp_path: Path, configured: Callable[..., DatasetConfig]) -> None:
    path = tmp_path / "rows.xlsx"
    book = openpyxl.Workbook()
    sheet = book.create_sheet("Readings")
    for row in (["Report of 2026"], [], ["id", "t", "x", "y"], ["a", 0, 1.5, "p"]):
        sheet.append(row)
    book.save(path)
    source = Source(str(path), path.name, format_of(path.name, configured().data))
    with pytest.raises(DataError, match="expected one sheet, received the sheets Sheet, Readings"):
        read(configured(), source)
    with pytest.raises(DataError, match="expected the sheet Other, received the sheets Sheet, Readings"):
        read(configured(excel={"sheet": "Other"}), source)
    with pytest.raises(DataError, match="expected the columns id, t, x, y; the file has Report of 2026"):
        read(configured(excel={"sheet": "Readings"}), source)
    with pytest.raises(DataError, match="expected a header in row 9"):
        read(configured(excel={"sheet": "Readings", "header_row": 9}), source)
    found, _ = read(configured(excel={"sheet": "Readings", "header_row": 3}), source)
    assert found["n:x"].tolist() == [1.5]


def test_two_rows_of_names(tmp_path: Path, configured: Callable[..., DatasetConfig]) -> None:
    """A name over merged cells holds for all of them; a row of units is joined to the names, too."""
    path = tmp_path / "rows.xlsx"
    book = openpyxl.Workbook()
    sheet: Any = book.active
    for row in (["Report of 2026"], ["id", "t", "North", None, "South", "y"], [None, None, "x", "kind", "x"]):
        sheet.append(row)
    for step in range(6):
        sheet.append(["a", step, step + 0.5, "k", -step, "p"])
    book.save(path)
    source = Source(str(path), path.name, format_of(path.name, configured().data))
    found = detect_sheet(source)
    assert (found.header_row, found.header_rows) == (2, 2)
    assert workbook_columns(source, found) == ["id", "t", "North x", "North kind", "South x", "y"]
    table, _ = read(configured(features=["North x", "South x"], excel=found.model_dump()), source)
    assert table["n:North x"].tolist() == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5]
    assert table["n:South x"].tolist() == [0, -1, -2, -3, -4, -5]
    assert table["row"].tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("rows", "header"),
    [
        ([["id", "t", "x"], ["-", "s", "°C"]], (None, 2)),
        ([[None, "t", "x"]], (None, 1)),  # the index of pandas has no name
        ([["Title"], ["Made by", "me"], [], ["id", "t", "x"]], (4, 1)),
        ([["id", "t", "x"], ["a", 0, 1.5]], (None, 1)),
    ],
)
def test_the_rows_of_names_are_detected(tmp_path: Path, rows: Any, header: Any) -> None:
    path = tmp_path / "rows.xlsx"
    book = openpyxl.Workbook()
    sheet: Any = book.active
    for row in [*rows, *[["a", step, step / 2] for step in range(6)]]:
        sheet.append(row)
    book.save(path)
    found = detect_sheet(Source(str(path), path.name, "xlsx"))
    assert (found.header_row, found.header_rows) == header


def test_a_formula_that_was_never_calculated_is_an_error(
    tmp_path: Path, configured: Callable[..., DatasetConfig]
) -> None:
    source = write(tmp_path / "rows.xlsx", [["a", 0, "=1+1", "k", "p"]])
    with pytest.raises(DataError, match="sheet Data, cell C2: expected a value, received a formula that was never"):
        read(configured(), source)


@pytest.mark.parametrize("content", [b"", b"id,t,x,y\n", b"PK\x03\x04 no archive", bytes.fromhex("d0cf11e0a1b11ae1")])
def test_another_file_is_an_error(tmp_path: Path, configured: Callable[..., DatasetConfig], content: bytes) -> None:
    path = tmp_path / "rows.xlsx"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"rows.xlsx: can't be read as a workbook \(.xlsx\)"):
        read(configured(), Source(str(path), path.name, "xlsx"))


def test_wide_sheets_have_dates_as_names(tmp_path: Path, configured: Callable[..., DatasetConfig]) -> None:
    source = write(tmp_path / "rows.xlsx", [["a", 1, 2], ["b", 3, None]], ["id", date(2026, 1, 1), date(2026, 2, 1)])
    dataset = configured(
        time={"column": "month", "kind": "timestamp"},
        layout={"kind": "wide_steps", "value": "x", "steps": "name"},
        task={"kind": "forecasting", "targets": ["x"], "input_length": 1, "horizons": [1]},
    )
    quarantine = Quarantine()
    (found,) = Reader(dataset).tables(source, quarantine)
    assert found["n:x"].to_pylist() == [1, 2, 3]
    assert found["time"].to_pylist() == [pd.Timestamp(2026, month, 1).value for month in (1, 2, 1)]
    assert quarantine.report.dropped == {"empty_cell": 1}


def test_without_openpyxl_the_extra_is_named(
    tmp_path: Path, configured: Callable[..., DatasetConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "rows.xlsx", [["a", 0, 1, "k", "p"]])
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(DataError, match=r"pip install 'noisy-gru-tfx\[excel\]'"):
        read(configured(), source)

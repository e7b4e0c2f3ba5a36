"""Tables in memory are read as the same rows in a CSV file are."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import pytest

from noisy_gru.data.reading.in_memory_tables import arrow_source, frame_source, rows_source
from noisy_gru.data.requests.prediction_input import read_for_prediction, read_sources
from noisy_gru.schema.errors import DataError

pa: Any = pyarrow
WANTED = ["id", "t", "x", "kind"]
NO_ROW: Any = [1]
FEATURES: list[Any] = ["x", {"name": "kind", "kind": "categorical"}]
CSV = "id,t,x,kind,other\nb,1,2.5,u,q\n7,0,oops,v,q\nb,0,1.5,,q\n8,0,,w,q\n8,1,4,w,q\n"
FRAME = pd.DataFrame(
    {
        "id": ["b", 7, "b", 8, 8.0],
        "t": [1, 0, 0, 0, 1],
        "x": [2.5, "oops", np.float32(1.5), None, 4],
        "kind": ["u", "v", float("nan"), b"w", "w"],
        "other": [object()] * 5,
    }
)


def rows() -> list[dict[str, Any]]:
    found: Any = FRAME.to_dict("records")
    del found[2]["kind"], found[3]["x"]
    return found


TEXTS = {"id": ["b", "7", "b", "8", "8"], "t": [1, 0, 0, 0, 1], "x": ["2.5", "oops", "1.5", None, "4"]}
SOURCES = {
    "frame": lambda: frame_source(FRAME, WANTED),
    "indexed": lambda: frame_source(FRAME.set_index(["id", "t"]), WANTED),
    "rows": lambda: rows_source(iter(rows()), WANTED),
    "table": lambda: arrow_source(pa.table({**TEXTS, "kind": ["u", "v", None, "w", "w"]}), WANTED),
    "batch": lambda: arrow_source(pa.RecordBatch.from_pydict({**TEXTS, "kind": ["u", "v", "", "w", "w"]}), WANTED),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_the_same_examples_as_from_a_file(kind, table, configured) -> None:
    dataset = configured(features=FEATURES)
    expected = read_for_prediction([table(CSV)], dataset)
    found = read_sources([SOURCES[kind]()], dataset)
    assert expected.ids == ["b", "8"]
    assert (found.ids, found.examples) == (expected.ids, expected.examples)
    (line,) = found.unusable
    assert (line["row"], line["column"], line["problem"]) == (2, "x", "expected a number, received 'oops'")
    assert line["file"] in ("<DataFrame>", "<rows>", "<Table>")
    assert found.report.unbalanced == 0


def test_kinds_of_values(configured) -> None:
    """Each as the same number or text in a file."""
    dataset = configured(features=FEATURES, time={"column": "t", "kind": "timestamp"})
    zoned = pd.Timestamp("2020-01-01T07:00", tz="Europe/Berlin")
    given = [
        {"id": np.int64(5), "t": zoned, "x": Decimal("1.25"), "kind": True},
        {"id": 5.0, "t": "2020-01-01T07:00", "x": 1, "kind": 3.0},
    ]
    text = [
        {"id": "5", "t": "2020-01-01T06:00Z", "x": "1.25", "kind": "true"},
        {"id": "5", "t": "2020-01-01T07:00Z", "x": "1", "kind": "3"},
    ]
    columns: dict[str, Any] = {
        "id": pd.array([5, 5], dtype="Int64"),
        "t": pd.to_datetime(["2020-01-01T06:00Z", "2020-01-01T07:00Z"]),
        "x": [np.float16(1.25), np.float16(1)],
        "kind": pd.Categorical(["true", "3"]),
    }
    expected = read_sources([rows_source(text, WANTED)], dataset)
    assert expected.unusable == []
    for source in (rows_source(given, WANTED), frame_source(pd.DataFrame(columns), WANTED)):
        found = read_sources([source], dataset)
        assert found.unusable == []
        assert found.examples == expected.examples


def test_order_without_a_time(configured) -> None:
    dataset = configured(time=None, format="example")
    frame = pd.DataFrame({"id": ["a", "b", "a"], "x": [3.0, 1.0, 2.0]})
    turned = frame.iloc[::-1]
    found, other = (read_sources([frame_source(each, ["id", "x"])], dataset) for each in (frame, turned))
    assert (found.ids, other.ids) == (["a", "b"], ["a", "b"])
    assert found.examples[0] != other.examples[0]
    assert found.examples[1] == other.examples[1]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (lambda: rows_source([{"id": 1, "t": 1}], WANTED), "<rows>: expected the columns x, kind; the data has id, t"),
        (lambda: rows_source([{"y": 1}], WANTED), "expected the columns id, t, x, kind; the data has y"),
        (lambda: frame_source(pd.DataFrame({"id": [1]}), WANTED), "<DataFrame>: expected the columns t, x, kind"),
        (lambda: frame_source(pd.DataFrame(), WANTED), "the data has none"),
        (
            lambda: frame_source(pd.DataFrame([[1, 2, 3, 4, 5]], columns=[*WANTED, "x"]), WANTED),
            "<DataFrame>: the header has the column x more than once",
        ),
        (lambda: arrow_source(pa.table({"id": [1]}), WANTED), "<Table>: expected the columns t, x, kind"),
        (lambda: rows_source([{"id": 1}, NO_ROW], WANTED), "<rows>, row 2: expected a mapping .* received list"),
        (
            lambda: arrow_source(pa.table({"id": ["a"], "t": [0], "x": [[1]], "kind": ["u"]}), WANTED),
            "<Table>, column x: expected numbers, received a column of type list",
        ),
    ],
)
def test_what_is_no_table_of_these_columns(source, message, configured) -> None:
    with pytest.raises(DataError, match=message):
        read_sources([source()], configured(features=FEATURES))


@pytest.mark.parametrize("other", ["u", 1.5, b"u"])
@pytest.mark.parametrize("bad", [b"\xff", "\ud800"])
def test_what_is_no_text_is_one_unusable_row(other, bad, configured) -> None:
    """Whatever else is in the column."""
    rows = [{"id": "a", "t": place, "x": 1, "kind": kind} for place, kind in enumerate([other, bad, other])]
    for source in (rows_source(rows, WANTED), frame_source(pd.DataFrame(rows), WANTED)):
        found = read_sources([source], configured(features=FEATURES))
        assert [(line["row"], line["column"]) for line in found.unusable] == [(2, "kind")]
        assert found.ids == ["a"]


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (np.array([0.1, 2], np.longdouble), ["0.1", "2"]),
        (pd.arrays.SparseArray([1.5, 0.0]), ["1.5", "0"]),
        (np.array([1 + 2j, 2]), ["(1+2j)", "(2+0j)"]),
        ([Decimal("sNaN"), Decimal("NaN")], ["", ""]),
        ([np.datetime64("2020-01-01T00"), np.datetime64("NaT")], ["2020-01-01", ""]),
        (pd.DatetimeIndex(["2020-01-01", "NaT"]), ["2020-01-01", ""]),
        (pd.array([True, None], dtype="boolean"), ["true", ""]),
        (pd.array(["1.0", None], dtype="string"), ["1", ""]),
        (pd.array([0.1, None], dtype="Float32"), ["0.1", ""]),
    ],
    ids=lambda values: str(getattr(values, "dtype", ""))[:20],
)
def test_odd_kinds_of_columns(values, texts, configured) -> None:
    dataset = configured(features=FEATURES)
    frame = pd.DataFrame({"id": ["a", "a"], "t": [0, 1], "x": [1.0, 2.0], "kind": values})
    expected = read_sources([frame_source(frame.assign(kind=texts), WANTED)], dataset)
    assert read_sources([frame_source(frame, WANTED)], dataset).examples == expected.examples


def test_no_rows(configured) -> None:
    dataset = configured(features=FEATURES)
    for source in (rows_source([], WANTED), frame_source(FRAME.head(0), WANTED)):
        found = read_sources([source], dataset)
        assert (found.ids, found.examples, found.unusable) == ([], [], [])

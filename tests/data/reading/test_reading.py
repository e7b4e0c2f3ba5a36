"""Files of all kinds, sound and damaged."""

from __future__ import annotations

import gzip
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from noisy_gru.data.arrow import pa, pa_parquet
from noisy_gru.data.columns import Columns
from noisy_gru.data.ingestion.report_checks import check_report
from noisy_gru.data.reading.csv_tables import read_csv
from noisy_gru.data.reading.files import find_sources, format_of, named_patterns, quarantine_file
from noisy_gru.data.reading.preview import preview_files
from noisy_gru.data.reading.tables import Source
from noisy_gru.schema.errors import DataError

HEAD = "id,t,x,y\n"
ROWS = "a,0,1.5,c\na,1,2.5,c\n"


def entry(found: Any, name: str = "a") -> tuple[list[float], list[float]]:
    return found.by_id[name]["time"], found.by_id[name]["values"]["x"]


@pytest.mark.parametrize(
    "text",
    [
        HEAD + ROWS,
        "\ufeff" + HEAD + ROWS,
        (HEAD + ROWS).replace("\n", "\r\n"),
        HEAD + '"a",0," 1.5 ","c"\n\na,1,+2.5,c',
        "y,note,x,t,id\nc,not asked for,1.5,0,a\nc,,2.5,1,a\n",
    ],
    ids=["plain", "bom", "crlf", "quoted", "other columns"],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_csv_dialects(ingest, tmp_path, configured, text, zipped) -> None:
    path = tmp_path / ("rows.csv.gz" if zipped else "rows.csv")
    data = text.encode()
    # Two members, as `cat a.gz b.gz` makes.
    path.write_bytes(gzip.compress(data[:20]) + gzip.compress(data[20:]) if zipped else data)
    found = ingest(configured(), [path])
    assert entry(found) == ([0, 1], [1.5, 2.5])
    assert found.report.rows_kept == 2


def test_quoted_cells_hold_commas_quotes_and_line_ends(ingest, table, configured) -> None:
    found = ingest(configured(), [table(HEAD + '"a, ""b""\nc",0,1,"x,y"\n')])
    assert found.by_id['a, "b"\nc']["label"] == "x,y"


def test_row_numbers_hold_in_every_block(tmp_path, configured) -> None:
    lines = [f"a,{row},{row},c" for row in range(1, 2001)]
    lines[499] = "a,500,500"  # too few cells
    lines[1499] = "a,1500,oops,c"  # which changes nothing for the other rows
    lines[1999] = "a,2000,1,c,5"
    path = tmp_path / "rows.csv"
    path.write_text(HEAD + "\n".join(lines) + "\n")
    columns = Columns.of(configured())
    source = Source(str(path), "rows.csv", "csv")
    blocks = list(read_csv(source, columns, columns.required(), block_bytes=1024))
    assert len(blocks) > 10
    rows = np.concatenate([block.rows for block in blocks])
    times = np.concatenate([pd.to_numeric(block.table["t"].to_pandas()) for block in blocks])
    assert rows.tolist() == times.tolist() == [row for row in range(1, 2001) if row not in (500, 2000)]
    assert [found.row for block in blocks for found in block.malformed] == [500, 2000]


FAULTS = [
    ("empty.csv", b"", r"empty\.csv: is empty; expected a header"),
    ("rows.csv", b"id, t,x\xe2\x80\x8b,y\n", r"expected the columns t, x; the file has id, ' t', 'x\\u200b', y"),
    ("rows.csv", b"id,t,y\na,0,c\n", r"rows\.csv: expected the column x; the file has id, t, y"),
    ("rows.csv", b"id,t,x,y,x\na,0,1,c,1\n", r"rows\.csv: the header has the column x more than once"),
    (
        "rows.csv",
        b"id,t,x,y\n\xff\xfe,0,1,c\n",
        r"rows\.csv: can't be read as a CSV file in UTF-8 \(row 1, line 2\): 'utf-8' codec can't decode",
    ),
    (
        "rows.csv.gz",
        gzip.compress(HEAD.encode() + b"a,0,1,c\n" * 5000)[:-9],
        r"rows\.csv\.gz: can't be read .*[Tt]runc",
    ),
    ("rows.csv.gz", b"this is no gzip", r"rows\.csv\.gz: expected gzip, received .*b'this is '.*name it \.csv"),
    ("rows.csv.gz", gzip.compress(HEAD.encode()) + b"more", r"rows\.csv\.gz: can't be read as a CSV file.*incorrect"),
    (
        "late.csv",
        HEAD.encode() + b"a,0,1,c\n" * 140_000 + b"\xff,0,1,c\n",
        r"late\.csv: can't be read .* in UTF-8 \(row 140001, line 140002\): 'utf-8' codec can't decode",
    ),
    ("rows.parquet", b"PAR1 no more", r"rows\.parquet: can't be read as a Parquet file"),
]


@pytest.mark.parametrize(("name", "content", "message"), FAULTS, ids=[case[0] + case[2][:30] for case in FAULTS])
def test_damaged_files(ingest, tmp_path, configured, name, content, message) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        ingest(configured(), [tmp_path / name])


def test_corrupt_bytes_in_gzip(ingest, tmp_path, configured) -> None:
    rows = "".join(f"a,{row},{row * 7919 % 1000},c\n" for row in range(100_000))
    packed = bytearray(gzip.compress((HEAD + rows).encode()))
    packed[len(packed) // 2 : len(packed) // 2 + 8] = b"\0" * 8
    (tmp_path / "rows.csv.gz").write_bytes(packed)
    with pytest.raises(DataError, match=r"rows\.csv\.gz: can't be read"):
        ingest(configured(), [tmp_path / "rows.csv.gz"])


def frame() -> pd.DataFrame:
    return pd.DataFrame({"id": ["a", "a", "b"], "t": [0, 1, 0], "x": [1.5, 2.5, 3.5], "y": ["c", "c", "d"]})


def test_truncated_parquet(ingest, tmp_path, configured) -> None:
    path = tmp_path / "rows.parquet"
    frame().to_parquet(path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(DataError, match=r"rows\.parquet: can't be read as a Parquet file"):
        ingest(configured(), [path])
    frame().drop(columns="x").to_parquet(path)
    with pytest.raises(DataError, match=r"rows\.parquet: expected the column x; the file has id, t, y"):
        ingest(configured(), [path])


def test_parquet_by_row_groups(ingest, tmp_path, configured) -> None:
    big = pd.DataFrame({"id": ["a"] * 10, "t": range(10), "x": [1.0] * 9 + [np.inf], "y": "c"})
    big.to_parquet(tmp_path / "rows.parquet", row_group_size=3)
    found = ingest(configured(), [tmp_path / "rows.parquet"])
    assert found.by_id["a"]["time"] == list(range(9))
    assert found.lines[0]["row"] == 10


def test_header_only_files_hold_no_rows(ingest, table, configured) -> None:
    dataset = configured()
    found = ingest(dataset, [table(HEAD)])
    assert found.report.rows_read == 0
    with pytest.raises(DataError, match="the files hold no rows"):
        check_report(found.report, dataset)
    assert ingest(dataset, [table(HEAD, "none.csv"), table(HEAD + ROWS, "some.csv")]).report.rows_kept == 2


def test_files_that_store_the_same_columns_otherwise(ingest, tmp_path, configured) -> None:
    whole = pd.DataFrame({"id": [7, 8], "t": [0, 0], "x": [1, 2], "y": [1, 2]})
    whole.to_parquet(tmp_path / "integers.parquet")
    pd.DataFrame({"id": [7.0, None], "t": [1.0, 1.0], "x": ["2.5", "2"], "y": [1.0, 2.0]}).to_parquet(
        tmp_path / "floats.parquet"
    )
    pd.DataFrame({"id": ["7"], "t": ["2"], "x": [True], "y": ["1"]}).to_parquet(tmp_path / "texts.parquet")
    pd.DataFrame({"id": pd.Categorical(["7"]), "t": [3], "x": [None], "y": pd.Categorical(["1"])}).to_parquet(
        tmp_path / "categories.parquet"
    )
    (tmp_path / "rows.csv").write_text(HEAD + "7,4.0,9,1\n")
    found = ingest(configured(), sorted(tmp_path.iterdir()))
    assert found.by_id["7"]["time"] == [0, 1, 2, 3, 4]
    assert str(found.by_id["7"]["values"]["x"]) == "[1.0, 2.5, 1.0, nan, 9.0]"
    assert found.by_id["8"]["label"] == "2"
    assert found.report.quarantined == {"unparsable_value": 1}


TIMES = ["2020-01-01T01:00:00Z", "2020-01-01 02:00:00", "2020-01-01T04:00:00+01:00", "2020-01-01T04:00:00.5"]


def test_timestamps_in_csv(ingest, table, configured) -> None:
    rows = "".join(f"a,{time},1,c\n" for time in [*TIMES, "2020-13-01", "1700000000", "", "9999-01-01"])
    found = ingest(configured(time={"column": "t", "kind": "timestamp"}, max_length=9), [table(HEAD + rows)])
    seconds = [value / 1e9 for value in found.by_id["a"]["time"]]
    start = datetime(2020, 1, 1, tzinfo=UTC).timestamp()
    assert seconds == [start + hour * 3600 for hour in (1, 2, 3)] + [start + 4 * 3600 + 0.5]
    assert [line["row"] for line in found.lines] == [5, 6, 7, 8]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
def test_timestamps_in_parquet(ingest, tmp_path, configured, unit, zone) -> None:
    stamps = pd.to_datetime(TIMES[:3], format="ISO8601", utc=True)
    stamps = stamps.tz_convert(zone) if zone else stamps.tz_localize(None)
    columns = {"id": pa.array(["a"] * 3), "t": pa.array(stamps).cast(pa.timestamp(unit, tz=zone))}
    rows = pa.table({**columns, "x": [1.0, 2, 3], "y": ["c"] * 3})
    pa_parquet.write_table(rows, tmp_path / "rows.parquet")
    found = ingest(configured(time={"column": "t", "kind": "timestamp"}), [tmp_path / "rows.parquet"])
    expected = pd.to_datetime(TIMES[:3], format="ISO8601", utc=True).astype(np.int64).tolist()
    assert found.by_id["a"]["time"] == expected


@pytest.mark.parametrize(
    ("column", "values", "kind", "message"),
    [
        (
            "t",
            pd.to_datetime(["2020-01-01"] * 3),
            "integer",
            "column t: expected data.time.kind integer, received a column",
        ),
        (
            "t",
            [pd.Timedelta(1)] * 3,
            "timestamp",
            "column t: expected ISO 8601 timestamps, received a column of type dur",
        ),
        ("x", [[1.0], [2.0], [3.0]], "integer", "column x: expected numbers, received a column of type list"),
        ("id", [[1], [2], [3]], "integer", "column id: expected text, received a column of type list"),
    ],
)
def test_columns_of_a_type_that_cant_be(ingest, tmp_path, configured, column, values, kind, message) -> None:
    frame().assign(**{column: values}).to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=message):
        ingest(configured(time={"column": "t", "kind": kind}), [tmp_path / "rows.parquet"])


def test_float_times(ingest, table, configured) -> None:
    rows = "a,0.5,1,c\na,-1e3,2,c\na,nan,3,c\na,inf,4,c\n"
    found = ingest(configured(time={"column": "t", "kind": "float"}), [table(HEAD + rows)])
    assert entry(found) == ([-1000.0, 0.5], [2, 1])
    assert found.report.quarantined == {"unparsable_value": 2}


def glob(pattern: str) -> list[str]:
    path = Path(pattern)
    return [str(found) for found in path.parent.glob(path.name)]


def test_patterns(tmp_path, configured) -> None:
    for name in ("a.csv", "b.csv", "c.csv"):
        (tmp_path / name).write_text(HEAD)
    files = {"train": ["a.csv", "[ab].csv"], "test": ["c.*"]}
    data = configured(files=files, splits={"by": "files"}).data
    assert named_patterns(data) == [("train-0", "a.csv"), ("train-1", "[ab].csv"), ("test-0", "c.*")]
    found = find_sources(str(tmp_path), named_patterns(data), data, glob)
    assert [(source.name, source.split) for source in found] == [
        ("a.csv", "train"),
        ("b.csv", "train"),
        ("c.csv", "test"),
    ]
    with pytest.raises(DataError, match=r"data\.files: \*\.parquet matches no file in"):
        find_sources(str(tmp_path), [("data-0", "*.parquet")], data, glob)
    with pytest.raises(DataError, match=r"c\.csv belongs to train and to test; a file goes to one split"):
        find_sources(str(tmp_path), [("train-0", "*.csv"), ("test-0", "c.csv")], data, glob)


@settings(max_examples=200)
@given(
    names=st.lists(
        st.text("ab/_-.*[]+%#é ", min_size=1, max_size=8) | st.just("d/" * 120), min_size=2, max_size=6, unique=True
    ),
    groups=st.integers(0, 2),
)
@example(names=["a/b.csv", "a_b.csv"], groups=0)
@example(names=["x.parquet", "x.parquet+00001", "x.parquet-00001"], groups=2)
def test_quarantined_rows_of_every_part_have_a_file_of_their_own(names: list[str], groups: int) -> None:
    parts = [Source(name, name, "parquet", row_group=group) for name in names for group in [None, *range(groups)]]
    found = {quarantine_file(part) for part in parts}
    assert len(found) == len(parts)
    assert all("/" not in name and not set("*?[]") & set(name) and len(name) < 250 for name in found)


def test_formats(configured) -> None:
    auto = configured().data
    named = ["a.csv", "a.CSV", "a.csv.gz", "a.parquet"]
    assert [format_of(name, auto) for name in named] == ["csv", "csv", "csv.gz", "parquet"]
    assert format_of("data.txt.gz", configured(format="csv").data) == "csv.gz"
    with pytest.raises(DataError, match=r"a\.tfrecord: expected a file that ends in .*data\.format"):
        format_of("a.tfrecord", auto)


def test_reserved_names(configured) -> None:
    with pytest.raises(DataError, match=r"the columns steps, target/x have names .* rename them"):
        Columns.of(configured(features=["x", "steps", "target/x"]))


def test_peek(tmp_path, table) -> None:
    frame().to_parquet(tmp_path / "rows.parquet")
    found = preview_files([table(HEAD + ROWS), tmp_path / "rows.parquet"])
    assert {name: str(kind) for name, kind in found.types.items()} == {
        "id": "string",
        "t": "int64",
        "x": "double",
        "y": "string",
    }
    assert len(found.sample) == 5
    assert len(preview_files([table(HEAD, "head.csv")]).sample) == 0
    with pytest.raises(DataError, match="is empty"):
        preview_files([table("", "none.csv")])


def test_peek_at_times_that_python_has_not(tmp_path) -> None:
    days = pa.array([18262, 2932897, -719163, None], pa.int32()).cast(pa.date32())  # 2020-01-01, years 10000 and 0
    moments = pa.array([0, 253402300800, None, 1], pa.timestamp("s", "Nowhere/City"))
    clock = pa.array([1, 1001, None, 0], pa.time64("ns"))
    table = pa.table({"day": days, "wide": days.cast(pa.date64()), "moment": moments, "clock": clock})
    pa_parquet.write_table(table, tmp_path / "rows.parquet")
    found = preview_files([tmp_path / "rows.parquet"]).sample
    for name in ("day", "wide"):
        assert found[name].tolist() == [date(2020, 1, 1), None, None, None]
    assert found["moment"].isna().tolist() == [False, False, True, False]
    assert found["clock"].tolist() == [time(0), time(0, 0, 0, 1), None, time(0)]

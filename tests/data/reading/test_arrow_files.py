"""Arrow IPC files and streams: the rows that pandas reads of them, in the types that they have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noisy_gru.data.arrow import pa
from noisy_gru.data.columns import Columns
from noisy_gru.data.reading.arrow_files import read_arrow
from noisy_gru.data.reading.files import format_of
from noisy_gru.data.reading.in_memory_tables import frame_source
from noisy_gru.data.reading.reader import Reader
from noisy_gru.data.reading.tables import Source
from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import DataError


def write(path: Path, tables: list[Any], *, stream: bool, compression: str | None) -> None:
    options = pa.ipc.IpcWriteOptions(compression=compression, unify_dictionaries=True)
    opened = pa.ipc.new_stream if stream else pa.ipc.new_file
    with opened(str(path), tables[0].schema, options=options) as writer:
        for table in tables if stream else [pa.concat_tables(tables).unify_dictionaries()]:
            writer.write_table(table, max_chunksize=3)


rows = st.tuples(
    st.sampled_from("ab"),
    st.datetimes(pd.Timestamp("1990-01-01").to_pydatetime(), pd.Timestamp("2100-01-01").to_pydatetime()),
    st.none() | st.floats(width=32),
    st.none() | st.sampled_from(["u", "v"]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(rows, max_size=5), min_size=1, max_size=4),
    st.booleans(),
    st.sampled_from([None, "lz4", "zstd"]),
    st.integers(1, 4),
)
def test_all_batches_are_read(
    tmp_path: Path,
    configured: Callable[..., DatasetConfig],
    parts: list[Any],
    stream: bool,
    compression: str | None,
    block_rows: int,
) -> None:
    dataset = configured(
        features=["x", {"name": "c", "kind": "categorical"}], time={"column": "t", "kind": "timestamp"}
    )
    schema = pa.schema(
        [("id", pa.dictionary(pa.int8(), pa.string())), ("t", pa.timestamp("us")), ("x", pa.float32()),
         ("c", pa.string_view()), ("y", pa.large_string()), ("other", pa.list_(pa.int8()))]
    )  # fmt: skip
    tables = [
        pa.table({"id": pa.array([row[0] for row in part]).dictionary_encode().cast(schema.field("id").type),
                  "t": [row[1] for row in part], "x": [row[2] for row in part], "c": [row[3] for row in part],
                  "y": ["p"] * len(part), "other": [[1]] * len(part)}, schema=schema)
        for part in parts
    ]  # fmt: skip
    path = tmp_path / "rows.arrow"
    write(path, tables, stream=stream, compression=compression)
    source = Source(str(path), path.name, format_of(path.name, dataset.data))
    columns = Columns.of(dataset)
    blocks = list(read_arrow(source, columns, columns.required(), block_rows=block_rows))
    total = sum(map(len, parts))
    assert [number for block in blocks for number in block.rows.tolist()] == list(range(1, total + 1))
    if not total:
        return
    found = pa.concat_tables(list(Reader(dataset).tables(source, Quarantine()))).to_pandas()
    frame = pd.DataFrame([row for part in parts for row in part], columns=["id", "t", "x", "c"]).assign(y="p")
    sent = frame_source(frame, columns.wanted())
    expected = pa.concat_tables(list(Reader(dataset).tables(sent, Quarantine()))).to_pandas()
    pd.testing.assert_frame_equal(found, expected)


def test_feather_of_pandas(tmp_path: Path, configured: Callable[..., DatasetConfig]) -> None:
    frame = pd.DataFrame({"id": ["a", "a"], "t": [0, 1], "x": [1.5, None], "y": pd.Categorical(["p", "p"])})
    frame.to_feather(tmp_path / "rows.feather")
    dataset = configured()
    source = Source(str(tmp_path / "rows.feather"), "rows.feather", format_of("rows.feather", dataset.data))
    (table,) = Reader(dataset).tables(source, Quarantine())
    assert table["n:x"].to_pandas().tolist()[0] == 1.5
    assert table["label"].to_pylist() == ["p", "p"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "can't be read as an Arrow IPC file"),
        (b"FEA1" + bytes(40), "received Feather V1"),
        (b"id,t,x\n", "can't be read as an Arrow IPC file"),
        (b"ARROW1\0\0" + bytes(20), "can't be read as an Arrow IPC file"),
    ],
)
def test_another_file_is_an_error(
    tmp_path: Path, configured: Callable[..., DatasetConfig], content: bytes, expected: str
) -> None:
    path = tmp_path / "rows.arrow"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"rows.arrow: .*{expected}"):
        list(Reader(configured()).tables(Source(str(path), path.name, "arrow"), Quarantine()))


def test_a_file_cut_off_is_an_error(tmp_path: Path, configured: Callable[..., DatasetConfig]) -> None:
    table = pa.table({"id": ["a"] * 1000, "t": range(1000), "x": range(1000), "y": ["p"] * 1000})
    for stream in (True, False):
        path = tmp_path / "rows.arrow"
        write(path, [table, table], stream=stream, compression=None)
        path.write_bytes(path.read_bytes()[:-2000])
        with pytest.raises(DataError, match="can't be read as an Arrow IPC file"):
            list(Reader(configured()).tables(Source(str(path), path.name, "arrow"), Quarantine()))


def test_a_missing_column_is_named(tmp_path: Path, configured: Callable[..., DatasetConfig]) -> None:
    path = tmp_path / "rows.arrow"
    write(path, [pa.table({"id": ["a"], "t": [0], "y": ["p"]})], stream=False, compression=None)
    with pytest.raises(DataError, match="expected the column x; the file has id, t, y"):
        list(Reader(configured()).tables(Source(str(path), path.name, "arrow"), Quarantine()))

"""JSON lines: each line is the row that pandas and a client make of it, or is quarantined by its number."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noisy_gru.data.columns import Columns
from noisy_gru.data.reading.files import format_of
from noisy_gru.data.reading.in_memory_tables import rows_source
from noisy_gru.data.reading.json_lines import read_json_lines
from noisy_gru.data.reading.reader import Reader
from noisy_gru.data.reading.tables import Source
from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import DataError

DATA: dict[str, Any] = {"features": ["x", "m.deep.z", {"name": "c", "kind": "categorical"}]}
BAD = (b"{", b"[]", b"3", b'"text"', b"null", b'{"id": "a", "id": "b"}', b'{"id": "\xff"}', b"{'id': 1}", b"not json")


def source_of(path: Path) -> Source:
    name = path.name.removesuffix(".gz")
    return Source(str(path), path.name, f"jsonl{'.gz' if name != path.name else ''}")


def kept(dataset: DatasetConfig, source: Source) -> tuple[list[dict[str, Any]], Quarantine]:
    quarantine = Quarantine()
    rows = [row for table in Reader(dataset).tables(source, quarantine) for row in table.to_pylist()]
    return rows, quarantine


numbers = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.sampled_from(["1.5", "", "x"])
texts = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=4) | st.integers() | st.booleans()
deep = st.fixed_dictionaries({"z": numbers})
objects = st.fixed_dictionaries(
    {"id": st.sampled_from(["a", "b", 7, 7.0]), "t": st.integers(0, 9), "y": st.sampled_from(["p", "q"])},
    optional={"x": numbers, "c": texts, "m": st.none() | st.fixed_dictionaries({"deep": deep})},
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(objects | st.sampled_from(BAD) | st.just(b"  "), min_size=1, max_size=12), st.booleans())
def test_each_line_is_a_row_as_a_client_sends_it_or_quarantined(
    tmp_path: Path, configured: Callable[..., DatasetConfig], lines: list[Any], packed: bool
) -> None:
    dataset = configured(**DATA)
    good: list[dict[str, Any]] = [{"id": "a", "t": 0, "y": "p", "x": 1, "c": "k", "m": {"deep": {"z": 2}}}]
    lines = [*good, *lines]
    texts = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    path = tmp_path / ("rows.jsonl.gz" if packed else "rows.jsonl")
    content = b"\r\n".join(texts)
    path.write_bytes(gzip.compress(content) if packed else content)
    rows, quarantine = kept(dataset, source_of(path))

    good = [line for line in lines if isinstance(line, dict)]
    flat = [{**row, **({"m.deep.z": row["m"]["deep"]["z"]} if row.get("m") else {})} for row in good]
    assert set(pd.json_normalize(good).columns) - {"m"} == {name for row in flat for name in row} - {"m"}
    sent = rows_source(flat, Columns.of(dataset).wanted())
    expected, other = kept(dataset, sent)
    assert _plain(rows) == _plain(expected)
    bad = [place + 1 for place, line in enumerate(lines) if isinstance(line, bytes) and line.strip()]
    malformed = [line for line in quarantine.lines if "column" not in line]
    assert [line["line"] for line in malformed] == bad
    blanks = sum(isinstance(line, bytes) and not line.strip() for line in lines)
    assert quarantine.report.rows_read == len(lines) - blanks
    assert quarantine.report.quarantined.total() == len(bad) + other.report.quarantined.total()
    assert len(rows) + quarantine.report.quarantined.total() == quarantine.report.rows_read


def _plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out row numbers, and write NaN as text, so that rows compare."""
    return [
        {
            key: "nan" if isinstance(value, float) and math.isnan(value) else value
            for key, value in row.items()
            if key != "row"
        }
        for row in rows
    ]


def test_row_and_line_numbers_count_what_they_say(tmp_path: Path, configured: Callable[..., DatasetConfig]) -> None:
    path = tmp_path / "rows.ndjson"
    path.write_text('\ufeff{"id": "a", "t": 0, "x": 1, "y": "p"}\n\n{"id": "a", "t": 1, "x": "?", "y": "p"}\nnope\n')
    dataset = configured(policies={"unparsable_value": "quarantine"})
    assert format_of(path.name, dataset.data) == "jsonl"
    rows, quarantine = kept(dataset, source_of(path))
    assert [row["row"] for row in rows] == [1]
    reported = [(line["row"], line["line"], line["problem"]) for line in quarantine.lines]
    assert reported[1] == (
        2,
        3,
        "expected a number, received '?' (if it stands for a missing value, add it to data.csv.missing)",
    )
    assert reported[0][:2] == (3, 4)
    assert "'nope'" in reported[0][2]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("[1, 2]", "expected one value of x, received a list: a line is one step"),
        ('{"v": 1, "w": 2}', "expected one value of x, received an object with x.v, x.w"),
        ("{}", "expected one value of x, received an empty object: a line is one step"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_value_is_refused_by_name(
    tmp_path: Path, configured: Callable[..., DatasetConfig], value: str, expected: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": "a", "t": 0, "x": 1, "y": "p"}\n{"id": "a", "t": 1, "y": "p", "x": ' + value + "}\n")
    _, quarantine = kept(configured(), source_of(path))
    assert [line["line"] for line in quarantine.lines] == [2]
    assert expected in quarantine.lines[0]["problem"]


def test_a_key_that_is_nested_too_is_refused(tmp_path: Path, configured: Callable[..., DatasetConfig]) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": "a", "t": 0, "x": 1, "y": "p", "a.b": 1, "a": {"b": 2}}\n')
    _, quarantine = kept(configured(), source_of(path))
    assert "'a.b' as a key and as a nested value" in quarantine.lines[0]["problem"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'[{"id": 1}]', "received a JSON list"),
        (b'{"id": "a", "t": 0, "y": "p"}\n', "expected the column x; the file has id, t, y"),
        (b"PAR1\x15\x04", "received Parquet"),
        ('{"id": 1}'.encode("utf-16"), "received UTF-16"),
    ],
)
def test_a_file_of_another_kind_is_an_error(
    tmp_path: Path, configured: Callable[..., DatasetConfig], content: bytes, expected: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=expected):
        kept(configured(), source_of(path))


def test_a_truncated_file_is_an_error(tmp_path: Path, configured: Callable[..., DatasetConfig]) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"id": "a", "t": 0, "x": 1, "y": "p"}\n' * 1000)[:-12])
    with pytest.raises(DataError, match=r"rows.jsonl.gz: can't be read as JSON lines"):
        kept(configured(), source_of(path))


def test_blocks_go_on_where_the_last_one_ended(tmp_path: Path, configured: Callable[..., DatasetConfig]) -> None:
    dataset = configured()
    columns = Columns.of(dataset)
    path = tmp_path / "rows.jsonl"
    lines = [{"id": "a", "t": place, "y": "p", **({"x": place} if place % 3 else {})} for place in range(10)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    blocks = list(read_json_lines(source_of(path), columns, columns.required(), block_lines=4))
    assert [block.rows.tolist() for block in blocks] == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]
    found = [value for block in blocks for value in block.table["x"].to_pylist()]
    assert found == [line.get("x") for line in lines]

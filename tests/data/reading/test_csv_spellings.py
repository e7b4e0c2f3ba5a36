"""CSV files as people have them: delimiters, decimal commas, encodings, comments, no header; pandas is the oracle."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from noisy_gru.data.arrow import pa, pa_parquet
from noisy_gru.data.columns import Columns
from noisy_gru.data.reading.csv_tables import csv_header, read_csv
from noisy_gru.data.reading.in_memory_tables import frame_source, rows_source
from noisy_gru.data.reading.preview import preview_files
from noisy_gru.data.reading.tables import Source
from noisy_gru.data.requests.prediction_input import read_for_prediction, read_sources
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.csv_config import CsvConfig
from noisy_gru.schema.errors import DataError
from noisy_gru.schema.loading import expected_columns

ASCII_WORDS = st.text("abcXYZ019;,|\t '\"._-", min_size=1, max_size=6).filter(lambda text: text == text.strip())


@pytest.mark.parametrize("quote", ['"', "'"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", " ", ":"])
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.lists(st.tuples(ASCII_WORDS, st.floats(-1e6, 1e6)), min_size=1, max_size=12),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    decimal=st.sampled_from([".", ","]),
    everything=st.booleans(),
)
def test_what_csv_writers_write(tmp_path, configured, delimiter, quote, words, end, decimal, everything) -> None:
    """Every cell as Python's csv writer wrote it, and every number as pandas reads it."""
    if decimal == delimiter:
        return
    out = io.StringIO(newline="")
    writer = csv.writer(
        out,
        delimiter=delimiter,
        quotechar=quote,
        lineterminator=end,
        quoting=csv.QUOTE_ALL if everything else csv.QUOTE_MINIMAL,
    )
    writer.writerow(["id", "t", "x", "y"])
    for place, (word, number) in enumerate(words):
        writer.writerow([word, place, repr(number).replace(".", decimal), word])
    path = tmp_path / "rows.csv"
    path.write_bytes(out.getvalue().encode())
    options = {"delimiter": delimiter, "quote": quote, "decimal": decimal}
    dataset = configured(csv=options)
    columns = Columns.of(dataset)
    source = Source(str(path), "rows.csv", "csv")
    blocks = list(read_csv(source, columns, columns.required(), csv_config=dataset.data.csv))
    assert not [each for block in blocks for each in block.malformed]
    assert [cell for block in blocks for cell in block.table["y"].to_pylist()] == [word for word, _ in words]
    expected = pd.read_csv(
        path, sep=delimiter, quotechar=quote, decimal=decimal, float_precision="round_trip", keep_default_na=False
    )
    from noisy_gru.data.values.cells import CellReader

    found, bad = CellReader(dataset.data.csv).numbers(pa.chunked_array([block.table["x"].chunk(0) for block in blocks]))
    assert not bad.any()
    np.testing.assert_array_equal(found, expected["x"].to_numpy(float))


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252", "latin-1", "cp437", "shift-jis"]
)
def test_encodings(ingest, tmp_path, configured, encoding: str) -> None:
    word = "日本" if encoding == "shift-jis" else "é" if encoding == "cp437" else "Zürich"
    path = tmp_path / "rows.csv"
    lines = [f"{word}{row % 7},{row},1.5,{word}" for row in range(3000)]
    path.write_bytes(("id,t,x,y\n" + "\n".join(lines)).encode(encoding))
    dataset = configured(csv={"encoding": encoding})
    found = ingest(dataset, [path])
    assert sorted(found.by_id) == [f"{word}{place}" for place in range(7)]
    assert found.by_id[f"{word}3"]["label"] == word
    assert found.report.rows_kept == found.report.rows_read == 3000
    assert csv_header(Source(str(path), "rows.csv", "csv"), csv_config=dataset.data.csv) == ["id", "t", "x", "y"]


def test_bytes_of_another_encoding_name_the_option(ingest, tmp_path, configured) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes("id,t,x,y\nZürich,0,1,c\n".encode("cp1252"))
    with pytest.raises(
        DataError, match=r"rows\.csv: .*in UTF-8 \(row 1, line 2\).*Name its encoding in data\.csv\.encoding"
    ):
        ingest(configured(), [path])
    path.write_bytes(b"id,t,x,y\na,0,1,\x81\n")
    with pytest.raises(DataError, match=r"rows\.csv: can't be read as a CSV file in cp1252: .*data\.csv\.encoding"):
        ingest(configured(csv={"encoding": "cp1252"}), [path])


def test_a_european_file(ingest, tmp_path, configured) -> None:
    text = (
        "# Messwerte der Anlage\n#;;;\nid;t;x;y;an\n"
        'a;01.03.2025 00:00;1.234,5;"gut; sehr";ja\n'
        "# unterbrochen\n"
        "a;01.03.2025 01:00;-999;gut; nein\n"
        "a;01.03.2025 02:00;k.A.;gut;JA\n"
        "a;2025-03-01 03:00;1;gut;ja\n"
        "a;01.03.2025 04:00;1.5;gut;ja\n"
        "a;01.03.2025 05:00;2;gut;vielleicht\n"
    )
    path = tmp_path / "rows.csv"
    path.write_bytes(text.encode("cp1252"))
    dataset = configured(
        csv={
            "delimiter": ";",
            "decimal": ",",
            "thousands": ".",
            "encoding": "cp1252",
            "comment": "#",
            "missing": [-999, "k.A."],
            "true": ["ja"],
            "false": ["nein"],
        },
        time={"column": "t", "kind": "timestamp", "format": "%d.%m.%Y %H:%M"},
        features=["x", {"name": "an", "kind": "boolean"}],
        policies={"max_quarantined_fraction": 1.0, "conflicting_label": "drop"},
        task={"kind": "forecasting", "targets": ["x"], "input_length": 1, "horizons": [1]},
        splits={"by": "entity"},
    )
    quarantine, rows = _rows(dataset, path)
    assert rows["time"].to_pylist() == [pd.Timestamp(f"2025-03-01 0{hour}:00").value for hour in range(3)]
    np.testing.assert_array_equal(rows["n:x"].to_numpy(), np.array([1234.5, np.nan, np.nan], np.float32))
    assert rows["n:an"].to_pylist() == [1, 0, 1]
    assert quarantine.report.imputed["missing_value"]["x"] == 2
    advice = '(a number if data.csv.decimal is "." and data.csv.thousands is null, '
    advice += 'or if data.csv.decimal is "." and data.csv.thousands is ",")'
    other = "(for another spelling add it to data.csv.true, data.csv.false)"
    assert [(each["line"], each["problem"]) for each in quarantine.lines] == [
        (8, "expected a time like %d.%m.%Y %H:%M (data.time.format), received '2025-03-01 03:00'"),
        (9, f"expected a number, received '1.5' {advice}"),
        (10, f"expected true or false, received 'vielleicht' {other}"),
    ]


def _rows(dataset: DatasetConfig, path: Path) -> tuple[Any, Any]:
    from noisy_gru.data.reading.reader import Reader
    from noisy_gru.data.report.quarantine import Quarantine

    quarantine = Quarantine()
    tables = list(Reader(dataset).tables(Source(str(path), path.name, "csv"), quarantine))
    quarantine.lines.sort(key=lambda each: each["row"])
    return quarantine, pa.concat_tables(tables)


@pytest.mark.parametrize("header", [False, ["id", "t", "x", "y"]])
def test_files_without_a_header(ingest, tmp_path, configured, header: Any) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("\n# made by hand\na,0,1.5,c\na,1,2.5,c\n")
    names = ["column_1", "column_2", "column_3", "column_4"] if header is False else header
    dataset = configured(
        csv={"header": header, "comment": "#"},
        entity=names[0],
        time={"column": names[1]},
        features=[names[2]],
        task={"kind": "classification", "label": names[3]},
    )
    found = ingest(dataset, [path])
    assert found.by_id["a"]["values"][names[2]] == [1.5, 2.5]
    assert found.report.rows_read == 2
    with pytest.raises(DataError, match=r"rows\.csv: line 1: expected 3 cells, one for each name of data\.csv\.header"):
        ingest(configured(csv={"header": ["id", "t", "x"]}), [path])


def test_comments_are_no_rows_and_stay_in_quoted_cells(ingest, tmp_path, configured) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(
        '// a "quote\nid,t,x,y\n//,,,\na,0,1,"say\n// this"\n// more, "\n a,1,1,c\na,1,2,"say\n// this"\n//'
    )
    found = ingest(configured(csv={"comment": "//"}), [path])
    assert found.by_id["a"]["label"] == "say\n// this"
    assert (found.by_id["a"]["time"], found.report.rows_read) == ([0, 1], 3)


def test_no_quote_at_all(ingest, tmp_path, configured) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('id,t,x,y\n"a,0,1,5" pipe\n"a,1,2,5" pipe\n')
    found = ingest(configured(csv={"quote": None}), [path])
    assert found.by_id['"a']["label"] == '5" pipe'


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_another_delimiter_is_named_as_the_option(ingest, tmp_path, configured, separator: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(separator.join(["id", "t", "x", "y"]) + "\n")
    with pytest.raises(DataError) as caught:
        ingest(configured(), [path])
    assert f"Set data.csv.delimiter: {json.dumps(separator)}" in str(caught.value)


@settings(deadline=None, max_examples=40)
@given(
    numbers=st.lists(
        st.one_of(st.integers(0, 9999), st.floats(0, 9999).map(lambda x: round(x, 3))), min_size=2, max_size=6
    ),
    seed=st.integers(0, 9),
)
@example(numbers=[1.125, 2], seed=0)
def test_rows_in_memory_are_read_like_their_file(tmp_path_factory, numbers: list[float], seed: int) -> None:
    """Texts are spelled like the file's cells; numbers of Python beside them are what they are."""
    dataset = DatasetConfig.model_validate(
        {
            "data": {
                "files": ["*.csv"],
                "entity": "id",
                "time": {"column": ["day", "clock"], "kind": "timestamp", "format": "%d.%m.%Y %H:%M"},
                "features": ["x", {"name": "on", "kind": "boolean"}],
                "csv": {"delimiter": ";", "decimal": ",", "thousands": ".", "missing": [-999], "true": ["an"]},
            },
            "task": {"kind": "classification", "label": "y"},
            "splits": {"by": "entity"},
        }
    )
    random = np.random.default_rng(seed)
    rows, cells = [], []
    for place, number in enumerate(numbers):
        spelled = f"{number:,}".translate(str.maketrans(",.", ".,"))
        text = {"id": "a", "day": f"{place + 1:02d}.03.2025", "clock": "06:30", "x": spelled, "on": "an"}
        cells.append(text)
        rows.append({**text, "x": number if random.random() < 0.5 else spelled, "on": random.choice([True, "an", 1])})
    rows.append({**rows[-1], "day": "31.03.2025", "x": -999.0})
    cells.append({**cells[-1], "day": "31.03.2025", "x": "-999,0"})
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    pd.DataFrame(cells).to_csv(path, sep=";", index=False)
    wanted = ["id", "day", "clock", "x", "on"]
    frame = pd.DataFrame(rows)
    frame["on"] = True
    examples = [
        read_for_prediction([path], dataset).examples,
        read_sources([rows_source(rows, wanted)], dataset).examples,
        read_sources([frame_source(frame, wanted)], dataset).examples,
        read_sources([frame_source(pd.DataFrame(cells), wanted)], dataset).examples,
    ]
    parquet = path.with_suffix(".parquet")
    pa_parquet.write_table(pa.Table.from_pandas(pd.DataFrame(cells)), parquet)
    examples.append(read_for_prediction([parquet], dataset).examples)
    assert len(examples[0]) == 1
    assert all(each == examples[0] for each in examples)


def test_a_boolean_is_a_float_of_the_sequences_schema(configured) -> None:
    dataset = configured(features=["x", {"name": "on", "kind": "boolean"}, {"name": "k", "kind": "categorical"}])
    found = {column.name: column.type for column in expected_columns(dataset)}
    assert (found["x"], found["on"], found["k"]) == ("FLOAT", "FLOAT", "BYTES")
    assert [feature.scale for feature in dataset.data.numeric] == ["zscore", "none"]
    with pytest.raises(ValueError, match="kind: boolean is 0 or 1 and takes scale: none, received scale: minmax"):
        configured(features=[{"name": "on", "kind": "boolean", "scale": "minmax"}])
    time = {"column": "t", "kind": "timestamp"}
    with pytest.raises(ValueError, match=r"calendar: weekend is numeric .*received kind: boolean; leave kind out"):
        configured(time=time, features=["x", {"calendar": "weekend", "kind": "boolean"}])


def test_a_preview_reads_the_dialect(tmp_path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("#\nid;t;x\na;0;1,5\nb;1;?\n")
    found = preview_files([path], csv_config=CsvConfig(delimiter=";", decimal=",", comment="#", missing=["?"]))
    assert {name: str(kind) for name, kind in found.types.items()} == {"id": "string", "t": "int64", "x": "double"}


@pytest.mark.parametrize("spelled", ["%d.%m.%Y", "epoch_s"])
def test_splits_by_time_name_their_times_in_iso_or_like_the_data(ingest, tmp_path, configured, spelled: str) -> None:
    days = pd.date_range("2025-01-01", periods=100)
    text = [day.strftime(spelled) if "%" in spelled else str(day.value // 10**9) for day in days]
    path = tmp_path / "rows.csv"
    path.write_text("id,t,x\n" + "".join(f"a,{day},{place}\n" for place, day in enumerate(text)))
    found = []
    for name in (lambda place: f"{days[place]:%Y-%m-%d}", lambda place: text[place]):
        dataset = configured(
            time={"column": "t", "kind": "timestamp", "format": spelled},
            task={"kind": "forecasting", "targets": ["x"], "input_length": 3, "horizons": [1]},
            splits={"by": "time", "eval": name(60), "test": name(80)},
        )
        result = ingest(dataset, [path])
        found.append({split: result.ids(split) for split in ("train", "eval", "test")})
    assert found[0] == found[1]
    assert all(found[0].values())

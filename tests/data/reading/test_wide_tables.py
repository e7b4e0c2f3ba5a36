"""Wide tables are read as pandas melts them, in files of every format and in memory, and no cell is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noisy_gru.data.arrow import pa, pa_parquet
from noisy_gru.data.reading import wide_tables
from noisy_gru.data.reading.files import format_of
from noisy_gru.data.reading.reader import Reader
from noisy_gru.data.reading.tables import Source
from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import DataError
from noisy_gru.serving.client.requests import prediction_input, sources_of

SERIES: dict[str, Any] = {
    "entity": "shop",
    "time": {"column": "day", "kind": "timestamp"},
    "layout": {"kind": "wide_series", "value": "units"},
    "features": ["units", "promo"],
}
STEPS: dict[str, Any] = {
    "entity": "id",
    "time": {"column": "step"},
    "layout": {"kind": "wide_steps", "value": "x"},
    "features": ["x"],
}
FORECAST = {"kind": "forecasting", "targets": ["units"], "input_length": 2, "horizons": [1]}


def read(dataset: DatasetConfig, source: Source, **options: Any) -> tuple[pd.DataFrame, Quarantine]:
    """Read a source; the report has to balance."""
    quarantine = Quarantine()
    reader = Reader(dataset, **options)
    parts = [part for part in reader.parts(source) for part in [part]]
    tables = [table for part in parts for table in reader.tables(part, quarantine)]
    found = pa.concat_tables(tables).to_pandas()
    report = quarantine.report
    assert report.rows_read == len(found) + report.quarantined.total() + report.dropped.total()
    return found, quarantine


def write(frame: pd.DataFrame, folder: Path, kind: str) -> Source:
    path = folder / f"wide.{kind}"
    if kind == "csv":
        frame.to_csv(path, index=False)
    elif kind == "parquet":
        pa_parquet.write_table(pa.Table.from_pandas(frame, preserve_index=False), path, row_group_size=3)
    elif kind == "feather":
        frame.to_feather(path)
    else:
        rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
        path.write_text("\n".join(json.dumps(row, default=str) for row in rows))
    return Source(str(path), path.name, {"feather": "arrow"}.get(kind, kind))


cells = st.none() | st.floats(-1e6, 1e6, width=32) | st.integers(-99, 99).map(float)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(1, 4).flatmap(
        lambda width: st.lists(st.lists(cells, min_size=width, max_size=width), min_size=1, max_size=9)
    ),
    st.sampled_from(["csv", "parquet", "feather", "jsonl", "frame"]),
    st.sampled_from(["skip", "keep"]),
    st.integers(1, 7),
)
def test_series_are_melted_as_pandas_does(
    tmp_path: Path,
    configured: Callable[..., DatasetConfig],
    rows: list[list[float | None]],
    kind: str,
    empty: str,
    block: int,
) -> None:
    layout = {**SERIES["layout"], "empty_cells": empty}
    dataset = configured(task=FORECAST, **{**SERIES, "layout": layout})
    names = [f"s {place}" for place in range(len(rows[0]))]
    wide = pd.DataFrame(rows, columns=names, dtype=float)
    wide.insert(0, "day", pd.date_range("2026-01-01", periods=len(rows)))
    wide.insert(2, "promo", np.arange(len(rows)) % 2)
    expected = wide.melt(["day", "promo"], var_name="shop", value_name="units", ignore_index=False)
    expected = expected.sort_index(kind="stable")
    expected = expected.dropna(subset="units") if empty == "skip" else expected

    (source,) = [write(wide, tmp_path, kind)] if kind != "frame" else sources_of(wide, dataset)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wide_tables, "BLOCK_CELLS", block)
        found, quarantine = read(dataset, source)
    assert found["entity"].tolist() == expected["shop"].tolist()
    assert found["time"].tolist() == expected["day"].astype("int64").tolist()
    assert found["row"].tolist() == (expected.index + 1).tolist()
    np.testing.assert_array_equal(found["n:units"], expected["units"].astype(np.float32))
    np.testing.assert_array_equal(found["n:promo"], expected["promo"].astype(np.float32))
    skipped = int(wide[names].isna().sum().sum()) if empty == "skip" else 0
    assert quarantine.report.dropped == ({"empty_cell": skipped} if skipped else {})
    assert not quarantine.lines


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(1, 5).flatmap(
        lambda width: st.lists(st.lists(cells, min_size=width, max_size=width), min_size=1, max_size=8)
    ),
    st.sampled_from(["csv", "parquet", "feather", "jsonl", "frame"]),
    st.integers(-3, 3),
    st.integers(1, 7),
)
def test_steps_are_melted_up_to_the_last_value(
    tmp_path: Path,
    configured: Callable[..., DatasetConfig],
    rows: list[list[float | None]],
    kind: str,
    first: int,
    block: int,
) -> None:
    dataset = configured(**{**STEPS, "layout": {**STEPS["layout"], "first_step": first}})
    wide = pd.DataFrame(rows, columns=[f"v{place}" for place in range(len(rows[0]))], dtype=float)
    wide.insert(0, "id", [f"e{place}" for place in range(len(rows))])
    wide.insert(1, "y", ["p" if place % 2 else "q" for place in range(len(rows))])
    expected = []
    for number, (name, label, *values) in enumerate(wide.itertuples(index=False), start=1):
        known = np.flatnonzero(~np.isnan(values))
        for step in range(known[-1] + 1 if len(known) else 0):
            expected.append((name, first + step, label, values[step], number))
    (source,) = [write(wide, tmp_path, kind)] if kind != "frame" else sources_of(wide, dataset)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wide_tables, "BLOCK_CELLS", block)
        found, quarantine = read(dataset, source, prediction=kind == "frame")
    columns = ["entity", "time", "label", "n:x", "row"]
    oracle = pd.DataFrame(expected, columns=columns)
    if kind == "frame":
        columns.remove("label")
    for name in columns:
        np.testing.assert_array_equal(found[name].to_numpy(), oracle[name].astype(found[name].dtype).to_numpy())
    empty = [number for number, values in enumerate(rows, start=1) if all(each is None for each in values)]
    assert [line["row"] for line in quarantine.lines] == empty
    assert quarantine.report.rows_read == wide.filter(like="v").size


@pytest.mark.parametrize(("delimiter", "sep"), [("\t", "\t"), (",", ","), (" ", " "), ("blanks", "   ")])
def test_ucr_files(tmp_path: Path, configured: Callable[..., DatasetConfig], delimiter: str, sep: str) -> None:
    cases = np.random.default_rng(0).normal(size=(7, 5)).round(4)
    cases[:, 0] = [1, 2, 1, 2, 1, 2, 2]
    cases[3, 3:] = np.nan
    path = tmp_path / "Gun_TRAIN.tsv"
    start = "  " if delimiter == "blanks" else ""
    path.write_text("".join(start + sep.join(map(str, case)) + f"{start}\r\n" for case in cases))
    layout = {"kind": "wide_steps", "value": "x", "entity": "row", "first_columns": ["kind"]}
    dataset = configured(
        entity="case",
        time={"column": "step"},
        layout=layout,
        csv={"delimiter": delimiter, "header": False},
        format="csv",
        task={"kind": "classification", "label": "kind"},
    )
    found, quarantine = read(dataset, Source(str(path), "a/Gun_TRAIN.tsv", format_of(path.name, dataset.data)))
    expected = pd.DataFrame(cases).reset_index().melt(["index", 0], var_name="step", value_name="x").dropna()
    expected = expected.sort_values(["index", "step"])
    assert found["entity"].tolist() == [f"a/Gun_TRAIN-{place + 1}" for place in expected["index"]]
    assert found["time"].tolist() == (expected["step"] - 1).tolist()
    assert found["label"].tolist() == expected[0].astype(int).astype(str).tolist()
    np.testing.assert_array_equal(found["n:x"], expected["x"].astype(np.float32))
    assert quarantine.report.dropped == {"empty_cell": 2}


def test_m4_files(tmp_path: Path, configured: Callable[..., DatasetConfig]) -> None:
    path = tmp_path / "Yearly-train.csv"
    path.write_text('"V1","V2","V3","V4","V5"\n"Y1","5172.1","5133.5","",""\n"Y2","2070","2104","2394","1651"\n')
    dataset = configured(
        task={"kind": "forecasting", "targets": ["x"], "input_length": 1, "horizons": [1]},
        **{**STEPS, "layout": {**STEPS["layout"], "first_columns": ["id"]}},
    )
    found, quarantine = read(dataset, Source(str(path), path.name, "csv"))
    assert found["entity"].tolist() == ["Y1"] * 2 + ["Y2"] * 4
    assert found["time"].tolist() == [0, 1, 0, 1, 2, 3]
    assert found["n:x"].tolist() == np.array([5172.1, 5133.5, 2070, 2104, 2394, 1651], np.float32).tolist()
    assert quarantine.report.dropped == {"empty_cell": 2}


def test_names_of_columns_are_times(tmp_path: Path, configured: Callable[..., DatasetConfig]) -> None:
    path = tmp_path / "wide.csv"
    path.write_text("id,group,2026-01,2026-02,note\na,g,1,2,good\nb,h,,4,bad\n")
    dataset = configured(
        entity="id",
        time={"column": "month", "kind": "timestamp"},
        layout={"kind": "wide_steps", "value": "x", "steps": "name", "columns": ["20*"]},
        features=["x", {"name": "group", "kind": "categorical", "static": True}],
        task={"kind": "forecasting", "targets": ["x"], "input_length": 1, "horizons": [1]},
    )
    found, _ = read(dataset, Source(str(path), path.name, "csv"))
    months = pd.to_datetime(["2026-01-01", "2026-02-01"]).astype("int64").tolist()
    assert found["time"].tolist() == months * 2
    assert found["c:group"].tolist() == ["g", "g", "h", "h"]
    np.testing.assert_array_equal(found["n:x"], np.array([1, 2, np.nan, 4], np.float32))


def test_a_bad_cell_is_named_by_its_column(tmp_path: Path, configured: Callable[..., DatasetConfig]) -> None:
    path = tmp_path / "wide.csv"
    path.write_text("day,north,south\n2026-01-01,1,2\n\n2026-01-02,broken,3\nnever,4,5\n2026-01-04,1,2,3\n")
    policies = {"unparsable_value": "quarantine"}
    dataset = configured(task=FORECAST, **{**SERIES, "features": ["units"], "policies": policies})
    found, quarantine = read(dataset, Source(str(path), path.name, "csv"))
    assert found["n:units"].tolist() == [1, 2, 3]
    reported = [(line["row"], line["line"], line.get("column"), line.get("file_column")) for line in quarantine.lines]
    assert sorted(reported, key=str) == sorted(
        [(2, 4, "units", "north"), (3, 5, "day", None), (3, 5, "day", None), (4, 6, None, None)], key=str
    )
    examples = quarantine.report.examples["unparsable_value"]
    assert any("'broken'" in each["problem"] for each in examples)


@pytest.mark.parametrize(
    ("header", "layout", "expected"),
    [
        ("day,shop,units,promo", {}, "has the column shop, units, which data.layout makes"),
        ("day,promo", {}, "expected value columns beside day, promo, received none"),
        ("north,promo", {}, "expected the column day"),
        ("day,north,north,promo", {}, "has the column north more than once"),
        (",day,north,promo", {}, "column 1 has no name"),
        ("day,north,promo", {"columns": ["s*"]}, r"data.layout.columns: s\* matches no column of day, north, promo"),
        ("day", {"first_columns": ["day"]}, r"expected 1 columns \(day\) and the value columns, received 1"),
    ],
)
def test_a_header_that_does_not_fit_is_an_error(
    tmp_path: Path, configured: Callable[..., DatasetConfig], header: str, layout: dict[str, Any], expected: str
) -> None:
    path = tmp_path / "wide.csv"
    path.write_text(header + "\n")
    dataset = configured(task=FORECAST, **{**SERIES, "layout": {**SERIES["layout"], **layout}})
    with pytest.raises(DataError, match=expected):
        read(dataset, Source(str(path), path.name, "csv"))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"layout": {"kind": "wide_series", "value": "y"}}, "layout.value: y is neither a feature nor a target"),
        ({"layout": {"kind": "wide_series", "value": "units", "steps": "name"}}, "steps: for kind: wide_steps"),
        ({"layout": {"kind": "wide_series", "value": "shop"}}, r"layout.value \(shop\) is the name of the entity"),
        ({"features": ["units", {"name": "promo", "known_in_advance": True}]}, "set empty_cells: keep"),
        ({"entity": None, "features": ["units"], "splits": {"by": "time"}}, "layout needs entity and time"),
        ({"layout": {"kind": "wide_steps", "value": "units"}}, "layout.steps: number makes integers"),
        ({"format": "ts"}, "layout is for tables, and format is ts"),
    ],
)
def test_a_layout_that_contradicts_is_an_error(
    configured: Callable[..., DatasetConfig], change: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ValueError, match=expected):
        configured(task=FORECAST, **{**SERIES, **change})


def test_a_client_may_send_the_table_wide_or_long(tmp_path: Path, configured: Callable[..., DatasetConfig]) -> None:
    dataset = configured(task=FORECAST, **SERIES)
    wide = pd.DataFrame(
        {"day": pd.date_range("2026-01-01", periods=5), "north": [1.5, 2, 3, np.nan, 5], "south": range(5), "promo": 1}
    )
    long = wide.melt(["day", "promo"], var_name="shop", value_name="units").dropna()
    source = write(wide, tmp_path, "csv")
    expected = prediction_input(source.path, dataset)
    assert expected.ids
    rows = wide.astype(object).where(wide.notna(), None).to_dict("records")
    for sent in (wide, long, pa.Table.from_pandas(wide), rows, long.to_dict("records"), wide.set_index("day")):
        found = prediction_input(sent, dataset)
        assert dict(zip(found.ids, found.examples, strict=True)) == dict(
            zip(expected.ids, expected.examples, strict=True)
        )


def test_what_is_known_in_advance_needs_the_rows_of_the_future(configured: Callable[..., DatasetConfig]) -> None:
    dataset = configured(
        task=FORECAST,
        **{
            **SERIES,
            "layout": {**SERIES["layout"], "empty_cells": "keep"},
            "features": ["units", {"name": "promo", "known_in_advance": True}],
        },
    )
    wide = pd.DataFrame(
        {
            "day": pd.date_range("2026-01-01", periods=4),
            "north": [1.5, 2, 3, np.nan],
            "south": [1, 2, 3, np.nan],
            "promo": 1,
        }
    )
    long = wide.melt(["day", "promo"], var_name="shop", value_name="units")
    found, expected = (prediction_input(each, dataset) for each in (wide, long))
    assert sorted(found.ids) == ["north@2026-01-03T00:00:00Z", "south@2026-01-03T00:00:00Z"]
    assert dict(zip(found.ids, found.examples, strict=True)) == dict(zip(expected.ids, expected.examples, strict=True))

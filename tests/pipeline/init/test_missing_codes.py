"""Numbers that stand for a missing value: which ones `init` proposes, and that all readers honour them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from noisy_gru.data.arrow import pa, pa_parquet
from noisy_gru.data.reading.in_memory_tables import frame_source, rows_source
from noisy_gru.data.reading.reader import Reader
from noisy_gru.data.reading.tables import Source
from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.pipeline.config.loading import load_config
from noisy_gru.pipeline.init.missing_codes import missing_codes
from noisy_gru.pipeline.init.proposal import propose
from noisy_gru.schema.config import DatasetConfig

TEMPERATURES = np.append(np.random.default_rng(3).normal(10, 8, 500).round(1), [-9.0, -9.0])


@pytest.mark.parametrize(
    ("values", "codes"),
    [
        ([0.2, 1.5, -9, 0, -9, 20], [-9.0]),
        (TEMPERATURES, []),  # other numbers are negative
        ([*TEMPERATURES, -999, -999], [-999.0]),
        ([*TEMPERATURES, -999], []),  # once is an error
        (np.append(np.arange(0, 360, 10), [9999, 9999]), [9999.0]),
        (np.append(np.arange(0, 20000, 10), [9999, 9999]), []),
        ([0.1, 0.5, -0.3, 1e20, 1e20], [1e20]),
        (np.array([0.1, 0.5, -0.3, 1e20, 1e20], np.float32), [float(np.float32(1e20))]),
        ([20, 35, 61, 99, 99], []),  # an age
        ([1, 0, 1, 0, -9, -9, -99, -99], [-99.0, -9.0]),
        ([3, 4, 5, -99, -99, -99, -99, -99, -99, -99, -99, -99], []),  # hardly any number besides
        (["a", "-9", "-9"], []),
    ],
)
def test_codes_lie_apart_and_come_again(values: Any, codes: list[float]) -> None:
    assert missing_codes(pd.DataFrame({"x": values})) == ({"x": codes} if codes else {})


def test_years_and_ids_hold_no_codes() -> None:
    assert missing_codes(pd.DataFrame({"year": [1, 2, 9999, 9999, 3], "store_id": [1, 2, 9999, 9999, 3]})) == {}


FRAME = pd.DataFrame({
    "id": ["a"] * 4, "t": range(4), "rain": [0.5, -9.0, 2.0, -9.0], "on": [1, -9, 0, 1], "kind": [7, 99, 8, 99],
    "y": ["p"] * 4,
})  # fmt: skip
FEATURES: list[Any] = [
    {"name": "rain", "missing_codes": [-9], "offset": 1.0},
    {"name": "on", "kind": "boolean", "missing_codes": [-9]},
    {"name": "kind", "kind": "categorical", "missing_codes": [99]},
]


def dataset_of(features: list[Any]) -> DatasetConfig:
    return DatasetConfig.model_validate(
        {
            "data": {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": features},
            "task": {"kind": "classification", "label": "y"},
        }
    )


@pytest.mark.parametrize("kind", ["csv", "parquet", "float32", "frame", "rows"])
def test_codes_are_missing_values_in_every_format(tmp_path: Path, kind: str) -> None:
    path, wanted = tmp_path / "rows", list(FRAME.columns)
    if kind == "csv":
        FRAME.to_csv(path, index=False)
        source = Source(str(path), "rows", "csv")
    elif kind in ("parquet", "float32"):
        typed = FRAME.astype({"rain": "float32" if kind == "float32" else "float64"})
        pa_parquet.write_table(pa.Table.from_pandas(typed), path)
        source = Source(str(path), "rows", "parquet")
    else:
        rows: list[dict[str, Any]] = FRAME.to_dict("records")  # type: ignore[assignment]
        source = frame_source(FRAME, wanted) if kind == "frame" else rows_source(rows, wanted)
    quarantine, reader = Quarantine(), Reader(dataset_of(FEATURES))
    (table,) = [table for part in reader.parts(source) for table in reader.tables(part, quarantine)]
    np.testing.assert_array_equal(table["n:rain"], [-0.5, np.nan, 1.0, np.nan])
    np.testing.assert_array_equal(table["n:on"], [1, np.nan, 0, 1])
    assert table["c:kind"].to_pylist() == ["7", "", "8", ""]
    assert quarantine.lines == []


@pytest.mark.parametrize(
    ("feature", "expected"),
    [
        ({"name": "x", "missing_codes": ["none"]}, "expected numbers, received 'none'"),
        ({"calendar": "weekend", "missing_codes": [-9]}, "missing_codes is of columns of the data"),
    ],
)
def test_codes_of_another_kind_are_errors(feature: Any, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        dataset_of(["rain", feature])


def test_init_proposes_codes_of_features(tmp_path: Path) -> None:
    hours = 400
    frame = pd.DataFrame({"time": pd.date_range("2024-01-01", periods=hours, freq="1h").astype(str)})
    frame["load"] = (50 + 10 * np.sin(np.arange(hours) / 3.8)).round(2)
    frame["wind_dir"] = np.where(np.arange(hours) % 50 == 3, 9999, np.arange(hours) % 36 * 10)
    frame.loc[frame.index % 40 == 7, "load"] = -999.0
    frame.to_csv(tmp_path / "rows.csv", index=False)
    proposal = propose([str(tmp_path / "rows.csv")], out=tmp_path / "out")
    proposal.write(tmp_path / "out")
    data = load_config(tmp_path / "out" / "config.yaml").data
    codes = {each.name: each.missing_codes for each in data.features if each.missing_codes}
    assert codes == {"load": [-999.0], "wind_dir": [9999.0]}
    assert not data.csv.missing
    assert sum("missing_codes" in guess and "NOT SURE" in guess for guess in proposal.guesses) == 2

"""Windows cut from stored series are those that were cut at once: every byte, and their order."""

from __future__ import annotations

import gzip
import io
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from noisy_gru.data.arrow import pa
from noisy_gru.data.report.ingestion_report import IngestionReport
from noisy_gru.data.sequences.encoding import Encoder
from noisy_gru.data.sequences.example_files import file_name, stores_series
from noisy_gru.data.sequences.sequences import Sequences
from noisy_gru.data.sequences.series_tables import encode_table, encode_tables, read_windows, without_windows
from noisy_gru.data.sequences.shards import encode_shards
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import DataError

TASK = {"kind": "forecasting", "targets": ["x", "goal"], "input_length": 6, "horizons": [1, 4], "season_length": 5}
DAYS = {"column": "t", "kind": "timestamp", "frequency": "1d"}
CASES: dict[str, dict[str, Any]] = {
    "plain": {"task": {**TASK, "stride": 3}},
    "split by time": {"task": TASK, "splits": {"by": "time", "eval": 0.2, "test": 0.3}},
    "seasons longer than windows": {"task": {**TASK, "input_length": 2, "season_length": 11, "horizons": [1, 12]}},
    "gaps that cut": {"task": TASK, "time": {**DAYS, "gaps": "split"}},
    "gaps that are filled": {"task": TASK, "time": {**DAYS, "gaps": "fill", "fill_limit": 2}},
    "masked targets": {"task": TASK, "policies": {"missing_target": "mask"}},
    "known in advance": {
        "task": TASK,
        "features": [
            "x",
            {"name": "plan", "known_in_advance": True},
            {"name": "kind", "kind": "categorical", "known_in_advance": True},
            {"calendar": "day_of_week"},
        ],
    },
    "elapsed": {
        "task": TASK,
        "time": {**DAYS, "gaps": "fill"},
        "features": [
            "x",
            "plan",
            {"elapsed": "seconds_since_last"},
            {"elapsed": "steps_since_observed", "column": "plan"},
        ],
    },
    "elapsed since a text": {
        "task": TASK,
        "features": [
            {"name": "kind", "kind": "categorical"},
            {"elapsed": "steps_since_observed", "column": "kind"},
        ],
    },
    "static": {
        "task": TASK,
        "features": [
            "x",
            {"name": "size", "static": True},
            {"name": "place", "kind": "categorical", "static": True},
        ],
    },
    "one series": {"task": TASK, "entity": None, "splits": {"by": "time", "eval": 0.2, "test": 0.2}},
}


def rows(entities: int) -> pd.DataFrame:
    """Series of days of which some are missing, with missing values, and negative NaN among them."""
    random = np.random.default_rng(0)
    frames = []
    for entity in range(entities):
        days = np.flatnonzero(random.random(90) < 0.93)
        frames.append(
            pd.DataFrame(
                {
                    "id": f"series {'é' * entity}",
                    "t": pd.Timestamp("2024-01-01") + days * pd.Timedelta(days=1),
                    "x": random.standard_normal(len(days)).round(2),
                    "goal": random.integers(0, 9, len(days)),
                    "plan": random.standard_normal(len(days)).round(2),
                    "kind": random.choice(["", "färbe", "b"], len(days)),
                    "size": entity,
                    "place": f"place {entity}",
                }
            )
        )
    frame = pd.concat(frames)
    for name in ("x", "goal", "plan"):
        frame[name] = frame[name].where(random.random(len(frame)) < 0.97)
    return frame


def windows_of(case: dict[str, Any], ingest: Any, configured: Any, tmp_path: Any) -> tuple[Sequences, DatasetConfig]:
    data = {"time": DAYS, "policies": {"missing_target": "drop"}, **case}
    dataset = configured(**data)
    rows(1 if data.get("entity", "") is None else 4).to_csv(tmp_path / "rows.csv", index=False)
    (windows,) = ingest(dataset, [tmp_path / "rows.csv"], buckets=1).parts
    assert len(windows) > 20
    return windows, dataset


def records(shard: bytes) -> list[bytes]:
    content, found = io.BytesIO(gzip.decompress(shard)), []
    while head := content.read(12):
        found.append(content.read(int.from_bytes(head[:8], "little")))
        content.read(4)
    return found


@pytest.mark.parametrize("name", CASES)
def test_windows_are_those_that_are_cut_at_once(ingest, tmp_path, configured, name) -> None:
    windows, dataset = windows_of(CASES[name], ingest, configured, tmp_path)
    reports = IngestionReport(), IngestionReport()
    expected = {
        split: records(shard) for split, _, shard in encode_shards(windows, Encoder(windows, dataset), reports[0])
    }
    found = {
        split: list(read_windows(pa.BufferReader(table)))
        for split, _, table in encode_tables(windows, dataset, reports[1])
    }
    assert found == expected
    assert reports[0].to_json() == reports[1].to_json()


def test_several_files_hold_the_windows_of_one(ingest, tmp_path, configured) -> None:
    windows, dataset = windows_of(CASES["elapsed"], ingest, configured, tmp_path)

    def ids(most: int) -> list[bytes]:
        files = encode_tables(windows, dataset, IngestionReport(), most)
        return sorted(example for _, _, file in files for example in read_windows(pa.BufferReader(file)))

    assert ids(7) == ids(10_000)


def test_each_step_is_stored_once(ingest, tmp_path, configured) -> None:
    frame = pd.DataFrame({"id": np.repeat(["a", "b"], 2_000), "t": np.tile(np.arange(2_000), 2)})
    frame["x"] = np.random.default_rng(0).standard_normal(len(frame)).astype(np.float32)
    frame.to_csv(tmp_path / "rows.csv", index=False)

    def size(input_length: int) -> int:
        task = {"kind": "forecasting", "targets": ["x"], "input_length": input_length, "horizons": [1, 12]}
        dataset = configured(task=task, splits={"by": "entity", "eval": 0, "test": 1e-9})
        (windows,) = ingest(dataset, [tmp_path / "rows.csv"], buckets=1).parts
        table = encode_table(windows, dataset)
        assert pq.read_table(pa.BufferReader(table)).num_rows == len(frame)
        return len(table)

    # A float32 for each row, and a little for times and ids.
    assert size(8) < 5 * len(frame)
    assert size(256) < size(8) + 1_000


def test_windows_are_dropped_by_their_ids(ingest, tmp_path, configured) -> None:
    windows, dataset = windows_of(CASES["elapsed"], ingest, configured, tmp_path)
    table = encode_table(windows, dataset)
    whole = sorted(read_windows(pa.BufferReader(table)))
    dropped = windows.ids[::2]
    rest, count = without_windows(pa.BufferReader(table), dropped)
    assert count == len(windows.ids) - len(dropped)
    expected = [example for example in whole if not any(name.encode() + b"\x12" in example for name in dropped)]
    assert rest is not None
    found = sorted(read_windows(pa.BufferReader(rest)))
    assert set(found) < set(whole) and len(found) == count and len(expected) <= len(whole)
    assert without_windows(pa.BufferReader(table), windows.ids) == (None, 0)


def test_another_file_is_no_table_of_windows(tmp_path) -> None:
    file = tmp_path / "other.parquet"
    pd.DataFrame({"x": [1.0]}).to_parquet(file)
    with pytest.raises(DataError, match=r"other\.parquet: expected a table of windows"):
        list(read_windows(file))


def test_windows_may_be_stored_one_by_one(configured) -> None:
    cut, stored, whole = configured(task=TASK), configured(task=TASK, windows="stored"), configured()
    assert [stores_series(dataset) for dataset in (cut, stored, whole)] == [True, False, False]
    assert file_name(cut, 1, 4, 0) == "data_series-00001-of-00004-000.parquet"
    assert file_name(stored, 1, 4, 0) == file_name(whole, 1, 4, 0) == "data_tfrecord-00001-of-00004-000.gz"
    with pytest.raises(ValueError, match=r"data\.windows: stored is for forecasting"):
        configured(windows="stored")

"""The same input gives the same sequences, ids, splits, bytes and report, however it is spread over files."""

from __future__ import annotations

import gzip
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noisy_gru.data.reading.reader import Reader
from noisy_gru.data.reading.tables import Source
from noisy_gru.data.report.ingestion_report import IngestionReport
from noisy_gru.data.report.quarantine import Quarantine
from noisy_gru.data.sequences.chunks import bucket_count, bucket_of, pack, unpack
from noisy_gru.data.sequences.encoding import Encoder
from noisy_gru.data.sequences.rows import Rows
from noisy_gru.data.sequences.sequences import Sequences
from noisy_gru.data.sequences.shards import build_sequences, encode_shards, shuffled_order

TASK = {"kind": "forecasting", "targets": ["x"], "input_length": 3, "horizons": [1, 2], "stride": 2}


def rows_of(seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "id": random.choice(list("abcdefgh"), 120),
            "t": random.integers(0, 40, 120),
            "x": random.integers(0, 3, 120),
            "y": random.choice(["c", "d"], 120, p=[0.98, 0.02]),
        }
    ).astype(str)
    frame.loc[random.choice(120, 3), "x"] = "oops"
    return frame


def content(found: Any) -> dict[str, Any]:
    return {
        name: (entry["split"], entry["time"], str(entry["values"]), str(entry["label"]), str(entry["answers"]))
        for name, entry in found.by_id.items()
    }


@pytest.mark.parametrize("task", [TASK, {"kind": "classification", "label": "y"}])
@pytest.mark.parametrize("action", ["drop", "quarantine"])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 50), order=st.randoms(use_true_random=False), files=st.integers(1, 4), buckets=st.integers(1, 5)
)
def test_whatever_the_order_of_rows_and_files(ingest, tmp_path, configured, task, action, seed, order, files, buckets):
    dataset = configured(task=task, policies={"duplicate_step": action, "conflicting_label": "drop"})
    frame = rows_of(seed)
    frame.to_csv(tmp_path / "whole.csv", index=False)
    once = ingest(dataset, [tmp_path / "whole.csv"], buckets=1)

    index = list(range(len(frame)))
    order.shuffle(index)
    paths = []
    for number in range(files):
        paths.append(tmp_path / f"part-{number}.csv")
        frame.iloc[index[number::files]].to_csv(paths[-1], index=False)
    order.shuffle(paths)
    again = ingest(dataset, paths, buckets=buckets)
    assert content(again) == content(once)
    for name in ("rows_read", "rows_kept", "quarantined", "dropped", "sequences_dropped", "sequences_quarantined"):
        assert getattr(again.report, name) == getattr(once.report, name)


@pytest.mark.parametrize(
    "data",
    [
        {"time": {"column": "t", "frequency": "3", "align": "nearest", "tolerance": "1", "gaps": "fill"}},
        {"resample": {"frequency": "4", "aggregate": {"x": "sum"}}},
        {
            "features": ["x", {"elapsed": "steps_since_observed", "column": "x"}],
            "policies": {"unparsable_value": "impute"},
        },
    ],
)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 50), order=st.randoms(use_true_random=False), buckets=st.integers(1, 5))
def test_steps_of_irregular_times_whatever_the_order(ingest, tmp_path, configured, data, seed, order, buckets):
    dataset = configured(task=TASK, **data)
    frame = rows_of(seed)
    frame.to_csv(tmp_path / "whole.csv", index=False)
    index = list(range(len(frame)))
    order.shuffle(index)
    frame.iloc[index].to_csv(tmp_path / "shuffled.csv", index=False)
    once, again = (ingest(dataset, [tmp_path / name], buckets) for name in ("whole.csv", "shuffled.csv"))
    assert content(again) == content(once)
    assert again.report.rows_merged == once.report.rows_merged
    assert again.report.dropped == once.report.dropped


def test_shards_are_byte_identical_whatever_the_order_of_chunks(tmp_path, configured) -> None:
    dataset = configured(task=TASK, policies={"missing_label": "drop"})
    chunks = []
    for number in range(3):
        path = tmp_path / f"part-{number}.csv"
        rows_of(number).assign(t=lambda frame, n=number: frame["t"].astype(int) + 40 * n).to_csv(path, index=False)
        for rows in Reader(dataset).tables(Source(str(path), path.name, "csv"), Quarantine()):
            chunks += [chunk for _, chunk in pack(rows, path.name, 1)]

    def written(some: list[bytes], size: int) -> tuple[list[tuple[str, int, bytes]], str]:
        quarantine = Quarantine()
        sequences = build_sequences(unpack(some), None, dataset, quarantine)
        found = list(encode_shards(sequences, Encoder(sequences, dataset), quarantine.report, size))
        return found, quarantine.report.to_json()

    forward, backward = written(chunks, 1 << 20), written(chunks[::-1], 1 << 20)
    assert forward == backward
    assert len(written(chunks, 500)[0]) > len(forward[0])


def test_report_merges_in_any_order_and_survives_json() -> None:
    parts = []
    for number in range(4):
        faults = [f"fault {3 - number}"]
        part = IngestionReport(rows_read=number, file_errors=faults, time_ranges={"rows": [-number, number]})
        part.quarantined["too_short"] = number
        part.count_imputed("missing_value", "x", number)
        part.add_examples("too_short", [{"file": "f", "row": 9 - number - step, "problem": ""} for step in range(3)])
        parts.append(part)
    total = IngestionReport.merged(parts)
    assert IngestionReport.merged(parts[::-1]).to_json() == total.to_json()
    assert IngestionReport.from_json(total.to_json()).to_json() == total.to_json()
    assert (total.rows_read, total.quarantined["too_short"], total.time_ranges["rows"]) == (6, 6, [-3, 3])
    assert [record["row"] for record in total.examples["too_short"]] == [4, 5, 5]
    assert total.file_errors == [f"fault {number}" for number in range(4)]


def test_buckets_depend_on_the_size_of_the_files_alone() -> None:
    assert bucket_count([]) == bucket_count([("csv", 10_000)]) == 1
    assert bucket_count([("parquet", 500 << 20)]) == 24
    assert bucket_count([("csv", 1 << 50)]) == 1024
    found = np.bincount([bucket_of(f"e{number}", 4) for number in range(4000)])
    assert found.tolist() == pytest.approx([1000] * 4, abs=120)


def windows_of(entities: int, steps: int, order: np.ndarray) -> Sequences:
    """One-step windows of every entity at every step, listed in an order."""
    count = entities * steps
    names = [f"e{number:03d}" for number in range(entities)]
    entity, time = np.arange(count) // steps, np.arange(count) % steps
    zeros = np.zeros(count, np.int64)
    rows = Rows(names, entity, time, ["f"], zeros.astype(np.int32), zeros, {}, {})
    ids = [f"{names[code]}@{moment}" for code, moment in zip(entity.tolist(), time.tolist(), strict=True)]
    everything = Sequences(rows, np.arange(count), np.arange(count) + 1, zeros.astype(np.int8), ids)
    return everything.take(order)


@pytest.mark.parametrize("block", [1, 8])
def test_order_in_a_shard_is_shuffled_and_fixed(block: int) -> None:
    listed = windows_of(10, 40, np.arange(400))
    backwards = windows_of(10, 40, np.arange(400)[::-1])
    order = shuffled_order(listed, block)
    assert sorted(order) == list(range(400))
    assert [listed.ids[place] for place in order] == [
        backwards.ids[place] for place in shuffled_order(backwards, block)
    ]
    # Within a block one after the other, and blocks in no order: of 49 or 399 neighbours about 1 follows by chance.
    starts = np.array(order)[::block]
    assert all(
        order[start : start + block] == list(range(order[start], order[start] + block))
        for start in range(0, 400, block)
    )
    assert (np.diff(starts) == block).sum() <= 5


def test_windows_that_overlap_share_their_bytes(ingest, tmp_path, configured) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"id": np.repeat(["a", "b", "c"], 400), "t": np.tile(np.arange(400), 3), "y": "c"})
    frame["x"] = random.standard_normal(len(frame))
    frame.to_csv(tmp_path / "rows.csv", index=False)
    dataset = configured(task={"kind": "forecasting", "targets": ["x"], "input_length": 64, "horizons": [1]})
    (part,) = ingest(dataset, [tmp_path / "rows.csv"], buckets=1).parts
    quarantine = Quarantine()
    shards = [content for _, _, content in encode_shards(part, Encoder(part, dataset), quarantine.report)]
    records = sum(len(gzip.decompress(content)) for content in shards)
    # By themselves, random floats compress to nine tenths; each of these stands in 64 windows.
    assert sum(map(len, shards)) < 0.35 * records

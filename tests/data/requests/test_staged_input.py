"""Input that is staged on disk gives the batches that reading all of it at once does."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from noisy_gru.data.reading.tables import Source
from noisy_gru.data.requests.prediction_input import PredictionInput, read_sources
from noisy_gru.data.requests.staged_input import LINES_KEPT, STAGED, StagedInput, stage_input
from noisy_gru.data.sequences.chunks import unpack
from noisy_gru.data.sequences.rows import Rows
from noisy_gru.schema.errors import DataError

TASK = {"kind": "forecasting", "targets": ["x"], "input_length": 2, "horizons": [1, 3]}


def sources(*paths: Path) -> list[Source]:
    return [Source(str(path), str(path), "csv") for path in paths]


def joined(staged: StagedInput, size: int, first: int = 0) -> tuple[list[Any], ...]:
    ids, examples, entities, times = [], [], [], []
    batches = list(staged.batches(size, first))
    assert all(len(batch.ids) == size for batch in batches[:-1])
    for batch in batches:
        assert batch.origins is not None
        ids += batch.ids
        examples += batch.examples
        entities += batch.origins.entities
        times += [None] * len(batch.ids) if batch.origins.target_times is None else batch.origins.target_times.tolist()
    return ids, examples, entities, times


def expected(request: PredictionInput, first: int = 0) -> tuple[list[Any], ...]:
    if request.origins is None:
        return [], [], [], []
    times = request.origins.target_times
    listed: list[Any] = [None] * len(request.ids) if times is None else times.tolist()
    return tuple(each[first:] for each in (request.ids, request.examples, request.origins.entities, listed))  # type: ignore[return-value]


CELL = st.sampled_from(["1", "2.5", "", "oops", "-3"])
ROW = st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 9), CELL)


@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    files=st.lists(st.lists(ROW, max_size=25), min_size=1, max_size=3),
    buckets=st.integers(2, 5),
    size=st.integers(1, 4),
    first=st.integers(0, 6),
    forecasts=st.booleans(),
)
def test_any_rows(files, buckets, size, first, forecasts, configured, tmp_path_factory):
    folder = tmp_path_factory.mktemp("staged")
    paths = []
    for number, rows in enumerate(files):
        # The names sort in the other direction than they are given in.
        path = folder / f"{9 - number}.csv"
        path.write_text("id,t,x\n" + "".join(f"{name},{time},{cell}\n" for name, time, cell in rows))
        paths.append(path)
    time = {"column": "t", "gaps": "split", "frequency": "1"}
    dataset = configured(task=TASK, time=time) if forecasts else configured()
    request = read_sources(sources(*paths), dataset)
    (folder / "work").mkdir()
    staged = stage_input(sources(*paths), dataset, folder / "work", buckets=buckets)
    assert joined(staged, size, first) == expected(request, first)
    assert staged.report.to_json() == request.report.to_json()
    for reason in request.report.quarantined:
        reported = [line for line in request.unusable if line["reason"] == reason][:LINES_KEPT]
        mine = [line for line in staged.unusable if line["reason"] == reason]
        assert len(mine) >= len(reported)
        assert all(line in request.unusable for line in mine)
    again = stage_input([], dataset, folder / "work")
    assert joined(again, size, first) == expected(request, first)
    assert again.report.to_json() == request.report.to_json()


def test_sequences_of_one_row_of_a_wide_table_keep_their_order(configured, tmp_path):
    path = tmp_path / "wide.csv"
    names = [f"s{number}" for number in np.random.default_rng(2).permutation(20)]
    path.write_text("t," + ",".join(names) + "\n" + "".join(f"{t}" + ",1" * 20 + "\n" for t in range(5)))
    layout = {"kind": "wide_series", "value": "x"}
    dataset = configured(layout=layout, task=TASK)
    (tmp_path / "work").mkdir()
    staged = stage_input(sources(path), dataset, tmp_path / "work", buckets=4)
    assert joined(staged, 7) == expected(read_sources(sources(path), dataset))
    assert len(joined(staged, 7)[0]) == 20


def test_a_half_staged_folder_is_staged_anew(configured, table, tmp_path):
    path = table("id,t,x\n" + "".join(f"e{n},0,{n}\n" for n in range(9)))
    work = tmp_path / "work"
    work.mkdir()
    (work / "rows-00000.chunks").write_bytes(b"\x00" * 5)
    (work / "run-00001.arrow").write_bytes(b"torn")
    staged = stage_input(sources(path), configured(), work, buckets=2)
    assert joined(staged, 2) == expected(read_sources(sources(path), configured()))
    assert sorted(each.name for each in work.iterdir()) == [*[run.name for run in staged.runs], STAGED]


def test_a_bucket_is_freed_before_the_next(configured, table, tmp_path, monkeypatch):
    """A cycle of references would keep all buckets in memory until the garbage collector looks for it."""
    alive: list[weakref.ref[Rows]] = []

    def watched(chunks: Any) -> Rows:
        assert not any(each() is not None for each in alive)
        rows = unpack(chunks)
        alive.append(weakref.ref(rows))
        return rows

    monkeypatch.setattr("noisy_gru.data.requests.staged_input.unpack", watched)
    path = table("id,t,x\n" + "".join(f"e{n},0,{n}\n" for n in range(20)))
    gc.disable()
    try:
        stage_input(sources(path), configured(), tmp_path, buckets=4)
    finally:
        gc.enable()
    assert len(alive) > 2


@pytest.mark.parametrize("buckets", [1, 3])
def test_earlier_files_add_rows_alone(configured, table, tmp_path, buckets):
    """Only entities of the own file are predicted, from all rows."""
    old = table("id,t,x\n" + "".join(f"{name},{t},1\n" for name in "abc" for t in range(4)), "1.csv")
    new = table("id,t,x\nc,4,2\na,4,2\nd,4,2\n", "2.csv")
    dataset = configured(task=TASK)
    request = read_sources(sources(old, new), dataset)
    assert request.ids == ["a@4", "b@3", "c@4"]
    (tmp_path / "work").mkdir()
    staged = stage_input(sources(old, new), dataset, tmp_path / "work", buckets=buckets, own={str(new)})
    ids, examples, *_ = joined(staged, 2)
    assert ids == ["a@4", "c@4"]
    assert examples == [request.examples[0], request.examples[2]]


def test_an_error_policy_names_rows_of_all_buckets(configured, table, tmp_path):
    path = table("id,t,x\n" + "".join(f"e{n},0,oops\n" for n in range(9)))
    with pytest.raises(DataError, match=r"9 rows or windows can't be used, and policies\.unparsable_value is error"):
        stage_input(sources(path), configured(policies={"unparsable_value": "error"}), tmp_path, buckets=3)

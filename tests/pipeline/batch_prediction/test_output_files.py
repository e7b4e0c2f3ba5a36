"""Files of predictions: written batch by batch, the same as all at once, and never half."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from noisy_gru.data.requests.origins import Origins
from noisy_gru.pipeline.batch_prediction import output_files
from noisy_gru.pipeline.batch_prediction.output_files import output_file, write_predictions
from noisy_gru.schema.config import ForecastingConfig
from noisy_gru.schema.errors import ModelError, UserError
from noisy_gru.serving.client.prediction_columns import Part
from noisy_gru.serving.client.predictions import Predictions

TASK = ForecastingConfig(kind="forecasting", targets=["x"], input_length=2, horizons=[1, 2])


def predictions(first: int, count: int, task: ForecastingConfig = TASK) -> Predictions:
    ids = [f"s{number}" for number in range(first, first + count)]
    values = np.random.default_rng(first).normal(size=(count, len(task.horizons), 1)).astype(np.float32)
    times = np.arange(first, first + count)[:, None] + np.array(task.horizons)
    places = {name: place for place, name in enumerate(ids)}
    part = Part(ids, {"predictions": values}, 3)
    return Predictions(task, [part], origins=Origins(ids, times, "integer"), places=places)


def batches(count: int = 7) -> Iterator[Predictions]:
    return (predictions(5 * number, 5) for number in range(count))


@pytest.mark.parametrize("layout", ["short", "wide", "long"])
def test_parquet_is_what_arrow_writes_of_the_whole_table(tmp_path: Path, layout) -> None:
    write_predictions(batches(), tmp_path / "out", "parquet", layout, None)
    pq.write_table(pa.concat_tables([each.to_arrow(layout) for each in batches()]), tmp_path / "whole")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "whole").read_bytes()


def test_row_groups_are_of_the_same_length(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(output_files, "ROW_GROUP_ROWS", 8)
    write_predictions(batches(), tmp_path / "out", "parquet", "wide", None)
    found = pq.ParquetFile(tmp_path / "out")
    assert [found.metadata.row_group(number).num_rows for number in range(found.num_row_groups)] == [8, 8, 8, 8, 3]
    assert found.read().equals(pa.concat_tables([each.to_arrow("wide") for each in batches()]))


@pytest.mark.parametrize(("format_", "header"), [("csv", b""), ("jsonl", b"")])
def test_nothing_to_predict(tmp_path: Path, format_, header) -> None:
    write_predictions(iter(()), tmp_path / "out", format_, "short", None)
    assert (tmp_path / "out").read_bytes() == header
    write_predictions(iter(()), tmp_path / "parquet", "parquet", "wide", None)
    assert pd.read_parquet(tmp_path / "parquet").columns.tolist() == ["sequence_id"]


def test_a_version_with_other_columns_in_the_middle(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(output_files, "ROW_GROUP_ROWS", 5)
    other = ForecastingConfig(kind="forecasting", targets=["x"], input_length=2, horizons=[1, 3])
    with pytest.raises(ModelError, match=r"another version in the middle\. Choose one with --model-version"):
        write_predictions(
            iter([predictions(0, 5), predictions(5, 5, other)]), tmp_path / "o", "parquet", "wide", Path("o")
        )


def test_an_error_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    for before in (None, "old\n"):
        if before:
            out.write_text(before)
        with pytest.raises(KeyboardInterrupt), output_file(out) as partial:
            partial.write_text("half")
            raise KeyboardInterrupt
        assert (out.read_text() if out.exists() else None) == before
        assert [each.name for each in tmp_path.iterdir()] == (["out.csv"] if before else [])


def test_modes_and_links_stay(tmp_path: Path) -> None:
    out, link = tmp_path / "out.csv", tmp_path / "link.csv"
    out.write_text("old")
    out.chmod(0o640)
    link.symlink_to(out)
    with output_file(link) as partial:
        partial.write_text("new")
    assert link.is_symlink() and out.read_text() == "new" and out.stat().st_mode & 0o777 == 0o640
    with output_file(tmp_path / "fresh.csv") as partial:
        partial.write_text("new")
    (tmp_path / "usual").write_text("")
    assert (tmp_path / "fresh.csv").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_pipe_gets_a_copy(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    with output_file(pipe) as partial:
        partial.write_text("answers")
    reader.join()
    assert read == ["answers"] and pipe.is_fifo()


def test_what_can_not_be_written(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match=r"--out .*none/out.csv: can't be written: No such file"),
        output_file(tmp_path / "none" / "out.csv") as partial,
    ):
        partial.write_text("")
    with pytest.raises(UserError, match="can't be written: Is a directory"), output_file(tmp_path) as partial:
        partial.write_text("")
    full = Path("/dev/full")
    with pytest.raises(UserError, match="--out /dev/full: can't be written: No space left"), output_file(full) as part:
        write_predictions(batches(), part, "csv", "short", full)

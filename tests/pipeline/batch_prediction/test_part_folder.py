"""A folder of parts: the same rows as one file, and a rerun computes what is missing alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from noisy_gru.pipeline.batch_prediction.part_folder import REQUEST, SUCCESS, begun_version, opened_folder
from noisy_gru.schema.errors import BusyError, UserError
from noisy_gru.serving.client.predictions import Predictions
from tests.pipeline.batch_prediction.test_output_files import predictions

WANTED = {"model": "m", "version": 3, "format": "csv", "layout": "short", "part_size": 4}
# Sequences; in batches of 2 and parts of 4 there are three parts, the last of which has 3.
COUNT, BATCH = 11, 2


class Model:
    """Predict in batches of two, and fail before a sequence."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.requested: list[int] = []
        self._fails_at = fails_at

    def batches(self, first: int) -> Iterator[Predictions]:
        for start in range(first, COUNT, BATCH):
            if self._fails_at is not None and start >= self._fails_at:
                raise KeyboardInterrupt
            self.requested.append(start)
            whole = predictions(0, COUNT).output("predictions")
            part = predictions(start, min(BATCH, COUNT - start))
            part.parts[0].outputs["predictions"] = whole[start : start + BATCH]
            yield part


def write(folder: Path, model: Model, request=WANTED) -> None:
    with opened_folder(folder, request, BATCH) as parts:
        if parts.result is None:
            number, _ = parts.write(model.batches)
            parts.succeed({"parts": number})


def answers(folder: Path) -> pd.DataFrame:
    return pd.concat([pd.read_csv(path) for path in sorted(folder.glob("part-*"))], ignore_index=True)


@pytest.mark.parametrize("fails_at", range(0, COUNT, BATCH))
def test_interrupted_anywhere(tmp_path: Path, fails_at) -> None:
    folder, model = tmp_path / "out", Model(fails_at)
    with pytest.raises(KeyboardInterrupt):
        write(folder, model)
    done = fails_at // 4
    assert sorted(each.name for each in folder.iterdir()) == sorted(
        [".lock", ".work", REQUEST, *(f"part-{number:05d}.csv" for number in range(done))]
    )
    times = [path.stat().st_mtime_ns for path in sorted(folder.glob("part-*"))]
    (folder / ".predict-1234.partial").write_text("a killed writer's")
    rest = Model()
    write(folder, rest)
    assert rest.requested == list(range(4 * done, COUNT, BATCH))
    assert [path.stat().st_mtime_ns for path in sorted(folder.glob("part-*"))][:done] == times
    assert sorted(each.name for each in folder.iterdir()) == sorted(
        [".lock", REQUEST, SUCCESS, *(f"part-{number:05d}.csv" for number in range(3))]
    )
    assert answers(folder)["sequence_id"].tolist() == [f"s{number}" for number in range(COUNT)]
    whole = predictions(0, COUNT).to_pandas()
    assert answers(folder)["x@1"].tolist() == pytest.approx(whole["x@1"].tolist(), abs=0, rel=1e-8)
    again = Model()
    write(folder, again)
    assert again.requested == [] and json.loads((folder / SUCCESS).read_text()) == {"parts": 3}
    assert begun_version(folder) == 3


def test_a_missing_part_is_computed_again(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, Model(8))
    (tmp_path / "part-00000.csv").unlink()
    rest = Model()
    write(tmp_path, rest)
    assert rest.requested[0] == 0 and len(answers(tmp_path)) == COUNT


def test_another_request(tmp_path: Path) -> None:
    other = {**WANTED, "version": 4, "layout": "wide"}
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, Model(0))
    # Nothing is written yet, so there is nothing to mix.
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, Model(5), other)
    with pytest.raises(UserError, match=r"holds a prediction with other layout, version \(_prediction.json\)"):
        write(tmp_path, Model())
    write(tmp_path, Model(), other)


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(UserError, match=r"one of an earlier prediction; found thesis.tex"):
        write(tmp_path, Model())
    assert [each.name for each in tmp_path.iterdir() if not each.name.startswith(".")] == ["thesis.tex"]
    (tmp_path / REQUEST).write_text("{")
    with pytest.raises(UserError, match=r"_prediction.json: can't be read: "):
        write(tmp_path, Model())
    with pytest.raises(UserError, match=r"thesis.tex: can't be written"):
        write(tmp_path / "thesis.tex", Model())


def test_two_at_once(tmp_path: Path) -> None:
    with opened_folder(tmp_path, WANTED, BATCH), pytest.raises(BusyError, match="choose another folder with --out"):
        write(tmp_path, Model())


def test_nothing_to_predict_is_one_empty_part(tmp_path: Path) -> None:
    with opened_folder(tmp_path, WANTED, BATCH) as parts:
        assert parts.write(lambda first: iter(())) == (1, 0)
    assert (tmp_path / "part-00000.csv").read_text() == ""


def test_unfinished_parts_of_another_request_can_be_given_up(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, Model(8))
    other = {**WANTED, "version": 4}
    model = Model()
    with opened_folder(tmp_path, other, BATCH, restart=True) as parts:
        assert parts.write(model.batches) == (3, COUNT)
        parts.succeed({})
    assert model.requested[0] == 0 and begun_version(tmp_path) == 4
    with (
        pytest.raises(UserError, match="holds a prediction with other version"),
        opened_folder(tmp_path, WANTED, BATCH, restart=True),
    ):
        pass

"""Prediction on Beam, in one process and in several, gives the answers of plain prediction."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from noisy_gru.pipeline.batch_prediction import beam_prediction
from noisy_gru.pipeline.batch_prediction.beam_prediction import batches_by_length, predict_by_length
from noisy_gru.pipeline.batch_prediction.published_model import BATCH
from noisy_gru.pipeline.cli.main import app
from noisy_gru.pipeline.exit_codes import EXIT_FAILED, EXIT_UNUSED_INPUT
from noisy_gru.saved_model.session import SessionModel

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

CONFIG = """\
name: small
schema: schema.pbtxt
data: {files: [rows/*.csv], entity: id, time: {column: t}, features: [a, b]}
task: {kind: classification, label: way}
"""


@pytest.fixture(scope="module")
def plain(exported: tuple[Path, Any], tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Two files, of which the second given comes first by name, with a bad cell; and the plain prediction of them."""
    folder = tmp_path_factory.mktemp("beam")
    (folder / "config.yaml").write_text(CONFIG)
    shutil.copytree(exported[0], folder / "root" / "serving" / "small" / "4")
    random = np.random.default_rng(5)
    frame = pd.DataFrame({"id": [f"s{each}" for each in random.integers(0, 700, 4000)], "t": np.arange(4000)})
    frame = frame.assign(a=random.normal(size=4000).astype(object), b=random.normal(size=4000))
    frame.loc[7, "a"] = "loud"
    frame.iloc[:2500].to_csv(folder / "b.csv", index=False)
    frame.iloc[2500:].to_csv(folder / "a.csv", index=False)
    done = predict(folder, "--out", folder / "plain.parquet")
    assert done.exit_code == EXIT_UNUSED_INPUT
    return SimpleNamespace(folder=folder, reported=done.stderr, answers=pd.read_parquet(folder / "plain.parquet"))


def predict(folder: Path, *options: object) -> Any:
    inputs = [folder / "config.yaml", folder / "b.csv", folder / "a.csv", "--root", folder / "root"]
    return CliRunner().invoke(app, ["predict", *map(str, [*inputs, *options])])


def assert_same(parts: Sequence[Path], answers: pd.DataFrame) -> None:
    """Every part is in the order of the files, and all of them have each sequence once."""
    order = {name: place for place, name in enumerate(answers["sequence_id"])}
    frames = [pd.read_parquet(part) for part in parts]
    for frame in frames:
        places = [order[name] for name in frame["sequence_id"]]
        assert places == sorted(places)
    found = pd.concat(frames).sort_values("sequence_id", key=lambda names: names.map(order), ignore_index=True)
    assert found["sequence_id"].tolist() == answers["sequence_id"].tolist()
    numbers = [name for name in answers if name.startswith("probability_")]
    # Batches of other sequences differ in the last digits of float32.
    np.testing.assert_allclose(found[numbers], answers[numbers], atol=1e-6, rtol=0)
    pd.testing.assert_frame_equal(found.drop(columns=numbers), answers.drop(columns=numbers))


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.long)])
def test_the_answers_of_plain_prediction(plain, tmp_path, monkeypatch, workers):
    monkeypatch.setattr("noisy_gru.pipeline.batch_prediction.folder_prediction.bucket_count", lambda sizes: 5)
    out = tmp_path / "out"
    options = ("--beam", "--out", out, "--format", "parquet", "--set", f"beam.workers={workers}")
    done = predict(plain.folder, *options)
    assert done.exit_code == EXIT_UNUSED_INPUT, done.output
    assert done.stderr == plain.reported
    parts = sorted(out.glob("part-*.parquet"))
    assert len(parts) == 5
    assert_same(parts, plain.answers)
    if workers > 1:
        return
    # Killed before the end: what is there stays, and the rest is computed.
    times = [part.stat().st_mtime_ns for part in parts]
    (out / "_SUCCESS").unlink()
    parts[2].unlink()
    (out / ".work").mkdir()
    (out / ".part-00002.parquet.0123.part").write_bytes(b"half")
    again = predict(plain.folder, *options)
    assert (again.exit_code, again.stderr) == (EXIT_UNUSED_INPUT, plain.reported)
    assert_same(parts, plain.answers)
    assert [part.stat().st_mtime_ns == time for part, time in zip(parts, times, strict=True)].count(False) == 1
    assert not list(out.glob(".part*"))
    done = predict(plain.folder, *options, "--version", 5)
    assert done.exit_code == EXIT_FAILED


def test_an_error_policy_ends_it(plain, tmp_path):
    done = predict(plain.folder, "--beam", "--out", tmp_path / "out", "--set", "data.policies.unparsable_value=error")
    assert done.exit_code == EXIT_FAILED
    assert "1 rows or windows can't be used, and policies.unparsable_value is error" in done.stderr
    assert not [each for each in (tmp_path / "out").iterdir() if each.name in ("_SUCCESS", "part-00000.csv")]


def test_batches_hold_sequences_of_similar_length(monkeypatch):
    lengths = np.random.default_rng(1).integers(1, 50, 3 * BATCH + 7)
    batches = list(batches_by_length(lengths, [1] * len(lengths)))
    assert [len(batch) for batch in batches] == [BATCH] * 3 + [7]
    joined = np.concatenate(batches)
    assert sorted(joined.tolist()) == list(range(len(lengths)))
    assert (np.diff(lengths[joined]) >= 0).all()
    monkeypatch.setattr(beam_prediction, "BATCH_BYTES", 10)
    # A sequence that is too large for any batch goes alone.
    assert [batch.tolist() for batch in batches_by_length(np.arange(5), [4, 4, 4, 50, 1])] == [[0, 1], [2], [3], [4]]
    assert list(batches_by_length(np.zeros(0, int), [])) == []


def test_answers_at_each_step_are_padded(monkeypatch):
    class Steps:
        def run(self, signature: str, inputs: dict[str, list[bytes]]) -> dict[str, np.ndarray]:
            longest = max(map(len, inputs["examples"]))
            text = [[each[:at] for at in range(1, longest + 1)] for each in inputs["examples"]]
            return {
                "probabilities": np.array(
                    [[[float(len(each))] * 2] * longest for each in inputs["examples"]], np.float32
                ),
                "label_bytes": np.array(text, object),
                "lengths": np.array([len(each) for each in inputs["examples"]]),
            }

    monkeypatch.setattr(beam_prediction, "BATCH", 2)
    examples = [b"ccc", b"a", b"dddd", b"bb"]
    found = predict_by_length(Steps(), examples, np.array([3, 1, 4, 2]))
    assert found["lengths"].tolist() == [3, 1, 4, 2]
    assert found["probabilities"].shape == (4, 4, 2)
    assert found["probabilities"][:, 0, 0].tolist() == [3, 1, 4, 2]
    assert found["label_bytes"][3].tolist() == [b"b", b"bb", b"", b""]


def test_a_model_is_loaded_once_in_a_process(plain, tmp_path, monkeypatch):
    monkeypatch.setattr("noisy_gru.pipeline.batch_prediction.folder_prediction.bucket_count", lambda sizes: 6)
    loaded = []

    def load(folder: str) -> SessionModel:
        loaded.append(folder)
        return SessionModel(folder)

    monkeypatch.setattr(beam_prediction, "SessionModel", load)
    done = predict(plain.folder, "--beam", "--out", tmp_path / "out", "--set", "beam.workers=1")
    assert done.exit_code == EXIT_UNUSED_INPUT, done.output
    assert len(list((tmp_path / "out").glob("part-*.csv"))) == 6
    assert loaded == [str(plain.folder / "root" / "serving" / "small" / "4")]

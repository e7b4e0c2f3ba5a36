"""What a version carries for the next training: written with the model at once, read again, refused when damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from noisy_gru.registry.publish import publish
from noisy_gru.registry.published_versions import hash_files
from noisy_gru.registry.training_record import (
    RETRAINING,
    DataFile,
    SpanFiles,
    TrainingRecord,
    data_hash,
    read_training_record,
)
from noisy_gru.registry.training_record_writer import TrainingFiles
from noisy_gru.schema.errors import PublishError

ONE = {"name": "part-3.csv", "bytes": 10, "sha256": "aa"}
TWO = {"name": "part-4.csv", "bytes": 20, "sha256": "bb"}
INGESTION_REPORT = {
    "version": 1,
    "rows": {"read": 12, "kept": 11, "quarantined": {"total": 1}, "dropped": {"total": 0}},
    "sequences": {"total": 5, "by_split": {"train": 3, "test": 2}},
    "spans": [
        {"span": 3, "version": None, "files": [ONE]},
        {"span": 4, "version": 2, "files": [TWO]},
    ],
    "files": [],
    "examples": {"unparsable_value": [{"problem": "a row with somebody's name"}]},
}


@pytest.fixture
def training_files(model: Path, tmp_path: Path) -> TrainingFiles:
    keras = model.parent / "Format-Keras"
    keras.mkdir()
    (keras / "model.keras").write_bytes(b"keras")
    (keras / "settings.json").write_text('{"dataset": {}}')
    (keras / "transform.json").write_text('{"format": 1}')
    (keras / "warm_start.json").write_text('{"used": true, "base": {"version": 7}}')
    (tmp_path / "ingestion_report.json").write_text(json.dumps(INGESTION_REPORT))
    (tmp_path / "values.npz").write_bytes(b"values")
    run = {"run_id": "r-1", "pipeline": "p", "seed": 5, "config_hash": "c", "fingerprint": "f", "packages": {"x": "1"}}
    return TrainingFiles(keras, tmp_path / "ingestion_report.json", run)


def test_a_version_carries_its_training(model: Path, training_files: TrainingFiles, tmp_path: Path) -> None:
    done = publish(model, tmp_path / "serving", "m", training_files=training_files)
    record = read_training_record(done.folder)
    assert record is not None
    folder = done.folder / "assets.extra" / "retraining"
    assert record == TrainingRecord(
        folder=folder,
        run_id="r-1",
        pipeline="p",
        seed=5,
        config_hash="c",
        fingerprint="f",
        packages={"x": "1"},
        spans=(
            SpanFiles(3, None, (DataFile("part-3.csv", 10, "aa"),)),
            SpanFiles(4, 2, (DataFile("part-4.csv", 20, "bb"),)),
        ),
        files=(DataFile("part-3.csv", 10, "aa"), DataFile("part-4.csv", 20, "bb")),
        rows=INGESTION_REPORT["rows"],
        sequences={"train": 3, "test": 2},
        data_hash=data_hash(INGESTION_REPORT),
        warm_start={"used": True, "base": {"version": 7}},
        values=folder / "values.npz",
        keras_folder=folder,
    )
    assert (folder / "model.keras").read_bytes() == b"keras"
    assert (folder / "values.npz").read_bytes() == b"values"
    assert "somebody" not in (folder / "data.json").read_text()


def test_the_record_is_published_with_the_model_and_is_no_part_of_it(
    model: Path, training_files: TrainingFiles, tmp_path: Path
) -> None:
    bare = publish(model, tmp_path / "bare", "m")
    done = publish(model, tmp_path / "serving", "m", training_files=training_files)
    assert done.publication.files == hash_files(done.folder)
    assert set(done.publication.files) - set(bare.publication.files) == {
        f"{RETRAINING}/{name}"
        for name in ("data.json", "model.keras", "run.json", "settings.json", "transform.json", "values.npz")
    }
    assert done.publication.fingerprint == bare.publication.fingerprint
    (training_files.keras_folder / "model.keras").write_bytes(b"others")
    assert not publish(model, tmp_path / "serving", "m", training_files=training_files).is_new


def test_the_record_is_whole_before_the_version_is_seen(
    model: Path, training_files: TrainingFiles, tmp_path: Path
) -> None:
    class Killed(BaseException):
        pass

    def at(step: str) -> None:
        if step == "record":
            raise Killed

    with pytest.raises(Killed):
        publish(model, tmp_path / "serving", "m", training_files=training_files, clock=lambda: 100.0, at=at)
    assert [path.name for path in (tmp_path / "serving" / "m").glob("[!.]*[0-9]")] == ["incoming-100"]
    done = publish(model, tmp_path / "serving", "m", training_files=training_files, clock=lambda: 100.0)
    assert read_training_record(done.folder) is not None


def test_a_version_without_a_record_has_none(model: Path, tmp_path: Path) -> None:
    assert read_training_record(publish(model, tmp_path, "m").folder) is None


def test_what_was_not_given_is_absent(model: Path, tmp_path: Path) -> None:
    done = publish(model, tmp_path / "serving", "m", training_files=TrainingFiles(model.parent / "Format-Keras"))
    record = read_training_record(done.folder)
    assert record == TrainingRecord(folder=done.folder / RETRAINING)


def truncate(text: str) -> str:
    return text[: len(text) // 2]


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("run.json", truncate, r"run\.json can't be read .* noisy-gru runs rollback"),
        (
            "run.json",
            lambda text: text.replace('"format": 1', '"format": 9'),
            "format 9; this version of noisy-gru reads 1",
        ),
        ("run.json", lambda text: text.replace('"seed"', '"sead"'), r"KeyError: 'seed'"),
        ("run.json", lambda _: "[]", "expected a JSON object. Received: list"),
        ("data.json", truncate, r"data\.json can't be read"),
        ("data.json", lambda text: text.replace('"span": 3', '"span": "x"'), r"ValueError: .*'x'"),
    ],
)
def test_a_damaged_record_is_told(
    name: str, change: Callable[[str], str], message: str, model: Path, training_files: TrainingFiles, tmp_path: Path
) -> None:
    done = publish(model, tmp_path / "serving", "m", training_files=training_files)
    file = done.folder / RETRAINING / name
    file.write_text(change(file.read_text()))
    with pytest.raises(PublishError, match=message):
        read_training_record(done.folder)


def test_equal_data_has_an_equal_name() -> None:
    def report(**changes: Any) -> dict[str, Any]:
        return {"spans": [], "files": [ONE, TWO], "rows": {"read": 1}} | changes

    name = data_hash(report())
    assert data_hash(report(files=[TWO, ONE])) == name
    assert data_hash(report(files=[], spans=[{"span": 1, "files": [TWO, ONE]}])) == name
    assert data_hash(report(files=[ONE])) != name
    assert data_hash(report(files=[ONE, TWO | {"sha256": "cc"}])) != name
    # A report without hashes is known by what was counted.
    old = report(files={"part.csv": 7})
    assert data_hash(old | {"examples": {"a": 1}}) == data_hash(old)
    assert data_hash(old) != data_hash(old | {"rows": {"read": 2}})

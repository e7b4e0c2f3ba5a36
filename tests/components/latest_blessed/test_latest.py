"""Finding and copying the model that is published now."""

from __future__ import annotations

from pathlib import Path

import pytest

from noisy_gru.components.latest_blessed.latest import copy_latest, find_latest
from noisy_gru.components.pusher.publish import publish
from noisy_gru.components.pusher.published import RECORD, Publication


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    folder = tmp_path / "artifact"
    (folder / "Format-Serving" / "variables").mkdir(parents=True)
    (folder / "Format-Serving" / "saved_model.pb").write_bytes(b"graph")
    (folder / "Format-Serving" / "variables" / "variables.index").write_bytes(b"index")
    (folder / "Format-Keras").mkdir()
    (folder / "Format-Keras" / "model.keras").write_bytes(b"keras")
    return folder


def push(artifact: Path, serving: Path, seconds: float) -> Publication:
    return publish(
        artifact / "Format-Serving", serving, "m", model_uri=str(artifact), clock=lambda: seconds
    ).publication


def test_a_first_run_has_none(tmp_path: Path) -> None:
    latest = find_latest(tmp_path / "serving", "m")
    assert latest.publication is None
    assert "first run" in latest.note


def test_the_newest_version_is_found_and_copied_whole(artifact: Path, tmp_path: Path) -> None:
    push(artifact, tmp_path, 100)
    (artifact / "Format-Serving" / "saved_model.pb").write_bytes(b"another graph")
    second = push(artifact, tmp_path, 200)
    latest = find_latest(tmp_path, "m")
    assert latest.publication == second
    assert latest.note.startswith("version 200 of 1970-01-01")
    target = tmp_path / "target"
    target.mkdir()
    assert copy_latest(second, tmp_path, target) == ""
    copied = sorted(file.relative_to(target).as_posix() for file in target.rglob("*") if file.is_file())
    assert copied == [
        "Format-Keras/model.keras",
        "Format-Serving/saved_model.pb",
        "Format-Serving/variables/variables.index",
    ]
    assert (target / "Format-Serving" / "saved_model.pb").read_bytes() == b"another graph"


def test_without_its_artifact_the_published_files_are_taken(artifact: Path, tmp_path: Path) -> None:
    publication = push(artifact, tmp_path, 100)
    artifact.rename(tmp_path / "elsewhere")
    target = tmp_path / "target"
    target.mkdir()
    assert "can be compared with, but not trained further" in copy_latest(publication, tmp_path, target)
    assert [child.name for child in target.iterdir()] == ["Format-Serving"]
    assert not (target / "Format-Serving" / RECORD).exists()


def test_another_model_at_the_same_place_is_not_taken_for_it(artifact: Path, tmp_path: Path) -> None:
    publication = push(artifact, tmp_path, 100)
    (artifact / "Format-Serving" / "saved_model.pb").write_bytes(b"of a later run under an emptied root")
    target = tmp_path / "target"
    target.mkdir()
    assert copy_latest(publication, tmp_path, target)
    assert not (target / "Format-Keras").exists()


def test_published_files_that_are_gone_are_told(artifact: Path, tmp_path: Path) -> None:
    push(artifact, tmp_path, 100)
    (tmp_path / "m" / "100" / "saved_model.pb").unlink()
    latest = find_latest(tmp_path, "m")
    assert latest.publication is None
    assert "version 100" in latest.note
    assert "1 of its files are gone (such as saved_model.pb" in latest.note


def test_a_withdrawn_version_is_not_the_latest(artifact: Path, tmp_path: Path) -> None:
    first = push(artifact, tmp_path, 100)
    (artifact / "Format-Serving" / "saved_model.pb").write_bytes(b"worse")
    push(artifact, tmp_path, 200)
    (tmp_path / "m" / "200").rename(tmp_path / "m" / "withdrawn-200")
    assert find_latest(tmp_path, "m").publication == first

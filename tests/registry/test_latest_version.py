"""Finding and copying the model that is published now."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from noisy_gru.registry.latest_version import copy_version, find_latest
from noisy_gru.registry.publish import publish
from noisy_gru.registry.published_versions import RECORD, Publication
from noisy_gru.registry.training_record import RETRAINING
from noisy_gru.registry.training_record_writer import TrainingFiles
from noisy_gru.schema.errors import PublishError


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    folder = tmp_path / "artifact"
    (folder / "Format-Serving" / "variables").mkdir(parents=True)
    (folder / "Format-Serving" / "saved_model.pb").write_bytes(b"graph")
    (folder / "Format-Serving" / "variables" / "variables.index").write_bytes(b"index")
    (folder / "Format-Keras").mkdir()
    for name in ("model.keras", "settings.json", "transform.json"):
        (folder / "Format-Keras" / name).write_text(f"{name} of the Trainer")
    return folder


def push(artifact: Path, serving: Path, seconds: float) -> Publication:
    training_files = TrainingFiles(artifact / "Format-Keras")
    return publish(
        artifact / "Format-Serving", serving, "m", training_files=training_files, clock=lambda: seconds
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
    # The artifact that it was published from is not needed any more.
    shutil.rmtree(artifact)
    target = tmp_path / "target"
    target.mkdir()
    assert copy_version(second, tmp_path, target) == ""
    copied = sorted(file.relative_to(target).as_posix() for file in target.rglob("*") if file.is_file())
    assert copied == [
        "Format-Keras/model.keras",
        "Format-Keras/settings.json",
        "Format-Keras/transform.json",
        "Format-Serving/saved_model.pb",
        "Format-Serving/variables/variables.index",
    ]
    assert (target / "Format-Serving" / "saved_model.pb").read_bytes() == b"another graph"
    assert (target / "Format-Keras" / "model.keras").read_text() == "model.keras of the Trainer"


def test_a_version_of_before_can_be_compared_with(artifact: Path, tmp_path: Path) -> None:
    """Versions once had no record of their training."""
    publication = publish(artifact / "Format-Serving", tmp_path, "m", clock=lambda: 100.0).publication
    target = tmp_path / "target"
    target.mkdir()
    message = copy_version(publication, tmp_path, target)
    assert message == "version 100 can be compared with, but not trained further: it carries no Keras file"
    assert [child.name for child in target.iterdir()] == ["Format-Serving"]
    assert not (target / "Format-Serving" / RECORD).exists()


@pytest.mark.parametrize("is_gone", [True, False])
def test_a_damaged_keras_file_can_still_be_compared_with(is_gone: bool, artifact: Path, tmp_path: Path) -> None:
    publication = push(artifact, tmp_path, 100)
    file = tmp_path / "m" / "100" / RETRAINING / "model.keras"
    if is_gone:
        file.unlink()
    else:
        file.write_text("something else")
    assert find_latest(tmp_path, "m").publication == publication
    target = tmp_path / "target"
    target.mkdir()
    message = copy_version(publication, tmp_path, target)
    assert message.endswith("not trained further: assets.extra/retraining/model.keras isn't what was published")
    assert [child.name for child in target.iterdir()] == ["Format-Serving"]


@pytest.mark.parametrize("is_gone", [True, False])
def test_a_damaged_version_is_never_compared_with(is_gone: bool, artifact: Path, tmp_path: Path) -> None:
    push(artifact, tmp_path, 100)
    file = tmp_path / "m" / "100" / "saved_model.pb"
    if is_gone:
        file.unlink()
    else:
        file.write_bytes(b"grapi")
    message = "is missing" if is_gone else "differs from what was published"
    with pytest.raises(PublishError, match=rf"m/100/saved_model\.pb {message}, so version 100 isn't the model"):
        find_latest(tmp_path, "m")
    assert find_latest(tmp_path / "elsewhere", "m").identity == "none"


def test_a_withdrawn_version_is_not_the_latest(artifact: Path, tmp_path: Path) -> None:
    first = push(artifact, tmp_path, 100)
    (artifact / "Format-Serving" / "saved_model.pb").write_bytes(b"worse")
    push(artifact, tmp_path, 200)
    (tmp_path / "m" / "200").rename(tmp_path / "m" / "withdrawn-200")
    assert find_latest(tmp_path, "m").publication == first

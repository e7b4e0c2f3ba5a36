"""A published version that changed on disk: what is an error, what is only said, and in what words."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from noisy_gru.registry.config import PublishingConfig
from noisy_gru.registry.integrity import check_record, check_served
from noisy_gru.registry.publish import publish
from noisy_gru.registry.published_versions import RECORD, read_publication
from noisy_gru.registry.rollout import promote, rollback
from noisy_gru.registry.training_record_writer import TrainingFiles
from noisy_gru.schema.errors import PublishError

DATA = "variables/variables.data-00000-of-00001"


def flip(file: Path, at: int = 0) -> None:
    """Flips the lowest bit of a byte; size and times stay."""
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)


@pytest.fixture
def served(model: Path, change: Callable[[Path], Path], tmp_path: Path) -> Path:
    """A model with the versions 100, 200 and 300, of which a server loads the last two; the artifact is there."""
    keras = model.parent / "Format-Keras"
    keras.mkdir()
    (keras / "model.keras").write_bytes(b"keras")
    for version in (100.0, 200.0, 300.0):
        artifact = tmp_path / f"artifact-{version:.0f}" / "Format-Serving"
        shutil.copytree(change(model), artifact)
        publish(
            artifact,
            tmp_path / "serving",
            "m",
            model_uri=str(artifact.parent),
            training_files=TrainingFiles(keras, run={"run_id": "r"}),
            clock=lambda v=version: v,
        )
    return tmp_path / "serving" / "m"


def test_whole_versions_are_fine_and_so_is_what_was_added(served: Path) -> None:
    (served / "300" / ".DS_Store").write_bytes(b"from a file manager")
    assert check_served(served) == []
    assert check_served(served.with_name("none")) == []


def test_a_flipped_byte_names_the_file_and_the_copy_to_bring_back(served: Path, tmp_path: Path) -> None:
    flip(served / "300" / DATA, 123_456)
    source = tmp_path / "artifact-300" / "Format-Serving" / DATA
    with pytest.raises(PublishError) as error:
        check_served(served)
    assert str(error.value) == (
        f"{served / '300' / DATA} differs from what was published, so version 300 isn't the model that was published; "
        f"no model is compared with it or published after it. Restore it: cp {source} {served / '300' / DATA}; "
        "or withdraw the version: noisy-gru runs rollback."
    )
    shutil.copyfile(source, served / "300" / DATA)
    assert check_served(served) == []


def test_each_file_of_a_served_version_counts(served: Path) -> None:
    publication = read_publication(served / "300")
    for name in publication.files:
        file = served / "300" / name
        before = file.read_bytes()
        flip(file, len(before) // 2)
        if name.startswith("assets.extra/retraining/"):
            assert check_served(served) == [f"{file} differs from what was published"]
        else:
            with pytest.raises(PublishError, match="differs from what was published"):
                check_served(served)
        file.write_bytes(before)


@pytest.mark.parametrize("part", ['"published"', '"model_uri"', '"fingerprint": "', '"files"', '"version": 3'])
def test_a_flipped_byte_in_the_record_itself(part: str, served: Path) -> None:
    file = served / "300" / RECORD
    text = file.read_bytes()
    flip(file, text.index(part.encode()) + len(part) + 4 * (part[-1] == '"' and part.count('"') == 2))
    with pytest.raises(PublishError, match=r"300/publication\.json can't be read .* Restore the file from a copy"):
        check_served(served)


def test_a_record_of_before_has_neither_checksum_nor_identity(served: Path) -> None:
    file = served / "300" / RECORD
    content = json.loads(file.read_text())
    del content["checksum"], content["identity"]
    file.write_text(json.dumps(content))
    assert read_publication(served / "300").identity == ""
    assert check_served(served) == []


def test_the_record_of_another_version(served: Path) -> None:
    shutil.copyfile(served / "200" / RECORD, served / "300" / RECORD)
    with pytest.raises(PublishError, match=r"300/publication\.json is that of version 200"):
        check_served(served)


def test_what_no_server_loads_is_said_and_never_gone_back_to(served: Path) -> None:
    flip(served / "100" / DATA)
    (served / "300" / "assets.extra" / "retraining" / "model.keras").unlink()
    assert check_served(served) == [
        f"{served / '100' / DATA} differs from what was published",
        f"{served / '300' / 'assets.extra/retraining/model.keras'} is missing",
    ]
    with pytest.raises(PublishError, match="so version 100 isn't the model"):
        rollback(served.parent, "m", to=100)
    assert rollback(served.parent, "m").newest == 200


def test_a_damaged_only_version_says_how_to_go_on(served: Path) -> None:
    rollback(served.parent, "m", to=100)
    flip(served / "100" / "saved_model.pb")
    with pytest.raises(PublishError, match=rf"or move {served / '100'} out of {served}, so that"):
        check_served(served)


def test_a_damaged_canary_is_not_promoted(served: Path, model: Path, change: Callable[[Path], Path]) -> None:
    canary = PublishingConfig.model_validate({"versions": {"rollout": "canary"}})
    publish(change(model), served.parent, "m", settings=canary, clock=lambda: 400.0)
    flip(served / "400" / "saved_model.pb")
    with pytest.raises(PublishError, match="so version 400 isn't the model"):
        promote(served.parent, "m")


def test_a_plan_needs_to_know_what_was_trained_on(served: Path) -> None:
    file = served / "300" / "assets.extra" / "retraining" / "run.json"
    flip(file, 5)
    with pytest.raises(PublishError, match=r"run\.json differs .* so the training data of version 300 is unknown"):
        check_record(served, 300)

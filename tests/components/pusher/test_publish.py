"""Publishing: atomic under a kill at every step, never over another version, once for each model."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from noisy_gru.components.pusher.publish import publish
from noisy_gru.components.pusher.published import (
    RECORD,
    fingerprint,
    hash_files,
    latest_publication,
    read_publication,
    versions,
    withdrawn_versions,
)
from noisy_gru.schema.errors import PublishError

STEPS = ["clean", "copy", "check", "record", "sync", "rename", "sync folder", "done"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "artifact" / "Format-Serving"
    (folder / "variables").mkdir(parents=True)
    (folder / "assets").mkdir()
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "variables.data-00000-of-00001").write_bytes(os.urandom(3_000_000))
    (folder / "variables" / "variables.index").write_bytes(b"index")
    return folder


def changed(model: Path) -> Path:
    (model / "saved_model.pb").write_bytes((model / "saved_model.pb").read_bytes() + b"!")
    return model


def what_a_server_loads(serving: Path, source: dict[str, str]) -> list[int]:
    """Versions that TF Serving sees; each has to be whole."""
    found = versions(serving)
    for version in found:
        folder = serving / str(version)
        assert hash_files(folder) == source, f"{version} is not whole"
        assert read_publication(folder).files == source
    return found


def test_a_version_holds_the_model_and_its_record(model: Path, tmp_path: Path) -> None:
    done = publish(
        model, tmp_path / "serving", "m", model_uri="/x", lineage={"run": "r"}, clock=lambda: 1_700_000_000.9
    )
    assert done.is_new
    assert done.folder == tmp_path / "serving" / "m" / "1700000000"
    record = json.loads((done.folder / RECORD).read_text())
    assert record["published"] == "2023-11-14T22:13:20+00:00"
    assert record["lineage"] == {"run": "r"}
    assert record["files"] == hash_files(model)
    assert record["fingerprint"] == fingerprint(hash_files(model))
    assert latest_publication(tmp_path / "serving" / "m") == done.publication


def test_versions_rise_even_if_the_clock_falls_back(model: Path, tmp_path: Path) -> None:
    serving = tmp_path / "serving"
    first = publish(model, serving, "m", clock=lambda: 100.0)
    second = publish(changed(model), serving, "m", clock=lambda: 50.0)
    third = publish(changed(model), serving, "m", clock=lambda: 100.0)
    assert [done.publication.version for done in (first, second, third)] == [100, 101, 102]
    assert versions(serving / "m") == [100, 101, 102]


def test_the_same_model_is_published_once(model: Path, tmp_path: Path) -> None:
    first = publish(model, tmp_path, "m")
    again = publish(model, tmp_path, "m")
    assert not again.is_new
    assert again.publication == first.publication
    assert len(versions(tmp_path / "m")) == 1


def test_a_withdrawn_model_is_not_published_again(model: Path, tmp_path: Path) -> None:
    first = publish(model, tmp_path, "m", clock=lambda: 100.0)
    first.folder.rename(tmp_path / "m" / "withdrawn-100")
    assert (versions(tmp_path / "m"), withdrawn_versions(tmp_path / "m")) == ([], [100])
    with pytest.raises(PublishError, match="version 100 and withdrawn"):
        publish(model, tmp_path, "m")
    assert publish(changed(model), tmp_path, "m", clock=lambda: 100.0).publication.version == 101


def test_a_version_of_somebody_else_is_left_alone(model: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "m" / "7"
    foreign.mkdir(parents=True)
    (foreign / "saved_model.pb").write_bytes(b"graph")
    assert latest_publication(tmp_path / "m") is None
    publish(model, tmp_path, "m", clock=lambda: 3.0)
    assert versions(tmp_path / "m") == [7, 8]
    assert [file.name for file in foreign.iterdir()] == ["saved_model.pb"]


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_a_server_sees_a_whole_version_or_none(step: str, model: Path, tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from noisy_gru.components.pusher.publish import publish\n"
        "def at(step):\n    if step == sys.argv[3]: os.kill(os.getpid(), signal.SIGKILL)\n"
        "publish(Path(sys.argv[1]), Path(sys.argv[2]), 'm', at=at, clock=lambda: 200.0)"
    )
    serving = tmp_path / "serving"
    before = hash_files(model)
    publish(model, serving, "m", clock=lambda: 100.0)
    after = hash_files(changed(model))
    done = subprocess.run([sys.executable, "-c", code, str(model), str(serving), step], check=False)
    assert done.returncode == -signal.SIGKILL
    found = versions(serving / "m")
    expected = [100, 200] if step in ("sync folder", "done") else [100]
    assert found == expected
    assert [hash_files(serving / "m" / str(version)) for version in found] == [before, after][: len(found)]

    publish(model, serving, "m", clock=lambda: 300.0)
    assert versions(serving / "m") == ([100, 200] if expected == [100, 200] else [100, 300])
    assert not list((serving / "m").glob("incoming-*"))


def test_every_step_can_be_killed(model: Path, tmp_path: Path) -> None:
    seen: list[str] = []
    publish(model, tmp_path, "m", at=seen.append)
    assert seen == STEPS


def test_half_a_copy_is_never_seen(model: Path, tmp_path: Path) -> None:
    """A watcher that looks all the time, as a server does, sees whole versions alone."""
    serving, source = tmp_path / "serving", hash_files(model)
    stop, seen = threading.Event(), set()

    def watch() -> None:
        while not stop.is_set():
            seen.update(what_a_server_loads(serving / "m", source))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        done = publish(model, serving, "m")
    finally:
        stop.set()
        watcher.join()
    assert seen <= {done.publication.version}


def test_two_pushes_wait_for_each_other(model: Path, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    with (tmp_path / "m" / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(PublishError, match=r"Another push .* has gone on for 0\.1 s"):
            publish(model, tmp_path, "m", lock_seconds=0.1)
    assert publish(model, tmp_path, "m", lock_seconds=0.1).is_new


def test_a_model_that_changes_meanwhile_is_not_published(model: Path, tmp_path: Path) -> None:
    def at(step: str) -> None:
        if step == "copy":
            changed(model)

    with pytest.raises(PublishError, match="differs from it"):
        publish(model, tmp_path, "m", at=at)
    assert versions(tmp_path / "m") == []


@pytest.mark.parametrize(
    ("source", "serving", "said"),
    [("nothing", "s", r"no saved_model\.pb"), ("artifact/Format-Serving", "gs://bucket", "path on this machine")],
)
def test_mistakes_are_named(source: str, serving: str, said: str, model: Path, tmp_path: Path) -> None:
    assert model.is_dir()
    with pytest.raises(PublishError, match=said):
        publish(tmp_path / source, Path(serving) if "/" in serving else tmp_path / serving, "m")


def test_a_full_or_closed_disk_is_told(model: Path, tmp_path: Path) -> None:
    (tmp_path / "m").write_text("a file where the folder should be")
    with pytest.raises(PublishError, match=r"Could not publish to .*What TF Serving sees is unchanged"):
        publish(model, tmp_path, "m")


@pytest.mark.parametrize(
    ("content", "said"),
    [("{", "can't be read"), ('{"format": 99}', "format 99"), ('{"format": 1, "x": 2}', "can't be read")],
)
def test_a_broken_record_is_told(content: str, said: str, model: Path, tmp_path: Path) -> None:
    done = publish(model, tmp_path, "m")
    (done.folder / RECORD).write_text(content)
    with pytest.raises(PublishError, match=said):
        latest_publication(tmp_path / "m")

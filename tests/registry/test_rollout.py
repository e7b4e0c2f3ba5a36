"""Rolling back, restoring and promoting: what is in place afterwards, what is recorded, and what is refused."""

from __future__ import annotations

import fcntl
import json
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from noisy_gru.registry.config import PublishingConfig
from noisy_gru.registry.history import HISTORY, read_history
from noisy_gru.registry.labels import SETTINGS, VersionStatus, version_status
from noisy_gru.registry.latest_version import find_latest
from noisy_gru.registry.publish import publish
from noisy_gru.registry.published_versions import latest_publication, versions, withdrawn_versions
from noisy_gru.registry.rollout import VersionChange, promote, restore, rollback
from noisy_gru.registry.server_files import MODELS_CONFIG
from noisy_gru.schema.errors import PublishError

CANARY = PublishingConfig.model_validate({"versions": {"rollout": "canary"}})
Push = Callable[..., Any]


@pytest.fixture
def push(model: Path, change: Callable[[Path], Path], tmp_path: Path) -> Push:
    """``push(version)`` publishes another model than before as this version of `m` in ``tmp_path``."""

    def _push(version: int, settings: PublishingConfig | None = None) -> Any:
        return publish(change(model), tmp_path, "m", settings=settings, clock=lambda: float(version))

    return _push


def events(folder: Path) -> list[tuple[Any, ...]]:
    return [(e.action, e.version, e.previous, e.newest, e.stable, e.reason) for e in read_history(folder)]


def test_back_to_the_version_before_and_forth_again(push: Push, tmp_path: Path) -> None:
    push(100)
    push(200)
    done = rollback(tmp_path, "m", reason="too many alarms", clock=lambda: 300.0)
    assert done == VersionChange("version 200 is withdrawn; version 100 is current", 100, 100, [])
    assert (versions(tmp_path / "m"), withdrawn_versions(tmp_path / "m")) == ([100], [200])
    latest = find_latest(tmp_path, "m").publication
    assert latest is not None
    assert latest.version == 100
    back = restore(tmp_path, "m", 200, reason="it was the sensor", clock=lambda: 400.0)
    assert back == VersionChange("version 200 is back; version 200 is current", 200, 200, [])
    assert versions(tmp_path / "m") == [100, 200]
    assert events(tmp_path / "m") == [
        ("publish", 100, None, 100, 100, ""),
        ("publish", 200, 100, 200, 200, ""),
        ("rollback", 200, 200, 100, 100, "too many alarms"),
        ("restore", 200, 100, 200, 200, "it was the sensor"),
    ]
    assert [event.at for event in read_history(tmp_path / "m")][2:] == [
        "1970-01-01T00:05:00+00:00",
        "1970-01-01T00:06:40+00:00",
    ]


def test_a_push_after_a_rollback_gets_a_version_of_its_own(push: Push, tmp_path: Path) -> None:
    push(100)
    push(200)
    rollback(tmp_path, "m")
    assert push(150).publication.version == 201
    assert restore(tmp_path, "m", 200).newest == 201


def test_there_is_always_a_version_left(push: Push, tmp_path: Path) -> None:
    push(100)
    with pytest.raises(PublishError, match="version 100 is the only one, so there is none to go back to"):
        rollback(tmp_path, "m")
    push(200)
    rollback(tmp_path, "m")
    with pytest.raises(PublishError, match=r"only one.*Withdrawn are 200: noisy-gru runs restore VERSION"):
        rollback(tmp_path, "m")
    assert versions(tmp_path / "m") == [100]


def test_what_cannot_be_gone_back_to(push: Push, tmp_path: Path) -> None:
    for version in (100, 200, 300):
        push(version)
    with pytest.raises(PublishError, match="version 7 isn't there to roll back to; existing: 100, 200, 300"):
        rollback(tmp_path, "m", to=7)
    rollback(tmp_path, "m")
    with pytest.raises(PublishError, match="version 300 isn't there to roll back to"):
        rollback(tmp_path, "m", to=300)
    assert rollback(tmp_path, "m", to=200).text == "version 200 is current already"
    assert versions(tmp_path / "m") == [100, 200]
    with pytest.raises(PublishError, match="no such model"):
        rollback(tmp_path, "other")


def test_a_newer_version_of_somebody_else_is_in_the_way(push: Push, tmp_path: Path) -> None:
    push(100)
    push(200)
    (tmp_path / "m" / "999").mkdir()
    with pytest.raises(PublishError, match="the newest version, 999, isn't noisy-gru's"):
        rollback(tmp_path, "m")
    assert versions(tmp_path / "m") == [100, 200, 999]


def test_what_cannot_be_restored(push: Push, tmp_path: Path) -> None:
    push(100)
    push(200)
    with pytest.raises(PublishError, match=r"version 7 isn't withdrawn\. None is\. In place are 100, 200"):
        restore(tmp_path, "m", 7)
    assert "in place already" in restore(tmp_path, "m", 100).text
    rollback(tmp_path, "m")
    (tmp_path / "m" / "withdrawn-200" / "saved_model.pb").write_bytes(b"other")
    with pytest.raises(PublishError, match=r"saved_model\.pb changed since .* it stays withdrawn"):
        restore(tmp_path, "m", 200)
    (tmp_path / "m" / "200").mkdir()
    with pytest.raises(PublishError, match="200 is in the way"):
        restore(tmp_path, "m", 200)


def test_the_canary_becomes_stable(push: Push, tmp_path: Path) -> None:
    push(100, CANARY)
    assert promote(tmp_path, "m").text == "version 100 is stable already"
    push(200, CANARY)
    done = promote(tmp_path, "m", reason="a day without complaints")
    assert done == VersionChange("version 200 is stable now; before, 100 was", 200, 200, [])
    assert events(tmp_path / "m")[-1] == ("promote", 200, 100, 200, 200, "a day without complaints")
    assert push(300, CANARY).labels.stable == 200


def test_nothing_is_promoted_where_every_version_is_stable(push: Push, tmp_path: Path) -> None:
    push(100)
    with pytest.raises(PublishError, match="rollout is `direct`"):
        promote(tmp_path, "m")


def test_a_rollback_past_the_stable_version_makes_one_stable_that_was(push: Push, tmp_path: Path) -> None:
    push(100, CANARY)
    push(200, CANARY)
    promote(tmp_path, "m")
    push(300, CANARY)
    assert rollback(tmp_path, "m").stable == 200
    push(400, CANARY)
    assert rollback(tmp_path, "m", to=100) == VersionChange(
        "versions 200, 400 are withdrawn; version 100 is current", 100, 100, []
    )
    # It was stable once, but somebody took it back: it comes back as the canary.
    assert (restore(tmp_path, "m", 200).newest, restore(tmp_path, "m", 200).stable) == (200, 100)


def test_servers_are_told_before_the_folder_goes(push: Push, tmp_path: Path) -> None:
    push(100)
    push(200)
    seen: list[tuple[bool, list[int]]] = []

    def sleep(seconds: float) -> None:
        assert seconds == 11
        seen.append(("value: 200" in (tmp_path / MODELS_CONFIG).read_text(), versions(tmp_path / "m")))

    rollback(tmp_path, "m", wait=11, sleep=sleep)
    assert seen == [(False, [100, 200])]


@pytest.mark.parametrize("act", [rollback, promote, partial(restore, version=200)])
def test_a_change_waits_for_a_push(act: Callable[..., VersionChange], push: Push, tmp_path: Path) -> None:
    push(100, CANARY)
    push(200, CANARY)
    with (tmp_path / "m" / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(PublishError, match=r"in use by .*, after 0\.1 s of waiting"):
            act(tmp_path, "m", lock_seconds=0.1)
    assert len(events(tmp_path / "m")) == 2


def test_a_rollback_during_a_push_takes_back_what_was_pushed(push: Push, tmp_path: Path) -> None:
    push(100)
    started, results = threading.Event(), []

    def roll_back() -> None:
        started.wait()
        results.append(rollback(tmp_path, "m"))

    thread = threading.Thread(target=roll_back)
    thread.start()

    def at(step: str) -> None:
        if step == "rename":
            started.set()

    publish(tmp_path / "artifact" / "Format-Serving", tmp_path / "elsewhere", "m")  # another model, in nobody's way
    model = tmp_path / "artifact" / "Format-Serving"
    (model / "saved_model.pb").write_bytes(b"new")
    publish(model, tmp_path, "m", clock=lambda: 200.0, at=at)
    thread.join()
    assert results[0].text == "version 200 is withdrawn; version 100 is current"
    assert [event[:2] for event in events(tmp_path / "m")] == [("publish", 100), ("publish", 200), ("rollback", 200)]


def test_versions_from_before_there_was_a_history(push: Push, tmp_path: Path) -> None:
    for version in (100, 200, 300):
        push(version)
    (tmp_path / "m" / HISTORY).unlink()
    (tmp_path / "m" / SETTINGS).unlink()
    (tmp_path / "m" / "200").rename(tmp_path / "m" / "withdrawn-200")
    publication = latest_publication(tmp_path / "m")
    assert publication is not None
    # A version that was withdrawn by hand is taken for a rollback that was cut off, and told.
    assert "withdrawal of version 200, which was begun before, is finished" in rollback(tmp_path, "m").text
    assert rollback(tmp_path, "m").newest == 100
    assert [event[:2] for event in events(tmp_path / "m")] == [
        ("publish", 100),
        ("publish", 300),
        ("rollback", 200),
        ("rollback", 300),
    ]
    assert read_history(tmp_path / "m")[1].at == publication.published


def test_where_a_version_is(push: Push, tmp_path: Path) -> None:
    keep = PublishingConfig.model_validate({"versions": {"keep": 2, "rollout": "canary"}})
    push(100)
    push(200)
    for version in (300, 400):
        push(version, keep)
    rollback(tmp_path, "m", reason="bad")

    def state(version: int) -> tuple[str, tuple[str, ...], str | None]:
        found = version_status(tmp_path / "m", version)
        assert found is not None
        return found.state, found.labels, found.event and found.event.reason

    assert state(100) == ("removed", (), "the newest 2 are kept")
    assert state(200) == ("published", ("stable",), "")
    assert state(300) == ("published", ("canary",), "")
    assert state(400) == ("withdrawn", (), "bad")
    assert version_status(tmp_path / "m", 7) == VersionStatus("gone")
    assert version_status(tmp_path / "nothing", 7) is None


def test_settings_of_a_later_noisy_gru_do_not_stop_a_rollback(push: Push, tmp_path: Path) -> None:
    push(100, CANARY)
    push(200, CANARY)
    file = tmp_path / "m" / SETTINGS
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"new": 1, "versions": {**content["versions"], "another": 2}}))
    assert rollback(tmp_path, "m").newest == 100
    file.write_text("{")
    with pytest.raises(PublishError, match=r"publishing\.json can't be read .* Delete it"):
        rollback(tmp_path, "m")

"""Publishing: atomic under a kill at every step, never over another version, once for each model."""

from __future__ import annotations

import fcntl
import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from noisy_gru.registry.config import PublishingConfig
from noisy_gru.registry.history import read_history
from noisy_gru.registry.labels import Labels
from noisy_gru.registry.publish import WithdrawnError, publish
from noisy_gru.registry.published_versions import (
    RECORD,
    fingerprint,
    hash_files,
    latest_publication,
    read_publication,
    versions,
    withdrawn_versions,
)
from noisy_gru.registry.rollout import restore, rollback
from noisy_gru.schema.errors import PublishError


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


def test_versions_rise_even_if_the_clock_falls_back(
    model: Path, change: Callable[[Path], Path], tmp_path: Path
) -> None:
    serving = tmp_path / "serving"
    first = publish(model, serving, "m", clock=lambda: 100.0)
    second = publish(change(model), serving, "m", clock=lambda: 50.0)
    third = publish(change(model), serving, "m", clock=lambda: 100.0)
    assert [done.publication.version for done in (first, second, third)] == [100, 101, 102]
    assert versions(serving / "m") == [100, 101, 102]


def test_the_same_model_is_published_once(model: Path, tmp_path: Path) -> None:
    first = publish(model, tmp_path, "m")
    again = publish(model, tmp_path, "m")
    assert not again.is_new
    assert again.publication == first.publication
    assert len(versions(tmp_path / "m")) == 1


def test_a_withdrawn_model_is_not_published_again(model: Path, change: Callable[[Path], Path], tmp_path: Path) -> None:
    first = publish(model, tmp_path, "m", clock=lambda: 100.0)
    first.folder.rename(tmp_path / "m" / "withdrawn-100")
    assert (versions(tmp_path / "m"), withdrawn_versions(tmp_path / "m")) == ([], [100])
    with pytest.raises(PublishError, match="version 100 and withdrawn"):
        publish(model, tmp_path, "m")
    assert publish(change(model), tmp_path, "m", clock=lambda: 100.0).publication.version == 101


def known(folder: Path) -> str:
    """As if the first line of the graph was all that a model is: what follows differs at each export."""
    return f"1:{(folder / 'saved_model.pb').read_bytes().splitlines()[0].decode()}"


def exported_again(model: Path) -> Path:
    (model / "saved_model.pb").write_bytes((model / "saved_model.pb").read_bytes() + b"\nanother export")
    return model


@pytest.mark.parametrize("is_old", [False, True])
def test_another_export_of_a_model_is_the_same_model(is_old: bool, model: Path, tmp_path: Path) -> None:
    first = publish(model, tmp_path, "m", identify=known)
    if is_old:
        # As an earlier release wrote it.
        record = first.folder / RECORD
        content = {name: value for name, value in json.loads(record.read_text()).items() if name != "identity"}
        record.write_text(json.dumps({name: value for name, value in content.items() if name != "checksum"}))
    again = publish(exported_again(model), tmp_path, "m", identify=known)
    assert (again.is_new, again.publication.version) == (False, first.publication.version)


def test_a_withdrawn_model_stays_away_when_it_is_exported_again_or_removed(
    model: Path, change: Callable[[Path], Path], tmp_path: Path
) -> None:
    (model / "saved_model.pb").write_bytes(b"good")
    publish(model, tmp_path, "m", identify=known, settings=keeping(1), clock=lambda: 100.0)
    (model / "saved_model.pb").write_bytes(b"bad")
    publish(model, tmp_path, "m", identify=known, settings=keeping(2), clock=lambda: 200.0)
    rollback(tmp_path, "m")
    with pytest.raises(WithdrawnError, match="version 200 and withdrawn"):
        publish(exported_again(model), tmp_path, "m", identify=known)
    # Two more are withdrawn, so that its files are removed.
    for version, content in ((300.0, b"worse"), (400.0, b"worst"), (500.0, b"good again")):
        (model / "saved_model.pb").write_bytes(content)
        publish(model, tmp_path, "m", identify=known, settings=keeping(2), clock=lambda v=version: v)
        if version < 500:
            rollback(tmp_path, "m")
    assert withdrawn_versions(tmp_path / "m") == [300, 400]
    (model / "saved_model.pb").write_bytes(b"bad")
    with pytest.raises(WithdrawnError, match=r"version 200, withdrawn, and removed since, .* restore 200, then run it"):
        publish(exported_again(model), tmp_path, "m", identify=known)
    assert "a run may publish it again" in restore(tmp_path, "m", 200).text
    assert publish(model, tmp_path, "m", identify=known, clock=lambda: 600.0).is_new
    assert [event.action for event in read_history(tmp_path / "m")][-2:] == ["allow", "publish"]


def test_a_model_that_was_restored_and_removed_is_published_again(model: Path, tmp_path: Path) -> None:
    for version, content in ((100.0, b"a"), (200.0, b"b")):
        (model / "saved_model.pb").write_bytes(content)
        publish(model, tmp_path, "m", identify=known, clock=lambda v=version: v)
    rollback(tmp_path, "m")
    restore(tmp_path, "m", 200)
    (model / "saved_model.pb").write_bytes(b"c")
    publish(model, tmp_path, "m", identify=known, settings=keeping(1), clock=lambda: 300.0)
    assert versions(tmp_path / "m") == [300]
    (model / "saved_model.pb").write_bytes(b"b")
    assert publish(model, tmp_path, "m", identify=known, clock=lambda: 400.0).is_new


def test_a_version_of_somebody_else_is_left_alone(model: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "m" / "7"
    foreign.mkdir(parents=True)
    (foreign / "saved_model.pb").write_bytes(b"graph")
    assert latest_publication(tmp_path / "m") is None
    publish(model, tmp_path, "m", clock=lambda: 3.0)
    assert versions(tmp_path / "m") == [7, 8]
    assert [file.name for file in foreign.iterdir()] == ["saved_model.pb"]


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
        with pytest.raises(PublishError, match=r"in use by .*, after 0\.1 s of waiting"):
            publish(model, tmp_path, "m", lock_seconds=0.1)
    assert publish(model, tmp_path, "m", lock_seconds=0.1).is_new


def test_a_model_that_changes_meanwhile_is_not_published(
    model: Path, change: Callable[[Path], Path], tmp_path: Path
) -> None:
    def at(step: str) -> None:
        if step == "copy":
            change(model)

    with pytest.raises(PublishError, match="differs from it"):
        publish(model, tmp_path, "m", at=at)
    assert versions(tmp_path / "m") == []


@pytest.mark.parametrize(
    ("source", "serving", "message"),
    [("nothing", "s", r"no saved_model\.pb"), ("artifact/Format-Serving", "gs://bucket", "path on this machine")],
)
def test_mistakes_are_named(source: str, serving: str, message: str, model: Path, tmp_path: Path) -> None:
    assert model.is_dir()
    with pytest.raises(PublishError, match=message):
        publish(tmp_path / source, Path(serving) if "/" in serving else tmp_path / serving, "m")


def test_a_full_or_closed_disk_is_told(model: Path, tmp_path: Path) -> None:
    (tmp_path / "m").write_text("a file where the folder should be")
    with pytest.raises(PublishError, match=r"Could not publish to .*What TF Serving loads is unchanged"):
        publish(model, tmp_path, "m")


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "can't be read"), ('{"format": 99}', "format 99"), ('{"format": 1, "x": 2}', "can't be read")],
)
def test_a_broken_record_is_told(content: str, message: str, model: Path, tmp_path: Path) -> None:
    done = publish(model, tmp_path, "m")
    (done.folder / RECORD).write_text(content)
    with pytest.raises(PublishError, match=message):
        latest_publication(tmp_path / "m")


def keeping(count: int | None, rollout: str = "direct") -> PublishingConfig:
    return PublishingConfig.model_validate({"versions": {"keep": count, "rollout": rollout}})


def test_warm_up_requests_are_published_and_make_no_other_model(model: Path, tmp_path: Path) -> None:
    bare = publish(model, tmp_path / "bare", "m")
    (model / "assets.extra").mkdir()
    (model / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"requests")
    warm = publish(model, tmp_path / "warm", "m")
    assert (warm.folder / "assets.extra" / "tf_serving_warmup_requests").read_bytes() == b"requests"
    assert "assets.extra/tf_serving_warmup_requests" in warm.publication.files
    assert warm.publication.fingerprint == bare.publication.fingerprint
    (model / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"others")
    assert not publish(model, tmp_path / "warm", "m").is_new


def test_the_newest_versions_are_kept(model: Path, change: Callable[[Path], Path], tmp_path: Path) -> None:
    removed = [publish(change(model), tmp_path, "m", settings=keeping(2), clock=lambda: 5.0).removed for _ in range(4)]
    assert removed == [[], [], [5], [6]]
    assert versions(tmp_path / "m") == [7, 8]
    assert not list((tmp_path / "m").glob("removed-*"))
    pruned = [event for event in read_history(tmp_path / "m") if event.action == "prune"]
    assert [(event.version, event.newest, event.reason) for event in pruned] == [
        (5, 7, "the newest 2 are kept"),
        (6, 8, "the newest 2 are kept"),
    ]


def test_pushing_the_same_again_removes_what_a_smaller_number_leaves_out(
    model: Path, change: Callable[[Path], Path], tmp_path: Path
) -> None:
    for _ in range(3):
        publish(change(model), tmp_path, "m", settings=keeping(None), clock=lambda: 5.0)
    again = publish(model, tmp_path, "m", settings=keeping(1))
    assert (again.is_new, again.removed) == (False, [5, 6])
    assert versions(tmp_path / "m") == [7]


def test_somebody_elses_versions_are_never_removed(model: Path, change: Callable[[Path], Path], tmp_path: Path) -> None:
    (tmp_path / "m" / "3").mkdir(parents=True)
    for _ in range(3):
        publish(change(model), tmp_path, "m", settings=keeping(1), clock=lambda: 5.0)
    assert versions(tmp_path / "m") == [3, 7]


def test_the_stable_version_is_never_removed(model: Path, change: Callable[[Path], Path], tmp_path: Path) -> None:
    results = [
        publish(change(model), tmp_path, "m", settings=keeping(2, "canary"), clock=lambda: 5.0) for _ in range(4)
    ]
    # Nothing was promoted: the first version is the stable one.
    assert [result.labels for result in results] == [Labels(5, 5), Labels(5, 6), Labels(5, 7), Labels(5, 8)]
    assert versions(tmp_path / "m") == [5, 7, 8]


def test_a_canary_does_not_take_stable_from_a_version_that_was_published_directly(
    model: Path, change: Callable[[Path], Path], tmp_path: Path
) -> None:
    for _ in range(2):
        publish(change(model), tmp_path, "m", clock=lambda: 5.0)
    canary = publish(change(model), tmp_path, "m", settings=keeping(5, "canary"), clock=lambda: 5.0)
    assert canary.labels == Labels(stable=6, canary=7)


def test_withdrawn_versions_are_kept_by_the_same_number(
    model: Path, change: Callable[[Path], Path], tmp_path: Path
) -> None:
    publish(model, tmp_path, "m", clock=lambda: 5.0)
    for _ in range(3):
        bad = publish(change(model), tmp_path, "m", clock=lambda: 5.0)
        bad.folder.rename(tmp_path / "m" / f"withdrawn-{bad.publication.version}")
    publish(change(model), tmp_path, "m", settings=keeping(2), clock=lambda: 5.0)
    assert (versions(tmp_path / "m"), withdrawn_versions(tmp_path / "m")) == ([5, 9], [7, 8])


def test_a_disk_that_fails_after_the_rename_is_told(model: Path, tmp_path: Path) -> None:
    (tmp_path / "models.config").mkdir()
    with pytest.raises(PublishError, match=r"versions were changed, but not all that follows was done: do the same"):
        publish(model, tmp_path, "m", clock=lambda: 5.0)
    (tmp_path / "models.config").rmdir()
    again = publish(model, tmp_path, "m")
    assert (again.is_new, again.publication.version) == (False, 5)
    assert (tmp_path / "models.config").is_file()


@pytest.mark.parametrize("name", ["", "..", "a/b", "a b", 'a"'])
def test_a_name_that_is_no_name_is_refused(name: str, model: Path, tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="letters, digits, _ and -"):
        publish(model, tmp_path, name)

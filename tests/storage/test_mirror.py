"""The mirror of a serving directory: whole versions at every moment, what a failure leaves, and whose it is."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from noisy_gru.registry.config import PublishingConfig, VersionsConfig
from noisy_gru.registry.mirror import OWNER
from noisy_gru.registry.publish import publish
from noisy_gru.registry.published_versions import RECORD
from noisy_gru.registry.rollout import restore, rollback
from noisy_gru.schema.errors import PublishError
from noisy_gru.storage.object_stores import StoreError
from noisy_gru.storage.object_writing import object_sizes, put_file
from tests.storage.conftest import Bucket


def saved_model(folder: Path, content: str) -> Path:
    (folder / "variables").mkdir(parents=True)
    (folder / "assets.extra").mkdir()
    (folder / "saved_model.pb").write_text(f"graph of {content}")
    (folder / "variables" / "variables.data-00000-of-00001").write_text(content * 1000)
    (folder / "assets.extra" / "vocabulary.gz").write_text(content)  # a name by which Arrow would pack
    return folder


class Serving:
    """A serving directory with a mirror in a bucket."""

    def __init__(self, tmp_path: Path, bucket: Bucket, name: str = "serving") -> None:
        self.folder, self.bucket, self._clock = tmp_path / name, bucket, 100.0
        self._models = tmp_path / f"models of {name}"
        self.settings = PublishingConfig(mirror=f"{bucket.uri}/served", versions=VersionsConfig(keep=2))

    def publish(self, content: str) -> int:
        self._clock += 100
        source = self._models / content
        source = source if source.exists() else saved_model(source, content)
        done = publish(source, self.folder, "m", settings=self.settings, clock=lambda: self._clock)
        return done.publication.version

    def mirrored(self) -> dict[str, bytes]:
        return {key: self.bucket.get(key) for key in self.bucket.keys()}  # noqa: SIM118

    def check_equal(self) -> None:
        local = {
            f"served/m/{file.relative_to(self.folder / 'm').as_posix()}": file.read_bytes()
            for version in self.folder.glob("m/[0-9]*")
            for file in version.rglob("*")
            if file.is_file()
        }
        for name in ("history.jsonl", "publishing.json", OWNER):
            if (self.folder / "m" / name).exists():
                local[f"served/m/{name}"] = (self.folder / "m" / name).read_bytes()
        local["served/models.config"] = (self.folder / "models.config").read_bytes()
        assert self.mirrored() == local


@pytest.fixture
def serving(tmp_path: Path, bucket: Bucket) -> Serving:
    return Serving(tmp_path, bucket)


def test_the_mirror_follows_every_change(serving: Serving) -> None:
    first = serving.publish("a")
    serving.check_equal()
    second = serving.publish("b")
    serving.check_equal()
    rollback(serving.folder, "m", reason="worse")
    serving.check_equal()
    assert not any(key.startswith(f"served/m/{second}/") for key in serving.mirrored())
    restore(serving.folder, "m", second)
    serving.check_equal()
    third = serving.publish("c")  # keep: 2
    serving.check_equal()
    assert {key.split("/")[2] for key in serving.mirrored() if key.endswith("saved_model.pb")} == {
        str(second),
        str(third),
    }
    # A server lists folders: of a deleted version nothing may be left, no empty object either.
    listed = serving.bucket.listing("served/m")
    assert not any(name.startswith((f"{first}/", str(first))) for name in listed), listed
    before = len(serving.bucket.faults.requests)
    assert serving.publish("c") == third
    assert not any(
        "/m/3" in path for method, path in serving.bucket.faults.requests[before:] if method in ("PUT", "POST")
    )


def test_a_version_is_complete_once_its_graph_is_there(serving: Serving) -> None:
    serving.publish("a")
    moments: list[set[str]] = []

    def watch(method: str, path: str) -> None:
        if method in ("PUT", "POST", "DELETE"):
            moments.append(set(serving.bucket.keys()))

    serving.bucket.faults.fault = watch
    version = serving.publish("b")
    rollback(serving.folder, "m")
    serving.bucket.faults.fault = lambda method, path: None
    files = {"saved_model.pb", "variables/variables.data-00000-of-00001", "assets.extra/vocabulary.gz", RECORD}
    seen = [{key.removeprefix(f"served/m/{version}/") for key in keys if f"/{version}/" in key} for keys in moments]
    assert all(each == files for each in seen if "saved_model.pb" in each)
    assert files in seen and any(each and "saved_model.pb" not in each for each in seen)


def test_an_upload_that_breaks_off_is_finished_by_the_next(serving: Serving) -> None:
    serving.publish("a")
    left = [4]

    def fault(method: str, path: str) -> int | None:
        if method in ("PUT", "POST") and "/served/m/" in path:
            left[0] -= 1
            return 503 if left[0] < 0 else None
        return None

    serving.bucket.faults.fault = fault
    with pytest.raises(PublishError, match=r"serving\.mirror: .*overloaded.*is up to date, .* isn't yet"):
        serving.publish("b")
    serving.bucket.faults.fault = lambda method, path: None
    assert sum(key.endswith("saved_model.pb") for key in serving.bucket.keys()) == 1  # noqa: SIM118
    serving.publish("b")
    serving.check_equal()


def test_a_file_that_can_not_be_read_to_its_end_leaves_no_object(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").write_bytes(bytes(3 << 20))

    def broken(source: Any, target: Any, size: int) -> None:
        target.write(source.read(size))
        raise OSError("disk")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", broken)
        with pytest.raises(StoreError, match="disk"):
            put_file(tmp_path / "x", f"{bucket.uri}/x")
    assert bucket.keys() == []
    put_file(tmp_path / "x", f"{bucket.uri}/x")
    assert bucket.get("x") == bytes(3 << 20)
    assert object_sizes(bucket.uri + "/none") == {}


def test_a_folder_of_another_is_left_alone(serving: Serving, tmp_path: Path) -> None:
    serving.publish("a")
    before = serving.mirrored()
    other = Serving(tmp_path, serving.bucket, "other")
    with pytest.raises(PublishError, match="is the mirror of another serving directory"):
        other.publish("z")
    assert serving.mirrored() == before
    strange = Serving(tmp_path, serving.bucket, "third")
    strange.settings = strange.settings.model_copy(update={"mirror": f"{serving.bucket.uri}/strange"})
    serving.bucket.put("strange/m/7/saved_model.pb", b"a person's")
    with pytest.raises(PublishError, match="holds versions that noisy-gru didn't copy there"):
        strange.publish("z")
    # Beside ours, a person's version stays.
    serving.bucket.put("served/m/7/saved_model.pb", b"a person's")
    serving.publish("b")
    assert serving.bucket.get("served/m/7/saved_model.pb") == b"a person's"
    shutil.rmtree(tmp_path / "other")

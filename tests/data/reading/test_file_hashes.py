"""Hashes of input files, remembered: never an old one for new content, and never read twice for nothing."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from noisy_gru.data.reading import file_hashes as contents
from noisy_gru.data.reading.file_hashes import forget_hashes, hash_cache, hash_file, hash_files
from noisy_gru.data.reading.tables import Source
from noisy_gru.schema.errors import DataError


class Reads:
    """Opens files, and counts how often."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, path: str) -> Any:
        self.count += 1
        return Path(path).open("rb")


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was changed just now may be remembered, as if seconds had gone by; the kernel's clock ticks in 10 ms."""
    monkeypatch.setattr(contents, "_TICK_NS", 0)
    real = contents._state

    def state(path: str) -> contents.State:
        time.sleep(0.02)
        return real(path)

    monkeypatch.setattr(contents, "_state", state)


def truth(file: Path) -> tuple[int, str]:
    content = file.read_bytes()
    return len(content), hashlib.sha256(content).hexdigest()


@pytest.mark.usefixtures("settled")
def test_a_file_is_read_once_as_long_as_it_isnt_touched(tmp_path: Path) -> None:
    file, reads = tmp_path / "a.csv", Reads()
    file.write_text("a,1\n")
    for _ in range(2):
        with hash_cache(tmp_path / "hashes.json"):
            assert hash_file(str(file), reads) == hash_file(str(file), reads) == truth(file)
    assert reads.count == 1


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("how", ["in place", "by renaming", "by a copy that keeps times"])
def test_a_correction_of_equal_size_and_time_is_seen(how: str, tmp_path: Path) -> None:
    file, reads = tmp_path / "a.csv", Reads()
    file.write_text("a,1\n")
    before = file.stat()
    with hash_cache(tmp_path / "hashes.json"):
        hash_file(str(file), reads)
    target = file if how == "in place" else tmp_path / "b.csv"
    target.write_text("a,2\n")
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
    if how == "by renaming":
        target.replace(file)
    elif how == "by a copy that keeps times":
        import shutil

        shutil.copy2(target, file)
    after = file.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    with hash_cache(tmp_path / "hashes.json"):
        assert hash_file(str(file), reads) == truth(file)
    assert reads.count == 2


def test_what_changed_just_now_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two changes within one tick of the clock look the same; the tick is an hour here, however slow the machine."""
    monkeypatch.setattr(contents, "_TICK_NS", 3600 * 10**9)
    file, reads = tmp_path / "a.csv", Reads()
    file.write_text("a,1\n")
    with hash_cache(tmp_path / "hashes.json"):
        hash_file(str(file), reads)
        hash_file(str(file), reads)
    assert reads.count == 2


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("damage", ["", "{", "[]", '{"files": {}}', "flip"])
def test_a_damaged_memory_is_made_anew(damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file, memory = tmp_path / "a.csv", tmp_path / "hashes.json"
    file.write_text("a,1\n")
    with hash_cache(memory):
        hash_file(str(file), Reads())
    text = memory.read_text()
    digest = truth(file)[1]
    memory.write_text(text.replace(digest, digest[::-1]) if damage == "flip" else damage)
    with hash_cache(memory):
        assert hash_file(str(file), Reads()) == truth(file)
    assert "hashed again" in caplog.text
    assert json.loads(memory.read_text()) == json.loads(text)


@pytest.mark.usefixtures("settled")
def test_what_proved_wrong_is_read_again(tmp_path: Path) -> None:
    file, reads = tmp_path / "a.csv", Reads()
    file.write_text("a,1\n")
    with hash_cache(tmp_path / "hashes.json"):
        hash_file(str(file), reads)
        forget_hashes([Source(str(file), "a.csv", "csv")])
        assert hash_file(str(file), reads) == truth(file)
    assert reads.count == 2


@pytest.mark.usefixtures("settled")
def test_a_plan_only_looks(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,1\n")
    with hash_cache(tmp_path / "hashes.json", keep=False):
        hash_file(str(tmp_path / "a.csv"), Reads())
    assert not (tmp_path / "hashes.json").exists()
    # Where it can't be kept, it is done without.
    with hash_cache(tmp_path / "nowhere" / "hashes.json"):
        hash_file(str(tmp_path / "a.csv"), Reads())


@pytest.mark.usefixtures("settled")
def test_files_that_are_not_asked_for_any_more_are_forgotten(tmp_path: Path) -> None:
    memory = tmp_path / "hashes.json"
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(name)
        with hash_cache(memory):
            hash_file(str(tmp_path / name), Reads())
    assert list(json.loads(memory.read_text())["files"]) == [str(tmp_path / "b.csv")]


def test_a_file_that_is_gone_or_closed_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"x: was deleted in the meantime"):
        hash_files([Source(str(tmp_path / "x"), "x", "csv")], Reads())
    with pytest.raises(DataError, match=r"y: can't be read: .*Is a directory"):
        hash_files([Source(str(tmp_path), "y", "csv")], Reads())


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    steps=st.lists(st.sampled_from(["write", "replace", "touch", "back", "ask", "new run"]), min_size=3, max_size=12)
)
def test_whatever_happens_to_a_file_its_hash_is_that_of_its_content(
    steps: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Content of one size, times that are set at will; the oracle reads the file."""
    folder = tmp_path_factory.mktemp("files")
    file = folder / "a.csv"
    file.write_bytes(b"0000")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contents, "_TICK_NS", 3 * 10**7)
        for number, step in enumerate(steps):
            if step == "write":
                file.write_bytes(f"{number:04}".encode())
            elif step == "replace":
                (folder / "b").write_bytes(f"{number:04}".encode())
                (folder / "b").replace(file)
            elif step == "touch":
                os.utime(file)
            elif step == "back":
                os.utime(file, ns=(10**18, 10**18))
            else:
                time.sleep(0.04 if step == "new run" else 0.0)
                with hash_cache(folder / "hashes.json"):
                    assert hash_file(str(file), Reads()) == truth(file)
    with hash_cache(folder / "hashes.json"):
        assert hash_file(str(file), Reads()) == truth(file)

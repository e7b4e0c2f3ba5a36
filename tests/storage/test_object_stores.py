"""Files on s3:// beside local ones: the same patterns, the same bytes, and what happens when the store fails."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from noisy_gru.data.reading.file_hashes import hash_cache, hash_file
from noisy_gru.schema.errors import ConfigError
from noisy_gru.schema.file_patterns import local_glob
from noisy_gru.storage.object_stores import (
    StoreError,
    file_state,
    file_states,
    glob_files,
    location_problem,
    open_file,
    scheme_of_folder,
)
from tests.storage.conftest import Bucket

NAMES = (
    "a.csv",
    "b.csv",
    ".hidden.csv",
    "ä ö+%20&=.csv",
    "x[1].csv",
    "day=2026-07-30/a.csv",
    "day=2026-07-31/a.csv",
    "day=2026-07-31/b.parquet",
    "deep/er/still/a.csv",
    "deep/.secret/a.csv",
    "deep/a.csv",
)
PATTERNS = (
    "a.csv",
    "*.csv",
    "?.csv",
    "[ab].csv",
    "[!a].csv",
    "[[]1].csv",
    "x[[]1].csv",
    "x[1].csv",
    ".*",
    "ä*",
    "ä ö+%20&=.csv",
    "day=*/a.csv",
    "day=*/*",
    "day=2026-07-3[01]/*.csv",
    "**/a.csv",
    "**",
    "deep/**",
    "deep/**/a.csv",
    "deep/**/**/a.csv",
    "**/er/**/*.csv",
    "deep/*/a.csv",
    "*/*/*",
    "none*",
    "none/*",
    "day=2026-07-30",
)


def _tree(folder: Path) -> Path:
    for name in NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_patterns_match_objects_as_pythons_glob_matches_files(tmp_path: Path, uploaded: Callable[[Path], str]) -> None:
    folder = _tree(tmp_path / "data")
    base = uploaded(folder)
    for pattern in PATTERNS:
        # Python's names a file twice for two `**`.
        local = {os.path.relpath(path, folder) for path in local_glob(f"{folder}/{pattern}") if Path(path).is_file()}
        assert [path.removeprefix(f"{base}/") for path in glob_files(f"{base}/{pattern}")] == sorted(local), pattern
    assert sum(bool(local_glob(f"{folder}/{pattern}")) for pattern in PATTERNS) > 18


def test_an_object_is_read_as_a_file(bucket: Bucket) -> None:
    content = os.urandom(5 << 18)
    with open_file(bucket.put("a b/ü.bin", content)) as stream:
        assert stream.read(10) == content[:10]
        assert stream.seek(-5, os.SEEK_END) == len(content) - 5
        assert stream.read() == content[-5:]
        stream.seek(0)
        assert hashlib.sha256(stream.read()).digest() == hashlib.sha256(content).digest()
    with pytest.raises(FileNotFoundError) as error:
        open_file(f"{bucket.uri}/none")
    assert error.value.filename == f"{bucket.uri}/none"


def test_another_content_of_the_same_size_at_the_same_second_is_another_state(bucket: Bucket) -> None:
    states = set()
    for content in ("aaaa", "bbbb", "aaaa"):
        states.add(file_state(bucket.put("x", content)))
    assert {state.size for state in states} == {4}
    assert len({state.tag.split()[0] for state in states}) == 2
    assert file_states([f"{bucket.uri}/x"]) == {f"{bucket.uri}/x": file_state(f"{bucket.uri}/x")}
    with pytest.raises(FileNotFoundError):
        file_states([f"{bucket.uri}/x", f"{bucket.uri}/y"])


def test_a_hash_is_computed_once_until_the_object_changes(bucket: Bucket, tmp_path: Path) -> None:
    uri = bucket.put("x.csv", b"one")

    def reads() -> int:
        before = len(bucket.faults.requests)
        with hash_cache(tmp_path / "hashes.json"):
            found = hash_file(uri, open_file)
        assert found == (3, hashlib.sha256(bucket.get("x.csv")).hexdigest())
        return sum(method == "GET" for method, _ in bucket.faults.requests[before:])

    assert reads() == 1
    assert reads() == 0
    bucket.put("x.csv", b"two")
    assert reads() == 1


@pytest.mark.parametrize(("fault", "times"), [(503, 2), (500, 1), ("cut", 1)])
def test_a_fault_that_passes_is_not_seen(bucket: Bucket, fault: int | str, times: int) -> None:
    content = os.urandom(100_000)
    uri = bucket.put("x", content)
    left = [times]

    def faulty(method: str, path: str) -> int | str | None:
        if method == "GET" and left[0] > 0:
            left[0] -= 1
            return fault
        return None

    bucket.faults.fault = faulty
    with open_file(uri) as stream:
        assert stream.read() == content
    assert left == [0]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (503, "the store is overloaded or fails, after several attempts. Run it again later"),
        (403, "the store denies access. Set credentials"),
        ("cut", ""),
    ],
)
def test_a_fault_that_stays_is_named_and_no_part_is_read(bucket: Bucket, fault: int | str, message: str) -> None:
    uri = bucket.put("rows/x.csv", os.urandom(100_000))
    bucket.faults.fault = lambda method, path: fault if method == "GET" else None
    with pytest.raises(StoreError) as error, open_file(uri) as stream:
        stream.read()
    assert str(error.value).startswith(f"{uri}: ") and message in str(error.value)
    if fault != "cut":
        with pytest.raises(StoreError, match=message):
            glob_files(f"{bucket.uri}/rows/*.csv")
    assert "secret-of-tests" not in str(error.value)


def test_a_store_that_is_not_there_is_named(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreError, match="there is no such bucket"):
        glob_files("s3://no-such-bucket-at-all/rows/*.csv")
    with pytest.raises(StoreError, match="there is no such bucket"):
        glob_files("s3://no-such-bucket-at-all/*.csv")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreError, match=r"can't be reached.*AWS_ENDPOINT_URL"):
        glob_files(f"{bucket.uri}/rows/*.csv")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "ftp://127.0.0.1")
    with pytest.raises(ConfigError, match=r"expected the URL of an object store.*received ftp://127\.0\.0\.1"):
        glob_files(f"{bucket.uri}/rows/*.csv")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("s3://b/x.csv", None),
        ("gs://b/{YYYY}/*.csv", None),
        ("hdfs://a/b.csv", "received hdfs://"),
        ("https://a/b.csv", "received https://"),
        ("minio://a/b.csv", "received minio://"),
        ("file:///a/b.csv", "Write the path alone: /a/b.csv"),
        ("s3://b", "expected s3://BUCKET/PATH"),
        ("s3:///x.csv", "expected s3://BUCKET/PATH"),
        ("s3://b*/x.csv", "expected s3://BUCKET/PATH"),
        ("gs://{YYYY}/x.csv", "expected gs://BUCKET/PATH"),
    ],
)
def test_what_can_not_be_read_is_said_at_once(uri: str, message: str | None) -> None:
    problem = location_problem(uri)
    assert (problem is None) == (message is None)
    assert message is None or message in str(problem)


@pytest.mark.parametrize(
    ("paths", "scheme"),
    [(["s3://b/x", "s3:/b/x", Path("s3://b/x")], "s3"), ([Path("gs://b")], "gs"), (["/a", "a/s3:/x", "C:/x"], None)],
)
def test_pathlib_hides_no_uri(paths: Sequence[Path | str], scheme: str | None) -> None:
    assert {scheme_of_folder(path) for path in paths} == {scheme}

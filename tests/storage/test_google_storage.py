"""gs://, against an emulator: the same calls as for s3://, and what Arrow does otherwise there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from noisy_gru.storage.object_stores import StoreError, file_state, glob_files, open_file
from noisy_gru.storage.object_writing import delete_folder, object_sizes, put_bytes, put_file
from tests.storage.object_store_server import GCS_MISSING, gcs_emulator, started_gcs


def test_objects_of_google_are_found_read_written_and_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if gcs_emulator() is None:
        pytest.skip(GCS_MISSING)
    with started_gcs(tmp_path, "bucket") as port:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        for key in ("rows/day=1/a.csv", "rows/day=2/a.csv", "rows/.hidden/a.csv"):
            put_bytes(b"old", f"gs://bucket/{key}")
        found = ["gs://bucket/rows/day=1/a.csv", "gs://bucket/rows/day=2/a.csv"]
        assert glob_files("gs://bucket/rows/*/a.csv") == glob_files("gs://bucket/rows/**") == found
        assert glob_files(found[0]) == found[:1] and glob_files("gs://bucket/none/*") == []
        before = file_state(found[0])
        put_bytes(b"new", found[0])
        after = file_state(found[0])
        assert before.size == after.size == 3 and before.tag != after.tag and before.changed_ns <= after.changed_ns
        with open_file(found[0]) as stream:
            assert stream.read() == b"new"
        with pytest.raises(FileNotFoundError):
            open_file("gs://bucket/none")
        with pytest.raises(StoreError, match="there is no such bucket"):
            glob_files("gs://no-such-bucket/x/*")
        (tmp_path / "big").write_bytes(content := os.urandom(3 << 20))
        put_file(tmp_path / "big", "gs://bucket/m/1/variables/data")
        for name in ("saved_model.pb", "publication.json"):
            put_bytes(b"x", f"gs://bucket/m/1/{name}")
        with open_file("gs://bucket/m/1/variables/data") as stream:
            assert stream.read() == content
        delete_folder("gs://bucket/m/1", first="saved_model.pb", last="publication.json")
        assert object_sizes("gs://bucket/m") == {}

"""A bucket of its own for each test, on one server."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.patience import PATIENCE
from tests.storage.object_store_server import MISSING, VARIABLES, Faults, moto_server, proxied, started_s3


class Bucket:
    """An empty bucket; ``faults`` of the proxy that the code under test asks, while ``put`` goes to the server."""

    def __init__(self, name: str, system: Any, faults: Faults) -> None:
        self.address = f"http://127.0.0.1:{faults.upstream}"
        self.name, self.uri, self.faults, self._system = name, f"s3://{name}", faults, system
        system.create_dir(name)

    def put(self, key: str, content: bytes | str) -> str:
        content = content.encode() if isinstance(content, str) else content
        with self._system.open_output_stream(f"{self.name}/{key}", compression=None) as stream:
            stream.write(content)
        return f"{self.uri}/{key}"

    def get(self, key: str) -> bytes:
        with self._system.open_input_stream(f"{self.name}/{key}", compression=None) as stream:
            return stream.read()

    def keys(self) -> list[str]:
        from pyarrow import fs

        found = self._system.get_file_info(fs.FileSelector(self.name, recursive=True))
        return sorted(info.path.removeprefix(f"{self.name}/") for info in found if info.is_file)

    def listing(self, folder: str) -> list[str]:
        """Names below a folder as a listing gives them, with empty objects that stand for folders."""
        import httpx

        content = httpx.get(f"{self.address}/{self.name}?list-type=2&prefix={folder}/", timeout=PATIENCE).text
        return [part.split("</Key>")[0].removeprefix(f"{folder}/") for part in content.split("<Key>")[1:]]


@pytest.fixture(scope="session")
def s3_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    if moto_server() is None:
        pytest.skip(MISSING)
    with started_s3(tmp_path_factory.mktemp("moto")) as port:
        yield port


@pytest.fixture
def bucket(s3_port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    from pyarrow import fs

    from noisy_gru.storage import object_store_clients

    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    with proxied(s3_port) as (port, faults):
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        monkeypatch.setattr(object_store_clients, "_ATTEMPTS", 3)
        direct = fs.S3FileSystem(endpoint_override=f"127.0.0.1:{s3_port}", scheme="http", allow_bucket_creation=True)
        yield Bucket(f"test-{uuid.uuid4().hex}", direct, faults)


@pytest.fixture
def uploaded(bucket: Bucket) -> Callable[[Path], str]:
    """Upload a file, or a folder with all in it; return its URI."""

    def upload(path: Path) -> str:
        for file in sorted(each for each in [path, *path.rglob("*")] if each.is_file()):
            bucket.put(file.relative_to(path.parent).as_posix(), file.read_bytes())
        return f"{bucket.uri}/{path.name}"

    return upload

"""An S3 server (moto's) on this machine, and a proxy before it that makes requests fail."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.patience import PATIENCE
from tests.ports import free_port

# The executable, where it isn't in this environment. One on the path may be of any age.
MOTO = "NOISY_GRU_MOTO_SERVER"
MISSING = f"moto_server is not in this environment (pip install 'moto[server,s3]'; {MOTO} names it)"
GCS = "NOISY_GRU_GCS_EMULATOR"
GCS_MISSING = f"gcp-storage-emulator is not in this environment (pip install gcp-storage-emulator; {GCS} names it)"
_ENVIRONMENT = str(Path(sys.executable).parent)
VARIABLES = {"AWS_ACCESS_KEY_ID": "key-of-tests", "AWS_SECRET_ACCESS_KEY": "secret-of-tests"}


def moto_server() -> str | None:
    return os.environ.get(MOTO) or shutil.which("moto_server", path=_ENVIRONMENT)


def gcs_emulator() -> str | None:
    return os.environ.get(GCS) or shutil.which("gcp-storage-emulator", path=_ENVIRONMENT)


@contextmanager
def started_s3(folder: Path) -> Iterator[int]:
    """Run moto's server; yield its port."""
    port = free_port()
    with _started([moto_server() or "", "-H", "127.0.0.1", "-p", str(port)], folder, port):
        yield port


@contextmanager
def started_gcs(folder: Path, bucket: str) -> Iterator[int]:
    """Run an emulator of Google Cloud Storage with a bucket; yield its port."""
    port = free_port()
    options = ["start", "--host", "127.0.0.1", "--port", str(port), "--in-memory", "--default-bucket", bucket]
    with _started([gcs_emulator() or "", *options], folder, port):
        yield port


@contextmanager
def _started(command: list[str], folder: Path, port: int) -> Iterator[None]:
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + PATIENCE
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    assert process.poll() is None, (folder / "server.log").read_text()
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
            yield
        finally:
            process.terminate()
            process.wait(PATIENCE)


class Faults:
    """A proxy: ``fault`` decides on each request by its method and path. None: pass it on.

    A number is the status of the answer; ``cut`` ends the connection after half of the body, ``hang`` never answers.
    """

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.fault: Callable[[str, str], int | str | None] = lambda method, path: None
        self.requests: list[tuple[str, str]] = []
        self.closing = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    faults: Faults

    def log_message(self, *_: Any) -> None:
        pass

    def _pass(self) -> None:
        faults = self.faults
        body = self._body()
        faults.requests.append((self.command, self.path))
        fault = faults.fault(self.command, self.path)
        if fault == "hang":
            faults.closing.wait(PATIENCE)
            self.close_connection = True
            return
        if isinstance(fault, int):
            names = {403: "AccessDenied", 503: "SlowDown", 500: "InternalError"}
            text = f"<Error><Code>{names[fault]}</Code><Message>by the test</Message></Error>".encode()
            self._answer(fault, [("Content-Type", "application/xml")], b"" if self.command == "HEAD" else text)
            return
        onward = http.client.HTTPConnection("127.0.0.1", faults.upstream, timeout=PATIENCE)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "transfer-encoding"}
        onward.request(self.command, self.path, body, headers)
        answer = onward.getresponse()
        content = answer.read()
        kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _OWN]
        if self.command == "HEAD":
            kept.append(("Content-Length", answer.getheader("Content-Length") or "0"))
        self._answer(answer.status, kept, content, cut=fault == "cut")
        onward.close()

    def _body(self) -> bytes:
        if (self.headers.get("Transfer-Encoding") or "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes, *, cut: bool = False) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)
        self.wfile.flush()
        if cut:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass


_OWN = {"connection", "content-length", "transfer-encoding", "server", "date"}


@contextmanager
def proxied(upstream: int) -> Iterator[tuple[int, Faults]]:
    """Run the proxy; yield its port and its faults."""
    faults = Faults(upstream)
    handler = type("Handler", (_Handler,), {"faults": faults})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1], faults
    finally:
        faults.closing.set()
        server.shutdown()
        server.server_close()
        thread.join(PATIENCE)

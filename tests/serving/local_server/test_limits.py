"""Requests that are too large or too many are refused, and the server goes on."""

# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import asyncio
import gzip
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from noisy_gru.serving.local_server import Limits, LocalServer
from noisy_gru.serving.local_server.errors import RequestError
from noisy_gru.serving.local_server.limits import Workers
from tests.serving.local_server.conftest import Asking, Serving

pytestmark = pytest.mark.slow

SMALL = Limits(request_bytes=100_000, workers=1, waiting=2)


def predict_url(server: Any) -> str:
    return f"http://{server.rest_address}/v1/models/small:predict"


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Semaphore, threading.Event]]:
    """Holds every request in its worker: a semaphore that counts them, and an event that lets them go."""
    from noisy_gru.serving.local_server.loaded import LoadedVersion

    running, go = threading.Semaphore(0), threading.Event()
    predict = LoadedVersion.predict

    def slow(self: Any, *args: Any) -> Any:
        running.release()
        assert go.wait(60)
        return predict(self, *args)

    monkeypatch.setattr(LoadedVersion, "predict", slow)
    yield running, go
    go.set()


def until_waiting(asking: Any, server: Any) -> list[Any]:
    """Calls until one is refused at once; the ones that are held."""
    calls: list[Any] = []
    while len(calls) < 10:
        call = asking.predictions.Predict.future(asking.request(), timeout=60)
        deadline = time.monotonic() + 0.5
        while not call.done() and time.monotonic() < deadline:
            time.sleep(0.01)
        if call.done():
            assert call.code() == grpc.StatusCode.UNAVAILABLE
            assert "1 requests run and 2 wait" in call.details()
            return calls
        calls.append(call)
    pytest.fail("nothing was refused")


def test_too_many_requests(serving: Serving, held: tuple[threading.Semaphore, threading.Event]) -> None:
    server, asking, _ = serving(limits=SMALL)
    running, go = held
    calls = until_waiting(asking, server)
    assert len(calls) == 3
    assert running.acquire(timeout=60)
    assert not running.acquire(blocking=False), "more run than there are workers"
    answer = httpx.post(predict_url(server), content=b'{"instances": [""]}')
    assert answer.status_code == 503
    assert "busy" in answer.json()["error"]
    # What needs no worker is still answered.
    assert asking.states() == {1: "AVAILABLE"}
    go.set()
    assert [call.result().model_spec.version.value for call in calls] == [1, 1, 1]
    assert asking.version() == 1


def test_a_client_that_gives_up_frees_its_place(
    serving: Serving, held: tuple[threading.Semaphore, threading.Event]
) -> None:
    server, asking, _ = serving(limits=SMALL)
    _, go = held
    calls = until_waiting(asking, server)
    for call in calls[1:]:
        call.cancel()
    deadline = time.monotonic() + 60
    while True:
        calls.append(asking.predictions.Predict.future(asking.request(), timeout=60))
        time.sleep(0.05)
        if not calls[-1].done():
            break
        assert time.monotonic() < deadline, "the places of the cancelled calls stay taken"
    go.set()
    assert calls[0].result().model_spec.version.value == 1
    assert calls[-1].result().model_spec.version.value == 1


def test_a_cancelled_call_gives_its_version_back_when_it_has_ended() -> None:
    started, go, done = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        assert go.wait(60)

    async def ask() -> None:
        workers = Workers(Limits(workers=1, waiting=1))
        held = ExitStack()
        held.callback(done.set)
        call = asyncio.ensure_future(workers.run(work, held=held))
        await asyncio.to_thread(started.wait, 60)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert not done.is_set(), "the version could be unloaded under a running request"
        go.set()
        await asyncio.to_thread(workers.close)
        assert done.is_set()
        with pytest.raises(RequestError, match="shutting down"):
            await workers.run(work, held=ExitStack())

    asyncio.run(ask())


@pytest.fixture(scope="module")
def limited(published: Path) -> Iterator[tuple[Any, Asking]]:
    with LocalServer({published.name: published}, limits=SMALL) as server:
        asking = Asking(server, published.name)
        yield server, asking
        asking.channel.close()


def test_a_body_that_does_not_come(serving: Serving) -> None:
    server, asking, _ = serving(limits=Limits(body_seconds=0.2, workers=1, waiting=0))
    host, port = server.rest_address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(b"POST /v1/models/small:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")
    assert asking.version() == 1, "its place was not given back"


def test_a_large_grpc_message(limited: tuple[Any, Asking]) -> None:
    _, asking = limited
    request = asking.request()
    request.inputs["features"].tensor_content = bytes(200_000)
    with pytest.raises(grpc.RpcError) as caught:
        asking.predictions.Predict(request, timeout=60)
    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert asking.version() == 1


def test_a_large_body(limited: tuple[Any, Asking]) -> None:
    server, asking = limited
    answer = httpx.post(predict_url(server), content=b'{"instances": ["' + b"x" * 200_000 + b'"]}')
    assert answer.status_code == 413
    assert "100000 bytes that are allowed" in answer.json()["error"]
    assert asking.version() == 1


def test_a_body_that_grows_when_it_is_unpacked(limited: tuple[Any, Asking]) -> None:
    server, asking = limited
    bomb = gzip.compress(b'{"instances": ["' + b"x" * 20_000_000 + b'"]}')
    assert len(bomb) < 100_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer = httpx.post(predict_url(server), content=bomb, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 413
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 15_000, "kilobytes: it was unpacked whole"
    assert asking.version() == 1

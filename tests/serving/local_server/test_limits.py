"""Requests that are too large or too many are refused, and the server goes on."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import resource
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
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
    from noisy_gru.serving.local_server.loaded_version import LoadedVersion

    running, go = threading.Semaphore(0), threading.Event()
    predict = LoadedVersion.predict

    def slow(self: Any, *args: Any, **options: Any) -> Any:
        running.release()
        assert go.wait(60)
        return predict(self, *args, **options)

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


def open_connection(server: Any) -> socket.socket:
    host, port = server.rest_address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=60)


POST = b"POST /v1/models/small:predict HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize("unfinished", [POST + b"Content-Length: 100\r\n\r\n{", POST + b"X-A: ", b"", b"P"])
def test_unfinished_requests_take_no_working_place(serving: Serving, unfinished: bytes) -> None:
    """Twice as many as there are places and connections, and all stay open."""
    server, asking, _ = serving(limits=Limits(workers=1, waiting=1, connections=20))
    with ExitStack() as stack:
        for _ in range(40):
            connection = stack.enter_context(open_connection(server))
            connection.sendall(unfinished)
        for _ in range(5):
            assert httpx.get(f"http://{server.rest_address}/v1/models/small", timeout=30).status_code == 200
            answer = httpx.post(predict_url(server), content=b"{}", timeout=30)
            assert (answer.status_code, answer.json()["error"]) == (400, "Missing 'inputs' or 'instances' key")
        assert asking.version() == 1


@pytest.mark.parametrize(("unfinished", "drop"), [(POST, b"a"), (POST + b"X-A: ", b"a"), (b"", b""), (b"P", b"")])
def test_a_header_that_drips_is_cut_off(serving: Serving, unfinished: bytes, drop: bytes) -> None:
    server, asking, _ = serving(limits=Limits(header_seconds=0.5))
    with open_connection(server) as connection:
        connection.sendall(unfinished)
        connection.settimeout(0.05)
        began, content = time.monotonic(), b"?"
        while content and time.monotonic() - began < 30:
            try:
                connection.sendall(drop)
                content = connection.recv(1000)
            except TimeoutError:
                continue
            except OSError:
                break
        assert 0.3 < time.monotonic() - began < 15
    assert asking.version() == 1


def test_a_body_has_more_time_than_a_header(serving: Serving) -> None:
    server, _, _ = serving(limits=Limits(header_seconds=0.2))
    with open_connection(server) as connection:
        connection.sendall(POST + b"Content-Length: 2\r\n\r\n{")
        time.sleep(0.6)
        connection.sendall(b"}")
        assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")


def test_a_connection_that_is_kept_asks_many_times(serving: Serving) -> None:
    server, _, _ = serving(limits=Limits(header_seconds=0.3))
    with httpx.Client(base_url=f"http://{server.rest_address}", timeout=30) as client:
        for _ in range(3):
            assert client.get("/v1/models/small").status_code == 200
            time.sleep(0.5)  # a pause between requests is no slow header


def test_a_flood_of_headers(serving: Serving) -> None:
    server, asking, _ = serving()
    with open_connection(server) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(POST + b"".join(b"X-%d: 1\r\n" % number for number in range(100_000)))
        with contextlib.suppress(OSError):
            assert connection.recv(1000)[:12] in (b"HTTP/1.1 400", b"HTTP/1.0 400")
    assert asking.version() == 1


def test_unfinished_grpc_calls_take_no_working_place(serving: Serving) -> None:
    """Calls of a stream whose messages are never ended: as many as places, on one connection."""
    server, asking, _ = serving(limits=SMALL)
    ended = threading.Event()

    def endless() -> Iterator[bytes]:
        ended.wait(60)
        yield b""

    with ExitStack() as stack:
        for _ in range(10):
            own = [("grpc.use_local_subchannel_pool", 1)]
            channel = stack.enter_context(grpc.insecure_channel(server.grpc_address, own))
            channel.stream_unary("/tensorflow.serving.PredictionService/Predict").future(endless(), timeout=60)
        time.sleep(0.5)
        assert asking.version() == 1
        ended.set()


def test_gzip_that_unpacks_to_a_thousand_times_its_size(serving: Serving) -> None:
    server, asking, _ = serving()
    bomb = gzip.compress(b'{"instances": ["' + b"x" * 60_000_000 + b'"]}')
    assert len(bomb) < 62_000
    began = time.process_time()
    answer = httpx.post(predict_url(server), content=bomb, headers={"Content-Encoding": "gzip"}, timeout=60)
    assert (answer.status_code, "more than 100 times" in answer.json()["error"]) == (413, True)
    assert time.process_time() - began < 2
    small = gzip.compress(b'{"instances": ["' + b"x" * 900_000 + b'"]}')
    answer = httpx.post(predict_url(server), content=small, headers={"Content-Encoding": "gzip"}, timeout=60)
    assert (answer.status_code, "none of the model's features" in answer.json()["error"]) == (400, True)
    assert asking.version() == 1


@pytest.mark.parametrize("encoding", ["deflate", "br", "zstd"])
def test_an_encoding_that_tf_serving_does_not_know_is_no_encoding(serving: Serving, encoding: str) -> None:
    """evhttp_request.cc:261 knows gzip alone: the bytes are read as they are."""
    server, _, _ = serving()
    body = zlib.compress(b'{"instances": [""]}')
    answer = httpx.post(predict_url(server), content=body, headers={"Content-Encoding": encoding})
    assert (answer.status_code, "JSON Parse error" in answer.json()["error"]) == (400, True)


def test_a_million_steps(serving: Serving, serialized_examples: list[bytes]) -> None:
    from noisy_gru.saved_model.tensor_protos import make_tensor_proto

    _, asking, _ = serving()
    for signature in ("serving_tensors", "serving_step"):
        request = asking.request()
        request.model_spec.signature_name = signature
        request.inputs["features"].CopyFrom(make_tensor_proto(np.zeros((1, 1_000_000, 2), np.float32)))
        request.inputs["lengths"].CopyFrom(make_tensor_proto(np.array([1_000_000])))
        if signature == "serving_step":
            request.inputs["state"].CopyFrom(make_tensor_proto(np.zeros((1, 5), np.float32)))
        began = time.monotonic()
        with pytest.raises(grpc.RpcError, match="has 1000000 steps; at most 100000 are allowed"):
            asking.predictions.Predict(request, timeout=60)
        assert time.monotonic() - began < 10


@pytest.mark.parametrize("whose", ["client", "server"])
def test_a_run_ends_with_its_time(serving: Serving, whose: str) -> None:
    """The worker is free again: without an end this one runs for a minute."""
    from noisy_gru.saved_model.tensor_protos import make_tensor_proto

    limits = Limits(workers=1, waiting=1, steps=10_000_000, run_seconds=0.5 if whose == "server" else 60.0)
    _, asking, _ = serving(limits=limits)
    request = asking.request()
    request.inputs["features"].CopyFrom(make_tensor_proto(np.zeros((1, 1_500_000, 2), np.float32)))
    request.inputs["lengths"].CopyFrom(make_tensor_proto(np.array([1_500_000])))
    with pytest.raises(grpc.RpcError, match="DEADLINE_EXCEEDED"):
        asking.predictions.Predict(request, timeout=0.5 if whose == "client" else 60)
    began = time.monotonic()
    assert asking.version() == 1
    assert time.monotonic() - began < 25

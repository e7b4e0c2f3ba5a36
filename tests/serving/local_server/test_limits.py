"""Requests that are too large or too many are refused, and the server goes on."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
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
from tests.memory import allocations
from tests.patience import PATIENCE, until
from tests.serving.local_server.conftest import NEVER, Asking, Serving

pytestmark = pytest.mark.slow

SMALL = Limits(request_bytes=100_000, workers=1, waiting=2, run_seconds=PATIENCE)


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
        assert go.wait(PATIENCE)
        return predict(self, *args, **options)

    monkeypatch.setattr(LoadedVersion, "predict", slow)
    yield running, go
    go.set()


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Has an entry for each request that has a place, be it running or waiting."""
    taken: list[None] = []
    slot = Workers.slot

    @contextlib.contextmanager
    def counted(self: Workers) -> Iterator[None]:
        with slot(self):
            taken.append(None)
            try:
                yield
            finally:
                taken.pop()

    monkeypatch.setattr(Workers, "slot", counted)
    return taken


def begin(asking: Asking, places: list[None]) -> Any:
    """A call that has a place, or was refused."""
    before = len(places)
    call = asking.predictions.Predict.future(asking.request(), timeout=PATIENCE)
    until(lambda: call.done() or len(places) > before)
    return call


def until_full(asking: Asking, places: list[None]) -> list[Any]:
    """Calls until one is refused; the ones that are held, of which the first runs."""
    calls: list[Any] = []
    while len(calls) < 10:
        call = begin(asking, places)
        if call.done():
            assert call.code() == grpc.StatusCode.UNAVAILABLE
            assert "1 requests run and 2 wait" in call.details()
            return calls
        calls.append(call)
    pytest.fail("nothing was refused")


def test_too_many_requests(
    serving: Serving, held: tuple[threading.Semaphore, threading.Event], places: list[None]
) -> None:
    server, asking, _ = serving(limits=SMALL)
    running, go = held
    calls = until_full(asking, places)
    assert len(calls) == 3
    assert running.acquire(timeout=PATIENCE)
    assert not running.acquire(blocking=False), "more run than there are workers"
    answer = httpx.post(predict_url(server), content=b'{"instances": [""]}', timeout=PATIENCE)
    assert answer.status_code == 503
    assert "busy" in answer.json()["error"]
    # What needs no worker is still answered.
    assert asking.states() == {1: "AVAILABLE"}
    go.set()
    assert [call.result().model_spec.version.value for call in calls] == [1, 1, 1]
    assert asking.version() == 1


def test_a_client_that_gives_up_frees_its_place(
    serving: Serving, held: tuple[threading.Semaphore, threading.Event], places: list[None]
) -> None:
    _, asking, _ = serving(limits=SMALL)
    _, go = held
    calls = until_full(asking, places)
    for call in calls[1:]:
        call.cancel()
    until(lambda: len(places) == 1, lambda: "the places of the cancelled calls were not given back")
    again = begin(asking, places)
    assert not again.done()
    go.set()
    assert calls[0].result().model_spec.version.value == 1
    assert again.result().model_spec.version.value == 1


def test_a_cancelled_call_gives_its_version_back_when_it_has_ended() -> None:
    started, go, done = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        assert go.wait(PATIENCE)

    async def ask() -> None:
        workers = Workers(Limits(workers=1, waiting=1))
        held = ExitStack()
        held.callback(done.set)
        call = asyncio.ensure_future(workers.run(work, held=held))
        await asyncio.to_thread(started.wait, PATIENCE)
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


Shared = Callable[[Limits], tuple[LocalServer, Asking]]


@pytest.fixture(scope="module")
def shared(published: Path) -> Iterator[Shared]:
    """``shared(limits)``: a server that the tests one after the other ask that want the same limits, and its client."""
    with ExitStack() as stack:
        running: dict[Limits, tuple[LocalServer, Asking]] = {}

        def of(limits: Limits) -> tuple[LocalServer, Asking]:
            if limits not in running:
                running.clear()
                stack.close()
                server = stack.enter_context(
                    LocalServer({published.name: published}, poll_seconds=NEVER, limits=limits)
                )
                asking = Asking(server, published.name)
                stack.callback(asking.channel.close)
                running[limits] = server, asking
            return running[limits]

        yield of


def test_a_body_that_does_not_come(serving: Serving) -> None:
    server, asking, _ = serving(limits=Limits(body_seconds=0.2, workers=1, waiting=0))
    host, port = server.rest_address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
        connection.sendall(b"POST /v1/models/small:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")
    assert asking.version() == 1, "its place was not given back"


def test_a_large_grpc_message(shared: Shared) -> None:
    _, asking = shared(SMALL)
    request = asking.request()
    request.inputs["features"].tensor_content = bytes(200_000)
    with pytest.raises(grpc.RpcError) as caught:
        asking.predictions.Predict(request, timeout=PATIENCE)
    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert asking.version() == 1


def test_a_large_body(shared: Shared) -> None:
    server, asking = shared(SMALL)
    answer = httpx.post(predict_url(server), content=b'{"instances": ["' + b"x" * 200_000 + b'"]}', timeout=PATIENCE)
    assert answer.status_code == 413
    assert "100000 bytes that are allowed" in answer.json()["error"]
    assert asking.version() == 1


def test_a_body_that_grows_when_it_is_unpacked(shared: Shared) -> None:
    server, asking = shared(SMALL)
    bomb = gzip.compress(b'{"instances": ["' + b"x" * 20_000_000 + b'"]}')
    assert len(bomb) < 100_000
    with allocations() as peak:
        answer = httpx.post(predict_url(server), content=bomb, headers={"Content-Encoding": "gzip"}, timeout=PATIENCE)
        assert peak() < 15_000_000, "it was unpacked whole"
    assert answer.status_code == 413
    assert asking.version() == 1


def open_connection(server: Any) -> socket.socket:
    host, port = server.rest_address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=PATIENCE)


POST = b"POST /v1/models/small:predict HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize("unfinished", [POST + b"Content-Length: 100\r\n\r\n{", POST + b"X-A: ", b"", b"P"])
def test_unfinished_requests_take_no_working_place(shared: Shared, unfinished: bytes) -> None:
    """Twice as many as there are places and connections, and all stay open."""
    server, asking = shared(Limits(workers=1, waiting=1, connections=20))
    with ExitStack() as stack:
        for _ in range(40):
            connection = stack.enter_context(open_connection(server))
            connection.sendall(unfinished)
        for _ in range(5):
            assert httpx.get(f"http://{server.rest_address}/v1/models/small", timeout=PATIENCE).status_code == 200
            answer = httpx.post(predict_url(server), content=b"{}", timeout=PATIENCE)
            assert (answer.status_code, answer.json()["error"]) == (400, "Missing 'inputs' or 'instances' key")
        assert asking.version() == 1


@pytest.mark.parametrize(("unfinished", "drop"), [(POST, b"a"), (POST + b"X-A: ", b"a"), (b"", b""), (b"P", b"")])
def test_a_header_that_drips_is_cut_off(shared: Shared, unfinished: bytes, drop: bytes) -> None:
    server, asking = shared(Limits(header_seconds=0.5))
    began, content = time.monotonic(), b"?"
    with open_connection(server) as connection:
        connection.sendall(unfinished)
        connection.settimeout(0.05)
        while content and time.monotonic() - began < PATIENCE:
            try:
                connection.sendall(drop)
                content = connection.recv(1000)
            except TimeoutError:
                continue
            except OSError:
                break
        assert 0.3 < time.monotonic() - began < PATIENCE
    assert asking.version() == 1


def test_a_body_has_more_time_than_a_header(shared: Shared) -> None:
    # The header must come in time on a machine under load, too.
    server, _ = shared(Limits(header_seconds=2.0))
    with open_connection(server) as connection:
        connection.sendall(POST + b"Content-Length: 2\r\n\r\n{")
        time.sleep(2.5)
        connection.sendall(b"}")
        assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")


def test_a_connection_that_is_kept_asks_many_times(shared: Shared) -> None:
    server, _ = shared(Limits(header_seconds=2.0))
    with httpx.Client(base_url=f"http://{server.rest_address}", timeout=PATIENCE) as client:
        assert client.get("/v1/models/small").status_code == 200
        (kept,) = client._transport._pool.connections  # type: ignore[attr-defined]
        time.sleep(2.5)  # a pause between requests is no slow header
        assert client.get("/v1/models/small").status_code == 200
        assert client._transport._pool.connections == [kept]  # type: ignore[attr-defined]


def test_a_flood_of_headers(shared: Shared) -> None:
    server, asking = shared(Limits())
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
        ended.wait(PATIENCE)
        yield b""

    with ExitStack() as stack:
        for _ in range(10):
            own = [("grpc.use_local_subchannel_pool", 1)]
            channel = stack.enter_context(grpc.insecure_channel(server.grpc_address, own))
            channel.stream_unary("/tensorflow.serving.PredictionService/Predict").future(endless(), timeout=PATIENCE)
        time.sleep(0.5)
        assert asking.version() == 1
        ended.set()


def test_gzip_that_unpacks_to_a_thousand_times_its_size(shared: Shared) -> None:
    server, asking = shared(Limits())
    bomb = gzip.compress(b'{"instances": ["' + b"x" * 60_000_000 + b'"]}')
    assert len(bomb) < 62_000
    with allocations() as peak:
        answer = httpx.post(predict_url(server), content=bomb, headers={"Content-Encoding": "gzip"}, timeout=PATIENCE)
        assert peak() < 15_000_000, "it was unpacked whole"
    assert (answer.status_code, "more than 100 times" in answer.json()["error"]) == (413, True)
    small = gzip.compress(b'{"instances": ["' + b"x" * 900_000 + b'"]}')
    answer = httpx.post(predict_url(server), content=small, headers={"Content-Encoding": "gzip"}, timeout=PATIENCE)
    assert (answer.status_code, "none of the model's features" in answer.json()["error"]) == (400, True)
    assert asking.version() == 1


@pytest.mark.parametrize("encoding", ["deflate", "br", "zstd"])
def test_an_encoding_that_tf_serving_does_not_know_is_no_encoding(shared: Shared, encoding: str) -> None:
    """evhttp_request.cc:261 knows gzip alone: the bytes are read as they are."""
    server, _ = shared(Limits())
    body = zlib.compress(b'{"instances": [""]}')
    answer = httpx.post(predict_url(server), content=body, headers={"Content-Encoding": encoding}, timeout=PATIENCE)
    assert (answer.status_code, "JSON Parse error" in answer.json()["error"]) == (400, True)


def test_a_million_steps(shared: Shared) -> None:
    from noisy_gru.saved_model.tensor_protos import make_tensor_proto

    _, asking = shared(Limits())
    for signature in ("serving_tensors", "serving_step"):
        request = asking.request()
        request.model_spec.signature_name = signature
        request.inputs["features"].CopyFrom(make_tensor_proto(np.zeros((1, 1_000_000, 2), np.float32)))
        request.inputs["lengths"].CopyFrom(make_tensor_proto(np.array([1_000_000])))
        if signature == "serving_step":
            request.inputs["state"].CopyFrom(make_tensor_proto(np.zeros((1, 5), np.float32)))
        # The check comes before the run, which would take a minute.
        with pytest.raises(grpc.RpcError, match="has 1000000 steps; at most 100000 are allowed"):
            asking.predictions.Predict(request, timeout=PATIENCE)


@pytest.mark.parametrize("whose", ["client", "server"])
def test_a_run_ends_with_its_time(serving: Serving, monkeypatch: pytest.MonkeyPatch, whose: str) -> None:
    """TensorFlow ends it and the worker is free again: without an end this one takes a minute of the processor."""
    import psutil

    from noisy_gru.saved_model.tensor_protos import make_tensor_proto

    # On a machine under load the end takes its time; a process that is killed would hide that there was none.
    monkeypatch.setattr("noisy_gru.saved_model.session_process._GRACE_SECONDS", PATIENCE)
    limits = Limits(workers=1, waiting=1, steps=10_000_000, run_seconds=0.5 if whose == "server" else PATIENCE)
    server, asking, _ = serving(limits=limits)
    leased = server.models.lease(asking.request().model_spec)
    leased.release()
    process = psutil.Process(leased.model.pid)
    request = asking.request()
    request.inputs["features"].CopyFrom(make_tensor_proto(np.zeros((1, 1_500_000, 2), np.float32)))
    request.inputs["lengths"].CopyFrom(make_tensor_proto(np.array([1_500_000])))
    with pytest.raises(grpc.RpcError, match="DEADLINE_EXCEEDED"):
        asking.predictions.Predict(request, timeout=0.5 if whose == "client" else PATIENCE)

    def answers() -> bool:
        try:
            return asking.version() == 1
        except grpc.RpcError:
            return False

    # This one has half a second, too.
    until(answers)
    # Of the processor, which others on the machine don't take; loading the model is a part of it.
    used = process.cpu_times()
    assert used.user + used.system < 30

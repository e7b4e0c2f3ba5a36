"""Whatever comes over the wire: an error for who sent it, and the server goes on."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import numpy as np
import pytest

from tests.patience import PATIENCE
from tests.serving.local_server.conftest import Asking

if TYPE_CHECKING:
    from noisy_gru.serving.local_server import LocalServer

pytestmark = pytest.mark.slow

PREDICT = "/tensorflow.serving.PredictionService/Predict"
# What TF Serving may answer to a request that nobody could have meant; INTERNAL is gRPC's own for no protobuf.
EXPECTED = {
    *(grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND),
    *(grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.INTERNAL),
}


@pytest.fixture
def asking(server: LocalServer, published: Path) -> Iterator[Asking]:
    asking = Asking(server, published.name)
    yield asking
    assert asking.version() == 1, "the server does not answer any more"
    asking.channel.close()


def code_of(asking: Asking, method: str, content: bytes) -> grpc.StatusCode:
    call: Any = asking.channel.unary_unary(method)
    try:
        call(content, timeout=PATIENCE)
    except grpc.RpcError as error:
        assert isinstance(error, grpc.Call)
        return error.code()
    return grpc.StatusCode.OK


def test_damaged_requests(asking: Asking) -> None:
    valid = np.frombuffer(asking.request().SerializeToString(deterministic=True), np.uint8)
    random = np.random.default_rng(11)
    seen = set()
    for _ in range(400):
        damaged = valid.copy()
        for position in random.integers(len(valid), size=random.integers(1, 6)):
            damaged[position] = random.integers(256)
        cut = damaged[: random.integers(len(damaged))] if random.random() < 0.2 else damaged
        seen.add(code_of(asking, PREDICT, cut.tobytes()))
    assert seen <= EXPECTED
    assert grpc.StatusCode.INVALID_ARGUMENT in seen


@pytest.mark.parametrize("shape", [[1 << 40], [-1, 3, 2], [1 << 62, 1 << 62], [2, 3], []])
def test_shapes_that_were_made_up(asking: Asking, shape: list[int]) -> None:
    request = asking.request()
    request.inputs["features"].ClearField("tensor_shape")
    for size in shape:
        request.inputs["features"].tensor_shape.dim.add(size=size)
    assert code_of(asking, PREDICT, request.SerializeToString(deterministic=True)) == grpc.StatusCode.INVALID_ARGUMENT
    request.inputs["features"].ClearField("tensor_content")
    assert code_of(asking, PREDICT, request.SerializeToString(deterministic=True)) == grpc.StatusCode.INVALID_ARGUMENT


def test_types_that_numpy_does_not_have(asking: Asking) -> None:
    for dtype in range(25):
        request = asking.request()
        request.inputs["features"].dtype = dtype
        expected = grpc.StatusCode.OK if dtype == 1 else grpc.StatusCode.INVALID_ARGUMENT
        assert code_of(asking, PREDICT, request.SerializeToString(deterministic=True)) == expected, dtype


@pytest.mark.parametrize("method", ["GetModelMetadata", "Classify", "Regress", "MultiInference"])
def test_empty_and_random_messages(asking: Asking, method: str) -> None:
    random = np.random.default_rng(12)
    for content in (b"", random.bytes(50), random.bytes(500)):
        code = code_of(asking, f"/tensorflow.serving.PredictionService/{method}", content)
        assert code in EXPECTED - {grpc.StatusCode.OK}


@pytest.mark.parametrize("method", ["GetModelStatus", "HandleReloadConfigRequest"])
def test_empty_and_random_messages_to_the_model_service(asking: Asking, method: str) -> None:
    random = np.random.default_rng(13)
    for content in (b"", random.bytes(50), random.bytes(500)):
        code = code_of(asking, f"/tensorflow.serving.ModelService/{method}", content)
        assert code in EXPECTED - {grpc.StatusCode.OK}


def test_a_method_that_is_not_there(asking: Asking) -> None:
    assert code_of(asking, "/tensorflow.serving.PredictionService/Guess", b"") == grpc.StatusCode.UNIMPLEMENTED


def test_an_error_that_is_longer_than_a_header_may_be(asking: Asking) -> None:
    request = asking.request()
    request.model_spec.signature_name = "x" * 20_000
    assert (
        code_of(asking, PREDICT, request.SerializeToString(deterministic=True)) == grpc.StatusCode.FAILED_PRECONDITION
    )


@pytest.mark.parametrize("address", ["grpc_address", "rest_address"])
def test_bytes_that_are_no_protocol(server: LocalServer, asking: Asking, address: str) -> None:
    random = np.random.default_rng(14)
    host, port = getattr(server, address).rsplit(":", 1)
    for content in (b"", b"GET\r\n\r\n", random.bytes(1000), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + random.bytes(100)):
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
            connection.sendall(content)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"inputs": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"inputs": {"examples": ' + b"[" * 300 + b'""' + b"]" * 300 + b"}}",
        b'{"signature_name": "serving_tensors", "inputs": {"lengths": [1e400], "features": [[[0, 0]]]}}',
        b'{"signature_name": "serving_tensors", "inputs": {"lengths": [9223372036854775808], "features": [[[0, 0]]]}}',
        b'{"signature_name": "serving_tensors", "inputs": {"lengths": [1.0], "features": [[[0, 0]]]}}',
        b'{"signature_name": "serving_tensors", "inputs": {"lengths": [1], "features": [[[0, 0], [0]]]}}',
        b'{"signature_name": "serving_tensors", "inputs": {"lengths": [1], "features": [[[0, ' + b"9" * 400 + b"]]]}}",
        b'{"inputs": ["\\ud800"]}',
        b"\x00" * 100,
        b'{"instances": [{"b64": 5}]}',
        b'{"instances": [{"b64": "\xc3\xa9"}]}',
    ],
)
def test_json_that_is_no_request(server: LocalServer, asking: Asking, body: bytes) -> None:
    answer = httpx.post(f"http://{server.rest_address}/v1/models/{asking.name}:predict", content=body, timeout=PATIENCE)
    assert answer.status_code == 400, answer.text
    assert set(answer.json()) == {"error"}
    assert len(answer.content) < 5_000


def test_a_body_that_says_gzip_and_is_none(server: LocalServer, asking: Asking) -> None:
    answer = httpx.post(
        f"http://{server.rest_address}/v1/models/{asking.name}:predict",
        content=b'{"instances": [""]}',
        headers={"Content-Encoding": "gzip"},
        timeout=PATIENCE,
    )
    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}


def test_paths_beside_the_api(server: LocalServer, asking: Asking) -> None:
    for path in ("/", "/v2/models/small", "/v1", "/monitoring"):
        answer = httpx.get(f"http://{server.rest_address}{path}", timeout=PATIENCE)
        assert (answer.status_code, set(answer.json())) == (404, {"error"}), path
    assert httpx.put(f"http://{server.rest_address}/v1/models/small", timeout=PATIENCE).status_code == 400

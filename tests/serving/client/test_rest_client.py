"""The client over REST against a server that does as it is told; no TensorFlow."""

from __future__ import annotations

import base64
import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import DataError
from noisy_gru.serving.client.calls import VersionStatus
from noisy_gru.serving.client.errors import DeadlineExceeded, InvalidRequest, NotFound, ServingError, Unavailable
from noisy_gru.serving.client.predictions import Predictions
from tests.patience import PATIENCE
from tests.serving.client.asker import Asker, example_of
from tests.serving.client.scripted import Received, ScriptedRest, scripted_rest

DATASET = DatasetConfig.model_validate(
    {
        "data": {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": ["x"]},
        "task": {"kind": "regression", "label": "y"},
    }
)
EMPTY = example_of("x")
STATUS = {
    "model_version_status": [
        {"version": "2", "state": "END", "status": {"error_code": "UNKNOWN", "error_message": "broken"}},
        {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}},
    ]
}


def sized(size: int) -> bytes:
    return example_of("x", size)


def lengths(request: Received) -> tuple[int, Any]:
    """Answers each example with its size; one output, so the row is the value."""
    return 200, {"predictions": [[len(base64.b64decode(each["b64"]))] for each in request.body["instances"]]}


def in_turn(*answers: tuple[int, Any] | Callable[[Received], tuple[int, Any]]) -> Callable[[Received], tuple[int, Any]]:
    left = list(answers)

    def answer(request: Received) -> tuple[int, Any]:
        now = left.pop(0)
        return now(request) if callable(now) else now

    return answer


@pytest.fixture(params=["blocking", "asyncio"])
def asker(request: pytest.FixtureRequest):
    with ExitStack() as stack:
        yield Asker(request.param, stack, dataset=DATASET, model_name="m", transport="rest")


def test_what_is_sent_and_what_comes_back(asker):
    with scripted_rest(ScriptedRest(lengths)) as server:
        asker.open(server.address, headers={"Authorization": "Bearer t"}, batch_size=2)
        found: Predictions = asker("predict_examples", [sized(2000), EMPTY, sized(20)], ids=["a", "b", "c"])
    sizes = {"a": 2000, "b": len(EMPTY), "c": 20}
    assert found.answers == [{"sequence_id": name, "y": size} for name, size in sizes.items()]
    assert found.output("predictions").dtype == np.float32
    first, second = sorted(server.requests, key=lambda request: -len(request.body["instances"]))
    assert (first.method, first.path) == ("POST", "/v1/models/m:predict")
    assert first.body["signature_name"] == "serving_default"
    assert (first.headers["content-encoding"], first.headers["authorization"]) == ("gzip", "Bearer t")
    assert "content-encoding" not in second.headers
    assert second.body["instances"] == [{"b64": base64.b64encode(sized(20)).decode()}]


def test_rows_are_read_as_in_training(asker):
    with scripted_rest(ScriptedRest(lengths)) as server:
        asker.open(server.address)
        rows = [{"id": "a", "t": 1, "x": 2}, {"id": "a", "t": 0, "x": 1}, {"id": "b", "t": 0, "x": "?"}]
        found: Predictions = asker("predict", rows)
    assert found.ids == ["a"]
    (line,) = found.unusable
    assert (line["file"], line["row"], line["reason"]) == ("<rows>", 3, "unparsable_value")
    assert found.unused == {"unparsable_value": 1}


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"model_version": 7}, "/v1/models/m/versions/7:predict"),
        ({"version_label": "next one/x"}, "/v1/models/m/labels/next%20one%2Fx:predict"),
    ],
)
def test_the_chosen_version_is_asked(asker, options, path):
    with scripted_rest(ScriptedRest(lengths)) as server:
        asker.open(server.address, **options)("predict_examples", [EMPTY])
    assert server.requests[0].path == path


def test_unavailable_is_asked_again(asker):
    answer = in_turn((503, {"error": "starting"}), (503, b"<html>no upstream</html>"), lengths)
    with scripted_rest(ScriptedRest(answer)) as server:
        assert len(asker.open(server.address)("predict_examples", [EMPTY, EMPTY])) == 2
    assert len(server.requests) == 3
    assert 0.1 <= asker.waits[0] <= 0.15 and 0.2 <= asker.waits[1] <= 0.3


def test_a_refused_connection_is_unavailable(asker):
    with scripted_rest(ScriptedRest(lengths)) as server:
        pass
    asker.open(server.address, attempts=3)
    with pytest.raises(Unavailable, match=r"is unavailable: .*\(after 3 attempts\)"):
        asker("predict_examples", [EMPTY])
    assert len(asker.waits) == 2
    assert asker("health") is False
    assert len(asker.waits) == 2


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (429, {"error": "busy"}, "RESOURCE_EXHAUSTED"),
        (500, {"error": "busy"}, "INTERNAL"),
        (502, b"bad gateway", "HTTP_502"),
        (504, b"", "DEADLINE_EXCEEDED"),
        (401, b"who are you?", "UNAUTHENTICATED"),
        (302, b"", "HTTP_302"),
    ],
)
def test_nothing_else_is_asked_again(asker, status, body, code):
    with scripted_rest(ScriptedRest(in_turn((status, body)))) as server, pytest.raises(ServingError) as caught:
        asker.open(server.address)("predict_examples", [EMPTY])
    assert caught.value.code == code
    assert not isinstance(caught.value, Unavailable)
    assert (len(server.requests), asker.waits) == (1, [])


def refuse_long(request: Received) -> tuple[int, Any]:
    if any(len(each["b64"]) > 100 for each in request.body["instances"]):
        return 400, {"error": "too long\n\t [[{{node Assert}}]]"}
    return lengths(request)


def test_a_bad_sequence_is_named_and_the_others_answered(asker):
    examples = [EMPTY, EMPTY, sized(100), EMPTY]
    with scripted_rest(ScriptedRest(refuse_long)) as server:
        asker.open(server.address)
        with pytest.raises(InvalidRequest, match=r"refuses 1 sequence:\n  sequence three: too long\n"):
            asker("predict_examples", examples, ids=["one", "two", "three", "four"])
        found: Predictions = asker("predict_examples", examples, on_error="collect")
    assert found.ids == ["0", "1", "3"]
    assert [(each.place, each.sequence_id, each.reason) for each in found.refused] == [(2, "2", "too long")]


def test_what_there_is(asker):
    def answer(request: Received) -> tuple[int, Any]:
        if request.path == "/v1/models/m":
            return 200, STATUS
        return 404, {"error": "Servable not found for request: Specific(m, 9)"}

    with scripted_rest(ScriptedRest(answer)) as server:
        asker.open(server.address, model_version=9)
        with pytest.raises(NotFound, match=r"has no model m, version 9: .* it has 2 \(END: broken\), 1 \(AVAILABLE\)"):
            asker("predict_examples", [EMPTY])


def test_status_and_metadata(asker):
    tensor = {"dtype": "DT_FLOAT", "name": "x:0", "tensor_shape": {"dim": [{"size": "-1"}, {"size": "5"}]}}
    anything = {"dtype": "DT_STRING", "name": "e:0", "tensor_shape": {"dim": [], "unknown_rank": True}}
    signature = {"inputs": {"state": tensor, "any": anything}, "outputs": {}, "method_name": "predict"}
    metadata = {
        "model_spec": {"name": "m", "signature_name": "", "version": "1795617327"},
        "metadata": {"signature_def": {"signature_def": {"s": signature, "__saved_model_init_op": signature}}},
    }

    def answer(request: Received) -> tuple[int, Any]:
        return 200, metadata if request.path.endswith("/metadata") else STATUS

    with scripted_rest(ScriptedRest(answer)) as server:
        asker.open(server.address)
        assert asker("status") == [VersionStatus(1, "AVAILABLE"), VersionStatus(2, "END", "broken")]
        found = asker("metadata")
        assert asker("health") is True
    assert (found.version, list(found.signatures)) == (1795617327, ["s"])
    state = found.signatures["s"].inputs["state"]
    assert (state.dtype, state.shape, state.code) == ("float32", (None, 5), 1)
    assert found.signatures["s"].inputs["any"].shape is None


def test_a_deadline_is_kept_and_told(asker):
    released = threading.Event()

    def answer(request: Received) -> tuple[int, Any]:
        released.wait(PATIENCE)
        return lengths(request)

    with scripted_rest(ScriptedRest(answer)) as server:
        asker.open(server.address, timeout=0.2)
        try:
            with pytest.raises(DeadlineExceeded, match=r"has not answered sequence 0 within 0\.2 s\. Give a longer"):
                asker("predict_examples", [EMPTY])
        finally:
            released.set()
    # On a machine under load the time may be over before the request is there.
    assert len(server.requests) <= 1
    assert asker.waits == []


@pytest.mark.parametrize(
    "begin", [b"", b"HTTP/1.1 200 OK\r\nx-a: ", b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n"]
)
def test_an_answer_that_drips_does_not_outlast_the_deadline(asker, begin):
    """A byte every 50 ms, in the status line, a header or the body: each read is quick, the answer never whole."""
    ended = threading.Event()

    def drip(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(begin)
            while not ended.wait(0.05):
                connection.sendall(b"H")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=drip, args=(listening,))
        thread.start()
        asker.open(f"127.0.0.1:{listening.getsockname()[1]}", timeout=0.5)
        began = time.monotonic()
        try:
            with pytest.raises(DeadlineExceeded):
                asker("predict_examples", [EMPTY])
            assert time.monotonic() - began < 60
        finally:
            ended.set()
            thread.join()


@pytest.mark.parametrize(
    "body",
    [
        b"hello",
        b"{}",
        b'{"predictions": 7}',
        b'{"predictions": [{"label_bytes": 7}]}',
        b"[]",
        b"[" * 100_000,
        b'{"predictions": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"predictions": [{"label_bytes": ' + b"[" * 100_000,
        b'{"predictions": [{"class_id": 1.5}]}',
        b'{"predictions": [{"class_id": 1' + b"0" * 40 + b"}]}",
        b'{"predictions": ["1.5"]}',
        b'{"predictions": [null]}',
        b'{"predictions": [[1.0], [1.0, 2.0]]}',
    ],
)
def test_an_answer_that_is_none(asker, body):
    message = r"the response can't be read .* Is this TF Serving's REST port\?"
    with scripted_rest(ScriptedRest(in_turn((200, body)))) as server, pytest.raises(ServingError, match=message):
        asker.open(server.address)("predict_examples", [EMPTY])


def test_an_answer_larger_than_allowed(asker):
    message = "larger than 1000 bytes"
    with scripted_rest(ScriptedRest(in_turn((200, b" " * 2000)))) as server, pytest.raises(ServingError, match=message):
        asker.open(server.address, largest_answer=1000)("predict_examples", [EMPTY])


def test_fewer_answers_than_sequences(asker):
    with scripted_rest(ScriptedRest(in_turn((200, {"predictions": [[1.0]]})))) as server:
        found = asker.open(server.address)("predict_examples", [EMPTY, EMPTY])
        with pytest.raises(Exception, match="returned 1 of predictions for 2 sequences"):
            found.answers  # noqa: B018


def test_named_outputs_and_odd_numbers(asker):
    rows = [
        {
            "probabilities": [0.25, 0.75],
            "class_id": 1,
            "label_bytes": {"b64": "w7w="},
            "labels_bytes": ["a", "b"],
        }
    ] * 2
    with scripted_rest(ScriptedRest(in_turn((200, {"predictions": rows})))) as server:
        found: Predictions = asker.open(server.address)("predict_examples", [EMPTY, EMPTY])
    outputs = found.parts[0].outputs
    assert outputs["class_id"].dtype == np.int64
    assert outputs["label_bytes"].tolist() == ["ü".encode()] * 2
    assert outputs["labels_bytes"].tolist() == [[b"a", b"b"]] * 2
    assert outputs["probabilities"].tolist() == [[0.25, 0.75]] * 2


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_none_is_no_answer(asker, number):
    answer = (200, {"predictions": [[1.0], [number], [2.0], [3.0]]})
    with scripted_rest(ScriptedRest(in_turn(answer, answer))) as server:
        asker.open(server.address)
        with pytest.raises(InvalidRequest, match=r"refuses 1 sequence:\n  sequence 1: the model's answer is NaN "):
            asker("predict_examples", [EMPTY] * 4)
        found: Predictions = asker("predict_examples", [EMPTY] * 4, on_error="collect")
    assert found.answers == [{"sequence_id": str(place), "y": y} for place, y in ((0, 1.0), (2, 2.0), (3, 3.0))]
    assert [each.place for each in found.refused] == [1]


def test_what_is_no_example_of_the_data_is_not_sent(asker):
    misspelt = example_of("X")
    crash = bytes.fromhex("0a130a110a0178120c120a0affffffff0f00000000")  # claims 4 GiB of floats
    with scripted_rest(ScriptedRest(lengths)) as server:
        asker.open(server.address)
        message = r"example b: its 21 bytes are no tf.Example .*; example d: it has none .* \(x\); received X"
        with pytest.raises(DataError, match=message):
            asker("predict_examples", [EMPTY, crash, EMPTY, misspelt], ids=list("abcd"))
        assert not server.requests
        found: Predictions = asker("predict_examples", [EMPTY, crash, EMPTY, misspelt], on_error="collect")
    assert found.ids == ["0", "2"]
    assert [(each.place, each.sequence_id) for each in found.refused] == [(1, "1"), (3, "3")]


def test_no_sequence_is_no_request(asker):
    with scripted_rest(ScriptedRest(lengths)) as server:
        found = asker.open(server.address)("predict", [])
    assert (len(found), server.requests) == (0, [])


def test_many_batches_in_order_and_few_at_a_time(asker):
    now, most, lock = 0, 0, threading.Lock()
    both = threading.Barrier(3, timeout=PATIENCE)

    def answer(request: Received) -> tuple[int, Any]:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        # No answer before three are asked: so they are at a time.
        both.wait()
        with lock:
            now -= 1
        return lengths(request)

    with scripted_rest(ScriptedRest(answer)) as server:
        asker.open(server.address, batch_size=1, concurrency=3)
        found: Predictions = asker("predict_examples", [sized(20 + place) for place in range(12)])
    assert [answer["y"] for answer in found] == list(range(20, 32))
    assert most == 3


def test_one_failure_ends_the_request(asker):
    def answer(request: Received) -> tuple[int, Any]:
        return 500, {"error": "broken"}

    with scripted_rest(ScriptedRest(answer)) as server:
        asker.open(server.address, batch_size=1, concurrency=2)
        with pytest.raises(ServingError, match="broken"):
            asker("predict_examples", [EMPTY] * 200)
    assert len(server.requests) < 200


def test_closed(asker):
    with scripted_rest(ScriptedRest(lengths)) as server:
        asker.open(server.address)("predict_examples", [EMPTY])
        asker("close")
        asker("close")
        with pytest.raises(ServingError, match=r"the client of .* is closed"):
            asker("predict_examples", [EMPTY])


def test_no_tensorflow():
    code = (
        "import sys; from noisy_gru.serving import Client; import noisy_gru.serving.client.rest_transport;"
        "print([name for name in ('tensorflow', 'tensorflow_serving', 'grpc') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

"""The client over gRPC: a small model behind the local server, and servers that fail on demand."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from noisy_gru.saved_model.session import SessionModel
from noisy_gru.schema.config import DatasetConfig
from noisy_gru.serving.client.async_client import AsyncClient
from noisy_gru.serving.client.calls import VersionStatus
from noisy_gru.serving.client.client import Client
from noisy_gru.serving.client.errors import DeadlineExceeded, InvalidRequest, NotFound, ServingError, Unavailable
from noisy_gru.serving.client.predictions import Predictions
from tests.patience import PATIENCE
from tests.ports import free_port
from tests.serving.client.asker import example_of
from tests.serving.client.scripted import ScriptedGrpc, scripted_grpc
from tests.serving.conftest import MODEL_NAME

if TYPE_CHECKING:
    from noisy_gru.serving.local_server import LocalServer

pytestmark = pytest.mark.slow

DATASET = DatasetConfig.model_validate(
    {
        "data": {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": ["a", "b"]},
        "task": {"kind": "classification", "label": "way"},
    }
)
EMPTY = example_of("a")


def sized(size: int) -> bytes:
    return example_of("a", size)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """60 sequences of 1 to 9 steps, mixed."""
    random = np.random.default_rng(5)
    lengths = random.integers(1, 10, 60)
    rows = pd.DataFrame(
        {
            "id": np.repeat([f"s{place:02}" for place in range(60)], lengths),
            "t": np.concatenate([np.arange(length) for length in lengths]),
            "a": random.normal(size=lengths.sum()),
            "b": random.normal(size=lengths.sum()),
        }
    )
    return rows.sample(frac=1, random_state=1).reset_index(drop=True)


@contextmanager
def opened(address: str, **options: Any) -> Iterator[Client]:
    with Client(address, **{"dataset": DATASET, "model_name": MODEL_NAME, **options}) as client:
        yield client


def requested_here(published: Path, examples: list[bytes], batch: int) -> dict[str, np.ndarray]:
    """What the model answers without a server, in the same batches."""
    with SessionModel(published / "1") as model:
        parts = [
            model.run("serving_default", {"examples": examples[start : start + batch]})
            for start in range(0, len(examples), batch)
        ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@pytest.mark.parametrize("batch", [1, 7, 256])
def test_the_same_numbers_as_without_a_server_bit_for_bit(server: LocalServer, published, frame, batch):
    with opened(server.grpc_address, batch_size=batch) as client:
        found = client.predict(frame)
        request = client.plan_data(frame, "raise").request
    assert request is not None
    expected = requested_here(published, request.examples, batch)
    assert found.ids == list(frame[frame["t"] == 0]["id"])
    assert found.versions == [1]
    for name, values in expected.items():
        assert_array_equal(found.output(name), values)
    assert found.answers[0]["sequence_id"] == found.ids[0]


def test_rest_is_as_close_as_its_decimals(server: LocalServer, frame):
    with opened(server.grpc_address) as first, opened(server.rest_address, transport="rest") as second:
        grpc_answers, rest_answers = first.predict(frame), second.predict(frame)
    assert rest_answers.ids == grpc_answers.ids
    assert_array_equal(rest_answers.output("label_bytes"), grpc_answers.output("label_bytes"))
    np.testing.assert_allclose(
        rest_answers.output("probabilities"), grpc_answers.output("probabilities"), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_asyncio_is_the_same(server: LocalServer, frame, transport):
    address = server.grpc_address if transport == "grpc" else server.rest_address

    async def main() -> tuple[Any, ...]:
        options: Any = {"dataset": DATASET, "model_name": MODEL_NAME, "transport": transport, "batch_size": 7}
        async with AsyncClient(address, **options) as client:
            several = await asyncio.gather(*(client.predict(frame) for _ in range(3)), client.health())
            return *several, await client.status(), await client.metadata()

    *found, health, status, metadata = asyncio.run(main())
    with opened(address, transport=transport, batch_size=7) as client:
        expected = client.predict(frame)
        assert (health, status, metadata) == (client.health(), client.status(), client.metadata())
    assert all(each.answers == expected.answers for each in found)
    assert (health, status) == (True, [VersionStatus(1, "AVAILABLE")])
    assert metadata.version == 1
    assert metadata.signatures["serving_default"].inputs["examples"].dtype == "string"


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_a_real_bad_example_is_named(server: LocalServer, serialized_examples, transport):
    import tensorflow as tf

    broken = tf.train.Example()
    broken.features.feature["a"].int64_list.value.append(1)
    examples: list[Any] = [*serialized_examples[:5], broken, *serialized_examples[5:9]]
    address = server.grpc_address if transport == "grpc" else server.rest_address
    with opened(address, transport=transport) as client:
        with pytest.raises(InvalidRequest, match=r"refuses 1 sequence:\n  sequence 5: .*"):
            client.predict_examples(examples)
        found = client.predict_examples(examples, on_error="collect")
        good = client.predict_examples(serialized_examples[:9])
    assert found.ids == [str(place) for place in range(10) if place != 5]
    assert [each.place for each in found.refused] == [5]
    assert "[[{{node" not in found.refused[0].reason
    np.testing.assert_allclose(found.output("probabilities"), good.output("probabilities"), rtol=0, atol=1e-6)


@pytest.mark.parametrize("transport", ["grpc", "rest"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_version": 9}, rf"has no model {MODEL_NAME}, version 9: .* Of {MODEL_NAME} it has 1 \(AVAILABLE\)"),
        ({"version_label": "canary"}, r"label canary: .* it has 1 \(AVAILABLE\). Labels stand in the server's"),
        ({"model_name": "nobody"}, r"has no model nobody: .* Does the server serve nobody\?"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(server: LocalServer, serialized_examples, transport, options, message):
    address = server.grpc_address if transport == "grpc" else server.rest_address
    with opened(address, transport=transport, **options) as client:
        with pytest.raises(NotFound, match=message):
            client.predict_examples(serialized_examples[:3], on_error="collect")
        with pytest.raises(NotFound, match=message):
            client.metadata()
        assert client.health() is False


def answer_of(request: Any) -> Any:
    """One class; the probability is the size of the example."""
    from tensorflow_serving.apis import predict_pb2

    from noisy_gru.saved_model.tensor_protos import make_tensor_proto

    values = request.inputs["examples"].string_val
    outputs = {
        "probabilities": np.array([[len(value)] for value in values], np.float32),
        "class_id": np.zeros(len(values), np.int64),
        "label_bytes": np.array([b"c"] * len(values), object),
        "labels_bytes": np.array([[b"c"]] * len(values), object),
    }
    response = predict_pb2.PredictResponse()
    response.model_spec.version.value = 3
    for name, array in outputs.items():
        response.outputs[name].CopyFrom(make_tensor_proto(array))
    return response


@pytest.fixture
def scripted() -> Iterator[ScriptedGrpc]:
    with scripted_grpc(ScriptedGrpc(lambda request, context: answer_of(request))) as server:
        yield server


class Waits:
    """Sleeps of both kinds, which only count."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def blocking(self, seconds: float) -> None:
        self.seconds.append(seconds)

    async def asynchronous(self, seconds: float) -> None:
        self.seconds.append(seconds)


def predict(kind: str, address: str, examples: list[bytes], **options: Any) -> tuple[Predictions, list[float]]:
    """Ask with one of the two clients; the predictions and the waits. The waits of an error are in its notes."""
    waits = Waits()
    given: Any = {"dataset": DATASET, "model_name": "m", **options}

    async def main() -> Predictions:
        async with AsyncClient(address, sleep=waits.asynchronous, **given) as client:
            return await client.predict_examples(examples)

    with ExitStack() as stack:
        try:
            if kind == "asyncio":
                return asyncio.run(main()), waits.seconds
            client = stack.enter_context(Client(address, sleep=waits.blocking, **given))
            return client.predict_examples(examples), waits.seconds
        except ServingError as error:
            error.add_note(str(len(waits.seconds)))
            raise


KINDS = pytest.mark.parametrize("kind", ["blocking", "asyncio"])


@KINDS
def test_unavailable_is_asked_again(scripted, kind):
    codes = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE]

    def answer(request: Any, context: Any) -> Any:
        if codes:
            context.abort(codes.pop(), "starting")
        return answer_of(request)

    scripted.predict = answer
    found, waits = predict(kind, scripted.address, [EMPTY])
    assert found.answers == [{"sequence_id": "0", "way": "c", "probability_c": len(EMPTY)}]
    assert found.versions == [3]
    assert len(scripted.requests) == 3
    assert 0.1 <= waits[0] <= 0.15 and 0.2 <= waits[1] <= 0.3


@KINDS
def test_it_is_given_up_in_the_end(scripted, kind):
    scripted.predict = lambda request, context: context.abort(grpc.StatusCode.UNAVAILABLE, "never")
    with pytest.raises(Unavailable, match=r"is unavailable: never \(after 4 attempts\)") as caught:
        predict(kind, scripted.address, [EMPTY], attempts=4)
    assert len(scripted.requests) == 4
    assert caught.value.__notes__ == ["3"]


@KINDS
@pytest.mark.parametrize("name", ["INTERNAL", "RESOURCE_EXHAUSTED", "ABORTED", "UNKNOWN", "DEADLINE_EXCEEDED"])
def test_nothing_else_is_asked_again(scripted, kind, name):
    scripted.predict = lambda request, context: context.abort(grpc.StatusCode[name], "no")
    with pytest.raises(ServingError) as caught:
        predict(kind, scripted.address, [EMPTY, EMPTY])
    assert caught.value.code == name
    assert len(scripted.requests) == 1
    assert caught.value.__notes__ == ["0"]


@KINDS
def test_a_deadline_is_kept_and_told(scripted, kind):
    released = threading.Event()

    def answer(request: Any, context: Any) -> Any:
        released.wait(PATIENCE)
        return answer_of(request)

    scripted.predict = answer
    try:
        with pytest.raises(DeadlineExceeded, match=r"has not answered 2 sequences \(0 to 1\) within 0\.3 s"):
            predict(kind, scripted.address, [EMPTY, EMPTY], timeout=0.3)
    finally:
        released.set()
    # On a machine under load the time may be over before the request is there.
    assert len(scripted.requests) <= 1


@KINDS
def test_metadata_version_and_order(scripted, kind):
    headers = {"Authorization": "Bearer t", "x-team": "pumps"}
    options: Any = {"headers": headers, "model_version": 3, "batch_size": 2, "concurrency": 2}
    found, _ = predict(kind, scripted.address, [sized(20 + size) for size in range(9)], **options)
    assert [answer["probability_c"] for answer in found] == list(range(20, 29))
    assert scripted.most_at_a_time <= 2
    assert len(scripted.requests) == 5
    assert {request.model_spec.version.value for request in scripted.requests} == {3}
    assert all(each["authorization"] == "Bearer t" and each["x-team"] == "pumps" for each in scripted.headers)


@KINDS
def test_a_label_and_large_messages(scripted, kind):
    large = sized(5 << 20)  # more than gRPC allows unless told
    found, _ = predict(kind, scripted.address, [large, EMPTY, large], version_label="stable")
    assert [answer["probability_c"] for answer in found] == [len(large), len(EMPTY), len(large)]
    assert len(scripted.requests) == 3
    assert {request.model_spec.version_label for request in scripted.requests} == {"stable"}


@KINDS
def test_a_server_that_comes_back(kind):
    """A connection that is refused is tried again, and the channel does not wait for longer than the client."""
    port = free_port()
    with scripted_grpc(ScriptedGrpc(), port=port) as gone:
        pass
    started = threading.Event()
    answering = ScriptedGrpc(lambda request, context: answer_of(request))

    class Starting:
        """The first wait starts the server; then the clock's own time has to pass."""

        def __init__(self, stack: ExitStack) -> None:
            self.stack = stack

        def start(self) -> None:
            if not started.is_set():
                self.stack.enter_context(scripted_grpc(answering, port=port))
                started.set()

    with ExitStack() as stack:
        starting = Starting(stack)
        given: Any = {"dataset": DATASET, "model_name": "m", "timeout": PATIENCE, "longest_wait": 0.3}
        if kind == "blocking":
            import time

            def sleep(seconds: float) -> None:
                starting.start()
                time.sleep(seconds)

            with Client(gone.address, sleep=sleep, **given) as client:
                assert len(client.predict_examples([EMPTY])) == 1
        else:

            async def async_sleep(seconds: float) -> None:
                starting.start()
                await asyncio.sleep(seconds)

            async def main() -> Predictions:
                async with AsyncClient(gone.address, sleep=async_sleep, **given) as client:
                    return await client.predict_examples([EMPTY])

            assert len(asyncio.run(main())) == 1
    assert started.is_set()


def test_an_output_that_is_no_tensor(scripted):
    def answer(request: Any, context: Any) -> Any:
        response = answer_of(request)
        response.outputs["probabilities"].tensor_shape.dim[0].size = 7
        return response

    scripted.predict = answer
    with pytest.raises(ServingError, match="an output can't be read: The shape"):
        predict("blocking", scripted.address, [EMPTY])


def test_an_answer_larger_than_allowed(scripted):
    with pytest.raises(ServingError, match=r"RESOURCE_EXHAUSTED.*larger than max.*batch_size"):
        predict("blocking", scripted.address, [EMPTY] * 500, batch_size=500, largest_answer=1000)


def test_closed(scripted):
    with opened(scripted.address) as client:
        assert len(client.predict_examples([EMPTY])) == 1
    with pytest.raises(ServingError, match=r"the client of .* is closed"):
        client.predict_examples([EMPTY])

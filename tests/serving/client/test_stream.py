"""Streams: each event once, states kept, given out and put back."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from noisy_gru.schema.config import DatasetConfig
from noisy_gru.schema.errors import DataError
from noisy_gru.serving.client.async_client import AsyncClient
from noisy_gru.serving.client.errors import InvalidRequest, NotFound, ServingError, Unavailable
from tests.serving.client.asker import Asker
from tests.serving.client.scripted import Received, ScriptedRest, scripted_rest

DATASET = DatasetConfig.model_validate(
    {
        "data": {"files": ["*.csv"], "entity": "id", "time": {"column": "t"}, "features": ["x", "z"]},
        "task": {"kind": "regression", "label": "y"},
    }
)


def tensor(dtype: str, *sizes: int) -> dict[str, Any]:
    return {"dtype": dtype, "name": "n:0", "tensor_shape": {"dim": [{"size": str(size)} for size in sizes]}}


class Summing:
    """A model over REST whose state is the sum of x and the number of steps, and whose answer is their mean."""

    def __init__(self) -> None:
        self.steps: list[Any] = []
        self.version, self.width, self.channels = 5, 2, 2
        self.signatures = ["serving_default", "serving_step"]
        self.fault: Callable[[Received], tuple[int, Any] | None] = lambda request: None

    def __call__(self, request: Received) -> tuple[int, Any]:
        if request.path.endswith("/metadata"):
            inputs = {
                "features": tensor("DT_FLOAT", -1, -1, self.channels),
                "lengths": tensor("DT_INT64", -1),
                "state": tensor("DT_FLOAT", -1, self.width),
            }
            found = {name: {"inputs": inputs, "outputs": {}} for name in self.signatures}
            spec = {"name": "m", "version": str(self.version)}
            return 200, {"model_spec": spec, "metadata": {"signature_def": {"signature_def": found}}}
        if request.method == "GET":
            return 200, {"model_version_status": [{"version": str(self.version), "state": "AVAILABLE"}]}
        assert request.body["signature_name"] == "serving_step"
        if fault := self.fault(request):
            return fault
        return 200, {"predictions": [self.step(instance) for instance in request.body["instances"]]}

    def step(self, instance: Any) -> Any:
        read = np.array(instance["features"])[: instance["lengths"], 0].tolist()
        self.steps += read
        state = np.array(instance["state"]) + np.array([np.nansum(read), len(read)])
        return {"state": state.tolist(), "predictions": [state[0] / max(state[1], 1)]}


@pytest.fixture
def model() -> Iterator[Any]:
    with scripted_rest(ScriptedRest(Summing())) as server:
        yield server


@pytest.fixture(params=["blocking", "asyncio"])
def asker(request: pytest.FixtureRequest, model) -> Iterator[Asker]:
    with ExitStack() as stack:
        asker = Asker(request.param, stack, dataset=DATASET, model_name="m", transport="rest", attempts=2)
        yield asker.open(model.address)


def event(name: str, time: int, value: float | None = None) -> dict[str, Any]:
    return {"id": name, "t": time, "x": value, "z": 0}


def means(found: Any) -> dict[str, float]:
    return {answer["sequence_id"]: answer["y"] for answer in found}


def test_each_event_is_sent_once(asker, model):
    stream = asker("stream")
    assert str(stream.model) == "model m, version 5"
    assert means(asker("send", [event("a", 0, 1), event("b", 0, 10), event("a", 1, 3)], of=stream)) == {"a": 2, "b": 10}
    assert means(asker("send", [event("a", 2, 5)], of=stream)) == {"a": 3}
    assert means(asker("send", pd.DataFrame([event("c", 0, 7), event("b", 5, 20)]), of=stream)) == {"c": 7, "b": 15}
    assert model.answer.steps == [1, 3, 10, 5, 7, 20]
    assert stream.entities == ["a", "b", "c"]
    posts = [request for request in model.requests if request.method == "POST"]
    assert [request.path for request in posts] == ["/v1/models/m/versions/5:predict"] * 3
    assert [len(request.body["instances"]) for request in posts] == [2, 1, 2]


def test_missing_values_go_as_nan(asker, model):
    stream = asker("stream")
    asker("send", [event("a", 0, None), event("a", 1, 4)], of=stream)
    assert np.isnan(model.answer.steps[0])
    assert model.answer.steps[1] == 4


def test_late_events_are_told(asker, model):
    stream = asker("stream")
    asker("send", [event("a", 5, 1)], of=stream)
    found = asker("send", [event("a", 5, 9), event("a", 6, 3), event("b", 0, "?")], of=stream)  # type: ignore[arg-type]
    assert means(found) == {"a": 2}
    assert [(line["row"], line["reason"]) for line in found.unusable] == [(3, "unparsable_value"), (1, "late_step")]
    assert found.unused == {"late_step": 1, "unparsable_value": 1}
    before = len(model.requests)
    assert len(asker("send", [event("a", 6, 3)], of=stream)) == 0
    assert len(model.requests) == before


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ((503, {"error": "starting"}), Unavailable),
        ((500, {"error": "broken"}), ServingError),
        ((200, {"predictions": [{"predictions": [1.0]}] * 3}), ServingError),
        ((200, {"predictions": [{"predictions": [1.0], "state": [1.0]}] * 3}), ServingError),
        ((200, {"predictions": [{"nothing": [1.0], "state": [1.0, 2.0]}] * 3}), Exception),
    ],
)
def test_a_call_that_fails_changes_nothing(asker, model, fault, error):
    stream = asker("stream")
    asker("send", [event("a", 0, 1)], of=stream)
    before = stream.state_dict()
    events = [event("a", 1, 3), event("b", 0, 5), event("c", 0, 7)]
    model.answer.fault = lambda request: fault
    with pytest.raises(error):
        asker("send", events, of=stream)
    assert stream.state_dict() == before
    model.answer.fault = lambda request: None
    found = asker("send", events, of=stream)
    assert (means(found), found.unusable) == ({"a": 2, "b": 5, "c": 7}, [])


def test_nor_does_one_of_which_a_part_fails(model):
    left = ["first", "second"]

    def fault(request: Received) -> tuple[int, Any] | None:
        return None if left.pop(0) == "first" else (500, {"error": "broken"})

    with ExitStack() as stack:
        asker = Asker("blocking", stack, dataset=DATASET, model_name="m", transport="rest", batch_size=2)
        stream = asker.open(model.address)("stream")
        model.answer.fault = fault
        events = [event(name, 0, 1) for name in "abcd"]
        with pytest.raises(ServingError, match=r"2 sequences \(c to d\)"):
            stream.send(events)
        assert stream.entities == []
        model.answer.fault = lambda request: None
        assert means(stream.send(events)) == dict.fromkeys("abcd", 1)


def test_a_refused_entity_is_named(asker, model):
    def fault(request: Received) -> tuple[int, Any] | None:
        if any(13 in row for each in request.body["instances"] for row in each["features"]):
            return 400, {"error": "13 is bad luck"}
        return None

    stream = asker("stream")
    model.answer.fault = fault
    with pytest.raises(InvalidRequest, match="sequence b: 13 is bad luck"):
        asker("send", [event("a", 0, 1), event("b", 0, 13), event("c", 0, 1)], of=stream)
    assert stream.entities == []


def test_states_go_through_json_to_another_client(asker, model):
    stream = asker("stream")
    asker("send", [event("a", 3, 0.1), event("b", 3, 5)], of=stream)
    kept = json.dumps(stream.state_dict(["a"]))
    other = asker("stream")
    other.load_state_dict(json.loads(kept))
    assert other.entities == ["a"]
    found = asker("send", [event("a", 3, 9), event("a", 4, 0.3)], of=other)
    assert means(found) == {"a": pytest.approx(0.2, abs=1e-7)}
    assert [line["row"] for line in found.unusable] == [1]
    other.forget(["a", "nobody"])
    assert means(asker("send", [event("a", 0, 8)], of=other)) == {"a": 8}


def test_states_that_do_not_fit(asker, model):
    stream = asker("stream")
    asker("send", [event("a", 0, 1)], of=stream)
    kept = stream.state_dict()
    with pytest.raises(DataError, match="there is no state of b"):
        stream.state_dict(["b"])
    for garbage in ({}, {**kept, "entities": {"a": {"state": "!", "time": 0}}}, {**kept, "entities": [1]}):
        with pytest.raises(DataError, match=r"expected the result of state_dict\(\)"):
            stream.load_state_dict(garbage)
    short = {"a": {"state": "AACAPw==", "time": 0}}
    with pytest.raises(DataError, match="the states of a have another size than 2"):
        stream.load_state_dict({**kept, "entities": short})
    raw = np.frombuffer(base64.b64decode(kept["entities"]["a"]["state"]), "<f4").copy()
    for place, number in ((0, 1e30), (1, 1e30), (1, float("nan")), (1, raw[1] + 1)):
        damaged = raw.copy()
        damaged[place] = number
        entity = {**kept["entities"]["a"], "state": base64.b64encode(damaged.tobytes()).decode()}
        with pytest.raises(DataError, match=r"the states of a are not those that state_dict\(\) returned"):
            stream.load_state_dict({**kept, "entities": {"a": entity}})
        if abs(number) > 100 or number != number:  # such are found without a checksum, too
            del entity["crc32"]
            with pytest.raises(DataError, match=r"the states of a are not those that state_dict\(\) returned"):
                stream.load_state_dict({**kept, "entities": {"a": entity}})
    without = {name: value for name, value in kept["entities"]["a"].items() if name != "crc32"}
    stream.load_state_dict({**kept, "entities": {"a": without}})
    model.answer.version = 6
    newer = asker("stream")
    with pytest.raises(DataError, match="are of model m, version 5; this stream is of model m, version 6"):
        newer.load_state_dict(kept)
    assert newer.entities == []


def test_a_version_that_is_gone(asker, model):
    stream = asker("stream")
    asker("send", [event("a", 0, 1)], of=stream)
    model.answer.version = 6
    model.answer.fault = lambda request: (404, {"error": "Servable not found for request: Specific(m, 5)"})
    with pytest.raises(NotFound, match=r"it has 6 \(AVAILABLE\)\. The states of this stream are those of model m, "):
        asker("send", [event("a", 1, 1)], of=stream)


def test_a_model_without_the_signature(asker, model):
    model.answer.signatures = ["serving_default"]
    with pytest.raises(
        NotFound, match=r"no signature serving_step, only serving_default\. Set model\.serving_step: true"
    ):
        asker("stream")


def test_a_model_of_other_features(asker, model):
    model.answer.channels = 3
    with pytest.raises(ServingError, match=r"takes 3 numeric features, the configuration has 2 \(x, z\)"):
        asker("stream")


def test_arrays(asker, model):
    stream = asker("stream")
    found = asker("send_arrays", {"a": np.array([[1, 0], [3, 0]]), "b": [4, 0]}, of=stream)
    assert means(found) == {"a": 2, "b": 4}
    assert means(asker("send_arrays", {"a": np.zeros((0, 2))}, of=stream)) == {"a": 2}
    assert model.answer.steps == [1, 3, 4]
    assert len(asker("send_arrays", {}, of=stream)) == 0
    with pytest.raises(DataError, match=r"entity a: expected an array \[steps, 2\] of x, z, received the shape \[3\]"):
        asker("send_arrays", {"a": [1, 2, 3]}, of=stream)
    ragged, beyond = [[1.0, 2.0], [1.0]], [1.0, 1e300]
    for wrong in (ragged, ["x", "y"], "text", [None, 1.0], {"x": 1}, [1j, 2j], beyond, [[[[1.0]]]], object()):
        with pytest.raises(DataError, match="entity a: "):
            asker("send_arrays", {"a": wrong}, of=stream)
    with pytest.raises(DataError, match="expected a mapping of entity to array, received list"):
        asker("send_arrays", [1.0], of=stream)
    assert means(asker("send_arrays", {"a": np.zeros((0, 2))}, of=stream)) == {"a": 2}


def test_arrays_hold_no_text(model):
    data = {**DATASET.data.model_dump(), "features": ["x", "z", {"name": "sky", "kind": "categorical"}]}
    dataset = DatasetConfig.model_validate({**DATASET.model_dump(), "data": data})
    with ExitStack() as stack:
        asker = Asker("blocking", stack, dataset=dataset, model_name="m", transport="rest")
        stream = asker.open(model.address)("stream")
        with pytest.raises(DataError, match="arrays hold no sky: send rows"):
            stream.send_arrays({"a": [1, 2]})


def test_calls_of_one_stream_follow_each_other(model):
    async def main() -> list[Any]:
        client = AsyncClient(model.address, dataset=DATASET, model_name="m", transport="rest")
        async with client:
            stream = await client.stream()
            return await asyncio.gather(*(stream.send([event("a", time, time)]) for time in range(10)))

    found = asyncio.run(main())
    assert [means(each)["a"] for each in found] == [time / 2 for time in range(10)]


@contextmanager
def served_step(folder: Path) -> Iterator[Any]:
    """A small GRU with `serving_default`, `serving_tensors` and `serving_step` on a local server."""
    import keras
    import tensorflow as tf

    from noisy_gru.serving.local_server import LocalServer

    keras.utils.set_random_seed(2)
    gru, head = keras.layers.GRU(4, return_state=True, use_cudnn="auto"), keras.layers.Dense(1)

    def step(features: Any, lengths: Any, state: Any) -> dict[str, Any]:
        features = tf.pad(features, [[0, 0], [0, 1], [0, 0]])
        mask = tf.sequence_mask(lengths, tf.shape(features)[1])
        known = tf.where(mask[:, :, None] & ~tf.math.is_nan(features), features, 0.0)
        _, after = gru(known, mask=mask, initial_state=state)
        return {"predictions": head(after), "state": after}

    shapes = [
        tf.TensorSpec([None, None, 2], tf.float32, name="features"),
        tf.TensorSpec([None], tf.int64, name="lengths"),
    ]

    @tf.function(input_signature=[{spec.name: spec for spec in shapes}])
    def tensors(given: Any) -> dict[str, Any]:
        zeros = tf.zeros([tf.shape(given["features"])[0], 4])
        return {"predictions": step(given["features"], given["lengths"], zeros)["predictions"]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def default(examples: Any) -> dict[str, Any]:
        spec = {name: tf.io.RaggedFeature(tf.float32, row_splits_dtype=tf.int64) for name in ("x", "z")}
        lists = tf.io.parse_example(examples, spec)
        features = tf.stack([lists[name].to_tensor() for name in spec], axis=-1)
        return tensors({"features": features, "lengths": lists["x"].row_lengths()})

    state = tf.TensorSpec([None, 4], tf.float32, name="state")

    @tf.function(input_signature=[{spec.name: spec for spec in [*shapes, state]}])
    def stepping(given: Any) -> dict[str, Any]:
        return step(given["features"], given["lengths"], given["state"])

    archive: Any = keras.export.ExportArchive()
    archive.add_endpoint("serving_default", default)
    archive.add_endpoint("serving_tensors", tensors)
    archive.add_endpoint("serving_step", stepping)
    archive.write_out(str(folder / "m" / "3"), verbose=False)
    with LocalServer({"m": folder / "m"}) as server:
        yield server


@pytest.mark.slow
def test_pieces_are_answered_as_the_whole(tmp_path):
    random = np.random.default_rng(4)
    lengths = {f"e{place}": length for place, length in enumerate([1, 2, 5, 9, 9, 13])}
    frame = pd.DataFrame(
        [
            {"id": name, "t": time, "x": random.normal(), "z": random.normal() if random.random() < 0.8 else None}
            for name, length in lengths.items()
            for time in range(length)
        ]
    )
    with served_step(tmp_path) as server, ExitStack() as stack:
        addresses = {"grpc": server.grpc_address, "rest": server.rest_address}
        for kind, transport in (("blocking", "grpc"), ("asyncio", "grpc"), ("blocking", "rest")):
            asker = Asker(kind, stack, dataset=DATASET, model_name="m", transport=transport, batch_size=4)
            asker.open(addresses[transport])
            whole = means(asker("predict", frame))
            stream = asker("stream")
            last: dict[str, float] = {}
            # Steps 0, then 1 to 4, then the rest.
            for piece in (frame[frame.t < 1], frame[frame.t.between(1, 4)], frame[frame.t > 4]):
                last |= means(asker("send", piece, of=stream))
            assert last.keys() == whole.keys() == lengths.keys()
            np.testing.assert_allclose([last[name] for name in whole], list(whole.values()), rtol=0, atol=1e-5)
            assert len(set(np.round(list(whole.values()), 4))) == len(whole)

"""What TF Serving does, asked of the local server, and of the real one where there is one.

The real server is ``NOISY_GRU_TF_SERVING=HOST:PORT``, with ``NOISY_GRU_TF_SERVING_REST=HOST:PORT`` for its REST API,
``NOISY_GRU_TF_SERVING_MODEL``, the name of a model of noisy-gru that it serves, and ``NOISY_GRU_TF_SERVING_PATH``, that
model's base path on this machine; or a tensorflow_model_server on PATH; or docker with TF Serving's image.
"""

from __future__ import annotations

import base64
import functools
import gzip
import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from noisy_gru.saved_model.session import SessionModel
from tests.patience import PATIENCE
from tests.ports import free_port

pytestmark = pytest.mark.slow

CODE = grpc.StatusCode


@dataclass
class Target:
    """A server, and the model that it serves, loaded beside it."""

    name: str
    grpc_address: str
    rest_address: str | None
    version: int
    folder: Path
    model: SessionModel
    examples: list[bytes]
    channel: Any = field(init=False)

    def __post_init__(self) -> None:
        self.channel = grpc.insecure_channel(self.grpc_address)

    @property
    def predictions(self) -> Any:
        from tensorflow_serving.apis import prediction_service_pb2_grpc

        return prediction_service_pb2_grpc.PredictionServiceStub(self.channel)

    @property
    def models(self) -> Any:
        from tensorflow_serving.apis import model_service_pb2_grpc

        return model_service_pb2_grpc.ModelServiceStub(self.channel)

    def tensors(self, batch: int = 3, steps: int = 4) -> dict[str, np.ndarray]:
        """Inputs of ``serving_tensors``: sequences of different lengths; a categorical value is unknown."""
        inputs = self.model.signatures["serving_tensors"].inputs
        width = (inputs["features"].shape or (0,))[-1] or 0
        random = np.random.default_rng(5)
        values: dict[str, np.ndarray] = {
            name: np.full((batch, steps), b"what", object) for name in inputs if name not in ("features", "lengths")
        }
        values["features"] = random.normal(size=(batch, steps, width)).astype(np.float32)
        values["lengths"] = np.array([steps - index % steps for index in range(batch)], np.int64)
        return values

    def predict_request(self, signature: str, inputs: dict[str, Any], **more: Any) -> Any:
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest(**more)
        request.model_spec.name = request.model_spec.name or self.name
        request.model_spec.signature_name = signature
        for name, values in inputs.items():
            request.inputs[name].CopyFrom(
                tf.make_tensor_proto(values) if len(values) else tf.make_tensor_proto(values, tf.string, (0,))
            )
        return request

    def predict(self, signature: str, inputs: dict[str, Any], **more: Any) -> Any:
        return self.predictions.Predict(self.predict_request(signature, inputs, **more), timeout=PATIENCE)

    def url(self, path: str = "") -> str:
        if self.rest_address is None:
            pytest.skip("NOISY_GRU_TF_SERVING_REST is not set")
        return f"http://{self.rest_address}/v1/models/{self.name}{path}"

    def post(self, content: Any, path: str = ":predict", **more: Any) -> httpx.Response:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return httpx.post(self.url(path), content=body, timeout=PATIENCE, **more)


@functools.cache
def no_real_server() -> str | None:
    """Why there is no real server to ask; None if there is one."""
    if os.environ.get("NOISY_GRU_TF_SERVING"):
        missing = {"NOISY_GRU_TF_SERVING_MODEL", "NOISY_GRU_TF_SERVING_PATH"} - os.environ.keys()
        return f"NOISY_GRU_TF_SERVING is set, but not {' and '.join(sorted(missing))}" if missing else None
    from noisy_gru.registry.server_files import IMAGE
    from noisy_gru.serving.model_server import find_model_server

    server, found = find_model_server()
    if server is None:
        return f"{found}, and NOISY_GRU_TF_SERVING is not set"
    if server.kind == "docker":
        image = subprocess.run([server.path, "image", "inspect", IMAGE], capture_output=True, check=False)
        return f"docker has no image {IMAGE}, and tests download nothing" if image.returncode else None
    return None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "target" in metafunc.fixturenames:
        servers = ["local server"] if no_real_server() else ["local server", "TF Serving"]
        metafunc.parametrize("target", servers, indirect=True, scope="module")


def test_the_real_server_is_asked_the_same() -> None:
    if reason := no_real_server():
        pytest.skip(
            f"the conformance tests ask the local server alone, there is no TF Serving to compare with: {reason}"
        )


@pytest.fixture(scope="module")
def target(request: pytest.FixtureRequest, published: Path, serialized_examples: list[bytes]) -> Iterator[Target]:
    examples = serialized_examples[:5]
    if request.param == "TF Serving":
        yield from _real_server(published, examples)
        return
    server = request.getfixturevalue("server")
    with SessionModel(published / "1") as model:
        target = Target(published.name, server.grpc_address, server.rest_address, 1, published / "1", model, examples)
        yield target
        target.channel.close()


def _real_server(published: Path, examples: list[bytes]) -> Iterator[Target]:
    address = os.environ.get("NOISY_GRU_TF_SERVING")
    if address:
        name, path = os.environ["NOISY_GRU_TF_SERVING_MODEL"], Path(os.environ["NOISY_GRU_TF_SERVING_PATH"])
        version = max(int(child.name) for child in path.iterdir() if child.name.isdigit())
        yield from _requested(name, address, os.environ.get("NOISY_GRU_TF_SERVING_REST"), path / str(version), [b""])
        return
    from noisy_gru.serving.model_server import Listening, command, find_model_server

    server, _ = find_model_server()
    assert server is not None
    grpc_port, rest_port = free_port(), free_port()
    line = command(server, published.parent, published.name, Listening(grpc_port=grpc_port, rest_port=rest_port))
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        grpc_address, rest_address = f"127.0.0.1:{grpc_port}", f"127.0.0.1:{rest_port}"
        _wait_for(f"http://{rest_address}/v1/models/{published.name}", process)
        yield from _requested(published.name, grpc_address, rest_address, published / "1", examples)
    finally:
        process.terminate()
        process.wait()


def _requested(name: str, address: str, rest: str | None, folder: Path, examples: list[bytes]) -> Iterator[Target]:
    with SessionModel(folder) as model:
        target = Target(name, address, rest, int(folder.name), folder, model, examples)
        yield target
        target.channel.close()


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if "AVAILABLE" in httpx.get(url, timeout=PATIENCE).text:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    pytest.fail(f"TF Serving does not answer; exit code {process.poll()}")


def arrays(response: Any) -> dict[str, np.ndarray]:
    """The outputs, by TensorFlow's own reading."""
    import tensorflow as tf

    return {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}


def assert_same(received: dict[str, Any], expected: dict[str, np.ndarray]) -> None:
    assert received.keys() == expected.keys()
    for name, array in expected.items():
        if array.dtype == object:
            assert np.array_equal(np.asarray(received[name], object), array), name
        else:
            np.testing.assert_allclose(received[name], array, rtol=0, atol=1e-6, err_msg=name)


def fails(code: grpc.StatusCode, words: str) -> Any:
    """Expects an error of gRPC with this code and these words in it."""

    class Expectation:
        def __enter__(self) -> None:
            pass

        def __exit__(self, kind: Any, error: Any, traceback: Any) -> bool:
            assert isinstance(error, grpc.RpcError), f"expected {code}; received {error!r}"
            assert (error.code(), words in (error.details() or "")) == (code, True), error
            return True

    return Expectation()


def test_serving_default(target: Target) -> None:
    expected = target.model.run("serving_default", {"examples": target.examples})
    response = target.predict("serving_default", {"examples": target.examples})
    assert_same(arrays(response), expected)
    assert {name: proto.dtype for name, proto in response.outputs.items()} == {
        name: spec.code for name, spec in target.model.signatures["serving_default"].outputs.items()
    }


def test_serving_tensors(target: Target) -> None:
    inputs = target.tensors()
    assert_same(arrays(target.predict("serving_tensors", inputs)), target.model.run("serving_tensors", inputs))


def test_the_answer_is_what_numpy_computes(target: Target, small: tuple[Path, Any]) -> None:
    from tests.trainer.numpy_gru import gru

    base_path, keras_model = small
    if target.folder.parent != base_path:
        pytest.skip("the server serves another model than that of the tests")
    inputs = target.tensors()
    recurrent, head = (keras_model.get_layer(name).get_weights() for name in ("gru", "head"))
    mask = np.arange(inputs["features"].shape[1]) < inputs["lengths"][:, None]
    _, _, state = gru(np.nan_to_num(inputs["features"]), recurrent, mask=mask)
    powers = np.exp(state @ head[0] + head[1])
    received = arrays(target.predict("serving_tensors", inputs))
    np.testing.assert_allclose(received["probabilities"], powers / powers.sum(axis=1, keepdims=True), atol=1e-6)
    assert received["class_id"].tolist() == powers.argmax(axis=1).tolist()


def with_state(target: Target, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Inputs of ``serving_step`` for streams that begin."""
    signature = target.model.signatures.get("serving_step")
    if signature is None:
        pytest.skip("the model has no serving_step")
    size = (signature.inputs["state"].shape or (0,))[-1] or 0
    return {**inputs, "state": np.zeros((len(inputs["lengths"]), size), np.float32)}


def test_serving_step_in_parts_is_the_whole(target: Target) -> None:
    inputs = target.tensors(batch=3, steps=4)
    whole = arrays(target.predict("serving_tensors", inputs))
    steps = with_state(target, inputs)
    for start in (0, 2):
        part = {name: array[:, start : start + 2] if array.ndim > 1 else array for name, array in inputs.items()}
        part["lengths"] = np.clip(inputs["lengths"] - start, 0, 2)
        answer = arrays(target.predict("serving_step", {**part, "state": steps["state"]}))
        steps["state"] = answer.pop("state")
    assert_same(answer, whole)


def test_numbers_come_in_the_typed_fields(target: Target) -> None:
    response = target.predict("serving_tensors", target.tensors())
    expected = target.model.run("serving_tensors", target.tensors())
    name = next(name for name, array in expected.items() if array.dtype == np.float32)
    np.testing.assert_allclose(response.outputs[name].float_val, expected[name].ravel(), atol=1e-6)


def test_the_answer_names_model_version_and_signature(target: Target) -> None:
    spec = target.predict("", {"examples": target.examples}).model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == (target.name, target.version, "serving_default")


def test_a_version_can_be_asked_for(target: Target) -> None:
    request = target.predict_request("serving_tensors", target.tensors())
    request.model_spec.version.value = target.version
    assert_same(
        arrays(target.predictions.Predict(request, timeout=PATIENCE)),
        target.model.run("serving_tensors", target.tensors()),
    )


def test_an_empty_batch(target: Target) -> None:
    response = target.predict("serving_default", {"examples": []})
    assert all(len(array) == 0 for array in arrays(response).values())


def test_output_filter(target: Target) -> None:
    name = sorted(target.model.signatures["serving_tensors"].outputs)[-1]
    response = target.predict("serving_tensors", target.tensors(), output_filter=[name])
    assert_same(arrays(response), {name: target.model.run("serving_tensors", target.tensors())[name]})
    with fails(CODE.INVALID_ARGUMENT, "output tensor alias not found in signature: nothing"):
        target.predict("serving_tensors", target.tensors(), output_filter=["nothing"])
    with fails(CODE.INVALID_ARGUMENT, "duplicate output tensor alias"):
        target.predict("serving_tensors", target.tensors(), output_filter=[name, name])


def test_what_is_not_served(target: Target) -> None:
    from tensorflow_serving.apis import predict_pb2

    request = target.predict_request("serving_tensors", target.tensors())
    request.model_spec.name = "nobody"
    with fails(CODE.NOT_FOUND, "Servable not found for request: Latest(nobody)"):
        target.predictions.Predict(request, timeout=PATIENCE)
    request.model_spec.name = target.name
    request.model_spec.version.value = 999
    with fails(CODE.NOT_FOUND, f"Servable not found for request: Specific({target.name}, 999)"):
        target.predictions.Predict(request, timeout=PATIENCE)
    request.model_spec.version_label = "nightly"
    with fails(CODE.INVALID_ARGUMENT, "Unrecognized servable version label: nightly"):
        target.predictions.Predict(request, timeout=PATIENCE)
    with fails(CODE.INVALID_ARGUMENT, ""):
        target.predictions.Predict(predict_pb2.PredictRequest(), timeout=PATIENCE)


def test_an_unknown_signature(target: Target) -> None:
    with fails(CODE.FAILED_PRECONDITION, 'Serving signature key "serving_magic" not found.'):
        target.predict("serving_magic", target.tensors())


def test_inputs_that_do_not_fit_the_signature(target: Target) -> None:
    inputs = target.tensors()
    with fails(CODE.INVALID_ARGUMENT, "Missing but required: {lengths}"):
        target.predict("serving_tensors", {name: inputs[name] for name in inputs if name != "lengths"})
    with fails(CODE.INVALID_ARGUMENT, "Sent extra: {weather}"):
        target.predict("serving_tensors", {**inputs, "weather": np.zeros(3, np.float32)})
    renamed = {("steps" if name == "lengths" else name): values for name, values in inputs.items()}
    with fails(CODE.INVALID_ARGUMENT, "input tensor alias not found in signature: steps"):
        target.predict("serving_tensors", renamed)


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_another_type_is_not_cast(target: Target, dtype: Any) -> None:
    inputs = target.tensors()
    with fails(CODE.INVALID_ARGUMENT, "to be float but"):
        target.predict("serving_tensors", {**inputs, "features": inputs["features"].astype(dtype)})


@pytest.mark.parametrize("shape", [(3,), (3, 4), (3, 4, 50), (3, 4, 2, 1)])
def test_another_shape_is_refused(target: Target, shape: tuple[int, ...]) -> None:
    with fails(CODE.INVALID_ARGUMENT, ""):
        target.predict("serving_tensors", {**target.tensors(), "features": np.zeros(shape, np.float32)})


def test_what_the_graph_refuses(target: Target) -> None:
    with fails(CODE.INVALID_ARGUMENT, ""):
        target.predict("serving_default", {"examples": [b"\xff\xff no example"]})


def test_a_tensor_whose_content_does_not_fit_its_shape(target: Target) -> None:
    request = target.predict_request("serving_tensors", target.tensors())
    request.inputs["features"].tensor_content = b"123"
    with fails(CODE.INVALID_ARGUMENT, "tensor parsing error: features"):
        target.predictions.Predict(request, timeout=PATIENCE)


def test_metadata(target: Target) -> None:
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow_serving.apis import get_model_metadata_pb2

    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = target.name
    response = target.predictions.GetModelMetadata(request, timeout=PATIENCE)
    assert (response.model_spec.name, response.model_spec.version.value) == (target.name, target.version)
    received = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(received)
    saved = saved_model_pb2.SavedModel.FromString((target.folder / "saved_model.pb").read_bytes())
    assert dict(received.signature_def) == dict(saved.meta_graphs[0].signature_def)


def test_metadata_that_is_asked_for_wrongly(target: Target) -> None:
    from tensorflow_serving.apis import get_model_metadata_pb2

    request = get_model_metadata_pb2.GetModelMetadataRequest()
    request.model_spec.name = target.name
    with fails(CODE.INVALID_ARGUMENT, "must specify at least one metadata_field"):
        target.predictions.GetModelMetadata(request, timeout=PATIENCE)
    request.metadata_field.append("weights")
    with fails(CODE.INVALID_ARGUMENT, "Metadata field"):
        target.predictions.GetModelMetadata(request, timeout=PATIENCE)


def test_status(target: Target) -> None:
    from tensorflow_serving.apis import get_model_status_pb2

    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = target.name
    response = target.models.GetModelStatus(request, timeout=PATIENCE)
    newest = response.model_version_status[0]
    available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
    assert (newest.version, newest.state, newest.status.error_code) == (target.version, available, 0)
    request.model_spec.version.value = 999
    with fails(CODE.NOT_FOUND, f"Could not find version 999 of model {target.name}"):
        target.models.GetModelStatus(request, timeout=PATIENCE)
    request.model_spec.name = "nobody"
    request.model_spec.ClearField("version")
    with fails(CODE.NOT_FOUND, "Could not find any versions of model nobody"):
        target.models.GetModelStatus(request, timeout=PATIENCE)


def test_classify_and_regress_are_not_for_these_models(target: Target) -> None:
    from tensorflow_serving.apis import classification_pb2, regression_pb2

    classify = classification_pb2.ClassificationRequest()
    classify.model_spec.name = target.name
    with fails(CODE.INVALID_ARGUMENT, ""):
        target.predictions.Classify(classify, timeout=PATIENCE)
    regress = regression_pb2.RegressionRequest()
    regress.model_spec.name = target.name
    with fails(CODE.INVALID_ARGUMENT, ""):
        target.predictions.Regress(regress, timeout=PATIENCE)


def test_health(target: Target) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    answer = health_pb2_grpc.HealthStub(target.channel).Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def b64(value: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(value).decode()}


def unpacked(name: str, values: Any) -> Any:
    """JSON's values as arrays; bytes out of their base64."""
    if isinstance(values, dict):
        return base64.b64decode(values["b64"])
    return [unpacked(name, value) for value in values] if isinstance(values, list) else values


def test_rest_rows_of_one_input_come_bare(target: Target) -> None:
    answer = target.post({"instances": [b64(example) for example in target.examples]})
    assert answer.status_code == 200
    rows = answer.json()["predictions"]
    assert len(rows) == len(target.examples)
    received = {name: np.array([unpacked(name, row[name]) for row in rows], object) for name in rows[0]}
    expected = target.model.run("serving_default", {"examples": target.examples})
    assert_same({name: received[name].astype(expected[name].dtype) for name in received}, expected)


def test_rest_rows_as_objects(target: Target) -> None:
    answer = target.post(
        {"signature_name": "serving_default", "instances": [{"examples": b64(value)} for value in target.examples]}
    )
    assert answer.json() == target.post({"instances": [b64(value) for value in target.examples]}).json()


def test_rest_rows_of_several_inputs(target: Target) -> None:
    inputs = target.tensors()
    instances = [{name: _jsonable(inputs[name][index]) for name in inputs} for index in range(len(inputs["lengths"]))]
    answer = target.post({"signature_name": "serving_tensors", "instances": instances})
    assert answer.status_code == 200, answer.text
    expected = target.model.run("serving_tensors", inputs)
    for index, row in enumerate(answer.json()["predictions"]):
        assert_same({name: unpacked(name, row[name]) for name in row}, _row(expected, index))


def _row(outputs: dict[str, np.ndarray], index: int) -> dict[str, np.ndarray]:
    # A single string is no array any more.
    return {name: np.asarray(array[index], array.dtype) for name, array in outputs.items()}


def _jsonable(array: Any) -> Any:
    values = array.tolist()
    return json.loads(json.dumps(values, default=bytes.decode))


def test_rest_columns(target: Target) -> None:
    inputs = target.tensors()
    answer = target.post(
        {"signature_name": "serving_tensors", "inputs": {name: _jsonable(array) for name, array in inputs.items()}}
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    outputs = answer.json()["outputs"]
    assert_same(
        {name: unpacked(name, values) for name, values in outputs.items()}, target.model.run("serving_tensors", inputs)
    )


def test_rest_serving_step_in_rows_and_columns(target: Target) -> None:
    inputs = with_state(target, target.tensors())
    inputs["state"] += np.float32(0.1)
    expected = target.model.run("serving_step", inputs)
    columns = target.post(
        {"signature_name": "serving_step", "inputs": {name: _jsonable(array) for name, array in inputs.items()}}
    )
    assert columns.status_code == 200, columns.text
    assert_same({name: unpacked(name, values) for name, values in columns.json()["outputs"].items()}, expected)
    instances = [{name: _jsonable(array[index]) for name, array in inputs.items()} for index in range(3)]
    rows = target.post({"signature_name": "serving_step", "instances": instances}).json()["predictions"]
    assert [row["state"] for row in rows] == columns.json()["outputs"]["state"]


def test_rest_columns_of_one_input_come_bare(target: Target) -> None:
    values = [b64(example) for example in target.examples]
    answers = [target.post({"inputs": inputs}).json() for inputs in (values, {"examples": values})]
    assert answers[0] == answers[1]
    expected = target.model.run("serving_default", {"examples": target.examples})
    assert_same({name: unpacked(name, values) for name, values in answers[0]["outputs"].items()}, expected)


def test_rest_names_that_end_in_bytes_are_base64(target: Target) -> None:
    outputs = target.post({"inputs": [b64(example) for example in target.examples]}).json()["outputs"]
    strings = {name for name, spec in target.model.signatures["serving_default"].outputs.items() if spec.code == 7}
    if not strings:
        pytest.skip("the model answers no strings")
    for name in strings:
        assert name.endswith("_bytes")
        first = outputs[name][0]
        while isinstance(first, list):
            first = first[0]
        assert set(first) == {"b64"}


def test_rest_floats_have_the_shortest_digits(target: Target) -> None:
    body = target.post({"inputs": [b64(example) for example in target.examples]}).text
    expected = target.model.run("serving_default", {"examples": target.examples})
    name = next(name for name, array in expected.items() if array.dtype == np.float32)
    received = json.loads(body, parse_float=str)["outputs"][name]
    flat = np.array(received).ravel()
    assert max(len(text.lstrip("-0.").replace(".", "").split("e")[0]) for text in flat) <= 9
    np.testing.assert_allclose(flat.astype(np.float32), expected[name].ravel(), rtol=0, atol=1e-6)


def test_rest_a_missing_value_is_nan(target: Target) -> None:
    inputs = target.tensors()
    inputs["features"][0, 1, 0] = np.nan
    inputs["features"][1, 0, 0] = np.nan
    content = {"signature_name": "serving_tensors", "inputs": {name: _jsonable(inputs[name]) for name in inputs}}
    assert b"NaN" in json.dumps(content).encode()
    answer = target.post(content)
    assert answer.status_code == 200, answer.text
    assert_same(
        {name: unpacked(name, values) for name, values in answer.json()["outputs"].items()},
        target.model.run("serving_tensors", inputs),
    )


def test_rest_gzip(target: Target) -> None:
    content = json.dumps({"inputs": [b64(example) for example in target.examples]}).encode()
    plain = target.post(content, headers={"Accept-Encoding": "identity"})
    packed = target.post(gzip.compress(content), headers={"Content-Encoding": "gzip", "Accept-Encoding": "gzip"})
    assert (plain.status_code, packed.status_code) == (200, 200)
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.json() == plain.json()


def test_rest_a_version_in_the_path(target: Target) -> None:
    content = {"inputs": [b64(example) for example in target.examples]}
    assert target.post(content, f"/versions/{target.version}:predict").json() == target.post(content).json()
    answer = target.post(content, "/versions/999:predict")
    assert answer.status_code == 404
    assert f"Servable not found for request: Specific({target.name}, 999)" in answer.json()["error"]


def test_rest_an_unknown_label(target: Target) -> None:
    answer = target.post({"inputs": []}, "/labels/nightly:predict")
    assert (answer.status_code, "Unrecognized servable version label: nightly" in answer.json()["error"]) == (400, True)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "JSON Parse error"),
        (b"{", "JSON Parse error"),
        (b'{"inputs": "\xff"}', ""),
        (b"[1]", "Is not object"),
        (b'{"context": 1}', "Missing 'inputs' or 'instances' key"),
        (b'{"instances": [1], "inputs": [1]}', "only one of"),
        (b'{"instances": []}', "No values in"),
        (b'{"instances": {}}', "to be an list/array"),
        (b'{"instances": [1.5]}', "not of expected type: string"),
        (b'{"instances": [{"b64": "?"}]}', "base64 decode"),
        (b'{"instances": ["", [""]]}', ""),
        (b'{"instances": [{"b64": ""}, {"examples": ""}]}', "got object at item 1"),
        (b'{"instances": [{"other": ""}]}', "other"),
        (b'{"inputs": {"other": ""}}', "Missing named input: examples"),
        (b'{"inputs": [[""], ["", ""]]}', "unexpected size: 2"),
        (b'{"inputs": [null]}', "not of expected type: string"),
        (b'{"signature_name": 5, "instances": [""]}', "'signature_name' key must be a string value"),
        (b'{"signature_name": "serving_magic", "instances": [""]}', 'Serving signature name: "serving_magic"'),
        (b'{"signature_name": "serving_tensors", "instances": [[1.0]]}', "plain list"),
        (b'{"signature_name": "serving_tensors", "inputs": [[1.0]]}', "plain value/list"),
    ],
)
def test_rest_bad_requests(target: Target, content: bytes, words: str) -> None:
    answer = target.post(content)
    assert answer.status_code == 400
    assert words in answer.json()["error"]


@pytest.mark.parametrize(
    ("features", "words"),
    [
        ("true", "not of expected type: float"),
        ('"1.5"', "not of expected type: float"),
        ("null", "not of expected type: float"),
        ("1e400", "Number too big to be stored in double"),
    ],
)
def test_rest_numbers_are_taken_at_their_word(target: Target, features: str, words: str) -> None:
    inputs = target.tensors(batch=1, steps=1)
    content = json.dumps(
        {"signature_name": "serving_tensors", "inputs": {name: _jsonable(inputs[name]) for name in inputs}}
    )
    first = json.dumps(_jsonable(inputs["features"])[0][0][0])
    answer = target.post(content.replace(first, features, 1).encode())
    assert (answer.status_code, words in answer.json()["error"]) == (400, True), answer.text


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ("a byte-order mark", lambda body: b"\xef\xbb\xbf" + body),
        ("something behind it", lambda body: body + b" and more {"),
        ("the first of two keys counts", lambda body: body[:-1] + b', "inputs": 1, "signature_name": 2}'),
        ("an integer above 2**24", lambda body: body.replace(b"0.5", b"16777217", 1)),
        ("Inf", lambda body: body.replace(b"0.5", b"-Inf", 1)),
        ("-NaN", lambda body: body.replace(b"0.5", b"-NaN", 1)),
    ],
)
def test_rest_what_rapidjson_reads(target: Target, change: str, same: Any) -> None:
    """TF Serving 2.20.0 json_tensor.cc:294 and :483; RapidJSON 1.1.0 reader.h, ParseNumber; encodedstream.h."""
    inputs = target.tensors(batch=1, steps=1)
    inputs["features"][:] = 0.5
    body = json.dumps(
        {"signature_name": "serving_tensors", "inputs": {name: _jsonable(inputs[name]) for name in inputs}}
    ).encode()
    numbers = {"an integer above 2**24": 16777216.0, "Inf": -np.inf, "-NaN": np.nan}
    inputs["features"][0, 0, 0] = numbers.get(change, 0.5)
    answer = target.post(same(body))
    assert answer.status_code == 200, answer.text
    outputs = answer.json()["outputs"]
    assert_same(
        {name: unpacked(name, values) for name, values in outputs.items()}, target.model.run("serving_tensors", inputs)
    )


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_rest_other_encodings_are_no_json(target: Target, encoding: str) -> None:
    answer = target.post(json.dumps({"inputs": [""]}).encode(encoding))
    assert (answer.status_code, "JSON Parse error" in answer.json()["error"]) == (400, True)


def test_rest_other_methods(target: Target) -> None:
    """2.20.0 http_server.cc:170 and http_rest_api_handler.cc: whatever is neither GET nor POST is malformed."""
    for method in ("PUT", "DELETE", "PATCH"):
        answer = httpx.request(method, target.url(), timeout=PATIENCE)
        assert (answer.status_code, f"Malformed request: {method} " in answer.json()["error"]) == (400, True)
    assert httpx.head(target.url(), timeout=PATIENCE).status_code == 400
    assert httpx.options(target.url(), timeout=PATIENCE).status_code == 400
    assert httpx.options(target.url(), headers={"Origin": "http://example.com"}, timeout=PATIENCE).status_code == 200


def test_rest_a_query_is_part_of_the_path(target: Target) -> None:
    """2.20.0 evhttp_request.cc:135."""
    assert target.post({"inputs": []}, ":predict?x=1").status_code == 400
    assert httpx.get(target.url("?x=1"), timeout=PATIENCE).status_code == 404
    encoded = target.url().replace(target.name, f"%{ord(target.name[0]):02x}{target.name[1:]}")
    assert httpx.get(encoded, timeout=PATIENCE).json()["model_version_status"]
    models = target.url().rpartition("/")[0]
    answer = httpx.get(models, timeout=PATIENCE)
    assert (answer.status_code, answer.json()["error"]) == (400, "Missing model name in request.")


def test_health_of_the_services(target: Target) -> None:
    """2.20.0 server.cc:420: TF Serving names two services; there too only where its flag asks for health."""
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    stub = health_pb2_grpc.HealthStub(target.channel)
    for service in ("", "PredictionService", "ModelService"):
        assert stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE).status == 1
    with fails(CODE.NOT_FOUND, ""):
        stub.Check(health_pb2.HealthCheckRequest(service="tensorflow.serving.PredictionService"), timeout=PATIENCE)


def test_rest_status(target: Target) -> None:
    body = httpx.get(target.url(), timeout=PATIENCE).json()
    newest = body["model_version_status"][0]
    assert newest == {
        "version": str(target.version),
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    one = httpx.get(target.url(f"/versions/{target.version}"), timeout=PATIENCE)
    assert one.json()["model_version_status"] == [newest]
    assert httpx.get(target.url("/versions/999"), timeout=PATIENCE).status_code == 404
    assert httpx.get(target.url().replace(target.name, "nobody"), timeout=PATIENCE).status_code == 404


def test_rest_metadata(target: Target) -> None:
    body = httpx.get(target.url("/metadata"), timeout=PATIENCE).json()
    assert body["model_spec"] == {"name": target.name, "signature_name": "", "version": str(target.version)}
    signatures = body["metadata"]["signature_def"]["signature_def"]
    inputs = signatures["serving_tensors"]["inputs"]
    assert inputs["features"]["dtype"] == "DT_FLOAT"
    assert [dim["size"] for dim in inputs["features"]["tensor_shape"]["dim"]][:2] == ["-1", "-1"]
    assert signatures["serving_default"]["inputs"]["examples"]["dtype"] == "DT_STRING"
    assert signatures["serving_default"]["method_name"] == "tensorflow/serving/predict"


def test_rest_paths_that_mean_nothing(target: Target) -> None:
    assert target.post({"inputs": []}, ":explain").status_code == 400
    assert httpx.get(target.url(":predict"), timeout=PATIENCE).status_code == 400
    assert httpx.get(target.url("/versions/99999999999999999999"), timeout=PATIENCE).status_code == 400


def test_rest_classify_is_not_for_these_models(target: Target) -> None:
    answer = target.post({"examples": [{"a": 1.0}]}, ":classify")
    assert answer.status_code == 400
